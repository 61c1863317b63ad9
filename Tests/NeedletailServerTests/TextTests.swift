import NeedletailClient
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailServer

/// Text over the wire, to a model whose answer tells the lengths of what arrived.
@Suite("Text", .timeLimit(.minutes(10)))
struct TextTests {
  private static let models = ["texts": ModelFixtures.textLengths()]

  private static func inputs(_ titles: [String], _ bodies: [String]) -> [InputTensor] {
    [.column("title", titles), .column("weight", titles.map { _ in 1.0 }), .column("body", bodies)]
  }

  private static func expected(_ titles: [String], _ bodies: [String]) -> [Float] {
    zip(titles, bodies).map { 1000 + Float($0.utf8.count) + 0.001 * Float($1.utf8.count) }
  }

  private static func close(_ found: [Float]?, _ expected: [Float]) -> Bool {
    found?.count == expected.count && zip(found ?? [], expected).allSatisfy { abs($0 - $1) <= 1e-3 }
  }

  @Test func textsOfACallArriveWhole() async throws {
    try await TestServer.with(models: Self.models) { test in
      let client = try await test.client()
      let (titles, bodies) = (["", " NA ", "e\u{301}\u{1F600}"], ["a", "", "b\u{0}c"])
      let answer = try await client.predict("texts", inputs: Self.inputs(titles, bodies))
      #expect(Self.close(answer.floats("prediction"), Self.expected(titles, bodies)))
      let description = try await client.describeModel("texts")
      #expect(description.inputs.map(\.isText) == [true, false, true])
      #expect(description.inputs.map(\.type) == [.string, .float32, .string])
      #expect(description.inputs.map(\.optional) == [false, false, true])
      await client.close()
    }
  }

  /// On a loop, with and without enough room for one run, and on a worker.
  @Test(arguments: [60.0, 0])
  func aCallOfMoreTextThanARunTakesIsAnsweredInParts(inlineSeconds: Double) async throws {
    try await TestServer.with(
      models: Self.models,
      configure: {
        $0.textBytesMax = 200_000
        $0.serving.inlineCost = .seconds(inlineSeconds)
      }
    ) { test in
      let client = try await test.client()
      let titles = (0..<300).map { String(repeating: "t", count: $0 % 40 == 0 ? 200_000 : $0) }
      let bodies = (0..<300).map { String(repeating: "b", count: 3 * $0) }
      let answer = try await client.predict("texts", inputs: Self.inputs(titles, bodies))
      #expect(Self.close(answer.floats("prediction"), Self.expected(titles, bodies)))
      await client.close()
    }
  }

  /// On a loop, and on a worker: what a model finds in the texts is what the engine finds.
  @Test(arguments: [60.0, 0])
  func answersAreTheEngines(inlineSeconds: Double) async throws {
    let definition = ModelFixtures.topics()
    let reviews = ModelFixtures.reviews(700, seed: 3)
    let expected = try CompiledModel(definition).answers(for: reviews.map { [.text($0), .missing] })
    try await TestServer.with(
      models: ["topics": definition], configure: { $0.serving.inlineCost = .seconds(inlineSeconds) }
    ) { test in
      let client = try await test.client()
      for rows in [0..<1, 1..<300, 300..<700] {
        let answer = try await client.predict(
          "topics", inputs: [.column("review", Array(reviews[rows])), .column("price", rows.map { _ in Double.nan })])
        #expect(
          answer.floats("probabilities").map { $0.map(Double.init) }
            == expected.numbers("probabilities").map { Array($0[3 * rows.lowerBound..<3 * rows.upperBound]) })
        #expect(answer.strings("label") == expected.strings("label").map { Array($0[rows]) })
      }
      await client.close()
    }
  }

  @Test func callsOfOneTickShareABatch() async throws {
    try await TestServer.with(models: Self.models) { test in
      let raw = try await RawConnection.connect(to: test.address)
      var bytes: [UInt8] = []
      for id in 1...200 as ClosedRange<UInt64> {
        let inputs = Self.inputs([String(repeating: "x", count: Int(id) * 50)], ["y"])
        bytes += try RawConnection.frame(id: id, .predict(.init(model: "texts", inputs: inputs)))
      }
      try await raw.send(bytes)
      var answered: Set<UInt64> = []
      while answered.count < 200, let response = await raw.next() {
        guard case .predict(let answer) = response.result else { break }
        #expect(Self.close(answer.floats("prediction"), [1000.001 + 50 * Float(response.id)]))
        answered.insert(response.id)
      }
      #expect(answered == Set(1...200))
      await raw.close()
    }
  }

  @Test func aTextBeyondTheLimitIsRefusedAndTheConnectionGoesOn() async throws {
    try await TestServer.with(models: Self.models, configure: { $0.textBytesMax = 10 }) { test in
      let client = try await test.client()
      let error = await #expect(throws: (any Error).self) {
        try await client.predict("texts", inputs: Self.inputs(["ok", "elevenbytes"], ["", ""]))
      }
      #expect("\(error!)".contains("feature \"title\", row 1: expected at most 10 bytes of text, found 11"))
      let answer = try await client.predict("texts", inputs: Self.inputs(["tenbytes.."], [""]))
      #expect(Self.close(answer.floats("prediction"), [1010]))
      await client.close()
    }
  }

  @Test func jsonAndBytesOfTheOpenInferenceProtocolBringTexts() async throws {
    try await TestServer.with(
      models: Self.models, configure: { $0.http = ListenAddress(host: "127.0.0.1", port: 0) }
    ) { test in
      let port = try #require(test.server.httpAddress).port
      try await BlockingPeer.run {
        let peer = try HTTPPeer(port: port)
        func ask(_ titles: String) throws -> HTTPPeer.Answer {
          try peer.post(
            "/v2/models/texts/infer",
            """
            {"inputs":[{"name":"title","shape":[2],"datatype":"BYTES","data":[\(titles)]},
            {"name":"weight","shape":[2],"datatype":"FP32","data":[1,1]},
            {"name":"body","shape":[2],"datatype":"BYTES","data":["",null]}]}
            """)
        }
        let answer = try ask(#""a\u00e9\ud83d\ude00\u0000","""#)
        #expect(answer.output("prediction")?["data"] as? [Double] == [1008, 1000])
        // A lone surrogate has no UTF-8.
        #expect(try ask(#""\ud83d","x""#).status == 400)
        let metadata = try peer.get("/v2/models/texts").json
        let inputs = metadata["inputs"] as? [[String: Any]]
        #expect(inputs?.map { $0["datatype"] as? String } == ["BYTES", "FP32", "BYTES"])
      }
    }
  }
}
