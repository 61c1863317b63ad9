import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite struct TrainingRunTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func train(_ yaml: String, csv: String? = nil, sets: [String] = []) throws -> TrainedModel {
    try directory.write(csv ?? Synthetic.classesCSV(rows: 300, seed: 1), to: "data.csv")
    let run = try RunConfiguration(yaml: yaml, file: "run.yaml", directory: directory.path, sets: sets)
    return try TrainingRun(run).run()
  }

  @Test func aRunEndsInABundleThatPassesItsGoldenSamples() throws {
    let trained = try train(Synthetic.classesRun)
    let bytes = try trained.encode(version: .first, signing: [])
    let bundle = try VerifiedBundle(
      BundleFile(bytes: bytes), trust: .allowingUnsigned, expecting: (trained.configuration.model, .first),
      nowMilliseconds: 0)
    let contents = try bundle.decode()
    try GoldenCheck.run(contents.golden, on: CompiledModel(contents.definition))
    #expect(contents.golden.count >= 12)
    #expect(try #require(contents.metrics["test.accuracy"]) > 0.95)
    #expect(contents.definition.labels == ["left", "right"])
    #expect(contents.lineage?.family == "mlp")
    #expect(contents.lineage?.configuration.contains("hidden: [16]") == true)
    #expect(contents.drift?.features.map(\.name) == ["x", "y", "colour"])
    #expect(contents.drift?.prediction.categories.map(\.count).reduce(0, +) == trained.contents.lineage?.rows)
  }

  @Test func goldenSamplesHoldRefusalsAndGaps() throws {
    let samples = try train(Synthetic.classesRun, sets: ["features.columns.colour.unknown=refuse"]).contents.golden
    func expectation(_ name: String) -> GoldenSample.Expectation? { samples.first { $0.name == name }?.expectation }
    #expect(expectation("all missing") == .refusal(.invalidArgument))
    #expect(expectation("missing x") == .refusal(.invalidArgument))
    #expect(expectation("unseen category in colour") == .refusal(.invalidArgument))
    #expect(expectation("infinity in x") == .refusal(.invalidArgument))
    if case .answers? = expectation("all at their maximum") {} else { Issue.record("expected answers") }
    let lenient = try train(Synthetic.classesRun, sets: ["features.missing=median"]).contents.golden
    if case .answers? = lenient.first(where: { $0.name == "all missing" })?.expectation {
    } else {
      Issue.record("expected answers")
    }
  }

  @Test func theSameSeedGivesTheSameModel() throws {
    let first = try train(Synthetic.classesRun).contents
    #expect(try train(Synthetic.classesRun).contents == first)
    #expect(try train(Synthetic.classesRun, sets: ["training.seed=2"]).contents.definition != first.definition)
  }

  @Test func int8IsChosenOnlyWhereTheGateAllows() throws {
    let sets = ["model.hidden=[64, 64]", "training.epochs=10"]
    let automatic = try train(Synthetic.classesRun, sets: sets)
    let isSlower = automatic.quantisation.hasPrefix("fp32: int8 takes")
    #expect(automatic.precision == (isSlower ? "fp32" : "int8"))
    if !isSlower { #expect(automatic.microsecondsPerRow <= automatic.fp32.microsecondsPerRow) }
    let allowed = try train(Synthetic.classesRun, sets: sets + ["quantisation.precision=int8"])
    #expect(allowed.precision == "int8")
    #expect(allowed.contents.lineage?.quantisation.hasPrefix("int8 in all 3 layers") == true)
    #expect(allowed.contents.metrics["fp32.test.accuracy"] != nil)
    let fp32 = try train(Synthetic.classesRun, sets: sets + ["quantisation.precision=fp32"])
    #expect(fp32.precision == "fp32")
    #expect(allowed.chosen.tensorBytes * 3 < fp32.chosen.tensorBytes)
  }

  @Test func predictionsAreTheModelsOwnAnswersToTheBit() throws {
    let trained = try train(Synthetic.classesRun)
    let lines = trained.predictionsCSV.split(separator: "\n").map { $0.split(separator: ",").map(String.init) }
    #expect(lines[0] == ["row", "class", "label", "p_left", "p_right", "target"])
    let test = trained.testCSV.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
    #expect(test[0] == "x,y,colour")
    #expect(test.count == lines.count)
    for (position, line) in lines.dropFirst().enumerated() {
      let cells = test[position + 1].split(separator: ",", omittingEmptySubsequences: false)
      let row: [Cell] = [
        .number(try #require(Double(cells[0]))), Double(cells[1]).map { .number($0) } ?? .missing,
        .text(String(cells[2])),
      ]
      let answers = try trained.chosen.compiled.answers(for: [row])
      guard case .numbers(let numbers) = answers[0].answer else { continue }
      #expect(numbers.map { Float($0) } == [Float(line[3]), Float(line[4])])
    }
    let parts = Set(trained.splitCSV.split(separator: "\n").dropFirst().map { $0.split(separator: ",")[1] })
    #expect(parts == ["train", "validation", "test"])
    #expect(trained.splitCSV.split(separator: "\n").count == 301)
  }

  @Test func theLogLossIsThatOfThePredictionsFile() throws {
    // Labels that contradict the rows, and a model that is sure of itself: some probabilities are far below 1e-7.
    let rows = (0..<400).map { "\($0 % 2 == 0 ? -9 : 9),\(($0 % 2 == 0) != ($0 % 31 == 0) ? "a" : "b")\n" }
    let csv = "x,kind\n" + rows.joined()
    let yaml = """
      data: { files: [data.csv] }
      target: { column: kind }
      model: { family: mlp, hidden: [32] }
      training: { epochs: 60, learning_rate: 0.05, patience: 0 }
      """
    let trained = try train(yaml, csv: csv)
    var lines = trained.predictionsCSV.split(separator: "\n").map { $0.split(separator: ",").map(String.init) }
    let header = lines.removeFirst()
    #expect(header == ["row", "class", "label", "p_a", "p_b", "target"])
    let losses = try lines.map { -log(Double(try #require(Float($0[$0[5] == "a" ? 3 : 4])))) }
    let expected = losses.reduce(0, +) / Double(losses.count)
    let found = try #require(trained.contents.metrics["test.log_loss"])
    #expect(abs(found - expected) < 1e-9 * max(1, expected))
  }

  @Test func aRegressionRunEndsInABundleToo() throws {
    var random = RandomSource(seed: 1)
    let rows = (0..<120).map { _ in (random.normal(), random.normal()) }
    let csv = "a,b,y\n" + rows.map { "\($0.0),\($0.1),\(3 * $0.0 - $0.1 + 10)\n" }.joined()
    let trained = try train(
      "data: { files: data.csv }\ntarget: { column: y }\nmodel: { family: linear_regression }\n", csv: csv)
    #expect(try #require(trained.contents.metrics["test.r2"]) > 0.999_999)
    #expect(trained.precision == "fp32")
    #expect(trained.contents.definition.graph.outputs.map(\.name) == ["prediction"])
    #expect(trained.predictionsCSV.hasPrefix("row,prediction,target\n"))
    _ = try trained.encode(version: .first, signing: [])
  }

  @Test(arguments: [
    ("kind", "linear_regression", "classification", "gbdt or logistic_regression or mlp"),
    ("x", "logistic_regression", "regression", "gbdt or linear_regression or mlp"),
  ])
  func refusesAFamilyThatCannot(target: String, family: String, task: String, others: String) throws {
    let error = #expect(throws: TrainingError.self) {
      try train("data: { files: data.csv }\ntarget: { column: \(target) }\nmodel: { family: \(family) }\n")
    }
    let message = try #require(error?.message)
    #expect(
      message.hasPrefix(
        "run.yaml:3: model.family: expected a family for \(task) of \"\(target)\", found \(family); use \(others)"))
    #expect(message.hasSuffix(", or set target.task"))
  }

  @Test func aRowThatRepeatsAnotherIsKeptAndTheUserIsTold() throws {
    // Two plans: the same two features over and over, and nine of ten answers equal.
    var csv = "plan,month,churned\n"
    for row in 0..<1200 {
      csv += "\(row % 2),\(row / 2 % 12),\((row / 24 % 10 == 0) == (row % 2 == 0) ? "yes" : "no")\n"
    }
    let trained = try train(
      "data: { files: data.csv }\ntarget: { column: churned }\nmodel: { family: logistic_regression }\n", csv: csv)
    #expect(try #require(trained.contents.metrics["test.accuracy"]) > 0.85)
    #expect(
      trained.warnings == [
        "1,152 of 1,200 rows repeat an earlier one and are kept; data.duplicates: drop leaves them out"
      ])
  }

  @Test func aLineOverTimestampsIsLearnedToTheSecond() throws {
    // In fp32 these seconds are multiples of 128.
    let csv = "ts,y\n" + (0..<300).map { "\(1_700_000_000 + $0),\(3 * $0)\n" }.joined()
    let trained = try train(
      "data: { files: data.csv }\ntarget: { column: y, task: regression }\nmodel: { family: linear_regression }\n",
      csv: csv)
    #expect(try #require(trained.contents.metrics["test.rmse"]) < 0.01)
    #expect(trained.contents.definition.graph.values[0].type == ValueType(.float64, [1]))
    _ = try trained.encode(version: .first, signing: [])
    // Numbers that fp32 holds well enough stay in it.
    let plain = try train(Synthetic.classesRun, sets: ["training.epochs=1"])
    #expect(plain.contents.definition.graph.values[0].type.element == .float32)
  }

  @Test(arguments: [
    ("linear_regression", "number"), ("mlp", "number"), ("logistic_regression", "class"), ("nearest_centroid", "class"),
  ])
  func everyFamilyTrainsBesideLikelihoodsTooSmallForF32(family: String, target: String) throws {
    let csv =
      "p,x,number,class\n"
      + (0..<200).map { "\(1 + $0 * 37 % 100)e-80,\($0),\(3 * $0),\($0 < 100 ? "low" : "high")\n" }.joined()
    let trained = try train(
      "data: { files: data.csv, drop: [\(target == "class" ? "number" : "class")] }\n"
        + "target: { column: \(target) }\nmodel: { family: \(family) }\n",
      csv: csv)
    #expect(trained.contents.definition.graph.values[0].type.element == .float32)
    #expect(trained.warnings.count == 1 && trained.warnings[0].hasPrefix("column \"p\": "))
    let metrics = trained.contents.metrics
    #expect(try #require(metrics["test.r2"] ?? metrics["test.accuracy"]) > 0.9)
    _ = try trained.encode(version: .first, signing: [])
  }

  @Test func refusesTextAsARegressionTarget() throws {
    let error = #expect(throws: TrainingError.self) {
      try train(Synthetic.classesRun, sets: ["target.task=regression"])
    }
    #expect(error?.message == "data.csv:2: column \"kind\": expected a number, found \"left\"")
  }

  @Test func testRowsWithUnseenCategoriesAreNotJudgedAndTheUserIsTold() throws {
    let csv = Synthetic.classesCSV(rows: 60, seed: 3)
    // One colour that occurs once: wherever it lands, the run goes on.
    let rare = csv + "2,1,mauve,right\n"
    for seed in 1...6 {
      let trained = try train(
        Synthetic.classesRun, csv: rare, sets: ["features.unknown=refuse", "split.seed=\(seed)", "training.epochs=1"])
      let rows = trained.splitCSV.split(separator: "\n").count - 1
      #expect(rows == (trained.warnings.isEmpty ? 61 : 60))
    }
  }

  @Test func publishesUnderTheNextVersionAndSigned() throws {
    let trained = try train(Synthetic.classesRun, sets: ["training.epochs=1"])
    let store = directory.file("store")
    let key = SigningKey()
    try key.write(to: directory.file("publisher.key"))
    let path = try directory.write(try trained.encode(version: .first, signing: []), to: "model.ntb")
    for number in 1...2 as ClosedRange<UInt64> {
      let published = try Publishing.republish(
        path: path, store: store, key: directory.file("publisher.key"), version: nil)
      #expect(published.version.number == number)
      let trust = TrustPolicy(keys: [TrustedKey(name: "release", publicKey: key.publicKey)])
      let bundle = try VerifiedBundle(
        BundleFile.open(path: published.path), trust: trust, expecting: (published.model, published.version),
        nowMilliseconds: 0)
      #expect(bundle.signer == "release")
      #expect(try bundle.decode() == trained.contents)
    }
  }

  @Test func theStarterConfigurationTrains() throws {
    try directory.write(Synthetic.classesCSV(rows: 100, seed: 2), to: "data.csv")
    // The table has classes for a target, and no texts.
    let others = ["linear_regression", "text_linear", "encoder"]
    for family in [nil] + FamilyRegistry.all.names where !others.contains(family ?? "") {
      let starter = try StarterConfiguration(
        name: "data.csv", path: directory.file("data.csv"), target: "kind", family: family)
      let yaml = starter.yaml
      let run = try RunConfiguration(
        yaml: yaml, file: "run.yaml", directory: directory.path, sets: ["split.train=0.7"])
      #expect(run.family.name == family ?? "logistic_regression")
      let keepsGaps = run.family.preprocessing.missing == .kept
      #expect(run.policy(for: "y").missing == (keepsGaps ? .keep : .median))
      _ = try TrainingRun(run).run()
      // Every commented default is the default: without the hash signs the file says the same.
      let uncommented = yaml.split(separator: "\n", omittingEmptySubsequences: false).map { line -> Substring in
        let isSetting = line.hasPrefix("  # ") && line.dropFirst(4).prefix { $0 != " " }.hasSuffix(":")
        return isSetting && !line.hasSuffix(": ") ? "  " + line.dropFirst(4) : line
      }
      let spelled = try RunConfiguration(
        yaml: uncommented.joined(separator: "\n"), file: "run.yaml", directory: directory.path)
      #expect(spelled.document == run.document)
    }
  }
}
