internal import Foundation
internal import NeedletailCore
internal import NeedletailCrypto

/// Copies recorded runs to an MLflow server: parameters, metrics of every step, files, and a version in its registry.
public struct MLflowExport {
  private let store: ExperimentStore
  private let server: MLflowServer
  private let experiment: String?
  private let alias: String?
  private let isRegistered: Bool

  /// Items of one call, which the API bounds: 1,000 metrics, 100 parameters, 1,000 of both.
  private static let metricsMax = 800
  private static let parametersMax = 100
  private static let valueCharactersMax = 6000
  private static let keyCharactersMax = 250

  /// - Parameters:
  ///   - experiment: name of the experiment, which is made if it is not there; nil: the model's.
  ///   - isRegistered: true makes a version of the registered model of the model's name.
  ///   - alias: name that then points to this version.
  public init(
    _ store: ExperimentStore, to server: MLflowServer, experiment: String? = nil, isRegistered: Bool = false,
    alias: String? = nil
  ) {
    self.store = store
    self.server = server
    self.experiment = experiment
    self.isRegistered = isRegistered || alias != nil
    self.alias = alias
  }

  /// A run on the server.
  public struct Exported: Equatable, Sendable {
    public var runID: String
    public var experimentID: String
    /// Page of the run.
    public var page: String
    /// Version in the registry; nil where it was not asked for.
    public var version: String?
    /// True where the run was there already, whole.
    public var wasThere: Bool
  }

  /// Exports a run, and the trials of a study with it. A run that is there already is not made again; what an export
  /// that was cut off left there is deleted first.
  ///
  /// - Throws: `TrainingError` of kind `output` in the server's words.
  public func export(_ id: Int) throws(TrainingError) -> Exported {
    let run = try store.run(id)
    guard run.state != .running else {
      throw .output("run \(id): expected one that has ended, found it running")
    }
    let experimentID = try experimentID(experiment ?? run.model)
    return try export(run, experimentID, parent: nil)
  }

  private func export(
    _ run: RunRecord, _ experimentID: String, parent: String?
  ) throws(TrainingError) -> Exported {
    let identity = identity(run)
    if let found = try find(identity, experimentID) {
      if found.isWhole {
        return Exported(
          runID: found.id, experimentID: experimentID, page: page(experimentID, found.id), version: nil, wasThere: true)
      }
      _ = try call("POST", "runs/delete", [.init("run_id", .text(found.id))])
    }
    let created = try call(
      "POST", "runs/create",
      [
        .init("experiment_id", .text(experimentID)), .init("run_name", .text("\(run.model)-\(run.id)")),
        .init("start_time", .integer(Int(clamping: run.startedMilliseconds))),
        .init("tags", .list(tags(run, identity, parent))),
      ])
    let info = created["run"]["info"]
    guard let runID = info["run_id"].text, let artifacts = info["artifact_uri"].text else {
      throw .output("MLflow at \(server.address): expected a run with an id, found \(created.json.quotedForMessage)")
    }
    try log(run, runID)
    let hasFiles = try upload(run, artifacts)
    var version: String?
    if isRegistered, parent == nil, hasFiles { version = try register(run, runID, source: artifacts) }
    for trial in try store.runs(parent: run.id) where trial.state != .running {
      _ = try export(trial, experimentID, parent: runID)
    }
    // The last call says that everything before it arrived.
    let ended = run.endedMilliseconds ?? run.startedMilliseconds
    let status =
      switch run.state {
      case .finished, .trained, .published: "FINISHED"
      case .failed: "FAILED"
      case .interrupted, .lost, .running: "KILLED"
      }
    _ = try call(
      "POST", "runs/update",
      [
        .init("run_id", .text(runID)), .init("status", .text(status)),
        .init("end_time", .integer(Int(clamping: ended))),
      ])
    return Exported(
      runID: runID, experimentID: experimentID, page: page(experimentID, runID), version: version, wasThere: false)
  }

  private func call(_ method: String, _ path: String, _ body: [Document.Entry]) throws(TrainingError) -> Document {
    try server.required { () throws(MLflowServer.Fault) in try server.call(method, path, .section(body)) }
  }

  private func page(_ experimentID: String, _ runID: String) -> String {
    "\(server.address)/#/experiments/\(experimentID)/runs/\(runID)"
  }

  /// Text that is the same for each export of a run, and another for every other run.
  private func identity(_ run: RunRecord) -> String {
    var hash = SHA256()
    for text in [URL(fileURLWithPath: store.path).standardizedFileURL.path, "\(run.id)", "\(run.startedMilliseconds)"] {
      Array((text + "\n").utf8).withUnsafeBytes { hash.update($0) }
    }
    return String(Hex.text(hash.finalize()).prefix(32))
  }

  // MARK: - steps

  private func experimentID(_ name: String) throws(TrainingError) -> String {
    let found = try server.required { () throws(MLflowServer.Fault) -> Document in
      do throws(MLflowServer.Fault) {
        return try server.call("GET", "experiments/get-by-name", .section([.init("experiment_name", .text(name))]))
      } catch {
        guard error.code == "RESOURCE_DOES_NOT_EXIST" else { throw error }
        return .null
      }
    }
    if let id = found["experiment"]["experiment_id"].text { return id }
    // MLflow 3 then shows the pages of models rather than those of language models.
    let made = try call(
      "POST", "experiments/create",
      [
        .init("name", .text(name)),
        .init("tags", .list([Self.pair("mlflow.experimentKind", "custom_model_development")])),
      ])
    guard let id = made["experiment_id"].text else {
      throw .output("MLflow at \(server.address): expected an experiment with an id, found none")
    }
    return id
  }

  private func find(_ identity: String, _ experimentID: String) throws(TrainingError) -> (id: String, isWhole: Bool)? {
    let found = try call(
      "POST", "runs/search",
      [
        .init("experiment_ids", .list([.text(experimentID)])),
        .init("filter", .text("tags.`needletail.identity` = '\(identity)'")), .init("max_results", .integer(1)),
      ])
    let info = found["runs"].elements.first?["info"] ?? .null
    return info["run_id"].text.map { ($0, info["status"].text != "RUNNING") }
  }

  private func tags(_ run: RunRecord, _ identity: String, _ parent: String?) -> [Document] {
    var tags = [
      ("mlflow.source.name", "needletail-trainer"), ("mlflow.source.type", "JOB"), ("needletail.identity", identity),
      ("needletail.run", "\(run.id)"), ("needletail.kind", run.kind), ("needletail.model", run.model),
      ("needletail.family", run.family), ("needletail.data_sha256", run.dataSHA256),
    ]
    if let version = run.version { tags.append(("needletail.version", "\(version)")) }
    if !run.message.isEmpty { tags.append(("needletail.message", String(run.message.prefix(4000)))) }
    if let parent { tags.append(("mlflow.parentRunId", parent)) }
    return tags.filter { !$0.1.isEmpty }.map { Self.pair($0.0, $0.1) }
  }

  private static func pair(_ key: String, _ value: String) -> Document {
    .section([.init("key", .text(key)), .init("value", .text(value))])
  }

  /// Names in MLflow are made of letters, digits and a few marks.
  static func key(_ text: String) -> String {
    let kept = text.unicodeScalars.map { scalar in
      scalar.isASCII && (scalar.properties.isAlphabetic || "0123456789_-. :/".unicodeScalars.contains(scalar))
        ? Character(scalar) : "_"
    }
    return String(String(kept).prefix(keyCharactersMax))
  }

  private func log(_ run: RunRecord, _ runID: String) throws(TrainingError) {
    var seen: Set<String> = []
    let parameters = try store.parameters(of: run.id).compactMap { parameter -> Document? in
      let key = Self.key(parameter.key)
      // A parameter of MLflow keeps its first value, and another one would be an error.
      guard seen.insert(key).inserted else { return nil }
      return Self.pair(key, String(parameter.value.prefix(Self.valueCharactersMax)))
    }
    for start in stride(from: 0, to: parameters.count, by: Self.parametersMax) {
      let part = parameters[start..<min(start + Self.parametersMax, parameters.count)]
      _ = try call("POST", "runs/log-batch", [.init("run_id", .text(runID)), .init("params", .list(Array(part)))])
    }
    let metrics = try store.metrics(of: run.id).filter(\.value.isFinite).map { metric in
      Document.section([
        .init("key", .text(Self.key(metric.key))), .init("value", .number(metric.value)),
        .init("timestamp", .integer(Int(clamping: metric.milliseconds))), .init("step", .integer(metric.step)),
      ])
    }
    for start in stride(from: 0, to: metrics.count, by: Self.metricsMax) {
      let part = metrics[start..<min(start + Self.metricsMax, metrics.count)]
      _ = try call("POST", "runs/log-batch", [.init("run_id", .text(runID)), .init("metrics", .list(Array(part)))])
    }
  }

  /// - Returns: whether the run has files that are there.
  private func upload(_ run: RunRecord, _ uri: String) throws(TrainingError) -> Bool {
    let artifacts = try store.artifacts(of: run.id).filter { FileManager.default.fileExists(atPath: $0.path) }
    guard !artifacts.isEmpty else { return false }
    let scheme = "mlflow-artifacts:"
    guard uri.hasPrefix(scheme) else {
      throw .output(
        "MLflow at \(server.address): expected artifacts that the server keeps (mlflow server --serve-artifacts), found "
          + uri.quotedForMessage)
    }
    var directory = uri.dropFirst(scheme.count)
    // mlflow-artifacts://host/path names another server; its path is all that is needed here.
    if directory.hasPrefix("//") { directory = directory.dropFirst(2).drop { $0 != "/" } }
    for artifact in artifacts {
      try server.required { () throws(MLflowServer.Fault) in
        try server.upload(artifact.path, as: artifact.name, to: String(directory))
      }
    }
    return true
  }

  private func register(_ run: RunRecord, _ runID: String, source: String) throws(TrainingError) -> String {
    try server.required { () throws(MLflowServer.Fault) in
      do throws(MLflowServer.Fault) {
        try server.call(
          "POST", "registered-models/create",
          .section([
            .init("name", .text(run.model)),
            .init("tags", .list([Self.pair("needletail.model", run.model)])),
          ]))
      } catch {
        guard error.code == "RESOURCE_ALREADY_EXISTS" else { throw error }
      }
    }
    let made = try call(
      "POST", "model-versions/create",
      [
        .init("name", .text(run.model)), .init("source", .text(source)), .init("run_id", .text(runID)),
        .init("description", .text("needletail-trainer run \(run.id), \(run.family); the bundle is model.ntb.")),
      ])
    guard
      let version = made["model_version"]["version"].text ?? made["model_version"]["version"].integer.map({ "\($0)" })
    else { throw .output("MLflow at \(server.address): expected a version of the model, found none") }
    if let alias {
      _ = try call(
        "POST", "registered-models/alias",
        [.init("name", .text(run.model)), .init("alias", .text(alias)), .init("version", .text(version))])
    }
    return version
  }
}
