internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics

/// What the control loop does for rollouts beside the planner: remembers them on disk, tells of them,
/// and asks the guard.
struct RolloutKeeper {
  private let state: StateDirectory
  private let metrics: MetricsRegistry
  private let eventLog: EventLog
  private let stateErrors: Counter
  private var written = RolloutMemoryFile()
  private var watch = RolloutGuard()
  /// Versions of which it was said that there is nothing to fall back to.
  private var alarmed: Set<VersionKey> = []
  /// Shares as last shown.
  private var shown: [VersionKey: Double] = [:]
  /// Shadows that are given no rows of some version, and why.
  private var refusedShadows: [VersionKey: String] = [:]

  static let shareName = "needletail_traffic_share"
  static let refusedShadowName = "needletail_shadow_refused"

  init(state: StateDirectory, metrics: MetricsRegistry, eventLog: EventLog) {
    self.state = state
    self.metrics = metrics
    self.eventLog = eventLog
    stateErrors = metrics.counter(
      "needletail_state_errors_total", help: "Times that the server's own state could not be read or written.")
  }

  /// What was remembered before the restart. State that cannot be read is an alarm, not an end.
  mutating func recall() -> [ModelID: RolloutMemory] {
    do throws(StateError) {
      written = try state.read(RolloutMemoryFile.self, from: RolloutMemoryFile.name) ?? RolloutMemoryFile()
    } catch {
      stateErrors.add()
      eventLog.emit(
        .alarm, .error, "rollout state not read, going on without: what was undone or set aside may serve again",
        [.init("reason", error.message)])
    }
    var memories: [ModelID: RolloutMemory] = [:]
    for (name, memory) in written.models {
      if let model = try? ModelID(name) { memories[model] = memory }
    }
    return memories
  }

  /// Writes what has changed.
  /// - Returns: whether what is in force now would survive a restart.
  @discardableResult
  mutating func remember(_ rollouts: [ModelID: ModelRollout]) -> Bool {
    var file = RolloutMemoryFile()
    for (model, rollout) in rollouts where !rollout.memory.isEmpty { file.models[model.name] = rollout.memory }
    guard file != written else { return state.isDurable }
    do throws(StateError) {
      try state.write(file, to: RolloutMemoryFile.name)
      written = file
      return state.isDurable
    } catch {
      stateErrors.add()
      eventLog.emit(.alarm, .error, "rollout state not written", [.init("reason", error.message)])
      return false
    }
  }

  // MARK: telling

  func report(_ model: ModelID, _ event: RolloutEvent) {
    let problem = metrics.gauge(
      "needletail_rollout_file_invalid", help: "1 while a model's rollout.yaml cannot be used.",
      labels: [("model", model.name)])
    switch event {
    case .accepted:
      problem.set(0)
      eventLog.emit(.rollout, .notice, "rollout file in force", model: model)
    case .removed:
      problem.set(0)
      eventLog.emit(.rollout, .notice, "rollout file removed, the latest version serves", model: model)
    case .refused(let reason):
      problem.set(1)
      eventLog.emit(
        .rollout, .warning, "rollout file refused, the last good one stays in force", model: model,
        [.init("reason", reason)])
    case .setAside(let version, let cause, let reason):
      metrics.counter(
        "needletail_rollbacks_total", help: "Versions that lost their traffic, by cause.",
        labels: [("model", model.name), ("cause", cause.rawValue)]
      ).add()
      eventLog.emit(
        cause == .undo ? .rollout : .alarm, cause == .undo ? .notice : .error, "version set aside", model: model,
        version: version, [.init("cause", cause.rawValue), .init("reason", reason)])
    case .readmitted(let versions):
      eventLog.emit(
        .rollout, .notice, "versions no longer set aside", model: model,
        [.init("versions", versions.map(\.description).joined(separator: ", "))])
    }
  }

  /// The share of each live version of a model that has a split, or had one.
  mutating func show(_ table: [StorePlanner.TableEntry]) {
    var shares: [VersionKey: Double] = [:]
    for entry in table {
      let status = RolloutStatus(routing: entry.routing)
      for version in entry.live {
        shares[VersionKey(entry.model, version)] = status.share(of: version, serving: entry.serving)
      }
    }
    for key in shown.keys where shares[key] == nil { metrics.remove(Self.shareName, labels: Self.labels(key)) }
    for (key, share) in shares where shown[key] != share {
      metrics.gauge(
        Self.shareName, help: "Share of requests without a selector that a version is to answer.",
        labels: Self.labels(key)
      ).set(share)
    }
    shown = shares
  }

  /// Says once which shadows cannot be compared, and why.
  mutating func showShadows(_ entries: [ModelTable.Entry]) {
    var refused: [VersionKey: String] = [:]
    for entry in entries {
      guard let shadow = entry.shadowModel else { continue }
      let obstacle = entry.shadowObstacle
      if !obstacle.isEmpty { refused[VersionKey(entry.model, shadow.version)] = obstacle }
    }
    for key in refusedShadows.keys where refused[key] == nil {
      metrics.remove(Self.refusedShadowName, labels: Self.labels(key))
    }
    for (key, obstacle) in refused where refusedShadows[key] != obstacle {
      metrics.gauge(
        Self.refusedShadowName, help: "1 while a shadow version cannot be compared with one that answers.",
        labels: Self.labels(key)
      ).set(1)
      eventLog.emit(
        .rollout, .warning, "shadow refused", model: key.model, version: key.version, [.init("reason", obstacle)])
    }
    refusedShadows = refused
  }

  private static func labels(_ key: VersionKey) -> [(String, String)] {
    [("model", key.model.name), ("version", key.version.description)]
  }

  // MARK: guard

  /// - Parameter live: of which the counters are read.
  mutating func judge(
    _ pairs: [StorePlanner.GuardedPair], models: Set<ModelID>, live: [VersionKey: LiveModel], now: Instant
  ) -> [RolloutGuard.Verdict] {
    var counts: [VersionKey: RolloutGuard.Counts] = [:]
    for (key, model) in live where models.contains(key.model) { counts[key] = RolloutGuard.Counts(model) }
    return watch.look(
      pairs.map { .init(key: $0.key, baseline: $0.baseline, limits: $0.limits) }, counts, now: now)
  }

  /// A version breaks a limit and nothing good is live in its place.
  mutating func alarm(_ verdict: RolloutGuard.Verdict) {
    guard alarmed.insert(verdict.key).inserted else { return }
    eventLog.emit(
      .alarm, .error, "version breaks a limit and serves on: no other good version is live",
      model: verdict.key.model, version: verdict.key.version, [.init("reason", verdict.reason)])
  }
}

extension RolloutGuard.Counts {
  /// - Complexity: one pass over the shards of each counter.
  package init(_ model: LiveModel) {
    self.init()
    let counters = model.counters
    // A client's mistake counts too: a version that no longer takes what its callers send fails like that.
    failures =
      counters.requests(.invalidArgument).value &+ counters.requests(.notFound).value
      &+ counters.requests(.internal).value
    requests = counters.requests(.ok).value &+ failures
    let columns = model.compiled.plan.outputs.reduce(0) { $0 + ($1.kind == .number ? $1.columns : 0) }
    numbers = counters.rows.value &* UInt64(columns)
    nonFinite = counters.nonFinite.value
    computed = counters.computeDuration.count
    computeMicroseconds = counters.computeDuration.sum * 1_000_000
  }
}

/// Where the answer to an order goes. Whoever waits is told even if nobody performs it.
final class OrderReply: Sendable {
  private let continuation: CheckedContinuation<Result<Bool, ServingError>, Never>
  private let isAnswered = SharedFlag()

  init(_ continuation: CheckedContinuation<Result<Bool, ServingError>, Never>) { self.continuation = continuation }

  deinit { answer(.failure(.unavailable("the server is stopping and did not execute this call"))) }

  func answer(_ result: Result<Bool, ServingError>) {
    if isAnswered.raise() { continuation.resume(returning: result) }
  }
}
