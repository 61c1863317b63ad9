internal import NeedletailBundle
package import NeedletailCore

/// Decides what becomes of every version in the store: snapshots, the loader's progress and time in, ordered actions
/// out. It does no I/O and reads no clock, so that tests and a simulator can drive it through any history.
///
/// Its driver is ``ControlLoop``. Each call changes what is known, takes every decision that this allows, and returns
/// the actions in the order of ``Action``; the driver performs them in that order and reports back what came of them.
///
/// | file | part |
/// |---|---|
/// | `Reconciler.swift` | what is known, what can happen to it, and the order of actions |
/// | `Reconciler+Files.swift` | what a snapshot says of one file |
/// | `Reconciler+Rollout.swift` | rollout files, quarantine, undo, what the guard watches |
/// | `Reconciler+Decisions.swift` | which versions load, serve and go; the table that requests use |
package struct Reconciler: Sendable {
  package struct LoadRequest: Equatable, Sendable {
    /// The bundle as it was listed; the loader may find another.
    package let bundle: StoredBundle
    /// True if it appeared, or changed, when a higher version had been live already.
    package let isLate: Bool

    package var key: VersionKey { bundle.key }
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

  /// The identity of a verified bundle.
  package struct Identity: Sendable, Equatable {
    /// SHA-256 of the manifest, lower-case hexadecimal.
    package let digest: String
    /// Name of the key; empty if unsigned.
    package let signer: String

    package init(digest: String, signer: String) {
      self.digest = digest
      self.signer = signer
    }
  }

  /// The part of one model that requests may reach.
  package struct TableEntry: Sendable, Equatable {
    package let model: ModelID
    /// Newest first.
    package var live: [ModelVersion]
    package var serving: ModelVersion?
    /// Versions that the loader has or is about to get, newest first.
    package var awaited: [ModelVersion] = []
    /// Whether the rollout file says that nothing is to serve.
    package var isRetired = false
    package var routing = ModelRouting()

    /// The answer to a caller while no version is live.
    var noneLive: ServingError {
      ModelTable.Entry(model: model, live: [], serving: nil, awaited: awaited, isRetired: isRetired).noneLive
    }
  }

  let policy: VersionPolicy
  let readiness: ReadinessPolicy
  var records: [VersionKey: VersionRecord] = [:]
  package internal(set) var rollouts: [ModelID: ModelRollout]
  var problems: [StoreProblem] = []
  /// The bundle that the loader is at work on.
  var inFlight: VersionKey?
  /// When each model had the loader last, counted in turns.
  var turns: [ModelID: UInt64] = [:]
  var turnsTaken: UInt64 = 0
  /// The highest version of each model that has been live since the start, whatever became of it.
  var highestLive: [ModelID: ModelVersion] = [:]
  var hasScanned = false
  /// Whether the last snapshot could be taken.
  var isStoreReadable = false
  /// Set once the first scan is done and the loader has dealt with all that it found; stays set.
  package internal(set) var isSettled = false
  /// Set once ``ReadinessPolicy`` is met; stays set.
  package internal(set) var isReady = false
  /// The table as last published.
  package internal(set) var table: [TableEntry] = []
  /// Actions that the present call has led to so far.
  var pending = PendingActions()

  /// - Parameter memories: what was remembered of rollouts before the restart.
  package init(
    policy: VersionPolicy, readiness: ReadinessPolicy = .allModels, memories: [ModelID: RolloutMemory] = [:]
  ) {
    self.policy = policy
    self.readiness = readiness
    rollouts = memories.mapValues { ModelRollout(memory: $0) }
  }

  /// True if nothing is being loaded and nothing waits to be.
  package var isIdle: Bool { hasScanned && inFlight == nil }

  // MARK: what can happen

  /// The store was listed.
  package mutating func observe(_ snapshot: StoreSnapshot, now: Moment) -> [Action] {
    hasScanned = true
    isStoreReadable = snapshot.isReadable
    problems = snapshot.problems
    observeRollouts(snapshot)
    for bundle in snapshot.bundles {
      if records[bundle.key] == nil {
        records[bundle.key] = VersionRecord(bundle: bundle, isLate: isBelowHighest(bundle.key), now: now)
        // Everything but an incomplete file is told when it is clear what becomes of it.
        if case .incomplete = bundle.completeness { tellState(of: bundle.key) }
      }
      observe(bundle, now: now)
    }
    if snapshot.isReadable {
      let present = Set(snapshot.bundles.map(\.key))
      for key in records.keys.sorted() where !present.contains(key) && !snapshot.unreadableModels.contains(key.model) {
        observeAbsence(of: key, now: now)
      }
    }
    return settle(now: now)
  }

  /// Whether a higher version of the model has been live: what appears now is older, even if something still older
  /// serves because the higher one was undone.
  func isBelowHighest(_ key: VersionKey) -> Bool { highestLive[key.model].map { key.version < $0 } ?? false }

  /// Keys, revocations or minimum versions changed: every verdict is open again.
  /// - Parameter refused: what is in memory and would not be accepted any more.
  package mutating func trustChanged(refused: [VersionKey: Rejection], now: Moment) -> [Action] {
    for key in records.keys.sorted() {
      guard let record = records[key] else { continue }
      guard record.lifecycle.state == .live else {
        records[key]?.forgetVerdict()
        continue
      }
      // Its bytes in memory are judged here; a file that was found odd is judged by the loader again.
      if !record.remark.isEmpty { records[key]?.forgetVerdict() }
      guard record.distrust != refused[key] else { continue }
      records[key]?.distrust = refused[key]
      pending.tell(.trust(key, refused[key]))
      if let rejection = refused[key] { pending.tell(.rejected(rejection, of: key)) }
      setRemark(record.remark, of: key, now: now)
    }
    return settle(now: now)
  }

  /// The loader got on: `loading`, `checking` or `warming`.
  /// - Parameter identity: once it is known.
  package mutating func advanced(
    _ key: VersionKey, to state: VersionState, identity: Identity? = nil, now: Moment
  ) -> [Action] {
    guard inFlight == key else { return [] }
    if let identity { records[key]?.identity = identity }
    enter(state, key, now: now)
    return pending.take()
  }

  /// The loader is done with a `load`.
  package mutating func loaded(_ key: VersionKey, _ outcome: LoadOutcome, now: Moment) -> [Action] {
    guard inFlight == key, let record = records[key] else { return [] }
    inFlight = nil
    if record.bundle == nil {
      // Taken away while it was being loaded: nobody has seen it, and nobody wants it.
      records[key] = nil
      pending.release(key)
    } else {
      switch outcome {
      case .live(let identity, let residentBytes):
        records[key]?.becomeLive(identity, residentBytes: residentBytes)
        highestLive[key.model] = max(highestLive[key.model] ?? key.version, key.version)
        enter(.live, key, now: now, isTold: false)
      case .rejected(let rejection):
        // A verdict on bytes that have been replaced meanwhile is none.
        if record.bundle?.fingerprint == record.attempted {
          reject(key, rejection, now: now)
        } else {
          waitAgain(key, now: now)
        }
      case .changed:
        records[key]?.awaitNextScan()
        waitAgain(key, now: now)
      }
    }
    return settle(now: now)
  }

  /// The loader is done with an `inspect`.
  package mutating func inspected(_ key: VersionKey, _ outcome: InspectOutcome, now: Moment) -> [Action] {
    guard inFlight == key else { return [] }
    inFlight = nil
    // The version may have been let go and forgotten meanwhile.
    if let record = records[key], record.lifecycle.state == .live, let identity = record.identity,
      record.bundle != nil
    {
      switch outcome {
      case .verified(let digest) where digest == identity.digest:
        setRemark("", of: key, now: now)
      case .verified(let digest):
        let rejection = Rejection.replaced(key, serving: identity.digest, found: digest)
        pending.tell(.rejected(rejection, of: key))
        setRemark(rejection.message, of: key, now: now)
      case .rejected(let rejection) where rejection.isTransient:
        // The machine's fault is no verdict on the file.
        records[key]?.pause(now: now)
      case .rejected(let rejection):
        refuseFile(ofLive: key, rejection, now: now)
      case .changed:
        records[key]?.awaitNextScan()
      }
    } else {
      // The file that lies there is another than the one that was in memory, and unjudged.
      records[key]?.attempted = nil
    }
    return settle(now: now)
  }

  /// The memory of a version that was let go has been returned.
  package mutating func released(_ key: VersionKey, now: Moment) -> [Action] {
    guard let record = records[key], record.lifecycle.state == .retiring else { return [] }
    records[key]?.residentBytes = 0
    enter(.retired, key, now: now)
    if record.bundle == nil {
      records[key] = nil
    } else if let distrust = record.distrust {
      records[key]?.distrust = nil
      records[key]?.remark = ""
      if record.remark.isEmpty {
        // The same file need not be read again to be refused again.
        enter(.rejected, key, reason: distrust.message, now: now)
      } else {
        records[key]?.forgetVerdict()
      }
    }
    retryWhatLackedMemory()
    return settle(now: now)
  }
}

extension Reconciler {
  /// Work for the driver, in the order in which one call returns it.
  ///
  /// 1. **Remember** before publish: what was undone or quarantined is on the disk before a caller can see it. A crash
  ///    between the two repeats a decision that nobody has seen; the other order could bring a version back that callers
  ///    have already seen leave.
  /// 2. **Publish** before tell: who hears that a version is live must be able to ask for it.
  /// 3. **Tell**, in the order in which things were decided, causes before their effects.
  /// 4. **Release** after publish: a version is out of the table before its memory may go. It also follows tell, so that
  ///    `retiring` is told before `retired`.
  /// 5. **Load** or **inspect** last, and at most one of them: the loader begins when all else is settled.
  package enum Action: Equatable, Sendable {
    /// Write ``Reconciler/rollouts``' memories to the disk.
    case remember
    /// The set of versions that requests may reach changed: publish ``Reconciler/table``.
    case publish
    /// Tell people and metrics.
    case tell(Notice)
    /// The version is out of every table: let go of it. Answered by ``Reconciler/released(_:now:)``.
    case release(VersionKey)
    /// Bring this bundle up to being live. Answered by ``Reconciler/loaded(_:_:now:)``.
    case load(LoadRequest)
    /// Verify the bundle and name its digest, nothing else. Answered by ``Reconciler/inspected(_:_:now:)``.
    case inspect(LoadRequest)
  }

  /// Something that people and metrics are told.
  package enum Notice: Equatable, Sendable {
    /// A version entered a state, or its reason changed.
    case state(LifecycleEvent)
    /// A bundle was refused.
    case rejected(Rejection, of: VersionKey)
    /// A live version is no longer trusted, for this reason; nil: it is trusted again.
    case trust(VersionKey, Rejection?)
    /// Something happened to a model's rollout.
    case rollout(ModelID, RolloutEvent)
    /// Another version serves.
    case swapped(ModelID, from: ModelVersion?, to: ModelVersion)
  }
}

/// Collects what one call leads to; ``take()`` is the one place that puts it in order.
struct PendingActions: Sendable {
  private var isMemoryChanged = false
  private var isTableChanged = false
  private var notices: [Reconciler.Notice] = []
  private var releases: [VersionKey] = []
  private var work: Reconciler.Action?

  mutating func remember() { isMemoryChanged = true }
  mutating func publish() { isTableChanged = true }
  mutating func tell(_ notice: Reconciler.Notice) { notices.append(notice) }
  mutating func release(_ key: VersionKey) { releases.append(key) }

  /// - Precondition: no other work was given to the loader in this call.
  mutating func load(_ request: Reconciler.LoadRequest) { give(.load(request)) }

  /// - Precondition: no other work was given to the loader in this call.
  mutating func inspect(_ request: Reconciler.LoadRequest) { give(.inspect(request)) }

  private mutating func give(_ action: Reconciler.Action) {
    precondition(work == nil, "the loader takes one bundle at a time")
    work = action
  }

  /// Everything collected, in the order that ``Reconciler/Action`` explains; nothing is left afterwards.
  mutating func take() -> [Reconciler.Action] {
    var actions: [Reconciler.Action] = []
    if isMemoryChanged { actions.append(.remember) }
    if isTableChanged { actions.append(.publish) }
    actions += notices.map { .tell($0) }
    actions += releases.map { .release($0) }
    if let work { actions.append(work) }
    self = PendingActions()
    return actions
  }
}
