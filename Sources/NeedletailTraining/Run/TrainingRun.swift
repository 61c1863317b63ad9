internal import Foundation
internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine

/// One run from the run file to a bundle's contents: read → split → fit → compile → quantise → judge → record.
public struct TrainingRun {
  public let configuration: RunConfiguration
  private let observer: RunObserver

  public init(_ configuration: RunConfiguration, observer: RunObserver = RunObserver()) {
    self.configuration = configuration
    self.observer = observer
  }

  /// Trains. Nothing is written.
  ///
  /// - Throws: the first thing that is wrong with the configuration, the data, or the fit.
  public func run() throws(TrainingError) -> TrainedModel {
    BLAS.useOneThread()
    let start = Instant.now()
    let fileCount = configuration.request.files.count
    observer.stage("reading \(fileCount == 1 ? "1 file" : "\(fileCount) files")")
    let data = try PreparedData(configuration)
    for warning in data.warnings { observer.warning(warning) }
    observer.stage(
      "fitting \(configuration.family.name) on \(Figures.count(data.split.train.count)) rows × \(data.preprocessing.columns) columns"
    )
    let fitted = try configuration.family.fit(
      FitContext(
        task: data.task, classCount: data.labels.count, train: data.samples(data.split.train),
        validation: data.samples(data.split.validation), model: configuration.document["model"],
        training: configuration.document["training"], seed: configuration.seed, progress: observer.epoch))
    let fitSeconds = Double(Instant.now().microseconds(since: start)) / 1e6

    var builder = GraphBuilder(inputColumns: data.preprocessing.schema.features.count)
    let input = data.preprocessing.export(into: &builder)
    let output = fitted.exportGraph(into: &builder, input: input)
    let graph = builder.finish(task: data.task, rawOutputs: output)

    observer.stage("measuring on the serving engine")
    let judge = try Judge(data, configuration)
    let fp32 = try judge.judge(graph)
    let (decision, chosen) = try judge.quantise(graph, fp32)
    observer.stage("recording golden samples and the drift baseline")
    return try assemble(data, judge, fitted, decision, fp32: fp32, chosen: chosen, fitSeconds: fitSeconds)
  }

  private func assemble(
    _ data: PreparedData, _ judge: Judge, _ fitted: any FittedModel, _ decision: QuantisationGate.Decision,
    fp32: Verdict, chosen: Verdict, fitSeconds: Double
  ) throws(TrainingError) -> TrainedModel {
    let typical = data.split.test.map { row in
      (
        number: data.dataset.features.rowNumbers[row],
        cells: data.preprocessing.cells(of: data.dataset.features, row: row)
      )
    }
    let golden = try GoldenRecorder(model: chosen.compiled).record(typical: typical, training: judge.trainCells)
    do {
      try GoldenCheck.run(golden, on: chosen.compiled)
    } catch {
      throw .fit("the trained model disagrees with its own samples: \(error)")
    }
    let drift = DriftRecorder.record(
      features: data.dataset.features, rows: data.split.train,
      prediction: try judge.trainingAnswers(chosen, labels: data.labels))
    var metrics: [String: Double] = [:]
    for (part, evaluation) in [("validation", chosen.validation), ("test", chosen.test)] {
      for figure in evaluation.figures { metrics["\(part).\(figure.name)"] = figure.value }
    }
    if !decision.int8Layers.isEmpty {
      for figure in fp32.test.figures { metrics["fp32.test.\(figure.name)"] = figure.value }
    }
    let lineage = Lineage(
      trainerVersion: needletailVersion, dataSHA256: data.dataset.sha256, configuration: configuration.document.yaml,
      seed: configuration.seed, parent: "", family: configuration.family.name, rows: data.split.train.count,
      quantisation: decision.reason)
    let contents = BundleContents(
      definition: chosen.definition, golden: golden, drift: drift,
      metrics: metrics.filter { $0.value.isFinite }, lineage: lineage)
    return TrainedModel(
      configuration: configuration, contents: contents, data: data, fp32: fp32, chosen: chosen, decision: decision,
      notes: fitted.notes, fitSeconds: fitSeconds)
  }
}
