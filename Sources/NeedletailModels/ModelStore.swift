public import Logging
public import NeedletailBundle
public import NeedletailCore
public import NeedletailEngine
public import NeedletailMetrics
public import ServiceLifecycle
internal import Synchronization

/// Keeps a registry in step with a store of bundles: lists it, brings new versions up, lets old ones go. What is live
/// stays live, whatever happens to the store.
///
/// Three threads of control meet here. A watcher thread lists the store; a low-priority loader thread verifies, compiles
/// and warms; ``run()`` is the only one that decides, by feeding both into a pure ``Reconciler`` and performing what it
/// orders. None of them is an event loop.
public final class ModelStore: Service {
  /// Everything that happened to models and store since the start, for people; others may add to it.
  public let eventLog: EventLog
  /// Whether there is a place for what is undone or quarantined to outlive the process; see
  /// ``StoreStatus/stateProblem``.
  public let isStateDurable: Bool
  /// What is found out about the arms of splits.
  public let experiments: ExperimentService
  /// Recent traffic of live versions.
  package let traffic: TrafficReader

  private let registry: ModelRegistry
  private let metrics: MetricsRegistry
  private let board = StatusBoard()
  private let watcher: StoreWatcher
  private let loader: BundleLoader
  private let reconciler: Reconciler
  private let rollouts: RolloutCoordinator
  private let trustSource: TrustSource
  private let trustPolicy: TrustPolicy
  private let messages: AsyncStream<ControlLoop.Message>
  private let inbox: AsyncStream<ControlLoop.Message>.Continuation
  private let hasRun = Atomic<Bool>(false)

  /// - Throws: if the trust file cannot be read: a server must not start without knowing whom to trust.
  public init(
    configuration: StoreConfiguration, registry: ModelRegistry, metrics: MetricsRegistry, logger: Logger
  ) throws(BundleError) {
    self.registry = registry
    self.metrics = metrics
    eventLog = EventLog(logger: logger)
    isStateDurable = configuration.state.isDurable
    traffic = TrafficReader(registry: registry)
    var trustSource = TrustSource(configuration)
    trustPolicy = try trustSource.load()
    self.trustSource = trustSource
    let source = try configuration.makeSource(metrics: metrics, eventLog: eventLog, logger: logger)
    experiments = ExperimentService(
      source: source, state: configuration.state, metrics: metrics, eventLog: eventLog)
    watcher = StoreWatcher(source: source, limits: configuration.limits, interval: configuration.rescanInterval)
    loader = BundleLoader(configuration: configuration, source: source, metrics: metrics, eventLog: eventLog)
    var rollouts = RolloutCoordinator(state: configuration.state, metrics: metrics, eventLog: eventLog)
    reconciler = Reconciler(
      policy: VersionPolicy(keep: configuration.keep), readiness: configuration.readiness,
      memories: rollouts.recall())
    StatusMetrics.show(configuration.state, in: metrics)
    self.rollouts = rollouts
    (messages, inbox) = AsyncStream.makeStream()
  }

  /// Watches and loads until the service is shut down or its task cancelled. What is live stays so.
  /// - Precondition: called once.
  public func run() async throws {
    precondition(
      hasRun.exchange(true, ordering: .sequentiallyConsistent) == false, "a model store runs once")
    var loop = ControlLoop(
      reconciler: reconciler, trust: trustPolicy, rollouts: rollouts,
      reporter: StatusReporter(metrics, eventLog: eventLog), metrics: StatusMetrics(metrics), registry: registry,
      loader: loader, board: board, experiments: experiments, inbox: inbox)
    watcher.start(trust: trustSource) { [inbox] finding in
      switch finding {
      case .snapshot(let snapshot, let request): inbox.yield(.scanned(snapshot, request: request))
      case .trust(let policy): inbox.yield(.trust(policy))
      }
    }
    await withTaskGroup { group in
      group.addTask { [traffic] in await traffic.run() }
      group.addTask { [experiments] in await experiments.run() }
      await withTaskCancellationOrGracefulShutdownHandler {
        for await message in messages { loop.handle(message) }
      } onCancelOrGracefulShutdown: { [inbox] in
        inbox.finish()
      }
      group.cancelAll()
    }
    watcher.stop()
    experiments.finish()
    board.close()
  }

  /// Everything that is known now, with what live versions have counted; anyone may ask.
  public var status: StoreStatus {
    var status = board.status
    status.add(registry.current, traffic: traffic.traffic)
    return status
  }

  /// Whether the first scan is done and all that it found has been dealt with; see ``StoreStatus/isSettled``.
  public var isSettled: Bool { board.status.isSettled }

  /// Why the server is not ready for traffic; empty if it is. See ``ReadinessPolicy``.
  public var obstacle: String { board.status.obstacle }

  /// Returns when `condition` holds, at once if it does already. The status that it is given has no counts of live
  /// versions, for nobody is told when those change.
  ///
  /// - Throws: `CancellationError`, also when the store stops first.
  public func wait(until condition: @escaping @Sendable (StoreStatus) -> Bool) async throws {
    try await board.wait { status, _ in condition(status) }
  }

  /// Scans now, and returns when all that the scan found is reflected in ``status`` and nothing is left to load; at once
  /// if the store has stopped.
  public func rescan() async {
    let request = watcher.scanNow()
    // Fails only when the store or the caller stops, and then there is nothing left to wait for.
    try? await board.wait { _, settledRequest in settledRequest >= request }
  }

  /// Takes one step of a model's rollout back: a swap of one pointer, done when this returns. Whether that outlives the
  /// process is in ``StoreStatus/stateProblem`` by then.
  ///
  /// - Throws: `.notFound` if there is nothing to go back to, `.invalidArgument` if the guard has gone back already,
  ///   `.unavailable` if no version is live or the store has stopped.
  public func undoRollout(_ order: UndoOrder) async throws(ServingError) {
    let result = await withCheckedContinuation { continuation in
      _ = inbox.yield(.undo(order, OrderReply(continuation)))
    }
    try result.get()
  }

  /// Every transition of every version from now on.
  public func events() -> AsyncStream<LifecycleEvent> { board.events() }
}

/// Settings of a ``ModelStore``: the store it watches, and how it loads.
public struct StoreConfiguration: Sendable {
  /// Where bundles and rollout files lie.
  public enum Source: Sendable {
    /// A directory that a ``DirectoryStore`` reads; it need not exist yet.
    case directory(path: String)
    /// A bucket of an object store that a ``BucketStore`` reads; it need not be in reach.
    case bucket(BucketStore.Configuration)
    case other(any StoreSource)
  }

  /// Where the store learns whom to trust.
  public enum Trust: Sendable {
    case policy(TrustPolicy)
    /// A trust file, read at start and again whenever it changes.
    case file(path: String)
  }

  public var source: Source
  public var trust: Trust
  /// Accepts bundles without a signature, whatever a trust file says.
  public var allowUnsigned = false
  /// Full scans at least this often: events of a store are hints only.
  public var rescanInterval: Duration = .milliseconds(Limits.rescanMillisecondsDefault)
  public var planOptions = PlanOptions()
  /// Time in seconds that live statistics look back; 0: there are none.
  public var watchSeconds = Limits.watchWindowSecondsDefault
  /// Threads that may run any version, event loops first, then workers: each has scratch for every version.
  public var threads = 1
  /// Whether a version may be computed in another precision than its bundle stores.
  public var precision = PrecisionPolicy.stored
  public var limits = BundleLimits()
  /// Previous versions that stay live beside the serving one, for an instant way back.
  public var keep = 1
  /// Bytes of memory that the process may have in all before loading stops; nil: as many as the control group and the
  /// machine give.
  public var memoryBytesMax: UInt64?
  /// Where the store keeps what must outlive the process.
  public var state = StateDirectory.inMemory
  /// Models that have to serve before the server is ready.
  public var readiness = ReadinessPolicy.allModels

  public init(source: Source, trust: Trust) {
    self.source = source
    self.trust = trust
  }

  /// The store; a directory's events and those of the trust file's directory are heard by one thread.
  fileprivate func makeSource(
    metrics: MetricsRegistry, eventLog: EventLog, logger: Logger
  ) throws(BundleError) -> any StoreSource {
    switch source {
    case .other(let source): return source
    case .bucket(let bucket): return try BucketStore(bucket, metrics: metrics, eventLog: eventLog)
    case .directory(let path):
      return try DirectoryStore(path, alsoWatching: trustDirectory.map { [$0] } ?? [], logger: logger)
    }
  }

  private var trustDirectory: String? {
    guard case .file(let path) = trust else { return nil }
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }
}
