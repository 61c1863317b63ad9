internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine

/// Performs what the planner orders. Belongs to ``ModelStore/run()``: nobody else touches it, which is
/// what keeps planner, table and status in step.
struct ControlLoop {
  enum Message: Sendable {
    case scanned(StoreSnapshot, request: UInt64)
    case trust(Result<TrustPolicy, BundleError>)
    case progressed(BundleLoader.Progress)
    case loaded(VersionKey, BundleLoader.Result)
    case inspected(VersionKey, StorePlanner.InspectOutcome)
    /// The memory of a version was let go.
    case released(VersionKey)
    /// Some reader held an old table when it was last looked at.
    case reclaim
    /// Take one step of a rollout back; the answer says whether that is remembered.
    case undo(ModelID, OrderReply)
    /// It is time to look at the counters of guarded versions.
    case watch
  }

  private var planner: StorePlanner
  private var trust: TrustPolicy
  private var live: [VersionKey: LiveModel] = [:]
  /// Of everything in `live`.
  private var seals: [VersionKey: BundleSeal] = [:]
  private var post = StoreBoard.Post()
  private var lastRequest: UInt64 = 0
  /// Told once the status that they led to is posted.
  private var events: [LifecycleEvent] = []
  private var isReclaiming = false
  private var rollouts: RolloutKeeper
  private var isWatching = false
  /// Told once the status that they ask for is posted.
  private var replies: [(reply: OrderReply, result: Result<Bool, ServingError>)] = []
  /// Something was decided that must not be forgotten.
  private var isRolloutNew = false
  private let registry: ModelRegistry
  private let loader: BundleLoader
  private let board: StoreBoard
  private let metrics: StoreMetrics
  private let eventLog: EventLog
  private let inbox: AsyncStream<Message>.Continuation

  private static let trimDelay: Duration = .milliseconds(20)
  /// A lease lasts one batch: a table that is still held is looked at again this much later.
  private static let reclaimInterval: Duration = .milliseconds(2)

  init(
    planner: StorePlanner, trust: TrustPolicy, registry: ModelRegistry, loader: BundleLoader, board: StoreBoard,
    metrics: StoreMetrics, rollouts: RolloutKeeper, eventLog: EventLog, inbox: AsyncStream<Message>.Continuation
  ) {
    self.planner = planner
    self.trust = trust
    self.registry = registry
    self.loader = loader
    self.board = board
    self.metrics = metrics
    self.rollouts = rollouts
    self.eventLog = eventLog
    self.inbox = inbox
  }

  mutating func handle(_ message: Message) {
    let now = Moment.now()
    switch message {
    case .scanned(let snapshot, let request):
      report(snapshot)
      perform(planner.observe(snapshot, now: now))
      lastRequest = max(lastRequest, request)
    case .trust(.success(let policy)):
      trust = policy
      metrics.show(policy)
      eventLog.emit(.trust, .notice, "trust file read", [.init("keys", "\(policy.keys.count)")])
      perform(planner.trustChanged(refused: seals.compactMapValues(refusal), now: now))
    case .trust(.failure(let error)):
      metrics.countTrustError()
      eventLog.emit(
        .trust, .error, "trust file refused, the last good one stays in force", [.init("reason", error.message)])
    case .progressed(let progress):
      perform(planner.advanced(progress.key, to: progress.state, identity: progress.identity, now: now))
    case .loaded(let key, let result):
      perform(planner.loaded(key, outcome(key, result), now: now))
    case .inspected(let key, let outcome):
      perform(planner.inspected(key, outcome, now: now))
    case .released(let key):
      perform(planner.released(key, now: now))
      Task { [loader] in
        // Told as the last reference goes; the memory itself goes a moment later.
        try? await Task.sleep(for: Self.trimDelay)
        await loader.trimMemory()
      }
    case .reclaim:
      isReclaiming = false
      reclaim()
    case .undo(let model, let reply):
      undo(model, reply, now: now)
    case .watch:
      isWatching = false
      watch(now: now)
    }
    finish()
  }

  /// After every message: what was decided is remembered and told.
  private mutating func finish() {
    if isRolloutNew {
      isRolloutNew = false
      rollouts.remember(planner.rollouts)
    }
    if !isWatching && !planner.guardedModels.isEmpty {
      isWatching = true
      Task { [inbox] in
        try? await Task.sleep(for: .milliseconds(Limits.guardIntervalMilliseconds))
        inbox.yield(.watch)
      }
    }
    post.status = planner.status
    if planner.isIdle { post.settledRequest = lastRequest }
    board.post(post)
    for event in events { board.post(event) }
    events.removeAll()
    for (reply, result) in replies { reply.answer(result) }
    replies.removeAll()
  }

  private mutating func outcome(_ key: VersionKey, _ result: BundleLoader.Result) -> StorePlanner.LoadOutcome {
    switch result {
    case .live(let model, let seal):
      // Whom we trust may have changed while it was loaded.
      if let rejection = refusal(seal) { return .rejected(rejection) }
      live[key] = model
      seals[key] = seal
      return .live(
        StorePlanner.Identity(digest: model.digest, signer: model.signer), residentBytes: model.residentBytes)
    case .rejected(let rejection): return .rejected(rejection)
    case .changed: return .changed
    }
  }

  /// Why the trust of now does not accept it.
  private func refusal(_ seal: BundleSeal) -> Rejection? {
    do throws(BundleError) {
      try seal.check(trust)
      return nil
    } catch {
      return Rejection(error)
    }
  }

  private mutating func perform(_ actions: [StorePlanner.Action]) {
    for action in actions {
      switch action {
      case .load(let request): load(request)
      case .inspect(let request): inspect(request)
      case .publish: publish()
      case .report(let event): report(event)
      case .count(let rejection, let key): metrics.countRejected(rejection, of: key)
      case .distrust(let key, let rejection): reportTrust(of: key, rejection)
      case .rollout(let model, let event):
        isRolloutNew = true
        rollouts.report(model, event)
      case .swapped(let model, let old, let new):
        isRolloutNew = true
        reportSwap(model, from: old, to: new)
      case .release(let key):
        live[key] = nil
        seals[key] = nil
        reclaim()
      case .forget(let key): metrics.forget(key)
      }
    }
  }

  // MARK: orders

  private func load(_ request: StorePlanner.LoadRequest) {
    Task { [loader, trust, inbox] in
      let result = await loader.load(request, trust: trust) { progress in
        inbox.yield(.progressed(progress))
      } released: { key in
        inbox.yield(.released(key))
      }
      inbox.yield(.loaded(request.key, result))
    }
  }

  private func inspect(_ request: StorePlanner.LoadRequest) {
    Task { [loader, trust, inbox] in
      inbox.yield(.inspected(request.key, await loader.inspect(request, trust: trust)))
    }
  }

  private mutating func publish() {
    let entries = planner.table.map { entry in
      ModelTable.Entry(
        model: entry.model, live: entry.live.compactMap { live[VersionKey(entry.model, $0)] },
        serving: entry.serving, isLoading: entry.isLoading, routing: entry.routing)
    }
    registry.publish(ModelTable(entries))
    rollouts.show(planner.table)
    rollouts.showShadows(entries)
    reclaim()
  }

  /// Frees old tables, now or as soon as the last lease on them ends.
  private mutating func reclaim() {
    guard registry.reclaim() > 0, !isReclaiming else { return }
    isReclaiming = true
    Task { [inbox] in
      try? await Task.sleep(for: Self.reclaimInterval)
      inbox.yield(.reclaim)
    }
  }

  // MARK: rollouts

  private mutating func undo(_ model: ModelID, _ reply: OrderReply, now: Moment) {
    do throws(ServingError) {
      perform(try planner.undo(model, now: now))
      replies.append((reply, .success(rollouts.remember(planner.rollouts))))
    } catch {
      replies.append((reply, .failure(error)))
    }
  }

  private mutating func watch(now: Moment) {
    let verdicts = rollouts.judge(planner.guarded, models: planner.guardedModels, live: live, now: now.instant)
    for verdict in verdicts {
      if let actions = planner.setAside(verdict.key, cause: verdict.cause, reason: verdict.reason, now: now) {
        perform(actions)
      } else {
        rollouts.alarm(verdict)
      }
    }
  }

  // MARK: reports

  private mutating func report(_ event: LifecycleEvent) {
    metrics.show(event)
    let key = VersionKey(event.model, event.version)
    var facts = [Event.Fact("state", event.state.description), Event.Fact("reason", event.reason)]
    if event.state == .live, let model = live[key] {
      metrics.showResident(model)
      metrics.showPlan(model)
      facts += [
        .init("digest", String(model.digest.prefix(12))), .init("signer", model.signer),
        .init("resident_bytes", "\(model.residentBytes)"),
        .init("plan", model.compiled.choice?.description ?? ""),
      ]
    }
    eventLog.emit(
      .version, Self.severity(of: event), "model version \(event.state)", model: event.model,
      version: event.version, facts)
    events.append(event)
  }

  /// What asks for somebody's attention is a warning; the steps in between are for debugging.
  private static func severity(of event: LifecycleEvent) -> Event.Severity {
    switch event.state {
    case .rejected: .warning
    case .live: event.reason.isEmpty ? .notice : .warning
    case .retired, .retiring: .info
    case .incomplete: event.reason.isEmpty ? .debug : .info
    case .verifying, .loading, .checking, .warming: .debug
    }
  }

  private func reportSwap(_ model: ModelID, from old: ModelVersion?, to new: ModelVersion) {
    metrics.showServing(model, from: old, to: new)
    eventLog.emit(
      .serving, .notice, "model serves", model: model, version: new,
      [.init("previous", old?.description ?? "none")])
  }

  private func reportTrust(of key: VersionKey, _ rejection: Rejection?) {
    metrics.showTrust(key, isTrusted: rejection == nil)
    if let rejection {
      eventLog.emit(
        .alarm, .error, "live version no longer trusted", model: key.model, version: key.version,
        [.init("reason", rejection.message)])
    } else {
      eventLog.emit(.trust, .notice, "live version trusted again", model: key.model, version: key.version)
    }
  }

  private func report(_ snapshot: StoreSnapshot) {
    metrics.show(problems: snapshot.problems.count)
    // Once each, not with every scan.
    let known = Set(planner.problems)
    for problem in snapshot.problems where !known.contains(problem) {
      eventLog.emit(
        .store, .warning, "store problem", [.init("path", problem.path), .init("reason", problem.reason)])
    }
  }
}
