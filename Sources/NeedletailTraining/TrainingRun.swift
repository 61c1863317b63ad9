internal import NeedletailBLAS
public import NeedletailBundle
public import NeedletailCore
internal import NeedletailEngine

/// One run from the run file to a bundle's contents: read, split, fit, compile, evaluate, quantise, record.
public struct TrainingRun {
  public let configuration: RunConfiguration
  let observer: RunObserver
  let checkpointing: Checkpointing?
  private let incumbent: Incumbent?
  private let parent: String

  /// Where and when a run saves the state of its training, for families that can.
  public struct Checkpointing {
    /// File of the state.
    public var path: String
    /// True goes on from the file.
    public var isResuming: Bool
    /// Whether the user asks the training to save its state and stop.
    public var isStopping: () -> Bool

    public init(path: String, isResuming: Bool, isStopping: @escaping () -> Bool) {
      self.path = path
      self.isResuming = isResuming
      self.isStopping = isStopping
    }
  }

  /// - Parameters:
  ///   - checkpointing: nil saves nothing.
  ///   - incumbent: version that the model will be compared with, which the data has to allow; nil: none.
  ///   - parent: digest of the bundle that this one follows, for its lineage; empty: none.
  public init(
    _ configuration: RunConfiguration, observer: RunObserver = RunObserver(), checkpointing: Checkpointing? = nil,
    incumbent: Incumbent? = nil, parent: String = ""
  ) {
    self.configuration = configuration
    self.observer = observer
    self.checkpointing = checkpointing
    self.incumbent = incumbent
    self.parent = parent
  }

  /// Trains. Nothing is written.
  ///
  /// - Throws: `TrainingError` that says the first thing that is wrong with the configuration, the data, or the fit.
  public func run() throws(TrainingError) -> TrainedModel {
    BLAS.useOneThread()
    let start = Instant.now()
    let fileCount = configuration.request.files.count
    observer.stage("reading \(fileCount == 1 ? "1 file" : "\(fileCount) files")")
    let data = try PreparedData(configuration)
    for warning in data.warnings { observer.warning(warning) }
    try EvaluationSettings(configuration.document).check(data, configuration)
    try incumbent?.check(data)
    // What a second fit forbids shows before the first one.
    if configuration.isRefitting { _ = try configuration.refitting(bestStep: 0) }
    observer.stage(
      "fitting \(configuration.family.name) on \(Figures.count(data.split.train.count)) rows × \(data.preprocessing.columns) columns"
    )
    var history: [EpochReport] = []
    var alarms = TrainingAlarms()
    let checkpoints = try checkpoints(data)
    let fitted = try configuration.family.fit(data, configuration, checkpoints: checkpoints) { report in
      history.append(report)
      observer.epoch(report)
      for sentence in alarms.observe(report) { observer.warning(sentence) }
    }
    let fitSeconds = Double(Instant.now().microseconds(since: start)) / 1e6

    var trained = try finish(data, fitted, fitSeconds: fitSeconds)
    trained.history = history
    if configuration.isRefitting { try refit(&trained) }
    checkpoints?.remove()
    return trained
  }

  /// Compiles and measures a fitted model, and records what its bundle says.
  func finish(
    _ data: PreparedData, _ fitted: any FittedModel, fitSeconds: Double
  ) throws(TrainingError) -> TrainedModel {
    let graph = try data.graph(of: fitted)
    observer.stage("measuring on the serving engine")
    let evaluator = Evaluator(data, configuration)
    var fp32 = try evaluator.evaluate(graph)
    let (decision, quantised) = try evaluator.quantise(graph, fp32)
    var chosen = quantised
    let threshold = EvaluationSettings(configuration.document).threshold(
      chosen.validation, targets: data.targets(data.split.validation), weights: data.weights(data.split.validation))
    if let threshold {
      let isQuantised = !decision.int8Layers.isEmpty
      chosen = try evaluator.evaluate(chosen.definition.graph.deciding(at: threshold.threshold))
      fp32 = isQuantised ? try evaluator.evaluate(graph.deciding(at: threshold.threshold)) : chosen
    }
    observer.stage("recording golden samples and the drift baseline")
    return try assemble(
      data, evaluator, fitted, decision, threshold, fp32: fp32, chosen: chosen, fitSeconds: fitSeconds)
  }

  private func checkpoints(_ data: PreparedData) throws(TrainingError) -> Checkpoints? {
    guard let checkpointing else { return nil }
    guard configuration.family.usesCheckpoints else {
      guard checkpointing.isResuming else { return nil }
      let others = configuration.families.filter(\.usesCheckpoints).names.joined(separator: " or ")
      throw .configuration(
        configuration.location(of: "model.family"),
        "--resume: expected a family that keeps checkpoints, such as \(others), found \(configuration.family.name)")
    }
    return try Checkpoints(
      path: checkpointing.path, settings: configuration.document, dataSHA256: data.dataset.sha256,
      isResuming: checkpointing.isResuming,
      saveSeconds: configuration.document["training"]["checkpoint_seconds"].integer ?? 30,
      isStopping: checkpointing.isStopping)
  }

  /// Records what a bundle says beside its graph: golden samples, drift baseline, metrics and lineage.
  private func assemble(
    _ data: PreparedData, _ evaluator: Evaluator, _ fitted: any FittedModel, _ decision: QuantisationGate.Decision,
    _ threshold: ChosenThreshold?, fp32: EvaluationReport, chosen: EvaluationReport, fitSeconds: Double
  ) throws(TrainingError) -> TrainedModel {
    let (golden, drift) = try recordings(data, evaluator, chosen)
    var metrics: [String: Double] = [:]
    for (part, evaluation) in [("validation", chosen.validation), ("test", chosen.test)] {
      for figure in evaluation.figures { metrics["\(part).\(figure.name)"] = figure.value }
      for figure in evaluation.weighted { metrics["\(part)_weighted.\(figure.name)"] = figure.value }
    }
    if !decision.int8Layers.isEmpty {
      for figure in fp32.test.figures { metrics["fp32.test.\(figure.name)"] = figure.value }
    }
    if let threshold { metrics["threshold.\(threshold.metric.rawValue)"] = threshold.threshold }
    var importance = data.preprocessing.sources.importance(
      of: data.preprocessing.schema.features, from: fitted.importance)
    if !importance.isEmpty {
      observer.stage("measuring the importance of \(Figures.count(importance.count)) features")
      importance = try evaluator.measureUse(importance, chosen)
    }
    let lineage = Lineage(
      trainerVersion: needletailVersion, dataSHA256: data.dataset.sha256, configuration: configuration.document.yaml,
      seed: configuration.seed, parent: parent, family: configuration.family.name, rows: data.split.train.count,
      quantisation: decision.reason)
    let contents = BundleContents(
      definition: chosen.definition, golden: golden, drift: drift,
      metrics: metrics.filter { $0.value.isFinite }, lineage: lineage)
    return TrainedModel(
      configuration: configuration, contents: contents, data: data, fp32: fp32, chosen: chosen, decision: decision,
      threshold: threshold, notes: fitted.notes, cost: fitted.cost, importance: importance, fitSeconds: fitSeconds)
  }
}

/// Result of a run: a bundle's contents, and the figures behind it.
public struct TrainedModel {
  public let configuration: RunConfiguration
  public internal(set) var contents: BundleContents
  let data: PreparedData
  /// Report of the graph as it was fitted, in fp32.
  let fp32: EvaluationReport
  /// Report of the graph that was judged, which is the one that the bundle holds unless it was fitted again.
  let chosen: EvaluationReport
  let decision: QuantisationGate.Decision
  /// Threshold for the second of two classes, where the run file asks for one.
  let threshold: ChosenThreshold?
  /// Progress of the training, in order; empty for families without rounds or epochs.
  public internal(set) var history: [EpochReport] = []
  /// Sentences of the family about its training.
  public internal(set) var notes: [String]
  /// Parameters that learned, memory and time; null for families that do not tell.
  let cost: Document
  /// Answers for the test rows of a model that was fitted again on all rows, which is the one in the bundle; nil: the
  /// bundle holds the model that was judged.
  var refitted: Evaluation?
  /// Use that the model makes of each feature; empty for families that do not tell.
  public let importance: [FeatureImportance]
  /// Time from the start of the run to the fitted model, reading included.
  public let fitSeconds: Double

  /// `int8`, `fp32` or `mixed`.
  public var precision: String { chosen.compiled.plan.precision }
  /// Median time of one row alone on the serving engine.
  public var microsecondsPerRow: Double { chosen.microsecondsPerRow }
  public var testFigures: [Metrics.Figure] { chosen.test.figures }
  public var fp32TestFigures: [Metrics.Figure] { fp32.test.figures }
  public var quantisation: String { decision.reason }
  public var warnings: [String] { data.warnings }

  /// The bundle's file, read back and checked against its golden samples before it is handed out.
  ///
  /// - Parameter keys: sign the bundle; without any it stays unsigned.
  /// - Throws: `TrainingError` of kind `output`.
  public func encode(version: ModelVersion, signing keys: [SigningKey]) throws(TrainingError) -> [UInt8] {
    try contents.encode(
      model: configuration.model, version: version, expiresDays: configuration.expiresDays, signing: keys)
  }
}

extension ModelFamily {
  /// Brings the rows into the family's form and fits it.
  func fit(
    _ data: PreparedData, _ configuration: RunConfiguration, checkpoints: Checkpoints? = nil,
    progress: @escaping (EpochReport) throws(TrainingError) -> Void
  ) throws(TrainingError) -> any FittedModel {
    try prepare(data)(configuration, checkpoints, progress)
  }
}

/// Closures that hear how a run goes, on the thread that trains.
public struct RunObserver {
  /// A stage begins: `reading 1 file`.
  public var stage: (String) -> Void
  /// An epoch has ended.
  public var epoch: (EpochReport) -> Void
  /// The run goes on, but the user should know this.
  public var warning: (String) -> Void

  public init(
    stage: @escaping (String) -> Void = { _ in }, epoch: @escaping (EpochReport) -> Void = { _ in },
    warning: @escaping (String) -> Void = { _ in }
  ) {
    self.stage = stage
    self.epoch = epoch
    self.warning = warning
  }
}

extension TrainingError {
  init(_ error: PlanError) { self.init(.fit, "compiling the trained model: \(error)") }
  init(_ error: ServingError) { self.init(.fit, "running the trained model: \(error.message)") }
  init(_ error: BundleError) { self.init(.output, error.message) }
}
