import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

/// Folders that transformers wrote, with texts and its answers: Tests/hugging-face/fixtures.py. The stage beside it
/// compares many more.
@Suite("Import of Hugging Face folders")
struct EncoderImportTests {
  private static func path(_ name: String) -> String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("hugging-face/fixtures/\(name)").path
  }

  private func settings(_ name: String, adapter: Bool = false) throws -> EncoderImportSettings {
    var settings = EncoderImportSettings(model: try ModelID("m"))
    settings.precision = .fp32
    settings.data = Self.path("\(name)/texts.csv")
    settings.expected = Self.path("\(name)/answers.csv")
    if adapter { settings.adapter = Self.path("\(name)-adapter") }
    return settings
  }

  @Test(arguments: [("embedding", false), ("classification", true)])
  func answersAreThoseOfTheLibrary(name: String, adapter: Bool) throws {
    let settings = try settings(name, adapter: adapter)
    let imported = try EncoderImport(path: Self.path(name), settings: settings).run()
    let comparison = try #require(imported.comparison)
    #expect(comparison.rows == 10)
    #expect(comparison.columns.allSatisfy { $0.largestDifference <= 1e-4 })
    #expect(comparison.columns.count == (name == "embedding" ? 16 : 3))
    let bytes = try imported.encode(version: #require(ModelVersion(1)), signing: [])
    let bundle = try VerifiedBundle(
      BundleFile(bytes: bytes), trust: .allowingUnsigned, expecting: nil, nowMilliseconds: 0)
    let contents = try bundle.decode()
    #expect(contents == imported.contents)
    #expect(contents.golden.count > 8)
    try GoldenCheck.run(contents.golden, on: CompiledModel(contents.definition))
  }

  @Test func withoutItsAdapterAModelAnswersOtherwise() throws {
    let error = #expect(throws: TrainingError.self) {
      try EncoderImport(path: Self.path("classification"), settings: settings("classification")).run()
    }
    #expect(error?.message.contains("row 1, column \"p_class 0\": expected") == true)
  }

  @Test func int8StaysCloseToFp32() throws {
    var settings = EncoderImportSettings(model: try ModelID("m"))
    settings.adapter = Self.path("classification-adapter")
    let imported = try EncoderImport(path: Self.path("classification"), settings: settings).run()
    let similarity = try #require(imported.similarity)
    #expect(similarity.mean > 0.98 && similarity.kind == .probabilities)
    #expect(imported.contents.definition.graph.tensors.contains { $0.isInt8 })
    #expect(imported.contents.definition.labels == ["class 0", "class 1", "class 2"])
  }

  @Test func labelsAndTokensMayBeOthers() throws {
    var settings = EncoderImportSettings(model: try ModelID("m"))
    settings.adapter = Self.path("classification-adapter")
    settings.precision = .fp32
    settings.labels = ["a", "b", "c"]
    settings.tokensMax = 12
    let definition = try EncoderImport(path: Self.path("classification"), settings: settings).run().contents.definition
    #expect(definition.labels == ["a", "b", "c"])
    #expect(definition.graph.tokenizer?.tokensMax == 12)
  }

  // MARK: - folders at fault

  /// A copy of a fixture whose files were changed.
  private func changed(_ name: String, _ changes: [String: (String) -> String?]) throws -> TemporaryDirectory {
    let directory = try TemporaryDirectory()
    for file in try FileManager.default.subpathsOfDirectory(atPath: Self.path(name)) {
      let from = Self.path("\(name)/\(file)")
      var isDirectory: ObjCBool = false
      _ = FileManager.default.fileExists(atPath: from, isDirectory: &isDirectory)
      if isDirectory.boolValue {
        try FileManager.default.createDirectory(atPath: directory.file(file), withIntermediateDirectories: true)
      } else if let change = changes[file] {
        guard let text = change(try String(contentsOfFile: from, encoding: .utf8)) else { continue }
        try directory.write(Array(text.utf8), to: file)
      } else {
        try FileManager.default.copyItem(atPath: from, toPath: directory.file(file))
      }
    }
    return directory
  }

  private func refusal(_ directory: TemporaryDirectory, _ change: (inout EncoderImportSettings) -> Void = { _ in })
    throws
    -> String
  {
    var settings = EncoderImportSettings(model: try ModelID("m"))
    settings.precision = .fp32
    change(&settings)
    do {
      _ = try EncoderImport(path: directory.path, settings: settings).run()
      return ""
    } catch {
      return error.message
    }
  }

  @Test(arguments: [
    (
      "\"hidden_size\": 16", "\"hidden_size\": 32",
      "tensor \"embeddings.word_embeddings.weight\": expected shape [244, 32], found shape [244, 16]"
    ),
    (
      "\"vocab_size\": 244", "\"vocab_size\": 250",
      "tensor \"embeddings.word_embeddings.weight\": expected shape [250, 16], found shape [244, 16]"
    ),
    (
      "\"vocab_size\": 244", "\"vocab_size\": 100",
      "config.json: vocab_size: expected at least 239, the tokens of the tokenizer, found 100"
    ),
    (
      "\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2",
      "tensor \"encoder.layer.1.attention.self.query.weight\": expected shape [16, 16], found no tensor of that name"
    ),
    (
      "\"intermediate_size\": 24", "\"intermediate_size\": 25",
      "tensor \"encoder.layer.0.intermediate.dense.weight\": expected shape [25, 16], found shape [24, 16]"
    ),
    (
      "\"max_position_embeddings\": 80", "\"max_position_embeddings\": 81",
      "tensor \"embeddings.position_embeddings.weight\": expected shape [81, 16], found shape [80, 16]"
    ),
    (
      "\"type_vocab_size\": 2", "\"type_vocab_size\": 1",
      "tensor \"embeddings.token_type_embeddings.weight\": expected shape [1, 16], found shape [2, 16]"
    ),
    (
      "\"model_type\": \"bert\"", "\"model_type\": \"gpt2\"",
      "config.json: model_type: expected bert, distilbert, roberta, xlm-roberta or camembert, found \"gpt2\""
    ),
    (
      "\"BertModel\"", "\"BertForSequenceClassification\"",
      "tensor \"classifier.weight\": expected shape [any, 16], found no tensor of that name"
    ),
  ])
  func configurationsThatDisagreeWithTheTensorsAreRefused(old: String, new: String, message: String) throws {
    let directory = try changed("embedding", ["config.json": { $0.replacingOccurrences(of: old, with: new) }])
    let found = try refusal(directory)
    #expect(found.hasSuffix(message), "\(found)")
  }

  @Test func tensorsThatAConfigurationDoesNotNameAreRefused() throws {
    // The name of one tensor of the layer becomes another of the same length.
    let directory = try changed("embedding", [:])
    let path = directory.file("model.safetensors")
    var bytes = try directory.read("model.safetensors")
    let old = Array("encoder.layer.0.output.dense.bias".utf8)
    let start = try #require(bytes.indices.first { bytes[$0...].starts(with: old) })
    bytes.replaceSubrange(start..<start + old.count, with: Array("encoder.layer.1.output.dense.bias".utf8))
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    let found = try refusal(directory)
    #expect(
      found.hasSuffix("tensor \"encoder.layer.0.output.dense.bias\": expected shape [16], found no tensor of that name")
    )
  }

  @Test func filesThatAreMissingAreNamed() throws {
    #expect(
      try refusal(changed("embedding", ["config.json": { _ in nil }])).hasSuffix(
        "expected a Hugging Face folder with config.json, found none"))
    #expect(
      try refusal(changed("embedding", ["tokenizer.json": { _ in nil }])).hasSuffix(
        "expected tokenizer.json or vocab.txt in the folder, found neither"))
    #expect(
      try refusal(changed("embedding", ["modules.json": { _ in nil }])).hasPrefix(
        "expected modules.json, or --pooling mean, cls or max"))
    #expect(try refusal(changed("embedding", ["modules.json": { _ in nil }])) { $0.pooling = "max" } == "")
    #expect(try refusal(TemporaryDirectory()).hasSuffix("expected a Hugging Face folder with config.json, found none"))
  }

  @Test func settingsThatDoNotFitAreRefused() throws {
    let directory = try changed("embedding", [:])
    #expect(try refusal(directory) { $0.tokensMax = 81 }.hasSuffix("--tokens: expected 1 to 80, found 81"))
    #expect(
      try refusal(changed("embedding", ["modules.json": { _ in nil }])) { $0.pooling = "sum" }.hasSuffix(
        "--pooling: expected mean, cls or max, found \"sum\""))
    let adapter = Self.path("classification-adapter")
    let found = try refusal(directory) { $0.adapter = adapter }
    #expect(found.contains("classification-adapter"), "\(found)")
  }

  @Test(arguments: [
    (
      "\"peft_type\": \"LORA\"", "\"peft_type\": \"IA3\"",
      "adapter_config.json: peft_type: expected \"LORA\", found \"IA3\""
    ),
    ("\"use_dora\": false", "\"use_dora\": true", "adapter_config.json: use_dora: expected false, found true"),
    (
      "\"alpha_pattern\": {}", "\"alpha_pattern\": {\"x\": 2}",
      "adapter_config.json: alpha_pattern: expected one lora_alpha for all layers, found others"
    ),
    (
      "\"lora_alpha\": 6", "\"lora_alpha\": \"six\"",
      "adapter_config.json: lora_alpha: expected a number, found \"six\""
    ),
    (
      "\"task_type\": \"SEQ_CLS\"", "\"task_type\": \"CAUSAL_LM\"",
      "SEQ_CLS, TOKEN_CLS, QUESTION_ANS or FEATURE_EXTRACTION, found \"CAUSAL_LM\""
    ),
  ])
  func adaptersOfOtherKindsAreRefused(old: String, new: String, message: String) throws {
    let adapter = try changed(
      "classification-adapter", ["adapter_config.json": { $0.replacingOccurrences(of: old, with: new) }])
    let found = try refusal(changed("classification", [:])) { $0.adapter = adapter.path }
    #expect(found.hasSuffix(message), "\(found)")
  }
}

@Suite("Agreement of answers")
struct AnswerSimilarityTests {
  @Test func vectorsAgreeByTheirCosine() {
    // cos 45° and cos 90°.
    let found = AnswerSimilarity([1, 1, 0, 2], [2, 0, 3, 0], width: 2, kind: .vectors)
    #expect(abs(found.mean - 0.5 * 0.5.squareRoot()) < 1e-12 && found.least == 0 && !found.passes)
    #expect(AnswerSimilarity([0, 0], [0, 0], width: 2, kind: .vectors).mean == 1)
  }

  @Test func probabilitiesAgreeByTheirDistanceAndTheirClass() {
    let found = AnswerSimilarity([0.6, 0.4, 0.9, 0.1], [0.4, 0.6, 0.9, 0.1], width: 2, kind: .probabilities)
    #expect(abs(found.mean - 0.9) < 1e-12 && abs(found.least - 0.8) < 1e-12 && found.sameClass == 0.5)
  }

  @Test func numbersAgreeInUnitsOfTheirSpread() {
    // Deviations from the mean 2 are 1, 0 and 1.
    let found = AnswerSimilarity([1.1, 2, 2.9], [1, 2, 3], width: 1, kind: .numbers)
    #expect(abs(found.mean - 0.9) < 1e-12 && !found.passes)
  }
}
