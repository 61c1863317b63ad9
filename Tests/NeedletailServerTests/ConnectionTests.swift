import NeedletailClient
import NeedletailCore
import NeedletailTestSupport
import NeedletailWire
import Testing

@testable import NeedletailServer

@Suite("Connections", .timeLimit(.minutes(1)))
struct ConnectionTests {
  static let models = ["people": ModelFixtures.logistic(), "wide": ModelFixtures.mlp(widths: [1, 4000])]

  @Test func aConnectionBeyondTheLimitIsRejectedAndOthersGoOn() async throws {
    try await TestServer.with(models: Self.models, configure: { $0.limits.connectionsMax = 2 }) { test in
      let first = try await test.client()
      _ = try await first.health()
      let second = try await test.client()
      _ = try await second.health()
      let third = try await RawConnection.connect(to: test.address)
      let responses = await third.rest()
      guard case .failed(let error)? = responses.first?.result else {
        Issue.record("no word of the refusal")
        return
      }
      #expect(error.code == .overloaded && error.message.contains("2") && error.retryAfterMicroseconds > 0)
      #expect(TestServer.sum(of: "needletail_connections_refused_total", [:], in: try await first.metrics()) == 1)
      await second.close()
      // A place is free again as soon as the server has seen the end.
      while try await first.metrics().contains("needletail_connections 2") { await Task.yield() }
      let fourth = try await test.client()
      #expect(try await fourth.health().live)
      await fourth.close()
      await first.close()
    }
  }

  @Test func anIdleConnectionIsClosed() async throws {
    try await TestServer.with(models: Self.models, configure: { $0.limits.idle = .milliseconds(200) }) { test in
      let raw = try await RawConnection.connect(to: test.address)
      #expect(await raw.rest().isEmpty)
      // Not by a client, whose connection might end likewise before it gets a word in on a busy machine.
      let metrics = test.server.metricsText
      #expect(TestServer.sum(of: "needletail_connections_evicted_total", ["reason": "idle"], in: metrics) >= 1)
    }
  }

  @Test func aPeerThatLeavesTooManyAnswersUnreadIsClosedAndOthersDoNotSuffer() async throws {
    // Only the bytes may end it here, and below only the time: both are told as the same reason.
    try await expectSlowReaderIsClosed {
      $0.limits.stall = .seconds(3600)
      $0.limits.outputBytesMax = 1 << 20
    }
  }

  @Test func aPeerThatTakesNoAnswerForTooLongIsClosedAndOthersDoNotSuffer() async throws {
    try await expectSlowReaderIsClosed {
      $0.limits.stall = .milliseconds(200)
      $0.limits.outputBytesMax = 1 << 30
      $0.limits.outputBytesTotalMax = 1 << 30
    }
  }

  @Test func answersAreWholeAndInOrderIfTheSocketTakesThemInPieces() async throws {
    try await TestServer.with(models: Self.models) { test in
      let raw = try await RawConnection.connect(to: test.address, autoRead: false)
      let client = try await test.client()
      // 16 kB a row; 300 answers fill the socket's buffers many times over.
      func inputs(_ id: UInt64) -> [InputTensor] {
        [InputTensor.features([Float](repeating: Float(id) / 100, count: Int(id % 5) + 1), columns: 1)]
      }
      for id in 1...300 as ClosedRange<UInt64> {
        raw.push(try RawConnection.frame(id: id, .predict(.init(model: "wide", inputs: inputs(id)))))
      }
      // The socket is full before anybody reads.
      while TestServer.sum(of: "needletail_sent_bytes_total", [:], in: test.server.metricsText) == 0 {
        await Task.yield()
      }
      try await raw.resume()
      for id in 1...300 as ClosedRange<UInt64> {
        let response = try #require(await raw.next())
        guard case .predict(let prediction) = response.result else {
          Issue.record("call \(id): found \(response.result)")
          break
        }
        let expected = try await client.predict("wide", inputs: inputs(id))
        #expect(response.id == id && prediction.outputs == expected.outputs)
      }
      await client.close()
      await raw.close()
    }
  }

  private func expectSlowReaderIsClosed(configure: @escaping (inout ServerConfiguration) -> Void) async throws {
    try await TestServer.with(models: Self.models, configure: configure) { test in
      let raw = try await RawConnection.connect(to: test.address, autoRead: false)
      let inputs = [InputTensor.features([Float](repeating: 1, count: 500), columns: 1)]
      // 8 MB an answer: more than any socket buffer takes.
      for id in 1...10 as ClosedRange<UInt64> {
        raw.push(try RawConnection.frame(id: id, .predict(.init(model: "wide", inputs: inputs))))
      }
      let client = try await test.client()
      let start = Instant.now()
      var evicted = 0.0
      while evicted == 0, Instant.now().microseconds(since: start) < 20_000_000 {
        evicted = TestServer.sum(
          of: "needletail_connections_evicted_total", ["reason": "slow_reader"], in: try await client.metrics())
        #expect(try await client.predict("people", inputs: BadCall.good).version == 1)
      }
      #expect(evicted == 1)
      await client.close()
      await raw.close()
    }
  }

  @Test func manyPeersThatDoNotReadTogetherStayBelowTheTotal() async throws {
    try await TestServer.with(
      models: Self.models,
      configure: {
        $0.threads = 1
        $0.limits.outputBytesMax = 1 << 30
        $0.limits.outputBytesTotalMax = 48 << 20
      }
    ) { test in
      // 32 MB an answer, of which the sockets take some: far below what one connection may leave unread.
      let frame = try RawConnection.frame(
        id: 1,
        .predict(.init(model: "wide", inputs: [InputTensor.features([Float](repeating: 1, count: 2000), columns: 1)])))
      var peers: [RawConnection] = []
      for _ in 0..<4 {
        let raw = try await RawConnection.connect(to: test.address, autoRead: false)
        raw.push(frame)
        peers.append(raw)
      }
      func sum(_ name: String, _ labels: [String: String] = [:]) -> Double {
        TestServer.sum(of: name, labels, in: test.server.metricsText)
      }
      while sum("needletail_connections_evicted_total", ["reason": "output_bytes_total"]) == 0 {
        try await Task.sleep(for: .milliseconds(5))
      }
      while sum("needletail_requests_total", ["model": "wide", "status": "OK"]) < 4 {
        try await Task.sleep(for: .milliseconds(5))
      }
      #expect(sum("needletail_output_waiting_bytes") <= Double(48 << 20))
      for raw in peers { await raw.close() }
      while sum("needletail_output_waiting_bytes") > 0 { try await Task.sleep(for: .milliseconds(5)) }
    }
  }

  @Test func aSlowReaderWithinItsLimitsGetsEverything() async throws {
    try await TestServer.with(models: Self.models, configure: { $0.limits.outputBytesMax = 64 << 20 }) { test in
      let raw = try await RawConnection.connect(to: test.address)
      let inputs = [InputTensor.features([Float](repeating: 1, count: 100), columns: 1)]
      var bytes: [UInt8] = []
      for id in 1...40 as ClosedRange<UInt64> {
        bytes += try RawConnection.frame(id: id, .predict(.init(model: "wide", inputs: inputs)))
      }
      try await raw.send(bytes)
      var seen: Set<UInt64> = []
      while seen.count < 40, let response = await raw.next() {
        guard case .predict(let answer) = response.result else { break }
        #expect(answer.floats("probabilities")?.count == 400_000)
        seen.insert(response.id)
      }
      #expect(seen.count == 40)
      await raw.close()
    }
  }
}
