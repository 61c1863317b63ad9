import NeedletailClient
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailServer

/// Texts over the wire to models that read them as tokens.
@Suite("Serving of tokens", .timeLimit(.minutes(10)))
struct TokenServingTests {
  private static let words = ["fast", "anser", "an", "faster", "x", "answer", "\u{e9}"]

  private static func texts(_ count: Int) -> [String] {
    (0..<count).map { row in (0..<row % 13).map { words[($0 * 5 + row) % words.count] }.joined(separator: " ") }
  }

  private static func expected(_ definition: ModelDefinition, _ texts: [String]) throws -> [Float] {
    let answers = try CompiledModel(definition).answers(for: texts.map { [.text($0)] })
    guard case .numbers(let numbers) = answers[0].answer else { return [] }
    return numbers.map { Float($0) }
  }

  /// The answer for some texts. A slow machine's queue may have no room for a while: the call is then sent again.
  private static func answer(
    _ client: NeedletailClient, _ texts: [String]
  ) async throws -> Prediction {
    while true {
      do throws(ClientError) {
        return try await client.predict("sentences", inputs: [.column("text", texts)])
      } catch {
        guard error.code == .overloaded else { throw error }
        try await Task.sleep(for: .microseconds(error.retryAfterMicroseconds))
      }
    }
  }

  /// On a loop, and on a worker; alone, and more than one run takes.
  @Test(arguments: [60.0, 0])
  func embeddingsAreTheEngines(inlineSeconds: Double) async throws {
    let definition = try EncoderFixtures.sentences(TokenizerFixtures.wordPieces())
    let texts = Self.texts(700)
    let expected = try Self.expected(definition, texts)
    try await TestServer.with(
      models: ["sentences": definition], configure: { $0.serving.inlineCost = .seconds(inlineSeconds) }
    ) { test in
      let client = try await test.client()
      for rows in [0..<1, 1..<40, 40..<700] {
        let answer = try await Self.answer(client, Array(texts[rows]))
        #expect(answer.floats("embedding") == Array(expected[16 * rows.lowerBound..<16 * rows.upperBound]))
      }
      await client.close()
    }
  }

  /// Calls of all lengths at once, which share batches as they come.
  @Test(arguments: [60.0, 0])
  func callsOfMixedLengthsHaveTheAnswersThatTheyHaveAlone(inlineSeconds: Double) async throws {
    let definition = try EncoderFixtures.sentences(TokenizerFixtures.wordPieces())
    let texts = Self.texts(150)
    let expected = try Self.expected(definition, texts)
    try await TestServer.with(
      models: ["sentences": definition], configure: { $0.serving.inlineCost = .seconds(inlineSeconds) }
    ) { test in
      let client = try await test.client()
      // A few at a time, as many as a queue of a slow machine may hold.
      for first in stride(from: 0, to: texts.count, by: 6) {
        try await withThrowingTaskGroup(of: Bool.self) { group in
          for row in first..<min(first + 6, texts.count) {
            group.addTask {
              let answer = try await Self.answer(client, [texts[row]])
              return answer.floats("embedding") == Array(expected[16 * row..<16 * row + 16])
            }
          }
          for try await isEqual in group { #expect(isEqual) }
        }
      }
      await client.close()
    }
  }

  /// The tokenizer keeps all tokens, and a row may have eight.
  @Test(arguments: [60.0, 0])
  func aTextOfTooManyTokensIsRefusedAndOthersAreAnswered(inlineSeconds: Double) async throws {
    let definition = try EncoderFixtures.sentences(TokenizerFixtures.bytePairs(), tokensMax: 8)
    try await TestServer.with(
      models: ["sentences": definition], configure: { $0.serving.inlineCost = .seconds(inlineSeconds) }
    ) { test in
      let client = try await test.client()
      let long = ["1", "12345678901", "2"]
      async let good = Self.answer(client, ["1234567"])
      let error = await #expect(throws: ClientError.self) {
        try await Self.answer(client, long)
      }
      #expect(error?.code == .invalidArgument)
      #expect(error?.message == "row 1, text: expected at most 8 tokens, found more")
      #expect(try await good.floats("embedding") == Self.expected(definition, ["1234567"]))
      // One call that several runs compute, the last of which fails.
      let many = [String](repeating: "1234567", count: 2000) + ["12345678901"]
      let late = await #expect(throws: ClientError.self) {
        try await Self.answer(client, many)
      }
      #expect(late?.message == "row 2000, text: expected at most 8 tokens, found more")
      await client.close()
    }
  }
}
