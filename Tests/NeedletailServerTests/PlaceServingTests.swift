import Foundation
import NeedletailClient
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailServer

/// Places in texts come as their kinds, texts, characters and scores. The places are the engine's, whose numbers have tests
/// of their own; what stands there is cut out by Swift's strings.
@Suite("Serving of places in texts", .timeLimit(.minutes(1)))
struct PlaceServingTests {
  /// An answer as all clients see it.
  fileprivate struct Expected {
    var (labels, texts): ([String], [String]) = ([], [])
    var (starts, ends): ([Int64], [Int64]) = ([], [])
    var scores: [Float] = []
    var numbers: [Float] = []
    var width = 0
  }

  private static func texts(_ count: Int) -> [String] {
    (0..<count).map { PlaceFixtures.texts[$0 % PlaceFixtures.texts.count] + ($0 % 3 == 0 ? "" : " fast \($0)") }
  }

  private static func numbers(_ definition: ModelDefinition, _ rows: [[Cell]]) throws -> [Float] {
    guard case .numbers(let numbers) = try CompiledModel(definition).answers(for: rows)[0].answer else { return [] }
    return numbers.map { Float($0) }
  }

  private static func entities(of texts: [String]) throws -> Expected {
    var expected = Expected()
    expected.numbers = try numbers(PlaceFixtures.entities(), texts.map { [$0.isEmpty ? .missing : .text($0)] })
    let most = PlaceFixtures.entitiesMax
    let counts = texts.indices.map { row in
      (0..<most).count { expected.numbers[4 * (row * most + $0)] >= 0 }
    }
    expected.width = counts.max() ?? 0
    for (row, text) in texts.enumerated() {
      for place in 0..<expected.width {
        let at = 4 * (row * most + place)
        guard place < counts[row] else {
          expected.labels.append("")
          expected.append("", 0..<0, 0)
          continue
        }
        expected.labels.append(PlaceFixtures.labels[Int(expected.numbers[at])])
        expected.append(
          text, Int(expected.numbers[at + 1])..<Int(expected.numbers[at + 2]), expected.numbers[at + 3])
      }
    }
    return expected
  }

  private static func answers(to questions: [String], in contexts: [String]) throws -> Expected {
    var expected = Expected()
    expected.numbers = try numbers(
      PlaceFixtures.answers(),
      zip(questions, contexts).map { [.text($0), $1.isEmpty ? .missing : .text($1)] })
    for (row, context) in contexts.enumerated() {
      let at = 3 * row
      expected.append(
        context, Int(expected.numbers[at])..<Int(expected.numbers[at + 1]), expected.numbers[at + 2])
    }
    return expected
  }

  private static func with(
    inline inlineSeconds: Double, _ body: @escaping @Sendable (TestServer) async throws -> Void
  ) async throws {
    let models = ["people": try PlaceFixtures.entities(), "reading": try PlaceFixtures.answers()]
    try await TestServer.with(
      models: models,
      configure: {
        $0.serving.inlineCost = .seconds(inlineSeconds)
        $0.http = ListenAddress(host: "127.0.0.1", port: 0)
      }, body)
  }

  /// On a loop and on a worker; alone, as more than one run takes, and as an answer that is sent in pieces.
  @Test(arguments: [60.0, 0]) func entitiesComeWithTheirTexts(inlineSeconds: Double) async throws {
    try await Self.with(inline: inlineSeconds) { test in
      let client = try await test.client()
      for rows in [1, 2, 40, 300, 1500] {
        let texts = Self.texts(rows)
        let expected = try Self.entities(of: texts)
        let answer = try await client.predict("people", inputs: [.column("text", texts)])
        #expect(
          answer.outputs.map(\.name) == ["entity_label", "entity_text", "entity_start", "entity_end", "entity_score"])
        #expect(answer.outputs.allSatisfy { $0.shape == [rows, expected.width] })
        #expect(answer.strings("entity_label") == expected.labels)
        #expect(answer.strings("entity_text") == expected.texts)
        #expect(answer.integers("entity_start") == expected.starts)
        #expect(answer.integers("entity_end") == expected.ends)
        #expect(answer.floats("entity_score") == expected.scores)
        let named = try await client.predict(
          "people", inputs: [.column("text", texts)], outputs: ["entity_text", "entities"])
        #expect(named.outputs.map(\.name) == ["entities", "entity_text"])
        #expect(named.floats("entities") == expected.numbers && named.strings("entity_text") == expected.texts)
      }
      // A text without any: there is nothing beside the rows.
      let none = try await client.predict("people", inputs: [.column("text", ["<new>", "<new>"])])
      #expect(none["entity_text"]?.shape == [2, 0] && none.strings("entity_text") == [])
      let error = await #expect(throws: ClientError.self) {
        try await client.predict("people", inputs: [.column("text", ["fast"])], outputs: ["entity_texts"])
      }
      #expect(error?.code == .notFound && error?.message.contains("did you mean \"entity_text\"?") == true)
      await client.close()
    }
  }

  @Test(arguments: [60.0, 0]) func answersComeWithTheirTexts(inlineSeconds: Double) async throws {
    try await Self.with(inline: inlineSeconds) { test in
      let client = try await test.client()
      for rows in [1, 40, 300] {
        let contexts = Self.texts(rows)
        let questions = contexts.indices.map { "fast \($0 % 4)" }
        let expected = try Self.answers(to: questions, in: contexts)
        let answer = try await client.predict(
          "reading", inputs: [.column("context", contexts), .column("question", questions)])
        #expect(answer.outputs.map(\.name) == ["answer_text", "answer_start", "answer_end", "answer_score"])
        #expect(answer.outputs.allSatisfy { $0.shape == [rows] })
        #expect(answer.strings("answer_text") == expected.texts)
        #expect(answer.integers("answer_start") == expected.starts)
        #expect(answer.integers("answer_end") == expected.ends)
        #expect(answer.floats("answer_score") == expected.scores)
      }
      await client.close()
    }
  }

  /// In JSON, and texts and characters as bytes behind it.
  @Test(arguments: [60.0, 0], ["", ",\"parameters\":{\"binary_data_output\":true}"])
  func entitiesComeOverHTTP(inlineSeconds: Double, parameters: String) async throws {
    try await Self.with(inline: inlineSeconds) { test in
      let port = try #require(test.server.httpAddress).port
      for rows in [1, 40, 300, 1500] {
        let texts = Self.texts(rows)
        let expected = try Self.entities(of: texts)
        let data = try String(decoding: JSONEncoder().encode(texts), as: UTF8.self)
        let json =
          "{\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[\(rows)],\"data\":\(data)}]\(parameters)}"
        let head = "POST /v2/models/people/infer HTTP/1.1\r\nHost: x\r\nContent-Length: \(json.utf8.count)\r\n\r\n"
        let answer = try await BlockingPeer.run {
          let reader = try HTTPReader(port: port)
          try reader.socket.send(Array((head + json).utf8))
          return try reader.next()
        }
        #expect(answer.status == 200)
        let found = try #require(try JSONSerialization.jsonObject(with: Data(answer.json)) as? [String: Any])
        let outputs = try #require(found["outputs"] as? [[String: Any]])
        #expect(outputs.allSatisfy { $0["shape"] as? [Int] == [rows, expected.width] })
        #expect(outputs.map { $0["datatype"] as? String } == ["BYTES", "BYTES", "INT64", "INT64", "FP32"])
        if parameters.isEmpty {
          #expect(outputs[0]["data"] as? [String] == expected.labels)
          #expect(outputs[1]["data"] as? [String] == expected.texts)
          #expect((outputs[2]["data"] as? [Int])?.map { Int64($0) } == expected.starts)
          #expect((outputs[3]["data"] as? [Int])?.map { Int64($0) } == expected.ends)
          #expect((outputs[4]["data"] as? [NSNumber])?.map(\.floatValue) == expected.scores)
        } else {
          #expect(Array(answer.body.dropFirst(answer.json.count)) == expected.bytes)
        }
      }
    }
  }

  @Test func descriptionsNameTheParts() async throws {
    try await Self.with(inline: 60) { test in
      let client = try await test.client()
      let people = try await client.describeModel("people")
      #expect(
        people.outputs.map(\.name)
          == ["entities", "entity_label", "entity_text", "entity_start", "entity_end", "entity_score"])
      #expect(people.outputs.map(\.type) == [.float32, .string, .string, .int64, .int64, .float32])
      #expect(people.outputs.map(\.shape) == [[0, 32], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0]])
      #expect(people.labels == PlaceFixtures.labels)
      let reading = try await client.describeModel("reading")
      #expect(
        reading.outputs.map(\.name) == ["answer", "answer_text", "answer_start", "answer_end", "answer_score"])
      await client.close()
      let port = try #require(test.server.httpAddress).port
      let metadata = try await BlockingPeer.run { try HTTPPeer(port: port).get("/v2/models/people") }
      #expect(
        String(decoding: metadata.body, as: UTF8.self).contains(
          "\"entity_text\",\"datatype\":\"BYTES\",\"shape\":[-1,-1]"))
    }
  }
}

extension PlaceServingTests.Expected {
  fileprivate mutating func append(_ text: String, _ bytes: Range<Int>, _ score: Float) {
    let all = Array(text.utf8)
    func string(_ range: Range<Int>) -> String { String(decoding: all[range], as: UTF8.self) }
    texts.append(string(bytes))
    starts.append(Int64(string(0..<bytes.lowerBound).unicodeScalars.count))
    ends.append(Int64(string(0..<bytes.upperBound).unicodeScalars.count))
    scores.append(score)
  }

  /// The elements as the Open Inference Protocol sends them behind JSON.
  fileprivate var bytes: [UInt8] {
    func little(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value.littleEndian) { Array($0) } }
    var bytes: [UInt8] = []
    for text in labels + texts { bytes += little(UInt32(text.utf8.count)) + Array(text.utf8) }
    for character in starts + ends { bytes += little(character) }
    for score in scores { bytes += little(score.bitPattern) }
    return bytes
  }
}
