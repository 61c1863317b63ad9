internal import NeedletailCore
internal import NeedletailMetrics

/// What rollouts need beside the reconciler: their memory on the disk, and the guard's verdicts on live versions.
/// Belongs to ``ControlLoop``.
struct RolloutCoordinator {
  private let state: StateDirectory
  private let eventLog: EventLog
  private let stateErrors: Counter
  /// What is on the disk.
  private var written = RolloutMemoryFile()
  /// False if the last write failed.
  private var isWritten = true
  private var watch = RolloutGuard()
  /// Versions of which it was said that there is nothing to fall back to.
  private var alarmed: Set<VersionKey> = []

  init(state: StateDirectory, metrics: MetricsRegistry, eventLog: EventLog) {
    self.state = state
    self.eventLog = eventLog
    stateErrors = metrics.counter(
      "needletail_state_errors_total", help: "Times that the server's own state could not be read or written.")
  }

  // MARK: memory

  /// What was remembered before the restart. State that cannot be read is an alarm, not an end.
  mutating func recall() -> [ModelID: RolloutMemory] {
    do throws(StateError) {
      written = try state.read(RolloutMemoryFile.self, from: RolloutMemoryFile.name) ?? RolloutMemoryFile()
    } catch {
      stateErrors.add()
      eventLog.emit(
        .alarm, .error, "rollout state not read, going on without: what was undone or quarantined may serve again",
        [.init("reason", error.message)])
    }
    var memories: [ModelID: RolloutMemory] = [:]
    for (name, memory) in written.models {
      if let model = try? ModelID(name) { memories[model] = memory }
    }
    return memories
  }

  /// Writes what has changed; a failure is an alarm, for a rollout must not wait for a full disk.
  mutating func remember(_ rollouts: [ModelID: ModelRollout]) {
    var file = RolloutMemoryFile()
    for (model, rollout) in rollouts where !rollout.memory.isEmpty { file.models[model.name] = rollout.memory }
    guard file != written else { return }
    do throws(StateError) {
      try state.write(file, to: RolloutMemoryFile.name)
      written = file
      isWritten = true
    } catch {
      isWritten = false
      stateErrors.add()
      eventLog.emit(.alarm, .error, "rollout state not written", [.init("reason", error.message)])
    }
  }

  /// Whether what is in force now would survive a restart.
  var isDurable: Bool { isWritten && state.isDurable }

  // MARK: guard

  /// - Parameters:
  ///   - watches: which versions are compared with which.
  ///   - models: models whose versions' counters are read.
  ///   - live: the versions that have counters.
  mutating func judge(
    _ watches: [RolloutGuard.Watch], models: Set<ModelID>, live: [VersionKey: LiveModel], now: Instant
  ) -> [RolloutGuard.Verdict] {
    var counts: [VersionKey: VersionCounts] = [:]
    for (key, model) in live where models.contains(key.model) { counts[key] = VersionCounts(model) }
    return watch.look(watches, counts, now: now)
  }

  /// Says once that a version breaks a limit and nothing good is live in its place.
  mutating func alarm(_ verdict: RolloutGuard.Verdict) {
    guard alarmed.insert(verdict.key).inserted else { return }
    eventLog.emit(
      .alarm, .error, "version breaks a limit and serves on: no other good version is live",
      model: verdict.key.model, version: verdict.key.version, [.init("reason", verdict.reason)])
  }
}
