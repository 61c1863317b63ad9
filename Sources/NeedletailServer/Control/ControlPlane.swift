internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailServing
internal import NeedletailWire
internal import Synchronization

/// Answers everything but predictions. Ordinary code for any thread: it makes text and takes locks.
///
/// What it says of models is one value, the ``StoreStatus`` of the model store; the files of `Reports.swift` and `Page/`
/// render it.
final class ControlPlane: Sendable {
  let readiness: Readiness
  let store: ModelStore
  let registry: ModelRegistry
  let metrics: MetricsRegistry
  private let allowsUnsigned: Bool
  /// Nil: no predictions are remembered.
  private let feedback: FeedbackService?
  private let names: CallKeyHasher
  /// What the server says of itself; the same from start to end.
  private let serverInfo: ServerInfoReport

  init(
    readiness: Readiness, store: ModelStore, registry: ModelRegistry, metrics: MetricsRegistry, allowsUnsigned: Bool,
    serverInfo: ServerInfoReport, feedback: FeedbackService? = nil, names: CallKeyHasher = CallKeyHasher()
  ) {
    self.readiness = readiness
    self.store = store
    self.registry = registry
    self.metrics = metrics
    self.allowsUnsigned = allowsUnsigned
    self.serverInfo = serverInfo
    self.feedback = feedback
    self.names = names
  }

  /// Runs on the concurrent pool, off the event loops.
  /// - Parameter caller: who made a call that changes something.
  @concurrent func answer(_ call: ControlCall, _ caller: Caller? = nil) async -> ControlAnswer {
    do throws(ServingError) {
      switch call {
      case .health: return .health(health)
      case .metrics: return .metrics(metricsText)
      case .listModels: return .models(ModelListReport(store.status))
      case .events(let after, let limit): return .events(events(after: after, limit: limit))
      case .rollout(let model, let undo):
        if let undo { try await undoRollout(of: model, undo, caller) }
        return .rollout(try rollout(of: model))
      case .describeModel(let reference): return .description(try describe(reference))
      case .serverInfo: return .serverInfo(serverInfo)
      case .feedback(let order): return .feedback(try take(order))
      }
    } catch {
      return .error(readiness.judged(error))
    }
  }

  /// Where other parts of the server report what happened.
  var eventLog: EventLog { store.eventLog }

  /// Prometheus text format 0.0.4.
  var metricsText: String { metrics.render() }

  private var health: HealthReport {
    HealthReport(
      live: true, ready: readiness.obstacle == nil, models: store.status.models.map(ModelStatusReport.init))
  }

  /// Everything that the status page shows.
  var status: ServerStatus {
    ServerStatus(
      version: needletailVersion, isa: InstructionSet.selected.rawValue, obstacle: readiness.obstacle,
      nowMilliseconds: Moment.now().milliseconds, startedMilliseconds: store.eventLog.beganMilliseconds,
      residentBytes: ProcessFigures.residentBytes().map { UInt64(max(0, $0)) }, allowsUnsigned: allowsUnsigned,
      store: store.status, events: store.eventLog.last(Limits.eventsMax),
      drift: registry.current.entries.flatMap(\.live).compactMap(VersionDrift.init),
      feedback: registry.current.entries.flatMap(\.live).compactMap { live in
        feedback?.report(of: live).flatMap { VersionFeedback(live, $0) }
      },
      experiments: store.experiments.reports)
  }

  // MARK: feedback

  /// - Throws: `.unimplemented` where nothing is remembered, `.notFound` for a model that the store does not hold, and
  ///   what reading the outcomes throws.
  private func take(_ order: FeedbackOrder) throws(ServingError) -> FeedbackReport {
    guard !order.model.isEmpty else {
      throw .invalidArgument("model: expected a name, found none", ErrorDetail(field: "model"))
    }
    guard let feedback else {
      throw .unimplemented("feedback: expected a server with feedback.rules, found one without")
    }
    guard registry.current.entries.contains(where: { $0.model.name == order.model }) else {
      // The error names the model that was meant.
      _ = try registry.current.model(named: order.model)
      throw .notFound("model \(order.model.quotedForMessage): not found", ErrorDetail(field: "model"))
    }
    let outcomes = try order.outcomes().map { $0.named(names) }
    guard let results = feedback.take(outcomes, of: order.model) else {
      throw .unimplemented(
        "feedback: expected a model that feedback.rules are about, found \(order.model.quotedForMessage)")
    }
    return FeedbackReport(results)
  }

  /// At most `limit` events after a sequence number, oldest first; a limit of 0 stands for all.
  func events(after sequence: UInt64, limit: UInt32) -> EventListReport {
    let log = store.eventLog
    return EventListReport(
      log.page(after: sequence, limit: limit == 0 ? log.capacity : Int(limit)), beganMilliseconds: log.beganMilliseconds
    )
  }

  // MARK: rollouts

  /// - Throws: `.notFound`, or `.invalidArgument` for no name.
  private func rollout(of name: String) throws(ServingError) -> RolloutReport {
    let detail = ErrorDetail(field: "model")
    guard !name.isEmpty else { throw .invalidArgument("model: expected a name, found none", detail) }
    let status = store.status
    guard let model = status.model(name) else {
      let nearest = Suggestion.nearest(to: name, among: status.models.lazy.map(\.model.name))
      throw ServingError(
        .notFound, "model \(name.quotedForMessage): not found", suggestedModel: nearest, detail: detail)
    }
    let shadow = registry.current.entries.first { $0.model == model.model }?.shadowModel
    var report = RolloutReport(
      model, shadow: shadow.map { ShadowCounters($0, metrics: metrics) },
      isDurable: store.isStateDurable && status.stateProblem.isEmpty)
    report.stateProblem = status.stateProblem
    return report
  }

  /// Takes a step of a rollout back, and leaves in the audit trail who asked for it and what came of it.
  private func undoRollout(of name: String, _ undo: RolloutUndo, _ caller: Caller?) async throws(ServingError) {
    do throws(ServingError) {
      try await undoRollout(of: name, undo)
    } catch {
      if let caller { AuditLog.undo(of: name, undo, caller, failure: error, in: eventLog) }
      throw error
    }
    if let caller { AuditLog.undo(of: name, undo, caller, failure: nil, in: eventLog) }
  }

  /// - Throws: what ``ModelStore/undoRollout(_:)`` throws.
  private func undoRollout(of name: String, _ undo: RolloutUndo) async throws(ServingError) {
    let model = try ModelID(rollout(of: name).model)
    var version: ModelVersion?
    if undo.version != 0 { version = ModelVersion(undo.version) }
    try await store.undoRollout(UndoOrder(model, from: version, isForced: undo.isForced))
  }

  // MARK: descriptions

  /// - Throws: `.notFound`, or `.unavailable` while the version is on its way.
  private func describe(_ reference: ModelReference) throws(ServingError) -> ModelDescription {
    let live = try find(reference)
    var description = ModelDescription(live)
    description.status = store.status.model(live.model.name)?.version(live.version.number).map(VersionReport.init)
    return description
  }

  private func find(_ reference: ModelReference) throws(ServingError) -> LiveModel {
    let table = registry.current
    switch reference.selector {
    case .serving: return try table.model(named: reference.model)
    case .version(let number): return try table.model(named: reference.model, selector: .version(number))
    case .label(var label):
      let found: Result<LiveModel, ServingError> = label.withUTF8 { bytes in
        do throws(ServingError) {
          return .success(try table.model(named: reference.model, selector: .label(UnsafeRawBufferPointer(bytes))))
        } catch {
          return .failure(error)
        }
      }
      return try found.get()
    }
  }
}

/// Whether the server takes traffic, and if not, why: one line for people and load balancers.
final class Readiness: Sendable {
  private let isStopping = Atomic(false)
  private let isScanDone = Atomic(false)
  private let store: ModelStore

  init(store: ModelStore) { self.store = store }

  /// From here on the server is not ready.
  func stop() { isStopping.store(true, ordering: .relaxed) }

  /// Whether the store's first scan has been dealt with: a model that is not found from then on does not exist.
  var hasScanned: Bool {
    if isScanDone.load(ordering: .relaxed) { return true }
    guard store.isSettled else { return false }
    isScanDone.store(true, ordering: .relaxed)
    return true
  }

  /// The error as a caller is to take it: before the first scan of the store, "not found" may only mean "not yet".
  func judged(_ error: ServingError) -> ServingError {
    guard error.code == .notFound, !hasScanned else { return error }
    return .unavailable("the server is still reading its store: \(error.message)")
  }

  /// Why the server is not ready; nil if it is.
  var obstacle: String? {
    if isStopping.load(ordering: .relaxed) { return "the server is stopping" }
    let obstacle = store.obstacle
    return obstacle.isEmpty ? nil : obstacle
  }
}
