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

  @Test func theScheduleIsRefusedBeforeAnythingIsFitted() throws {
    let directory = try TemporaryDirectory()
    try directory.write(Synthetic.classesCSV(rows: 300, seed: 3), to: "data.csv")
    let sets = ["training.schedule=plateau", "training.refit=true"]
    let run = try RunConfiguration(yaml: Synthetic.classesRun, file: "run.yaml", directory: directory.path, sets: sets)
    var epochs = 0
    #expect(throws: TrainingError.self) {
      try TrainingRun(run, observer: RunObserver(epoch: { _ in epochs += 1 })).run()
    }
    #expect(epochs == 0)
    let source = RunFileText(text: Synthetic.classesRun, file: "run.yaml", directory: directory.path, sets: sets)
    #expect { _ = try TuningRun(source, place: .memory) } throws: { "\($0)".contains("found plateau") }
  }

  @Test func aSecondFitThatIsStoppedCanBeGoneOnWith() throws {
    let directory = try TemporaryDirectory()
    try directory.write(Synthetic.classesCSV(rows: 300, seed: 3), to: "data.csv")
    let run = try RunConfiguration(
      yaml: """
        data: { files: [data.csv] }
        target: { column: kind }
        model: { family: gbdt, trees: 30 }
        training: { patience: 0, refit: true }
        """, file: "run.yaml", directory: directory.path)
    var (fits, isStopping) = (0, false)
    let observer = RunObserver(
      stage: { if $0.hasPrefix("fitting") { fits += 1 } }, epoch: { _ in isStopping = fits == 2 })
    let error = #expect(throws: TrainingError.self) {
      try TrainingRun(
        run, observer: observer,
        checkpointing: .init(path: directory.file("state"), isResuming: false, isStopping: { isStopping })
      ).run()
    }
    #expect(error?.kind == .interrupted)
    #expect(error?.message == "stopped while it was fitted again on all rows")
  }

  @Test(arguments: [("[gbdt]", 0, 1), ("[logistic_regression, gbdt]", 3, 4)])
  func aSearchFitsItsBestAgainOnAllRows(families: String, folds: Int, mixture: Int) throws {
    let directory = try TemporaryDirectory()
    try directory.write(Synthetic.classesCSV(rows: 300, seed: 3), to: "data.csv")
    func tune(_ refit: Bool) throws -> TunedModel {
      let tuning = try TuningRun(
        RunFileText(
          text: "data: { files: [data.csv] }\ntarget: { column: kind }\nfeatures: { missing: median }\n"
            + "model: { family: logistic_regression }\n",
          file: "run.yaml", directory: directory.path,
          sets: [
            "tuning.trials=6", "tuning.parallel=1", "tuning.families=\(families)", "tuning.folds=\(folds)",
            "tuning.mixture=\(mixture)", "training.refit=\(refit)",
          ]), place: .memory)
      try tuning.search()
      return try tuning.finish()
    }
    let (plain, again) = (try tune(false), try tune(true))
    #expect(again.model.testFigures.map(\.value) == plain.model.testFigures.map(\.value))
    #expect(again.model.contents.definition.graph != plain.model.contents.definition.graph)
    #expect(again.model.contents.lineage?.rows == 300)
    #expect(again.model.notes.contains { $0.contains("fitted again on all 300 rows") })
    #expect(again.configuration["training"]["refit"] == .flag(true))
    _ = try again.model.encode(version: .first, signing: [])
    guard folds == 0 else { return }
    // The same settings with as many rounds as were best, and no validation rows, make the same trees.
    let document = try RunConfiguration(
      yaml: again.configuration.yaml, file: "best.yaml", directory: directory.path)
    let trained = try TrainingRun(document).run()
    #expect(trained.contents.definition.graph == again.model.contents.definition.graph)
  }
}
