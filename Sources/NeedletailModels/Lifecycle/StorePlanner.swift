internal import NeedletailBundle
package import NeedletailCore

/// Decides what becomes of every version in the store: scans, verdicts of the loader and time in,
/// orders out. It does no I/O and reads no clock.
///
/// Whoever drives it performs the orders in their sequence and reports back what came of them.
package struct StorePlanner: Sendable {
  /// What the driver has to do.
  package enum Action: Equatable, Sendable {
    /// Bring this file up to being live: one `load` or `inspect` at a time, answered by ``loaded(_:_:now:)``.
    case load(LoadRequest)
    /// Only verify it and name its digest, answered by ``inspected(_:_:now:)``.
    case inspect(LoadRequest)
    /// The set of versions that requests may reach changed: publish ``table``.
    case publish
    /// Tell people and metrics.
    case report(LifecycleEvent)
    /// Count a refused file.
    case count(rejected: Rejection, of: VersionKey)
    /// Raise the alarm that a live version is no longer trusted; nil ends it.
    case distrust(VersionKey, Rejection?)
    /// Tell people and metrics of a rollout.
    case rollout(ModelID, RolloutEvent)
    /// Another version serves. Follows the `publish` that made it so.
    case swapped(ModelID, from: ModelVersion?, to: ModelVersion)
    /// The version is out of every table: let go of it. Answered by ``released(_:now:)``.
    case release(VersionKey)
    /// The version is gone from the store and from memory.
    case forget(VersionKey)
  }

  package struct LoadRequest: Hashable, Sendable {
    package let key: VersionKey
    package let path: String
    /// The file as it was scanned; the loader may find another.
    package let fingerprint: FileFingerprint
    /// It appeared when a newer version was serving already.
    package let isLate: Bool
  }

  package enum LoadOutcome: Sendable, Equatable {
    case live(Identity, residentBytes: Int)
    case rejected(Rejection)
    /// Somebody wrote to the file while it was read.
    case changed
  }

  package enum InspectOutcome: Sendable, Equatable {
    case verified(digest: String)
    case rejected(Rejection)
    case changed
  }

  /// What a verified bundle is.
  package struct Identity: Sendable, Equatable {
    /// SHA-256 of the directory, lower-case hexadecimal.
    package let digest: String
    /// Name of the key; empty if unsigned.
    package let signer: String

    package init(digest: String, signer: String) {
      self.digest = digest
      self.signer = signer
    }
  }

  /// What requests may reach, per model.
  package struct TableEntry: Sendable, Equatable {
    package let model: ModelID
    /// Newest first.
    package var live: [ModelVersion]
    package var serving: ModelVersion?
    package var isLoading: Bool
    package var routing = ModelRouting()
  }

  let policy: VersionPolicy
  var records: [VersionKey: VersionRecord] = [:]
  package internal(set) var rollouts: [ModelID: ModelRollout]
  var problems: [StoreProblem] = []
  /// The file the loader has in hand.
  var inFlight: VersionKey?
  /// When each model had the loader last, counted in turns.
  var turns: [ModelID: UInt64] = [:]
  var turnsTaken: UInt64 = 0
  var hasScanned = false
  package internal(set) var isReady = false
  /// As last published.
  package internal(set) var table: [TableEntry] = []

  /// - Parameter memories: of rollouts, from before the restart.
  package init(policy: VersionPolicy, memories: [ModelID: RolloutMemory] = [:]) {
    self.policy = policy
    rollouts = memories.mapValues { ModelRollout(memory: $0) }
  }

  /// Nothing is being loaded and nothing waits to be.
  package var isIdle: Bool { hasScanned && inFlight == nil }

  // MARK: what happened

  /// A scan ended.
  package mutating func observe(_ snapshot: StoreSnapshot, now: Moment) -> [Action] {
    var actions: [Action] = []
    hasScanned = true
    problems = snapshot.problems
    observeRollouts(snapshot, &actions)
    let servingVersions = servingByModel()
    for file in snapshot.files {
      if records[file.key] == nil {
        let isLate = servingVersions[file.key.model].map { file.key.version < $0 } ?? false
        records[file.key] = VersionRecord(file: file, isLate: isLate, now: now)
        // Everything but an incomplete file is reported when it is clear what becomes of it.
        if case .incomplete = file.completeness { report(file.key, &actions) }
      }
      observe(file, now: now, &actions)
    }
    if snapshot.isReadable {
      let present = Set(snapshot.files.map(\.key))
      for key in records.keys.sorted() where !present.contains(key) && !snapshot.unreadableModels.contains(key.model) {
        disappear(key, now: now, &actions)
      }
    }
    settle(now: now, &actions)
    return actions
  }

  /// Keys, revocations or minimum versions changed: every verdict is open again.
  /// - Parameter refused: what is in memory and would not be accepted any more.
  package mutating func trustChanged(refused: [VersionKey: Rejection], now: Moment) -> [Action] {
    var actions: [Action] = []
    for key in records.keys.sorted() {
      guard let record = records[key] else { continue }
      guard record.lifecycle.state == .live else {
        records[key]?.reopen()
        continue
      }
      // Its bytes in memory are judged here; a file that was found odd is judged by the loader again.
      if !record.remark.isEmpty { records[key]?.reopen() }
      guard record.distrust != refused[key] else { continue }
      records[key]?.distrust = refused[key]
      actions.append(.distrust(key, refused[key]))
      if let rejection = refused[key] { actions.append(.count(rejected: rejection, of: key)) }
      remark(key, record.remark, now: now, &actions)
    }
    settle(now: now, &actions)
    return actions
  }

  /// The loader got on: `loading`, `checking`, `warming`.
  /// - Parameter identity: once it is known.
  package mutating func advanced(
    _ key: VersionKey, to state: VersionState, identity: Identity? = nil, now: Moment
  ) -> [Action] {
    var actions: [Action] = []
    guard inFlight == key else { return [] }
    if let identity { records[key]?.identity = identity }
    enter(state, key, now: now, &actions)
    return actions
  }

  /// The loader is done with a `load`.
  package mutating func loaded(_ key: VersionKey, _ outcome: LoadOutcome, now: Moment) -> [Action] {
    var actions: [Action] = []
    guard inFlight == key, var record = records[key] else { return [] }
    inFlight = nil
    if record.file == nil {
      // Taken away while it was being loaded: nobody has seen it, and nobody wants it.
      records[key] = nil
      actions += [.release(key), .forget(key)]
    } else {
      switch outcome {
      case .live(let identity, let residentBytes):
        record.identity = identity
        record.residentBytes = residentBytes
        record.retries = 0
        record.isAnnounced = false
        records[key] = record
        enter(.live, key, now: now, &actions, reporting: .later)
      case .rejected(let rejection):
        // A verdict on bytes that have been replaced meanwhile is none.
        if record.file?.fingerprint == record.attempted {
          reject(key, rejection, now: now, &actions)
        } else {
          rewind(key, now: now, &actions)
        }
      case .changed:
        records[key]?.awaitNextScan()
        rewind(key, now: now, &actions)
      }
    }
    settle(now: now, &actions)
    return actions
  }

  /// The loader is done with an `inspect`.
  package mutating func inspected(_ key: VersionKey, _ outcome: InspectOutcome, now: Moment) -> [Action] {
    var actions: [Action] = []
    guard inFlight == key else { return [] }
    inFlight = nil
    // It may have been let go and forgotten meanwhile.
    if let record = records[key], record.lifecycle.state == .live, let identity = record.identity, record.file != nil {
      switch outcome {
      case .verified(let digest) where digest == identity.digest:
        remark(key, "", now: now, &actions)
      case .verified(let digest):
        let rejection = Rejection.replaced(key, serving: identity.digest, found: digest)
        actions.append(.count(rejected: rejection, of: key))
        remark(key, rejection.message, now: now, &actions)
      case .rejected(let rejection) where rejection.isTransient:
        // No verdict on the file: the machine's fault.
        records[key]?.pause(now: now)
      case .rejected(let rejection):
        actions.append(.count(rejected: rejection, of: key))
        remark(key, "file in the store refused: \(rejection.message); still serving", now: now, &actions)
      case .changed:
        records[key]?.awaitNextScan()
      }
    } else {
      // Let go meanwhile: the file that lies there is another than the one that was in memory, and unjudged.
      records[key]?.attempted = nil
    }
    settle(now: now, &actions)
    return actions
  }

  /// The memory of a version that was let go has been returned.
  package mutating func released(_ key: VersionKey, now: Moment) -> [Action] {
    var actions: [Action] = []
    guard let record = records[key], record.lifecycle.state == .retiring else { return [] }
    records[key]?.residentBytes = 0
    enter(.retired, key, now: now, &actions)
    if record.file == nil {
      records[key] = nil
      actions.append(.forget(key))
    } else if let distrust = record.distrust {
      records[key]?.distrust = nil
      records[key]?.remark = ""
      if record.remark.isEmpty {
        // The same file need not be read again to be refused again.
        enter(.rejected, key, reason: distrust.message, now: now, &actions)
      } else {
        records[key]?.reopen()
      }
    }
    retryWhatLackedMemory(now: now)
    settle(now: now, &actions)
    return actions
  }
}
