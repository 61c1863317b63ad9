package import NeedletailCore

extension Reconciler {
  /// What the driver has to do, in the order in which one call returns it.
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
