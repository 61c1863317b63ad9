internal import NeedletailBundle
public import NeedletailCore

/// Writes the course of one training run into the experiment store.
///
/// A store that can no longer be written ends the record with a warning, not the training: the model is worth more. Only
/// the thread that trains may use a recorder.
public final class RunRecorder {
  private let store: ExperimentStore?
  /// Number of the run; nil where nothing is recorded.
  public private(set) var run: Int?
  /// Values that are not in the store yet.
  private var pending: [RunMetric] = []
  private var lastWritten: Instant?
  private let warning: (String) -> Void
  /// Server that gets a copy; nil: none.
  private let mlflow: MLflowServer?
  private let tracking: Document

  /// Time between two writes of a curve: each is a transaction, and some families report a thousand steps a second.
  private static let writeMicroseconds: UInt32 = 500_000

  /// Opens the store and begins the run.
  ///
  /// - Parameters:
  ///   - files: those that the run will leave.
  ///   - warning: hears why nothing is recorded, or no more.
  /// - Throws: `TrainingError` where the store that the run file names cannot be used. The usual store, which nobody asked
  ///   for, is only warned of. Also where `tracking.mlflow` names no server that answers.
  public init(
    _ configuration: RunConfiguration, files: RunFiles, warning: @escaping (String) -> Void
  ) throws(TrainingError) {
    self.warning = warning
    tracking = configuration.document["tracking"]
    mlflow = try tracking["mlflow"].text.map { (address) throws(TrainingError) in
      let server = try MLflowServer(
        address, setting: "\(configuration.location(of: "tracking.mlflow")): tracking.mlflow")
      try server.check()
      return server
    }
    guard tracking["record"].flag ?? true else {
      guard mlflow == nil else {
        throw .configuration(
          configuration.location(of: "tracking.mlflow"),
          "tracking.mlflow: expected tracking.record: true, from which the copy is made, found false")
      }
      store = nil
      return
    }
    let own = tracking["path"].text.map(configuration.path(of:))
    guard let path = own ?? ExperimentStore.defaultPath else {
      guard mlflow == nil else { throw .output("tracking.path: expected a file, found neither one nor a home") }
      warning("the run is not recorded: no home directory; set tracking.path, or tracking.record: false")
      store = nil
      return
    }
    do throws(TrainingError) {
      let store = try ExperimentStore(path: path)
      let run = try store.begin(
        model: configuration.model.name, family: configuration.family.name,
        configuration: configuration.document.yaml, directory: files.absolutePath)
      try store.add(parameters: Self.parameters(configuration.document), to: run)
      self.store = store
      self.run = run
    } catch {
      if own != nil || mlflow != nil { throw error }
      warning("the run is not recorded: \(error.message); set tracking.path, or tracking.record: false")
      store = nil
    }
  }

  /// Every setting that has one value, or a list of them, by its path.
  static func parameters(_ document: Document, path: String = "") -> [(key: String, value: String)] {
    switch document {
    case .null: []
    case .section(let entries):
      entries.flatMap { parameters($0.value, path: path.isEmpty ? $0.key : "\(path).\($0.key)") }
    case .text(let text): [(path, text)]
    case .list, .flag, .integer, .number: [(path, String(document.json.dropLast()))]
    }
  }

  /// Records a step of the training.
  public func add(_ report: EpochReport) {
    guard run != nil else { return }
    let metric = report.metricName == "R²" ? "r2" : report.metricName
    pending.append(RunMetric("training.loss", step: report.epoch, report.loss))
    if let loss = report.validationLoss { pending.append(RunMetric("validation.loss", step: report.epoch, loss)) }
    if let value = report.validationMetric {
      pending.append(RunMetric("validation.\(metric)", step: report.epoch, value))
    }
    let now = Instant.now()
    if let lastWritten, now.microseconds(since: lastWritten) < Self.writeMicroseconds { return }
    lastWritten = now
    write { (store, run, pending) throws(TrainingError) in try store.add(pending, to: run) }
  }

  /// Ends the record of a run that made a model.
  public func finish(_ trained: TrainedModel, files: RunFiles, version: ModelVersion, bundleBytes: Int) {
    let figures =
      trained.contents.metrics.sorted { $0.key < $1.key }.map { RunMetric($0.key, $0.value) } + [
        RunMetric("fit_seconds", trained.fitSeconds),
        RunMetric("microseconds_per_row", trained.microsecondsPerRow),
        RunMetric("bundle_bytes", Double(bundleBytes)),
      ]
    write { (store, run, pending) throws(TrainingError) in
      try store.finish(
        run, .trained, metrics: pending + figures, artifacts: files.artifacts, directory: files.absolutePath,
        dataSHA256: trained.contents.lineage?.dataSHA256 ?? "", version: Int(clamping: version.number))
    }
  }

  /// Notes that the run's model is in a store, or why it is not.
  ///
  /// - Parameter path: the bundle there; nil: it was not good enough.
  public func publish(version: ModelVersion, path: String?, comparison: ServingComparison?) {
    let metrics = comparison?.metrics ?? []
    write { (store, run, _) throws(TrainingError) in
      guard let path else { return try store.add(metrics, to: run) }
      try store.publish(run, version: Int(clamping: version.number), path: path, metrics: metrics)
    }
  }

  /// Copies the run to the MLflow server of the run file.
  ///
  /// - Returns: page of the run there; nil where none is asked for, or it failed, which is only warned of.
  public func export() -> String? {
    guard let mlflow, let store, let run else { return nil }
    do throws(TrainingError) {
      return try MLflowExport(
        store, to: mlflow, experiment: tracking["experiment"].text, isRegistered: tracking["register"].flag ?? false,
        alias: tracking["alias"].text
      ).export(run).page
    } catch {
      warning("\(error.message); to try again: needletail-trainer runs export \(run) --mlflow \(mlflow.address)")
      return nil
    }
  }

  /// Writes down that the user ended the run. Any thread may call it.
  public var interruption: @Sendable () -> Void {
    let (store, run) = (store, run)
    return {
      guard let store, let run else { return }
      try? store.finish(run, .interrupted, message: "ended by the user")
    }
  }

  /// Ends the record of a run that made none.
  public func finish(_ state: RunRecord.State, _ message: String) {
    write { (store, run, pending) throws(TrainingError) in
      try store.finish(run, state, message: message, metrics: pending)
    }
  }

  private func write(_ body: (ExperimentStore, Int, [RunMetric]) throws(TrainingError) -> Void) {
    guard let store, let run else { return }
    do throws(TrainingError) {
      try body(store, run, pending)
      pending.removeAll(keepingCapacity: true)
    } catch {
      self.run = nil
      warning("the run is no longer recorded: \(error.message)")
    }
  }
}
