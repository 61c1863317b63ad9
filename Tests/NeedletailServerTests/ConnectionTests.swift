import NIOCore
import NeedletailClient
import NeedletailCore
import NeedletailTLS
import NeedletailTestSupport
import NeedletailWire
import Testing

@testable import NeedletailServer

@Suite("Connections", .timeLimit(.minutes(10)))
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

  /// Every connection has more calls waiting than may be in flight, so that each is taken up again after every answer.
  @Test func callsThatAreHeldBackOnManyConnectionsAreAllAnsweredOnce() async throws {
    try await TestServer.with(
      models: Self.models,
      configure: {
        $0.threads = 1
        $0.limits.callsInFlightMax = 1
      }
    ) { test in
      let calls = 40 as UInt64
      let frames = try (1...calls).flatMap {
        try RawConnection.frame(id: $0, .predict(.init(model: "people", inputs: BadCall.good)))
      }
      let peers = try (0..<200).map { _ in try BlockingPeer(port: test.port, receiveBytes: 0) }
      for peer in peers { try peer.send(frames) }
      nonisolated(unsafe) let readers = peers
      let wrong = try await BlockingPeer.run {
        try readers.count { peer in try (1...calls).map { _ in try peer.next()?.id } != Array(1...calls) }
      }
      #expect(wrong == 0)
      #expect(test.figure("needletail_requests_total", ["model": "people", "status": "OK"]) == 200 * Double(calls))
      #expect(test.figure("needletail_requests_in_flight") == 0)
    }
  }

  /// Calls, the end of TLS and the end of the stream arrive in one piece, while only one call may be in flight.
  @Test func callsThatAreHeldBackWhenTLSEndsAreAnswered() async throws {
    let authority = try Certificates()
    let pair = try authority.issue("server")
    try await TestServer.with(
      models: Self.models,
      configure: {
        $0.limits.callsInFlightMax = 1
        $0.tls = TLSFiles(certificate: pair.certificate, key: pair.key)
      }
    ) { test in
      let (port, ca) = (test.port, authority.ca)
      let ids = try await BlockingPeer.run {
        let context = try TLSContext(clientTrusting: TLSCertificate.read(path: ca), identity: nil)
        let session = try TLSSession(.client(context, serverName: "127.0.0.1"))
        let peer = try BlockingPeer(port: port, receiveBytes: 0)
        var sealed = ByteBuffer()
        var plain = ByteBuffer()
        while !session.isReady {
          session.seal(UnsafeRawBufferPointer(start: nil, count: 0), into: &sealed)
          try peer.send(Array(sealed.readableBytesView))
          sealed.clear()
          try peer.read().withUnsafeBytes { try session.open($0, into: &plain) }
        }
        for id in 1...20 as ClosedRange<UInt64> {
          let frame = try RawConnection.frame(id: id, .predict(.init(model: "people", inputs: BadCall.good)))
          frame.withUnsafeBytes { session.seal($0, into: &sealed) }
        }
        session.end()
        session.seal(UnsafeRawBufferPointer(start: nil, count: 0), into: &sealed)
        try peer.send(Array(sealed.readableBytesView))
        peer.endOutput()
        while true {
          let bytes = try peer.read()
          if bytes.isEmpty { break }
          // After its own end OpenSSL still reads.
          try bytes.withUnsafeBytes { try session.open($0, into: &plain) }
        }
        var ids: [UInt64] = []
        var frames = FrameDecoder(frameBytesMax: Limits.frameBytesHardCap)
        frames.append(&plain)
        while let frame = try frames.next() { ids.append(try ResponseDecoder.decode(frame).id) }
        return ids
      }
      #expect(ids == Array(1...20))
    }
  }
}
