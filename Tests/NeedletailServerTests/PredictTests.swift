import NeedletailClient
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import NeedletailWire
import Testing

@testable import NeedletailServer

@Suite("Predict over the wire", .timeLimit(.minutes(10)))
struct PredictTests {
  static let models = [
    "people": ModelFixtures.logistic(), "line": ModelFixtures.linearRegression(weights: [2, -3], bias: 1),
    "digits": ModelFixtures.mlp(widths: [8, 16, 5], precision: .int8),
  ]

  @Test func aMatrixGetsTheAnswerOfTheEngine() async throws {
    let engine = try CompiledModel(Self.models["digits"]!)
    var random = SplitMix64(seed: 3)
    let rows = (0..<300).map { _ in (0..<8).map { _ in random.nextFloat() } }
    try await TestServer.with(models: Self.models) { test in
      let client = try await test.client()
      let answer = try await client.predict("digits", inputs: [.features(rows.flatMap { $0 }, columns: 8)])
      let expected = try engine.answers(for: rows.map { $0.map { Cell.number(Double($0)) } })
      #expect(answer.model == "digits")
      #expect(answer.version == 1)
      #expect(answer["probabilities"]?.shape == [300, 5])
      #expect(answer.floats("probabilities")?.map(Double.init) == expected.numbers("probabilities"))
      #expect(answer.strings("label") == expected.strings("label"))
      #expect(answer.integers("class")?.map { "c\($0)" } == expected.strings("label"))
      #expect(answer.timing.batchRows == 300)
      await client.close()
    }
  }

  @Test func columnsInAnyOrderGetTheAnswerOfTheEngine() async throws {
    let engine = try CompiledModel(Self.models["people"]!)
    let expected = try engine.answers(for: [
      [.number(30), .number(55.5), .text("green")], [.missing, .number(20), .missing],
    ])
    try await TestServer.with(models: Self.models) { test in
      let client = try await test.client()
      let answer = try await client.predict(
        "people",
        inputs: [
          .column("colour", ["green", ""]), .column("income", [55.5, 20]), .column("age", [30, Double.nan]),
        ])
      #expect(answer.floats("probabilities")?.map(Double.init) == expected.numbers("probabilities"))
      #expect(answer.strings("label") == expected.strings("label"))
      let text = try await client.predict(
        "people", inputs: [.features(text: [["30", "55.5", "green"], ["", "20", ""]])], outputs: ["label"])
      #expect(text.strings("label") == expected.strings("label"))
      #expect(text.outputs.map(\.name) == ["label"])
      await client.close()
    }
  }

  @Test func aThousandPipelinedCallsEachGetTheirOwnAnswer() async throws {
    try await TestServer.with(models: Self.models) { test in
      let client = try await test.client()
      let right = try await withThrowingTaskGroup(of: Bool.self) { group in
        for index in 0..<1000 {
          group.addTask {
            let x = Float(index)
            let answer = try await client.predict("line", inputs: [.features([x, 1], columns: 2)])
            return answer.floats("prediction") == [2 * x - 2]
          }
        }
        return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
      }
      #expect(right == 1000)
      #expect(try await test.metric("needletail_requests_total", ["model": "line", "status": "OK"]) == 1000)
      #expect(try await test.metric("needletail_requests_in_flight") == 0)
      await client.close()
    }
  }

  @Test func callsBeyondTheInFlightLimitAreAnsweredToo() async throws {
    try await TestServer.with(models: Self.models, configure: { $0.limits.callsInFlightMax = 3 }) { test in
      let raw = try await RawConnection.connect(to: test.address)
      var bytes: [UInt8] = []
      for id in 1...100 as ClosedRange<UInt64> {
        let inputs = [InputTensor.features([Float(id), 0], columns: 2)]
        bytes += try RawConnection.frame(id: id, .predict(.init(model: "line", inputs: inputs)))
      }
      try await raw.send(bytes)
      var answered: Set<UInt64> = []
      while answered.count < 100, let response = await raw.next() {
        guard case .predict(let answer) = response.result else { break }
        #expect(answer.floats("prediction") == [Float(response.id) * 2 + 1])
        #expect(answer.timing.batchRows <= 3)
        answered.insert(response.id)
      }
      #expect(answered == Set(1...100))
      await raw.close()
    }
  }

  @Test func theUnixSocketGivesTheSameAnswers() async throws {
    try await TestServer.with(models: Self.models, configure: { $0.listen = nil }) { test in
      #expect(test.server.tcpAddress == nil)
      let client = try await NeedletailClient.connect(to: .unix(path: test.directory.file("s")))
      let answer = try await client.predict("line", inputs: [.features([1, 1], columns: 2)])
      #expect(answer.floats("prediction") == [0])
      await client.close()
    }
  }

  @Test func aClientThatEndsItsSideStillGetsItsAnswers() async throws {
    try await TestServer.with(models: Self.models) { test in
      let raw = try await RawConnection.connect(to: test.address)
      for id in 1...20 as ClosedRange<UInt64> {
        raw.push(
          try RawConnection.frame(
            id: id, .predict(.init(model: "line", inputs: [.features([1, 0], columns: 2)]))))
      }
      raw.push(try RawConnection.frame(id: 21, .metrics))
      try await raw.endOutput()
      let responses = await raw.rest()
      #expect(Set(responses.map(\.id)) == Set(1...21))
    }
  }

  @Test func anAnswerLargerThanTheSocketBufferArrivesWhole() async throws {
    try await TestServer.with(
      models: ["wide": ModelFixtures.mlp(widths: [1, 2000])], configure: { $0.limits.batchRowsMax = 4096 }
    ) { test in
      let client = try await test.client()
      let rows = 3000
      let answer = try await client.predict(
        "wide", inputs: [.features([Float](repeating: 1, count: rows), columns: 1)], outputs: ["probabilities"])
      #expect(answer.floats("probabilities")?.count == rows * 2000)
      await client.close()
    }
  }

  @Test func aCallThatCannotMeetItsDeadlineIsRejected() async throws {
    // 4,096 rows of a wide network take longer than a microsecond on any machine, so what waits behind
    // them in the same tick has expired when it is its turn.
    try await TestServer.with(models: ["wide": ModelFixtures.mlp(widths: [64, 512, 512])]) { test in
      let raw = try await RawConnection.connect(to: test.address)
      let large = [InputTensor.features([Float](repeating: 0.5, count: 64 * 1000), columns: 64)]
      let small = [InputTensor.features([Float](repeating: 0.5, count: 64), columns: 64)]
      try await raw.send(
        RawConnection.frame(id: 1, .predict(.init(model: "wide", inputs: large, outputs: ["class"])))
          + RawConnection.frame(id: 2, timeoutMicroseconds: 1, .predict(.init(model: "wide", inputs: small))))
      let responses = [await raw.next(), await raw.next()].compactMap { $0 }
      guard case .failed(let error) = responses.first(where: { $0.id == 2 })?.result else {
        Issue.record("call 2 should have failed: \(responses.map(\.id))")
        return
      }
      #expect(error.code == .deadlineExceeded)
      #expect(try await test.metric("needletail_requests_total", ["status": "DEADLINE_EXCEEDED"]) == 1)
      await raw.close()
    }
  }
}

extension [(name: String, answer: GoldenSample.Answer)] {
  func numbers(_ name: String) -> [Double]? {
    if case .numbers(let values)? = first(where: { $0.name == name })?.answer { values } else { nil }
  }

  func strings(_ name: String) -> [String]? {
    if case .strings(let values)? = first(where: { $0.name == name })?.answer { values } else { nil }
  }
}
