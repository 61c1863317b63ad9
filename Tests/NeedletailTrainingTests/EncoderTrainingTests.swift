import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

/// Fine-tuning from run files to bundles, on the small encoders of Tests/hugging-face/fixtures.
@Suite("Fine-tuning of encoders") struct EncoderTrainingTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private static func fixture(_ name: String) -> String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("hugging-face/fixtures/\(name)").path
  }

  /// Short texts of two kinds, and a score that follows from how many words they have.
  private static func csv(rows: Int, columns: String = "text,other,kind,score") -> String {
    var random = RandomSource(seed: 8)
    let words = [["the", "quick", "tokens"], ["brown", "fox", "again"]]
    var csv = columns + "\n"
    for row in 0..<rows {
      let own = words[row % 2]
      let text = (0..<3 + random.index(below: 4)).map { _ in own[random.index(below: 3)] }
      csv += "\(text.joined(separator: " ")),\(own[0]),\(row % 2 == 0 ? "a" : "b"),\(text.count)\n"
    }
    return csv
  }

  private static func yaml(_ base: String, _ model: String = "", target: String = "kind", drop: String = "other, score")
    -> String
  {
    """
    data: { files: [data.csv], drop: [\(drop)] }
    features: { columns: { text: { type: text }\(drop.contains("other") ? "" : ", other: { type: text }") } }
    target: { column: \(target), task: \(target == "score" ? "regression" : "classification") }
    model: { family: encoder, base: \(fixture(base))\(model.isEmpty ? "" : ", " + model) }
    training: { learning_rate: 0.02, epochs: 12, patience: 6 }
    evaluation: { report: false }
    tracking: { record: false }
    publish: { model: kinds }
    """
  }

  private func train(_ yaml: String, csv: String = csv(rows: 240), sets: [String] = []) throws -> TrainedModel {
    try directory.write(csv, to: "data.csv")
    return try TrainingRun(RunConfiguration(yaml: yaml, file: "run.yaml", directory: directory.path, sets: sets)).run()
  }

  private func refusal(_ yaml: String, sets: [String] = []) -> String {
    do {
      _ = try train(yaml, csv: Self.csv(rows: 60), sets: sets)
      return ""
    } catch {
      return (error as? TrainingError)?.message ?? "\(error)"
    }
  }

  @Test(arguments: [
    ("embedding", "mode: full"), ("embedding", "mode: lora, lora: { rank: 4, targets: [query, value, inner, outer] }"),
    ("embedding", "mode: full, pooling: cls"), ("classification", "mode: full"),
  ])
  func whatWasLearnedIsServedAsAPlainEncoder(base: String, model: String) throws {
    let trained = try train(Self.yaml(base, model))
    #expect(try #require(trained.contents.metrics["test.accuracy"]) > 0.95)
    let bytes = try trained.encode(version: .first, signing: [])
    let bundle = try VerifiedBundle(
      BundleFile(bytes: bytes), trust: .allowingUnsigned, expecting: nil, nowMilliseconds: 0)
    let contents = try bundle.decode()
    let compiled = try CompiledModel(contents.definition)
    try GoldenCheck.run(contents.golden, on: compiled)
    let answers = try compiled.answers(for: [[.text("fox brown fox")], [.text("the quick tokens the")]])
    #expect(answers.last?.answer == .strings(["b", "a"]))

    // Serving costs what the encoder costs that training began with.
    var settings = EncoderImportSettings(model: try ModelID("m"))
    settings.precision = .fp32
    settings.pooling = base == "embedding" ? nil : "cls"
    if base == "classification" { settings.adapter = Self.fixture("classification-adapter") }
    let plain = try EncoderImport(path: Self.fixture(base), settings: settings).run().contents.definition.graph
    func layers(_ graph: ModelGraph) -> [[Int]] {
      graph.nodes.compactMap { node in
        (node.operation as? Dense).map { graph.tensors[$0.weights].shape }
      }.filter { $0[0] > 3 }
    }
    let hidden = model.contains("cls") ? [[16, 16]] : []
    #expect(layers(contents.definition.graph) == layers(plain) + hidden)
    #expect(contents.lineage?.family == "encoder")

    let cost = trained.metrics(version: .first, bundleBytes: bytes.count)["cost"]
    let modes = cost["modes"].elements
    #expect(modes.compactMap { $0["mode"].text } == ["full", "frozen", "lora", "adapters", "prefix"])
    #expect(modes.map { ($0["serving_share"].number ?? 0) > 0 } == [false, false, false, true, true])
    #expect(modes.count { $0["seconds"].number != nil } == 1)
    let numbers = modes.compactMap { $0["learning"].integer }
    #expect(numbers[0] == cost["parameters"].integer && numbers[1] < numbers[2] && numbers[2] < numbers[0])
  }

  @Test func bottlenecksAreServedAsLayers() throws {
    let trained = try train(
      Self.yaml("embedding", "mode: adapters, adapters: { size: 5, activation: relu, targets: [outer] }"))
    #expect(try #require(trained.contents.metrics["test.accuracy"]) > 0.95)
    let bytes = try trained.encode(version: .first, signing: [])
    let bundle = try VerifiedBundle(
      BundleFile(bytes: bytes), trust: .allowingUnsigned, expecting: nil, nowMilliseconds: 0)
    let contents = try bundle.decode()
    try GoldenCheck.run(contents.golden, on: CompiledModel(contents.definition))
    let graph = contents.definition.graph
    let added = graph.nodes.filter { $0.name.contains(".adapter.") && $0.operation is Dense }
    let shapes = added.map { node in (node.operation as? Dense).map { graph.tensors[$0.weights].shape } }
    #expect(!added.isEmpty && shapes == added.map { $0.name.hasSuffix("down") ? [5, 16] : [16, 5] })
    #expect(added.map { ($0.operation as? Dense)?.activation == .relu } == added.map { $0.name.hasSuffix("down") })
    #expect(graph.nodes.count { $0.name.hasSuffix(".output.dense.adapter added") } == added.count / 2)
  }

  @Test func aPrefixIsServedAsPartOfTheAttention() throws {
    let trained = try train(Self.yaml("embedding", "mode: prefix, prefix: { tokens: 3 }"))
    #expect(try #require(trained.contents.metrics["test.accuracy"]) > 0.95)
    let bytes = try trained.encode(version: .first, signing: [])
    let bundle = try VerifiedBundle(
      BundleFile(bytes: bytes), trust: .allowingUnsigned, expecting: nil, nowMilliseconds: 0)
    let contents = try bundle.decode()
    try GoldenCheck.run(contents.golden, on: CompiledModel(contents.definition))
    let graph = contents.definition.graph
    let prefixes = graph.nodes.compactMap { ($0.operation as? SelfAttention).map(\.prefix) }
    #expect(!prefixes.isEmpty && prefixes.allSatisfy { $0 != nil })
    for prefix in prefixes.compactMap(\.self) {
      #expect([prefix.keys, prefix.values].map { graph.tensors[$0].shape } == [[3, 16], [3, 16]])
    }
  }

  /// What trains in fp32 through OpenBLAS answers as the engine does.
  @Test(arguments: ["full", "adapters", "prefix"]) func theEngineAnswersWhatTrainingSaw(mode: String) throws {
    let trained = try train(
      Self.yaml("embedding", "mode: \(mode)"),
      sets: ["quantisation.precision=fp32", "training.patience=0", "training.epochs=3"])
    let last = try #require(trained.history.last)
    let best = try #require(trained.history.first { $0.epoch == last.bestEpoch })
    let loss = try #require(trained.contents.metrics["validation.log_loss"])
    #expect(abs(loss - (best.validationLoss ?? 0)) < 1e-4)
  }

  @Test func theBodyOfAFrozenEncoderStays() throws {
    let trained = try train(Self.yaml("embedding", "mode: frozen"), sets: ["quantisation.precision=fp32"])
    #expect(try #require(trained.contents.metrics["test.accuracy"]) > 0.8)
    let file = try TensorFile(Self.fixture("embedding/model.safetensors"))
    let words = try file.floats("embeddings.word_embeddings.weight", shape: [nil, 16]).floats
    let tensor = try #require(trained.contents.definition.graph.tensors.first { $0.name == "words.weight" })
    #expect(tensor.storage == .float32(words))
    #expect(trained.notes.last?.hasPrefix("mode frozen: 34 of ") == true)
  }

  @Test(arguments: ["full", "lora", "frozen", "adapters", "prefix"]) func theSameSeedGivesTheSameModelOnAnyThreads(
    mode: String
  )
    throws
  {
    // Left to the trainer, the precision goes by how long int8 takes, which other tests may change.
    let sets = ["training.epochs=2", "training.patience=0", "quantisation.precision=int8"]
    let yaml = Self.yaml("embedding", "mode: \(mode)")
    let one = try train(yaml, sets: sets + ["training.threads=1"])
    let memory = mode == "frozen" ? [] : ["training.gradient_checkpointing=true"]
    let two = try train(yaml, sets: sets + ["training.threads=2"] + memory)
    #expect(one.contents.definition == two.contents.definition)
    let other = try train(yaml, sets: sets + ["training.seed=2"])
    #expect(one.contents.definition != other.contents.definition)
  }

  @Test func numbersAndPairsAreLearned() throws {
    let sets = ["training.epochs=40", "training.patience=0", "training.learning_rate=0.01"]
    let number = try train(
      Self.yaml("embedding", "dropout: 0", target: "score", drop: "other, kind"), csv: Self.csv(rows: 400), sets: sets)
    #expect(try #require(number.contents.metrics["test.r2"]) > 0.5)
    let pair = try train(Self.yaml("embedding", drop: "score"))
    #expect(pair.contents.definition.schema.features.map(\.name) == ["text", "other"])
    #expect(try #require(pair.contents.metrics["test.accuracy"]) > 0.95)
    _ = try pair.encode(version: .first, signing: [])
  }

  @Test(arguments: ["full", "lora", "adapters", "prefix"]) func aFineTuningThatWasStoppedEndsInTheSameWeights(
    mode: String
  ) throws {
    try directory.write(Self.csv(rows: 120), to: "data.csv")
    let configuration = try RunConfiguration(
      yaml: Self.yaml("embedding", "mode: \(mode)"), file: "run.yaml", directory: directory.path,
      sets: ["training.epochs=5", "training.patience=0", "quantisation.precision=int8"])
    func run(isResuming: Bool = false, stopAfter: Int? = nil) throws -> TrainedModel {
      var epochs = 0
      return try TrainingRun(
        configuration, observer: RunObserver(epoch: { _ in epochs += 1 }),
        checkpointing: .init(path: directory.file(Checkpoints.fileName), isResuming: isResuming) {
          stopAfter.map { epochs >= $0 } ?? false
        }
      ).run()
    }
    let whole = try run()
    let error = #expect(throws: TrainingError.self) { try run(stopAfter: 2) }
    #expect(error?.message == "stopped after epoch 2 of 5")
    let resumed = try run(isResuming: true)
    #expect(resumed.contents.definition == whole.contents.definition)
    #expect(resumed.history.map(\.loss) == whole.history.map(\.loss))
  }

  @Test func aTrainingDoesNotGoOnFromAnotherEncoderOfTheSameShape() throws {
    try directory.write(Self.csv(rows: 120), to: "data.csv")
    let folder = directory.file("base")
    try FileManager.default.copyItem(atPath: Self.fixture("embedding"), toPath: folder)
    let configuration = try RunConfiguration(
      yaml: Self.yaml("embedding", "mode: frozen").replacingOccurrences(of: Self.fixture("embedding"), with: folder),
      file: "run.yaml", directory: directory.path, sets: ["training.epochs=3", "training.patience=0"])
    func run(isResuming: Bool) throws -> TrainedModel {
      try TrainingRun(
        configuration,
        checkpointing: .init(path: directory.file(Checkpoints.fileName), isResuming: isResuming) { !isResuming }
      ).run()
    }
    let stopped = #expect(throws: TrainingError.self) { try run(isResuming: false) }
    #expect(stopped?.message == "stopped after epoch 1 of 3")
    // Every number differs in its last bit.
    let path = folder + "/model.safetensors"
    var bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: path)))
    let header = bytes[..<8].reversed().reduce(0) { $0 << 8 | Int($1) }
    for place in stride(from: 8 + header, to: bytes.count, by: 4) { bytes[place] ^= 1 }
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    let refused = #expect(throws: TrainingError.self) { try run(isResuming: true) }
    #expect(refused?.message == "checkpoint: expected the encoder that it was made with, found another in model.base")
  }

  @Test func judgesWithoutWeightAreRefused() throws {
    let rows = (0..<60).map { row in
      "the \(row % 2 == 0 ? "quick" : "brown") fox,k\(row % 2),\(row < 40 ? 1 : 0),\(row < 40 ? "train" : row < 50 ? "validation" : "test")"
    }
    try directory.write("text,kind,weight,part\n" + rows.joined(separator: "\n") + "\n", to: "data.csv")
    let yaml = """
      data: { files: [data.csv] }
      features: { columns: { text: { type: text } } }
      target: { column: kind, weight: weight }
      split: { column: part }
      model: { family: encoder, base: "\(Self.fixture("embedding"))" }
      """
    let error = #expect(throws: TrainingError.self) {
      try TrainingRun(RunConfiguration(yaml: yaml, file: "run.yaml", directory: directory.path)).run()
    }
    #expect(
      error?.message == "target.weight: expected a number above 0 among the validation rows, found only zeros")
  }

  @Test func aStarterLacksNothingButTheFolder() throws {
    let rows = Self.csv(rows: 120).split(separator: "\n").map { line in
      let fields = line.split(separator: ",")
      return "\(fields[0]),\(fields[2])"
    }
    let path = try directory.write(rows.joined(separator: "\n") + "\n", to: "data.csv")
    let yaml = try StarterConfiguration(name: "data.csv", path: path, target: "kind", family: "encoder").yaml
    func run(_ yaml: String) throws -> TrainedModel {
      try TrainingRun(RunConfiguration(yaml: yaml, file: "run.yaml", directory: directory.path)).run()
    }
    let error = #expect(throws: TrainingError.self) { try run(yaml) }
    #expect(error?.message.hasPrefix("model.base: \(directory.path)/FOLDER: expected a Hugging Face folder") == true)
    let trained = try run(yaml.replacingOccurrences(of: "FOLDER", with: Self.fixture("embedding")))
    #expect(trained.contents.definition.schema.features.map(\.name) == ["text"])
  }

  @Test func whatCannotBeTrainedIsRefused() throws {
    let base = Self.yaml("embedding")
    #expect(
      refusal(base, sets: ["model.base=nowhere"])
        == "model.base: \(directory.path)/nowhere: expected a Hugging Face folder with config.json, found none")
    #expect(
      refusal(base, sets: ["model.base=\(Self.fixture("static"))"]).hasSuffix(
        "expected an encoder, found static embeddings"))
    #expect(refusal(base, sets: ["model.tokens_max=81"]) == "model.tokens_max: expected 1 to 80, found 81")
    for lora in ["model.lora={ rank: 4 }", "model.lora.rank=4"] {
      #expect(
        refusal(base, sets: [lora]).hasSuffix("model.lora: expected mode: lora beside it, found mode: full"))
    }
    #expect(
      refusal(base, sets: ["model.mode=ia3"]).contains(
        "expected full | frozen | lora | adapters | prefix, found \"ia3\""))
    #expect(
      refusal(base, sets: ["model.adapters.size=4"]).hasSuffix(
        "model.adapters: expected mode: adapters beside it, found mode: full"))
    #expect(
      refusal(base, sets: ["model.prefix.tokens=4"]).hasSuffix(
        "model.prefix: expected mode: prefix beside it, found mode: full"))
    #expect(
      refusal(base, sets: ["model.mode=prefix", "model.prefix.tokens=0"]).contains("model.prefix.tokens: expected"))
    let adapters = Self.yaml("embedding", "mode: adapters")
    #expect(
      refusal(adapters, sets: ["model.adapters.targets=[]"])
        == "model.adapters.targets: expected at least one of the layers, found none")
    #expect(refusal(adapters, sets: ["model.adapters.size=0"]).contains("model.adapters.size: expected"))
    #expect(refusal(adapters, sets: ["model.adapters.targets=[inner]"]).contains("expected output | outer"))
    #expect(
      refusal(base, sets: ["text.longest=2"]).hasSuffix(
        "text: expected no such section with encoder, which reads texts by its own tokenizer, found one"))
    #expect(
      refusal(Self.yaml("embedding", drop: "other"))
        == "features: expected only columns of text for this family, found \"score\"; leave it out with data.drop")
    #expect(
      refusal(base, sets: ["split={ train: 0.8, validation: 0, test: 0.2 }"])
        == "training.patience: expected validation rows to stop by, found none; set split.validation or patience: 0")
    #expect(
      refusal(base.replacingOccurrences(of: "base: ", with: "mode: ")).contains(
        "model.base: expected text, found nothing"))
    let error = #expect(throws: TrainingError.self) {
      let source = RunFileText(
        text: base, file: "run.yaml", directory: directory.path, sets: ["tuning.families=[encoder]"])
      let own = try source.configuration()
      _ = try TuningPlan(source, own, TuningSettings(own))
    }
    #expect(error?.message.hasSuffix("expected families whose trials are short, found encoder; train fits it") == true)
  }
}
