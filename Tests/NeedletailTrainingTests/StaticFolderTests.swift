import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

/// Folders of model2vec, written by hand. `Tests/hugging-face/static.py` compares others with the library.
@Suite("Import of static embeddings")
struct StaticFolderTests {
  private static let width = 3
  private static let texts = [
    "The quick brown fox", "", "nothing 模型 known 服务", "fast, faster; the fox", "\u{1F600}\u{1F600}",
    String(repeating: "fox the ", count: 400),
  ]

  /// Tensors of a folder, and what its configuration says.
  private struct Parts {
    var configuration = "{\"model_type\": \"model2vec\", \"normalize\": false}"
    var vectors: [[Float]] = []
    var weights: [Float]?
    var mapping: [Int32]?
    var tokenizer = ""
  }

  private static func tokenizer() throws -> Tokenizer {
    var definition = try TokenizerImport.read(TextFixtures.bytes("word-pieces.json"))
    (definition.single, definition.pair) = ([], [])
    definition.truncation = .keepAll
    definition.tokensMax = 0
    return try Tokenizer(definition)
  }

  private static func vectors(_ count: Int) -> [[Float]] {
    (0..<count).map { row in
      (0..<width).map { column in
        let number: Int = (row * 37 + column * 101) % 211 - 100
        return Float(number) / 64
      }
    }
  }

  private static func parts() throws -> Parts {
    var parts = Parts()
    parts.tokenizer = String(decoding: try TextFixtures.bytes("word-pieces.json"), as: UTF8.self)
    parts.vectors = vectors(try tokenizer().idCount)
    return parts
  }

  private static func write(_ parts: Parts) throws -> TemporaryDirectory {
    let directory = try TemporaryDirectory()
    try directory.write(Array(parts.configuration.utf8), to: "config.json")
    try directory.write(Array(parts.tokenizer.utf8), to: "tokenizer.json")
    var data: [UInt8] = []
    var tensors: [String] = []
    func add<Number>(_ name: String, _ type: String, _ shape: [Int], _ numbers: [Number]) {
      let start = data.count
      data += numbers.withUnsafeBytes { Array($0) }
      tensors.append("\"\(name)\": \(SafeTensorsFixtures.tensor(type, shape, start, data.count))")
    }
    add("embeddings", "F32", [parts.vectors.count, width], parts.vectors.flatMap { $0 })
    if let weights = parts.weights { add("weights", "F64", [weights.count], weights.map { Double($0) }) }
    if let mapping = parts.mapping { add("mapping", "I32", [mapping.count], mapping) }
    let bytes = SafeTensorsFixtures.file("{\(tensors.joined(separator: ", "))}", data: data)
    try directory.write(bytes, to: "model.safetensors")
    return directory
  }

  private static func settings(_ change: (inout EncoderImportSettings) -> Void = { _ in }) throws
    -> EncoderImportSettings
  {
    var settings = EncoderImportSettings(model: try ModelID("m"))
    settings.precision = .fp32
    change(&settings)
    return settings
  }

  /// The library's definition in plain loops.
  private static func expected(_ parts: Parts, _ text: String, tokensMax: Int, normalised: Bool) throws -> [Double] {
    let unknown = try #require(tokenizer().definition.unknown)
    let ids = try tokenizer().encode(Array(text.utf8)).ids.prefix(tokensMax).filter { $0 != unknown }.map { Int($0) }
    var mean = [Double](repeating: 0, count: width)
    for id in ids {
      let vector = parts.vectors[parts.mapping.map { Int($0[id]) } ?? id]
      for column in 0..<width {
        mean[column] += Double(vector[column]) * Double(parts.weights?[id] ?? 1) / Double(ids.count)
      }
    }
    let length = normalised ? mean.reduce(0) { $0 + $1 * $1 }.squareRoot() : 1
    return mean.map { length == 0 ? 0 : $0 / length }
  }

  private static func answers(_ imported: ImportedEncoder) throws -> [Double] {
    let model = try CompiledModel(imported.contents.definition)
    let answers = try model.answers(for: texts.map { [.text($0)] })
    guard case .numbers(let numbers) = answers[0].answer else { return [] }
    #expect(answers[0].name == "embedding")
    return numbers
  }

  /// A folder that model2vec wrote, with weights, and its answers: Tests/hugging-face/static.py.
  @Test func answersAreThoseOfModel2vec() throws {
    let path = HuggingFaceFixtures.path("static")
    let settings = try Self.settings {
      ($0.data, $0.expected) = ("\(path)/texts.csv", "\(path)/answers.csv")
    }
    let imported = try EncoderImport(path: path, settings: settings).run()
    let comparison = try #require(imported.comparison)
    #expect(comparison.rows == 12 && comparison.columns.count == 8)
    #expect(comparison.columns.allSatisfy { $0.largestDifference <= 1e-6 })
  }

  @Test(arguments: [(true, true, true), (false, false, false), (false, true, false), (true, false, true)])
  func anEmbeddingIsTheMeanOfItsTokens(weighted: Bool, shared: Bool, normalised: Bool) throws {
    var parts = try Self.parts()
    let count = parts.vectors.count
    if weighted { parts.weights = (0..<count).map { Float($0 % 7) / 4 } }
    if shared {
      parts.vectors = Self.vectors(10)
      parts.mapping = (0..<count).map { Int32($0 * 3 % 10) }
    }
    if normalised { parts.configuration = "{\"normalize\": true}" }
    let directory = try Self.write(parts)
    let imported = try EncoderImport(path: directory.path, settings: Self.settings()).run()
    let found = try Self.answers(imported)
    let expected = try Self.texts.flatMap {
      try Self.expected(parts, $0, tokensMax: 512, normalised: normalised)
    }
    try #require(found.count == expected.count)
    for (x, y) in zip(expected, found) { #expect(abs(x - y) < 2e-6, "expected \(x), found \(y)") }
    // What is served is the same, golden samples included.
    let bytes = try imported.encode(version: #require(ModelVersion(1)), signing: [])
    let contents = try VerifiedBundle(
      BundleFile(bytes: bytes), trust: .allowingUnsigned, expecting: nil, nowMilliseconds: 0
    ).decode()
    #expect(contents == imported.contents)
    try GoldenCheck.run(contents.golden, on: CompiledModel(contents.definition))
  }

  @Test(arguments: [true, false]) func textsAreCutOffBeforeUnknownTokensAreLeftOut(isAsked: Bool) throws {
    var parts = try Self.parts()
    if !isAsked { parts.configuration = "{\"max_length\": 3}" }
    let directory = try Self.write(parts)
    let imported = try EncoderImport(
      path: directory.path, settings: Self.settings { $0.tokensMax = isAsked ? 3 : nil }
    ).run()
    let found = try Self.answers(imported)
    let expected = try Self.texts.flatMap { try Self.expected(parts, $0, tokensMax: 3, normalised: false) }
    for (x, y) in zip(expected, found) { #expect(abs(x - y) < 2e-6, "expected \(x), found \(y)") }
  }

  @Test func vectorsMayBeInt8() throws {
    var parts = try Self.parts()
    parts.configuration = "{\"normalize\": true}"
    let directory = try Self.write(parts)
    let imported = try EncoderImport(path: directory.path, settings: Self.settings { $0.precision = .auto }).run()
    #expect(imported.contents.definition.graph.tensors.contains { $0.isInt8 })
    #expect(try #require(imported.similarity).mean > 0.995)
  }

  // MARK: - folders at fault

  private static func refusal(
    _ parts: Parts, _ change: (inout EncoderImportSettings) -> Void = { _ in }
  ) throws -> String {
    let directory = try write(parts)
    let settings = try settings(change)
    do throws(TrainingError) {
      _ = try EncoderImport(path: directory.path, settings: settings).run()
      return ""
    } catch {
      return error.message
    }
  }

  private static let bad: [(String, @Sendable (inout Parts) -> Void)] = [
    ("vectors, one for each token, or a tensor \"mapping\", found 5", { $0.vectors = vectors(5) }),
    (
      "tensor \"weights\": expected shape [239], found shape [2]",
      { $0.weights = [1, 2] }
    ),
    (
      "tensor \"mapping\": expected shape [239], found shape [1]",
      { $0.mapping = [0] }
    ),
    (
      "tensor \"mapping\": expected 0 to 4, found 5 at 238",
      {
        $0.mapping = [Int32](repeating: 4, count: 238) + [5]
        $0.vectors = vectors(5)
      }
    ),
    (
      "tensor \"mapping\": expected 0 to 4, found -1 at 0",
      {
        $0.mapping = [-1] + [Int32](repeating: 4, count: 238)
        $0.vectors = vectors(5)
      }
    ),
    (
      "expected finite products of weights and vectors, found inf for token 1",
      {
        $0.weights = [0, 3e38] + [Float](repeating: 1, count: 237)
        $0.vectors[1] = [100, 100, 100]
      }
    ),
    ("config.json: normalize: expected true or false, found text", { $0.configuration = "{\"normalize\": \"yes\"}" }),
    (
      "config.json: max_length: expected a whole number from 1 to 1048576, found 0.0",
      { $0.configuration = "{\"max_length\": 0}" }
    ),
  ]

  @Test(arguments: bad.indices) func foldersThatDisagreeAreRefused(index: Int) throws {
    var parts = try Self.parts()
    Self.bad[index].1(&parts)
    let found = try Self.refusal(parts)
    #expect(found.hasSuffix(Self.bad[index].0), "\(found)")
  }

  @Test func optionsOfEncodersAreRefused() throws {
    let parts = try Self.parts()
    #expect(
      try Self.refusal(parts) { $0.pooling = "mean" }.contains(
        "--pooling: expected an encoder, found static embeddings"))
    #expect(try Self.refusal(parts) { $0.isPair = true }.contains("--pair: expected an encoder"))
    #expect(try Self.refusal(parts) { $0.tokensMax = 9000 }.hasSuffix("--tokens: expected 1 to 8192, found 9000"))
  }
}
