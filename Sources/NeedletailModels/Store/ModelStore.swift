public import Logging
public import NeedletailBundle
public import NeedletailCore
public import NeedletailMetrics
public import ServiceLifecycle
internal import Synchronization

/// Keeps a registry in step with a directory of bundles: scans it, brings new versions up, lets old ones
/// go. What is live stays live, whatever happens to files.
///
/// Three threads of control meet here. A watcher thread scans; a low-priority loader thread verifies,
/// compiles and warms; ``run()`` is the only one that decides, by feeding both into a pure planner and
/// performing what it orders. None of them is an event loop.
public final class ModelStore: Service {
  private let registry: ModelRegistry
  /// Everything that happened to models and store since the start, for people; others may add to it.
  public let eventLog: EventLog
  private let board = StoreBoard()
  private let watcher: StoreWatcher
  private let loader: BundleLoader
  private let storeMetrics: StoreMetrics
  private let policy: VersionPolicy
  private let rollouts: RolloutKeeper
  private let memories: [ModelID: RolloutMemory]
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
    eventLog = EventLog(logger: logger)
    var trustSource = TrustSource(configuration)
    trustPolicy = try trustSource.load()
    self.trustSource = trustSource
    watcher = StoreWatcher(configuration: configuration, logger: logger)
    loader = BundleLoader(configuration: configuration, metrics: metrics, eventLog: eventLog)
    storeMetrics = StoreMetrics(metrics)
    policy = VersionPolicy(keep: configuration.keep)
    var rollouts = RolloutKeeper(state: configuration.state, metrics: metrics, eventLog: eventLog)
    memories = rollouts.recall()
    isStateDurable = configuration.state.isDurable
    self.rollouts = rollouts
    (messages, inbox) = AsyncStream.makeStream()
  }

  /// Watches and loads until the service is shut down or its task cancelled. What is live stays so.
  /// - Precondition: called once.
  public func run() async throws {
    precondition(
      hasRun.exchange(true, ordering: .sequentiallyConsistent) == false, "a model store runs once")
    storeMetrics.show(trustPolicy)
    let inbox = inbox
    watcher.start(trust: trustSource) { finding in
      switch finding {
      case .snapshot(let snapshot, let request): inbox.yield(.scanned(snapshot, request: request))
      case .trust(let policy): inbox.yield(.trust(policy))
      }
    }
    var loop = ControlLoop(
      planner: StorePlanner(policy: policy, memories: memories), trust: trustPolicy, registry: registry, loader: loader,
      board: board,
      metrics: storeMetrics, rollouts: rollouts, eventLog: eventLog, inbox: inbox)
    await withTaskCancellationOrGracefulShutdownHandler {
      for await message in messages { loop.handle(message) }
    } onCancelOrGracefulShutdown: {
      inbox.finish()
    }
    watcher.stop()
    board.close()
  }

  /// A snapshot; anyone may ask.
  public var status: StoreStatus { board.status }

  /// Whether the first scan is done and all that it found has been dealt with; see
  /// ``StoreStatus/isReady``.
  public var isReady: Bool { board.status.isReady }

  /// Returns when `condition` holds, at once if it does already.
  /// - Throws: `CancellationError`, also when the store stops first.
  public func wait(until condition: @escaping @Sendable (StoreStatus) -> Bool) async throws {
    try await board.wait { condition($0.status) }
  }

  /// Scans now, and returns when all that the scan found is reflected in ``status`` and nothing is left to
  /// load; at once if the store has stopped.
  public func rescan() async {
    let request = watcher.scanNow()
    // Fails only when the store or the caller stops, and then there is nothing left to wait for.
    try? await board.wait { $0.settledRequest >= request }
  }

  /// Whether what is undone or set aside outlives the process.
  public let isStateDurable: Bool

  /// Takes one step of a model's rollout back: a swap of one pointer, done when this returns.
  /// - Returns: whether that outlives the process.
  /// - Throws: `.notFound` where there is nothing to go back to, `.unavailable` if the store has stopped.
  public func undoRollout(of model: ModelID) async throws(ServingError) -> Bool {
    let result = await withCheckedContinuation { continuation in
      _ = inbox.yield(.undo(model, OrderReply(continuation)))
    }
    return try result.get()
  }

  /// Every transition of every version from now on.
  public func events() -> AsyncStream<LifecycleEvent> { board.events() }
}
