import NeedletailClient
import NeedletailCore
import NeedletailTLS
import NeedletailTestSupport
import NeedletailWire
import Testing

@testable import NeedletailServer

/// What is admitted is sent, however large, as fast as its peer takes it, and without holding up others.
@Suite("Large answers", .timeLimit(.minutes(10)), .serialized)
struct LargeAnswerTests {
  static let models = ["people": ModelFixtures.logistic(), "wide": ModelFixtures.mlp(widths: [1, 4000])]

  private static func inputs(rows: Int) -> [InputTensor] {
    [InputTensor.features((0..<rows).map { Float($0) / 4096 }, columns: 1)]
  }

  /// 16,000 bytes of probabilities a row, and 20 beside.
  private static func frame(id: UInt64, rows: Int, outputs: [String] = []) throws -> [UInt8] {
    try RawConnection.frame(id: id, .predict(.init(model: "wide", inputs: inputs(rows: rows), outputs: outputs)))
  }

  private static func prediction(_ response: ResponseMessage?) throws -> Prediction {
    guard case .predict(let prediction)? = response?.result else {
      throw ServingError.internal("expected a prediction, found \(response.map { "\($0)" }?.prefix(300) ?? "the end")")
    }
    return prediction
  }

  private static func error(_ response: ResponseMessage?) throws -> ServingError {
    guard case .failed(let error)? = response?.result else {
      throw ServingError.internal("expected an error, found \(response.map { "\($0)" }?.prefix(300) ?? "the end")")
    }
    return error
  }

  /// Every row of an answer is that of its own call with one row: no piece is lost, doubled or moved.
  private static func expectRows(_ answer: Prediction, rows: Int, of test: TestServer) async throws {
    let client = try await test.client()
    let floats = try #require(answer.floats("probabilities"))
    #expect(floats.count == rows * 4000)
    #expect(answer.integers("class")?.count == rows && answer.strings("label")?.count == rows)
    for row in [0, 1, rows / 2, rows - 1] {
      let expected = try await client.predict("wide", inputs: [.features([Float(row) / 4096], columns: 1)])
      #expect(Array(floats[row * 4000..<(row + 1) * 4000]) == expected.floats("probabilities"), "row \(row)")
      #expect(answer.integers("class")?[row] == expected.integers("class")?.first)
      #expect(answer.strings("label")?[row] == expected.strings("label")?.first)
    }
    await client.close()
  }

  @Test func anAnswerOfSixtyMebibytesIsWholeForAFastReader() async throws {
    try await TestServer.with(models: Self.models) { test in
      let port = test.port
      let answer = try await BlockingPeer.run {
        let peer = try BlockingPeer(port: port, receiveBytes: 0)
        try peer.send(Self.frame(id: 1, rows: 3930))
        return try Self.prediction(peer.next())
      }
      try await Self.expectRows(answer, rows: 3930, of: test)
      try await test.wait(for: "needletail_output_waiting_bytes") { $0 == 0 }
    }
  }

  @Test func aReaderThatTakesTenTimesTheStallTimeGetsItsAnswerWhole() async throws {
    try await TestServer.with(models: Self.models, configure: { $0.limits.stall = .milliseconds(300) }) { test in
      let port = test.port
      let answer = try await BlockingPeer.run {
        let peer = try BlockingPeer(port: port)
        try peer.send(Self.frame(id: 1, rows: 1000))
        // 5 MB a second: three seconds for the answer.
        return try Self.prediction(peer.next(bytesAtOnce: 25_000, pauseMicroseconds: 5000))
      }
      try await Self.expectRows(answer, rows: 1000, of: test)
      #expect(test.figure("needletail_connections_evicted_total") == 0)
    }
  }

  @Test func aPeerThatTakesNothingIsClosedAndItsRoomIsFreeAgain() async throws {
    try await TestServer.with(models: Self.models, configure: { $0.limits.stall = .milliseconds(200) }) { test in
      let peer = try BlockingPeer(port: test.port)
      try peer.send(Self.frame(id: 1, rows: 500))
      try await test.wait(for: "needletail_connections_evicted_total", ["reason": "slow_reader"]) { $0 == 1 }
      try await test.wait(for: "needletail_output_waiting_bytes") { $0 == 0 }
    }
  }

  @Test func callsWithoutRoomForTheirAnswersWaitUnreadAndAreAllAnswered() async throws {
    try await TestServer.with(models: Self.models, configure: { $0.limits.outputBytesMax = 10 << 20 }) { test in
      let port = test.port
      let peer = try BlockingPeer(port: port)
      // 8 MB each: the second does not fit beside the first.
      for id in 1...6 as ClosedRange<UInt64> { try peer.send(Self.frame(id: id, rows: 500)) }
      try await test.wait(for: "needletail_requests_total", ["model": "wide", "status": "OK"]) { $0 == 1 }
      // A lone call of another connection gives the first one's calls time to be run by mistake.
      let client = try await test.client()
      for _ in 0..<20 { _ = try await client.predict("people", inputs: BadCall.good) }
      #expect(test.figure("needletail_requests_total", ["model": "wide", "status": "OK"]) == 1)
      #expect(test.figure("needletail_output_waiting_bytes") <= Double(10 << 20))
      nonisolated(unsafe) let reader = peer
      let ids = try await BlockingPeer.run {
        try (1...6).map { _ in
          let response = try reader.next()
          #expect(try Self.prediction(response).floats("probabilities")?.count == 2_000_000)
          return response?.id
        }
      }
      #expect(Set(ids) == [1, 2, 3, 4, 5, 6])
      await client.close()
    }
  }

  @Test func aCallWhoseAnswerFindsNoMemoryIsRejectedBeforeItRunsAndOthersAreServed() async throws {
    try await TestServer.with(models: Self.models, configure: { $0.limits.outputBytesTotalMax = 20 << 20 }) { test in
      // 16 MB each; the first waits for a peer that does not read.
      let holder = try BlockingPeer(port: test.port)
      try holder.send(Self.frame(id: 1, rows: 1000))
      try await test.wait(for: "needletail_requests_total", ["model": "wide", "status": "OK"]) { $0 == 1 }
      let port = test.port
      let (error, small) = try await BlockingPeer.run {
        let peer = try BlockingPeer(port: port)
        try peer.send(Self.frame(id: 7, rows: 1000))
        let error = try Self.error(peer.next())
        // The same rows, but only their labels.
        try peer.send(Self.frame(id: 8, rows: 1000, outputs: ["label"]))
        return (error, try Self.prediction(peer.next()))
      }
      #expect(error.code == .overloaded && error.retryAfterMicroseconds == Limits.largeAnswerRetryMicroseconds)
      #expect(error.message.hasPrefix("answers: expected room for 16"), "\(error.message)")
      #expect(small.strings("label")?.count == 1000)
      #expect(test.figure("needletail_requests_total", ["model": "wide", "status": "OK"]) == 2, "it did not run")
      #expect(test.figure("needletail_calls_shed_total", ["reason": "memory"]) == 1)
      nonisolated(unsafe) let reader = holder
      let first = try await BlockingPeer.run { try Self.prediction(reader.next()) }
      #expect(first.floats("probabilities")?.count == 4_000_000)
      try await test.wait(for: "needletail_output_waiting_bytes") { $0 == 0 }
      let later = try await BlockingPeer.run {
        let peer = try BlockingPeer(port: port)
        try peer.send(Self.frame(id: 1, rows: 1000))
        return try Self.prediction(peer.next())
      }
      #expect(later.floats("probabilities")?.count == 4_000_000)
    }
  }

  @Test func roomOfACallWhoseConnectionIsGoneIsFreeAgain() async throws {
    try await TestServer.with(models: Self.models) { test in
      for round in 1...3 {
        do {
          let peer = try BlockingPeer(port: test.port)
          try peer.send(Self.frame(id: 1, rows: 2000))
        }
        try await test.wait(for: "needletail_connections_total") { $0 == Double(round) }
        try await test.wait(for: "needletail_connections") { $0 == 0 }
        try await test.wait(for: "needletail_output_waiting_bytes") { $0 == 0 }
      }
    }
  }

  @Test func anAnswerThatNoFrameHoldsIsRejectedBeforeItRuns() async throws {
    try await TestServer.with(models: Self.models, configure: { $0.limits.batchRowsMax = 5000 }) { test in
      let client = try await test.client()
      let error = await #expect(throws: ClientError.self) {
        try await client.predict("wide", inputs: Self.inputs(rows: 4300))
      }
      #expect(
        "\(error!)".contains("rows: expected an answer of at most 67108864 bytes, found 68")
          && "\(error!)".contains("for 4300 rows; ask for fewer rows or outputs"), "\(error!)")
      #expect(test.figure("needletail_rows_total") == 0)
      let labels = try await client.predict("wide", inputs: Self.inputs(rows: 4300), outputs: ["label"])
      #expect(labels.strings("label")?.count == 4300)
      await client.close()
    }
  }

  @Test func smallCallsOfOtherConnectionsAreAnsweredWhileLargeAnswersAreSent() async throws {
    try await TestServer.with(
      models: Self.models,
      configure: {
        $0.threads = 1
        // One of its answers at a time, so that no queue is full.
        $0.limits.outputBytesMax = 17 << 20
      }
    ) { test in
      let port = test.port
      async let large = BlockingPeer.run {
        let peer = try BlockingPeer(port: port)
        for id in 1...4 as ClosedRange<UInt64> { try peer.send(Self.frame(id: id, rows: 1000)) }
        return try (1...4).map { _ in
          try Self.prediction(peer.next(bytesAtOnce: 50_000, pauseMicroseconds: 500)).floats("probabilities")?.count
        }
      }
      try await test.wait(for: "needletail_requests_total", ["model": "wide", "status": "OK"]) { $0 > 0 }
      let client = try await test.client()
      for _ in 0..<100 { #expect(try await client.predict("people", inputs: BadCall.good).version == 1) }
      #expect(test.figure("needletail_output_waiting_bytes") > 0, "large answers were being sent all the time")
      #expect(try await large == [4_000_000, 4_000_000, 4_000_000, 4_000_000])
      await client.close()
    }
  }

  @Test func aPeerThatEndsItsSideGetsItsLargeAnswersBeforeTheEnd() async throws {
    try await TestServer.with(models: Self.models) { test in
      let port = test.port
      let (counts, end) = try await BlockingPeer.run {
        let peer = try BlockingPeer(port: port)
        for id in 1...3 as ClosedRange<UInt64> { try peer.send(Self.frame(id: id, rows: 800)) }
        peer.endOutput()
        let counts = try (1...3).map { _ in try Self.prediction(peer.next()).floats("probabilities")?.count }
        return (counts, try peer.next() == nil)
      }
      #expect(counts == [3_200_000, 3_200_000, 3_200_000])
      #expect(end)
    }
  }

  @Test func goAwayFollowsAFrameThatHasBegun() async throws {
    try await TestServer.with(models: Self.models) { test in
      let peer = try BlockingPeer(port: test.port)
      try peer.send(Self.frame(id: 5, rows: 1000))
      try await test.wait(for: "needletail_requests_total", ["model": "wide", "status": "OK"]) { $0 == 1 }
      async let stopped: Void = test.server.stop()
      nonisolated(unsafe) let reader = peer
      let responses = try await BlockingPeer.run {
        var responses: [ResponseMessage] = []
        while let response = try reader.next() {
          responses.append(response)
          if case .goAway = response.result { reader.endOutput() }
        }
        return responses
      }
      await stopped
      #expect(responses.map(\.id).sorted() == [0, 5])
      #expect(responses.contains { if case .goAway(5) = $0.result { true } else { false } })
    }
  }

  @Test func largeAnswersAreWholeOverTLS() async throws {
    let authority = try Certificates()
    let pair = try authority.issue("server")
    try await TestServer.with(
      models: Self.models, configure: { $0.tls = TLSFiles(certificate: pair.certificate, key: pair.key) }
    ) { test in
      var configuration = NeedletailClient.Configuration()
      configuration.tls = ClientTLS(ca: authority.ca)
      let client = try await NeedletailClient.connect(to: test.address, configuration: configuration)
      let local = try await NeedletailClient.connect(to: .unix(path: test.directory.file("s")))
      let whole = try await local.predict("wide", inputs: Self.inputs(rows: 1500))
      async let first = client.predict("wide", inputs: Self.inputs(rows: 1500))
      async let second = client.predict("wide", inputs: Self.inputs(rows: 1500))
      async let small = client.predict("people", inputs: BadCall.good)
      #expect(try await first.outputs == whole.outputs)
      #expect(try await second.outputs == whole.outputs)
      #expect(try await small.version == 1)
      await client.close()
      await local.close()
    }
  }
}
