import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite struct RefitTests {
  private func train(_ family: String, _ training: String, _ directory: TemporaryDirectory) throws -> TrainedModel {
    try directory.write(Synthetic.classesCSV(rows: 300, seed: 3), to: "data.csv")
    let run = try RunConfiguration(
      yaml: "data: { files: [data.csv] }\ntarget: { column: kind }\nmodel: { family: \(family) }\n"
        + "features: { missing: mean }\ntraining: { \(training) }\nquantisation: { precision: fp32 }\n",
      file: "run.yaml",
      directory: directory.path)
    return try TrainingRun(run).run()
  }

  @Test(arguments: [
    ("logistic_regression", ""), ("gbdt", "patience: 5, "), ("mlp", "epochs: 12, patience: 4, learning_rate: 0.01, "),
  ])
  func theBundleHoldsAModelOfAllRowsAndTheFiguresAreThoseOfTheSplit(family: String, training: String) throws {
    let directory = try TemporaryDirectory()
    let plain = try train(family, training + "refit: false", directory)
    let again = try train(family, training + "refit: true", directory)
    #expect(again.testFigures.map(\.value) == plain.testFigures.map(\.value))
    #expect(again.chosen.definition.graph == plain.chosen.definition.graph)
    #expect(again.contents.definition.graph != plain.contents.definition.graph)
    #expect(again.contents.lineage?.rows == 300 && plain.contents.lineage?.rows == 210)
    #expect(again.contents.metrics == plain.contents.metrics)
    #expect(again.notes.last?.contains("fitted again on all 300 rows") == true)
    #expect(again.notes.last?.hasSuffix("learned from 210 of them") == true)
    // What is served is what predictions.csv says.
    let version = try #require(ModelVersion(1))
    let bundle = try VerifiedBundle(
      BundleFile(bytes: again.encode(version: version, signing: [])), trust: .allowingUnsigned, expecting: nil,
      nowMilliseconds: 0
    ).decode()
    let served = try CompiledModel(bundle.definition).answers(for: again.data.cells(again.data.split.test))
    guard case .numbers(let numbers)? = served.first(where: { $0.name == "probabilities" })?.answer else {
      Issue.record("expected probabilities")
      return
    }
    let written = again.predictionsCSV.split(separator: "\n").dropFirst().flatMap { line in
      line.split(separator: ",")[3...4].compactMap { Float($0) }
    }
    #expect(written == numbers.map { Float($0) })
    let report = try again.report(metrics: again.metrics(version: version, bundleBytes: 1))
    #expect(report["refit_rows"] == .integer(300))
    #expect(ModelCard(report).markdown.contains("fitted again on all 300 rows"))
  }

  @Test func aScheduleThatLooksAtValidationRowsIsRefused() throws {
    let directory = try TemporaryDirectory()
    let error = #expect(throws: TrainingError.self) {
      try train("mlp", "epochs: 2, patience: 0, schedule: plateau, refit: true", directory)
    }
    #expect(error?.message.contains("expected constant or cosine beside training.refit, found plateau") == true)
  }
}
