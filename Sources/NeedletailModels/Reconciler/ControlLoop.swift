internal import NeedletailBundle
public import NeedletailCore
internal import NeedletailEngine
internal import Synchronization

/// Drives the reconciler: takes one message after the other and performs what follows from it. Belongs to
/// ``ModelStore/run()``: nobody else touches it, which is what keeps reconciler, table and status in step.
struct ControlLoop {
  enum Message: Sendable {
    case scanned(StoreSnapshot, request: UInt64)
    case trust(Result<TrustPolicy, BundleError>)
    case progressed(BundleLoader.Progress)
    case loaded(VersionKey, BundleLoader.Result)
    case inspected(VersionKey, Reconciler.InspectOutcome)
    /// The memory of a version was freed.
    case released(VersionKey)
    /// Some reader held an old table when it was last looked at.
    case reclaim
    /// Take one step of a rollout back.
    case undo(UndoOrder, OrderReply)
    /// It is time to write state again that could not be written.
    case writeState
    /// It is time to look at the counters of guarded versions.
    case watch
    /// It is time to compare what the runs of live versions take with what warming measured.
    case review
    /// The kernels of a version were timed again, and so many choices changed.
    case reviewed(VersionKey, ratio: Double, changed: Int)
  }

  private var reconciler: Reconciler
  private var trust: TrustPolicy
  /// Everything in memory that was not let go.
  private var live: [VersionKey: LiveModel] = [:]
  /// The signed manifest of everything in `live`.
  private var manifests: [VersionKey: SignedManifest] = [:]
  private var lastRequest: UInt64 = 0
  private var isReclaiming = false
  private var isWatching = false
  private var isReviewing = false
  /// By version in `live`.
  private var choices: [VersionKey: ChoiceWatch] = [:]
  private var isRetryingState = false
  /// Events and replies of the present message: told once the status that they are about is posted.
  private var events: [LifecycleEvent] = []
  private var replies: [(reply: OrderReply, result: Result<Void, ServingError>)] = []
  /// Why live shadows are given no rows of some version.
  private var shadowProblems: [VersionKey: String] = [:]
  private var rollouts: RolloutCoordinator
  private var reporter: StatusReporter
  private var metrics: StatusMetrics
  private let registry: ModelRegistry
  private let loader: BundleLoader
  private let board: StatusBoard
  private let experiments: ExperimentService
  private let inbox: AsyncStream<Message>.Continuation

  /// A lease lasts one batch: a table that is still held is looked at again this much later.
  private static let reclaimInterval: Duration = .milliseconds(2)
  /// Time between two looks at what runs take. A misled choice lasts that much longer.
  private static let reviewInterval: Duration = .seconds(5)

  init(
    reconciler: Reconciler, trust: TrustPolicy, rollouts: RolloutCoordinator, reporter: StatusReporter,
    metrics: StatusMetrics, registry: ModelRegistry, loader: BundleLoader, board: StatusBoard,
    experiments: ExperimentService, inbox: AsyncStream<Message>.Continuation
  ) {
    self.reconciler = reconciler
    self.trust = trust
    self.rollouts = rollouts
    self.reporter = reporter
    self.metrics = metrics
    self.registry = registry
    self.loader = loader
    self.board = board
    self.experiments = experiments
    self.inbox = inbox
    reporter.show(trust)
  }

  mutating func handle(_ message: Message) {
    let now = Moment.now()
    switch message {
    case .scanned(let snapshot, let request):
      reporter.tell(snapshot.problems)
      perform(reconciler.observe(snapshot, now: now))
      lastRequest = max(lastRequest, request)
    case .trust(.success(let policy)):
      trust = policy
      reporter.tell(policy)
      perform(reconciler.trustChanged(refused: manifests.compactMapValues(refusal), now: now))
    case .trust(.failure(let error)):
      reporter.tell(trustFileRefused: error)
    case .progressed(let progress):
      perform(reconciler.advanced(progress.key, to: progress.state, identity: progress.identity, now: now))
    case .loaded(let key, let result):
      perform(reconciler.loaded(key, outcome(key, result), now: now))
    case .inspected(let key, let outcome):
      perform(reconciler.inspected(key, outcome, now: now))
    case .released(let key):
      perform(reconciler.released(key, now: now))
    case .reclaim:
      isReclaiming = false
      reclaim()
    case .undo(let order, let reply):
      undo(order, reply, now: now)
    case .writeState:
      isRetryingState = false
      rollouts.writeAgain()
    case .watch:
      isWatching = false
      watch(now: now)
    case .review:
      isReviewing = false
      review(now: now)
    case .reviewed(let key, let ratio, let changed):
      reporter.tell(timedAgain: key, ratio: ratio, changed: changed)
    }
    finish()
  }

  /// Shows what the message led to: metrics first, so that whoever waits for the status finds them in step.
  private mutating func finish() {
    if !isWatching && !reconciler.guardedModels.isEmpty {
      isWatching = true
      send(after: .milliseconds(Limits.guardIntervalMilliseconds)) { [inbox] in inbox.yield(.watch) }
    }
    if !isReviewing && !choices.isEmpty {
      isReviewing = true
      send(after: Self.reviewInterval) { [inbox] in inbox.yield(.review) }
    }
    if !isRetryingState, let delay = rollouts.retryDelay {
      isRetryingState = true
      send(after: delay) { [inbox] in inbox.yield(.writeState) }
    }
    var status = reconciler.status
    status.stateProblem = rollouts.stateProblem
    for index in status.models.indices {
      guard let shadow = status.models[index].rollout.routing.shadow else { continue }
      let key = VersionKey(status.models[index].model, shadow)
      status.models[index].rollout.shadowProblem = shadowProblems[key] ?? ""
    }
    metrics.show(status)
    experiments.observe(status.models)
    board.post(status, settledRequest: reconciler.isIdle ? lastRequest : nil)
    for event in events { board.post(event) }
    events.removeAll()
    for (reply, result) in replies { reply.answer(result) }
    replies.removeAll()
  }

  // MARK: actions

  /// Performs actions in their order, which ``Reconciler/Action`` explains.
  private mutating func perform(_ actions: [Reconciler.Action]) {
    for action in actions {
      switch action {
      case .remember: rollouts.remember(reconciler.rollouts)
      case .publish: publish()
      case .tell(let notice): tell(notice)
      case .release(let key):
        live[key] = nil
        choices[key] = nil
        manifests[key] = nil
        reclaim()
      case .load(let request): load(request)
      case .inspect(let request): inspect(request)
      }
    }
  }

  private mutating func publish() {
    let entries = reconciler.table.map { entry in
      ModelTable.Entry(
        model: entry.model, live: entry.live.compactMap { live[VersionKey(entry.model, $0)] },
        serving: entry.serving, awaited: entry.awaited, isRetired: entry.isRetired, routing: entry.routing)
    }
    registry.publish(ModelTable(entries))
    shadowProblems = [:]
    for entry in entries {
      guard let shadow = entry.shadowModel else { continue }
      let problem = entry.shadowObstacle
      if !problem.isEmpty { shadowProblems[VersionKey(entry.model, shadow.version)] = problem }
    }
    reporter.tell(refusedShadows: shadowProblems)
    reclaim()
  }

  private mutating func tell(_ notice: Reconciler.Notice) {
    guard case .state(let event) = notice else { return reporter.tell(notice, live: nil) }
    reporter.tell(notice, live: live[VersionKey(event.model, event.version)])
    events.append(event)
  }

  private func load(_ request: Reconciler.LoadRequest) {
    let isUrgent = !reconciler.isReady
    Task { [loader, trust, inbox] in
      let result = await loader.load(request, trust: trust, isUrgent: isUrgent) { progress in
        inbox.yield(.progressed(progress))
      } released: { key in
        inbox.yield(.released(key))
      }
      inbox.yield(.loaded(request.key, result))
    }
  }

  private func inspect(_ request: Reconciler.LoadRequest) {
    Task { [loader, trust, inbox] in
      inbox.yield(.inspected(request.key, await loader.inspect(request, trust: trust)))
    }
  }

  /// Frees old tables, now or as soon as the last lease on them ends.
  private mutating func reclaim() {
    guard registry.reclaim() > 0, !isReclaiming else { return }
    isReclaiming = true
    send(after: Self.reclaimInterval) { [inbox] in inbox.yield(.reclaim) }
  }

  private func send(after delay: Duration, _ body: @escaping @Sendable () async -> Void) {
    Task {
      try? await Task.sleep(for: delay)
      await body()
    }
  }

  // MARK: messages

  private mutating func outcome(_ key: VersionKey, _ result: BundleLoader.Result) -> Reconciler.LoadOutcome {
    switch result {
    case .live(let model, let manifest):
      // The trust file may have changed while it was loaded.
      if let rejection = refusal(manifest) { return .rejected(rejection) }
      live[key] = model
      manifests[key] = manifest
      if model.compiled.plan.hasKernelChoices { choices[key] = ChoiceWatch(now: .now()) }
      return .live(
        Reconciler.Identity(digest: model.digest, signer: model.signer), residentBytes: model.residentBytes)
    case .rejected(let rejection): return .rejected(rejection)
    case .changed: return .changed
    }
  }

  /// Why the trust policy in force does not accept a bundle; nil if it does.
  private func refusal(_ manifest: SignedManifest) -> Rejection? {
    do throws(BundleError) {
      try manifest.check(trust)
      return nil
    } catch {
      return Rejection(error)
    }
  }

  private mutating func undo(_ order: UndoOrder, _ reply: OrderReply, now: Moment) {
    do throws(ServingError) {
      perform(try reconciler.undo(order.model, from: order.version, isForced: order.isForced, now: now))
      replies.append((reply, .success(())))
    } catch {
      replies.append((reply, .failure(error)))
    }
  }

  /// Has the kernels of a version timed again whose runs contradict its warming.
  private mutating func review(now: Moment) {
    for key in choices.keys {
      guard let model = live[key], choices[key]?.isDue(ratio: model.costScale.ratio, now: now.instant) == true else {
        continue
      }
      let ratio = model.costScale.ratio
      Task { [loader, inbox] in
        guard let changed = await loader.chooseKernels(of: model) else { return }
        inbox.yield(.reviewed(key, ratio: ratio, changed: changed))
      }
    }
  }

  private mutating func watch(now: Moment) {
    let verdicts = rollouts.judge(
      reconciler.guarded, models: reconciler.guardedModels, live: live, now: now.instant)
    for verdict in verdicts {
      if let actions = reconciler.quarantine(verdict.key, cause: verdict.cause, reason: verdict.reason, now: now) {
        perform(actions)
      } else {
        rollouts.alarm(verdict)
      }
    }
  }
}

/// An order to take one step of a rollout back.
public struct UndoOrder: Sendable, Equatable {
  public var model: ModelID
  /// The version to take the traffic from; nil: the arms of the split, else the version that serves.
  public var version: ModelVersion?
  /// Whether to go on although the guard has gone back already.
  public var isForced: Bool

  public init(_ model: ModelID, from version: ModelVersion? = nil, isForced: Bool = false) {
    self.model = model
    self.version = version
    self.isForced = isForced
  }
}

/// Where the answer to an order goes. The caller is answered even if nobody performs the order.
final class OrderReply: Sendable {
  private let continuation: CheckedContinuation<Result<Void, ServingError>, Never>
  private let isAnswered = Atomic(false)

  init(_ continuation: CheckedContinuation<Result<Void, ServingError>, Never>) { self.continuation = continuation }

  deinit { answer(.failure(.unavailable("the server is stopping and did not execute this call"))) }

  /// Answers once; later answers are ignored.
  func answer(_ result: Result<Void, ServingError>) {
    if !isAnswered.exchange(true, ordering: .sequentiallyConsistent) { continuation.resume(returning: result) }
  }
}
