internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailYAML

/// The needs of rollouts beside the reconciler: their memory on the disk, and the guard's verdicts on live versions.
/// Belongs to ``ControlLoop``.
struct RolloutCoordinator {
  private let eventLog: EventLog
  private var file: StateFile<RolloutMemoryFile>
  private var watch = RolloutGuard()
  /// Versions of which it was said that there is nothing to fall back to.
  private var alarmed: Set<VersionKey> = []

  init(state: StateDirectory, metrics: MetricsRegistry, eventLog: EventLog) {
    self.eventLog = eventLog
    file = StateFile(
      RolloutMemoryFile.name, of: state, content: "rollouts",
      lost: "going on without: what was undone or quarantined may serve again", metrics: metrics, eventLog: eventLog)
  }

  // MARK: memory

  /// The memory from before the restart. State that cannot be read is an alarm, not an end.
  mutating func recall() -> [ModelID: RolloutMemory] {
    let remembered = file.read() ?? RolloutMemoryFile()
    var memories: [ModelID: RolloutMemory] = [:]
    for (name, memory) in remembered.models {
      if let model = try? ModelID(name) { memories[model] = memory }
    }
    return memories
  }

  /// Writes what has changed; a failure is an alarm, for a rollout must not wait for a full disk.
  mutating func remember(_ rollouts: [ModelID: ModelRollout]) {
    var memory = RolloutMemoryFile()
    for (model, rollout) in rollouts where !rollout.memory.isEmpty { memory.models[model.name] = rollout.memory }
    file.write(memory)
  }

  /// Writes again what could not be written.
  mutating func writeAgain() { file.writeAgain() }

  /// Why what is in force now would not survive a restart, although there is a place to keep it; empty if it would.
  var stateProblem: String { file.problem }

  /// Time after which to write again; nil: all is written.
  var retryDelay: Duration? { file.retryDelay }

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

/// The memory of one model's rollout that outlives the server: which versions served, which are
/// quarantined, and the last rollout file that was good.
package struct RolloutMemory: Sendable, Equatable, Codable {
  /// A version that gets no traffic, though the rollout file gives it some.
  package struct Quarantined: Sendable, Equatable, Codable {
    package var version: UInt64
    package var cause: QuarantineCause
    /// One sentence.
    package var reason: String
    /// Unix time.
    package var sinceMilliseconds: UInt64

    /// Who quarantined it and why, as part of a sentence.
    var words: String { "quarantined by \(cause.rawValue) (\(reason))" }
  }

  /// Text of the last good rollout file, also after it was removed from the store; empty if there was none.
  package var file = ""
  package var quarantined: [Quarantined] = []
  /// Versions that served requests without a selector, the last one first.
  package var served: [UInt64] = []

  /// Names in the state file, which earlier releases wrote.
  private enum CodingKeys: String, CodingKey {
    case file
    case quarantined = "setAside"
    case served
  }

  package init() {}

  var quarantinedVersions: Set<ModelVersion> { Set(quarantined.compactMap { ModelVersion($0.version) }) }

  var servedVersions: [ModelVersion] { served.compactMap { ModelVersion($0) } }

  /// Notes that a version serves.
  mutating func serve(_ version: ModelVersion) {
    guard served.first != version.number else { return }
    served.removeAll { $0 == version.number }
    served.insert(version.number, at: 0)
    if served.count > Limits.rolloutVersionsMax { served.removeLast() }
  }

  var isEmpty: Bool { file.isEmpty && quarantined.isEmpty && served.isEmpty }
}

/// Who quarantined a version.
public enum QuarantineCause: String, Sendable, Codable, CaseIterable {
  /// `rollout undo`.
  case undo
  case guardErrors = "guard_errors"
  case guardNaN = "guard_nan"
  case guardLatency = "guard_latency"
}

/// The state file of all models.
package struct RolloutMemoryFile: Sendable, Equatable, Codable {
  package static let name = "rollout.json"

  package var models: [String: RolloutMemory] = [:]

  package init() {}
}

/// The state of one model's rollout in the reconciler.
package struct ModelRollout: Sendable, Equatable {
  /// The policy in force: that of the last file that was good, or none.
  package var policy = RolloutPolicy()
  package var memory = RolloutMemory()
  /// Why the file that lies there now is not in force; nil if it is.
  package var problem: String?
  /// True while a file is in force that the store does not hold any more.
  package var isFileMissing = false
  /// False while the remembered file is one that this release does not understand.
  package private(set) var isMemoryUnderstood = true

  package init() {}

  /// A server that comes back goes on with what was in force.
  package init(memory: RolloutMemory) {
    self.memory = memory
    guard !memory.file.isEmpty else { return }
    do throws(YAMLError) {
      policy = try RolloutFile(parsing: memory.file).policy
    } catch {
      // Another release of this server wrote it.
      isMemoryUnderstood = false
      problem = "the rollout file that was in force before the restart: \(error)"
    }
  }

  /// Whether nobody can tell what is allowed: there is a file, and neither it nor an earlier one can be read.
  package var isHeld: Bool { memory.file.isEmpty ? problem != nil : !isMemoryUnderstood }

  /// Takes in that a good file is in force from now on.
  mutating func accept(_ file: RolloutFile) {
    policy = file.policy
    isMemoryUnderstood = true
  }
}
