internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine

/// A model fitted again on all rows, once the split has said how good it is.
extension TrainingRun {
  /// Fits the family again on all rows, with as many rounds or epochs as were best, and puts that model into the bundle.
  ///
  /// - Throws: `TrainingError` where all rows together cannot be fitted.
  func refit(_ trained: inout TrainedModel) throws(TrainingError) {
    let configuration = try configuration.refitting(bestStep: trained.history.last?.bestEpoch ?? 0)
    observer.stage("fitting again on all \(Figures.count(trained.data.dataset.rowCount)) rows")
    let data = try PreparedData(configuration, ofAllRowsIn: trained.data)
    let fitted = try configuration.family.fit(data, configuration) { (report) throws(TrainingError) in
      observer.epoch(report)
      // The checkpoint is one of the first fit: going on makes the same models again.
      if checkpointing?.isStopping() ?? false { throw .interrupted("stopped while it was fitted again on all rows") }
    }
    try bundle(
      fitted, of: data, into: &trained,
      judged: "the one that learned from \(Figures.count(trained.data.split.train.count)) of them")
  }

  /// Puts a model of all rows into the bundle. Figures, thresholds and importance stay those of the model that did not
  /// see the rows which judged it.
  ///
  /// - Parameter judged: what the figures are of, for people.
  /// - Throws: `TrainingError` where the engine refuses the model.
  func bundle(
    _ fitted: any FittedModel, of data: PreparedData, into trained: inout TrainedModel, judged: String
  ) throws(TrainingError) {
    let graph = try data.graph(of: fitted)
    let evaluator = Evaluator(data, configuration)
    let layers = Self.layers(trained.decision.int8Layers, of: trained.fp32.definition.graph, in: graph)
    var served = Quantiser.quantise(graph, layers: layers)
    if let threshold = trained.threshold { served = served.deciding(at: threshold.threshold) }
    let report = try evaluator.evaluate(served)
    observer.stage("recording golden samples and the drift baseline of the new model")
    (trained.contents.golden, trained.contents.drift) = try recordings(data, evaluator, report)
    trained.contents.definition = report.definition
    trained.contents.lineage?.rows = data.split.train.count
    trained.refitted = report.test
    trained.notes.append(
      "the bundle holds a model that was fitted again on all \(Figures.count(data.split.train.count)) rows; figures are "
        + "of \(judged)")
  }

  /// Golden samples and the drift baseline of a compiled model.
  func recordings(
    _ data: PreparedData, _ evaluator: Evaluator, _ report: EvaluationReport
  ) throws(TrainingError) -> (golden: [GoldenSample], drift: DriftBaseline) {
    let typical = data.split.test.map { row in
      (
        number: data.dataset.features.rowNumbers[row],
        cells: data.preprocessing.cells(of: data.dataset.features, row: row)
      )
    }
    let golden = try GoldenRecorder(model: report.compiled).record(typical: typical, training: evaluator.trainCells)
    do {
      try GoldenCheck.run(golden, on: report.compiled)
    } catch {
      throw .fit("the trained model disagrees with its own samples: \(error)")
    }
    let drift = DriftRecorder.record(
      features: data.dataset.features, rows: data.split.train, prediction: try evaluator.trainingAnswers(report))
    return (golden, drift)
  }

  /// Layers that stand where others do in a graph of the same layers.
  private static func layers(_ chosen: Set<Int>, of graph: ModelGraph, in other: ModelGraph) -> Set<Int> {
    let (from, to) = (Quantiser.layers(of: graph), Quantiser.layers(of: other))
    guard from.count == to.count else { return [] }
    return Set(zip(from, to).filter { chosen.contains($0.0) }.map(\.1))
  }
}

extension RunConfiguration {
  /// Settings without validation rows: as many rounds or epochs as were best, and no early stopping.
  ///
  /// - Parameter bestStep: number of rounds or epochs; 0: as the settings say.
  /// - Throws: `TrainingError` for settings that cannot do without validation rows.
  func refitting(bestStep: Int) throws(TrainingError) -> RunConfiguration {
    let keys = family.trainingSettings.map(\.key)
    guard keys.contains("patience") else { return self }
    let schedule = document["training"]["schedule"].text
    guard schedule != "plateau" else {
      throw .configuration(
        location(of: "training.schedule"),
        "training.schedule: expected constant or cosine beside training.refit, found plateau, which looks at "
          + "validation rows")
    }
    var changes: [(section: String, key: String, value: Document)] = [("training", "patience", .integer(0))]
    if bestStep > 0 {
      if family.modelSettings.contains(where: { $0.key == "trees" }) {
        changes.append(("model", "trees", .integer(bestStep)))
      } else if keys.contains("epochs") {
        changes.append(("training", "epochs", .integer(bestStep)))
      }
    }
    let changed = Document.section(
      document.entries.map { section in
        let own = changes.filter { $0.section == section.key }
        guard !own.isEmpty else { return section }
        return .init(
          section.key,
          .section(
            section.value.entries.map { entry in
              own.first { $0.key == entry.key }.map { .init(entry.key, $0.value) } ?? entry
            }))
      })
    return replacing(family: family, document: changed)
  }
}

extension PreparedData {
  /// The same table with every row among the training rows, and the test rows there once more.
  init(_ configuration: RunConfiguration, ofAllRowsIn data: PreparedData) throws(TrainingError) {
    try self.init(
      configuration, dataset: data.dataset,
      split: Split(train: Array(0..<data.dataset.rowCount), validation: [], test: data.split.test))
  }
}
