internal import CNeedletailAllocations
internal import Logging
internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailServing
internal import Synchronization

/// Parts of the server that all loops share.
struct SharedServices: Sendable {
  let logger: Logger
  let control: ControlPlane
  let metrics: MetricsRegistry
  let gate: ConnectionGate
  let outputBudget: OutputBudget
  /// Nil: every plan runs on the loops.
  let workers: WorkerPool?
  let connectionCounters: ConnectionCounters
  let servingCounters: ServingCounters
  let background: BackgroundRunner
  /// Nil: there are no jobs.
  let jobs: JobService?
  /// What captures calls and remembers predictions.
  let keeping: CallKeeping
  /// Nil: calls are not traced.
  let tracing: TraceService?
  /// One for each loop; nil: answers are not cached.
  let caches: [ResponseCache]?
  let accessCounters: AccessCounters
  let tlsCounters: TLSCounters
  let audit: AuditLog
  /// Nil: any client may make any call.
  let keys: KeySource?
}

/// Parts of one loop that its connections use: limits, metrics and log. Confined to the loop.
final class ConnectionContext {
  let shard: Int
  let bounds: ConnectionStateMachine.Bounds
  let counters: ConnectionCounters
  let tlsCounters: TLSCounters
  let outputBudget: OutputBudget
  let audit: AuditLog
  /// Nil: there are no jobs.
  let jobs: JobService?
  let logger: Logger
  /// Nil: calls are not traced.
  let traces: TraceLane?

  init(shard: Int, limits: ServerConfiguration.ConnectionLimits, shared: SharedServices) {
    self.shard = shard
    bounds = ConnectionStateMachine.Bounds(limits)
    counters = shared.connectionCounters
    tlsCounters = shared.tlsCounters
    outputBudget = shared.outputBudget
    audit = shared.audit
    jobs = shared.jobs
    logger = shared.logger
    traces = shared.tracing?.lane(shard: shard)
  }
}

/// Counts the connections of all loops and says when there are too many.
final class ConnectionGate: Sendable {
  let connectionsMax: Int
  private let open = Atomic(0)

  init(connectionsMax: Int) { self.connectionsMax = connectionsMax }

  /// - Returns: false if as many connections are open as may be; then nothing was counted.
  func enter() -> Bool {
    guard open.add(1, ordering: .relaxed).newValue <= connectionsMax else {
      open.subtract(1, ordering: .relaxed)
      return false
    }
    return true
  }

  func leave() { open.subtract(1, ordering: .relaxed) }
}

/// Bytes of answers over all connections of all loops: of large ones from the admission of their calls on, of small ones
/// while they wait for slow peers.
///
/// The bound of one connection does not bound a thousand connections. Ordinary answers, which are small and which the
/// socket takes at once, do not touch this counter.
final class OutputBudget: Sendable {
  let bytesMax: Int
  private let waiting = Atomic(0)

  init(bytesMax: Int) { self.bytesMax = bytesMax }

  /// Makes room for a large answer before it is computed.
  /// - Returns: false if there is none; then nothing was counted.
  func reserve(_ bytes: Int) -> Bool {
    guard waiting.add(bytes, ordering: .relaxed).newValue > bytesMax else { return true }
    waiting.subtract(bytes, ordering: .relaxed)
    return false
  }

  /// Error of a call for whose answer there is no room.
  func rejection(of bytes: Int) -> ServingError {
    ServingError(
      .overloaded,
      "answers: expected room for \(bytes) bytes beside those that wait for their peers, found \(bytesWaiting) of "
        + "\(bytesMax) taken",
      retryAfterMicroseconds: Limits.largeAnswerRetryMicroseconds)
  }

  func move(by bytes: Int) { waiting.add(bytes, ordering: .relaxed) }

  var bytesWaiting: Int { waiting.load(ordering: .relaxed) }

  /// Whether all connections together are above the bound.
  var isShort: Bool { bytesWaiting > bytesMax }
}

/// Counts heap allocations of one event loop's thread while it serves.
///
/// Everything between two ticks counts, so that a new connection costs some allocations and a steady stream of calls
/// must cost none. Work of the loop's timer is left out. Confined to its loop; one thread-local load a tick.
struct LoopAllocations {
  private let counter: Counter
  private let shard: Int
  private var seen: UInt64?

  /// Nil where allocations cannot be counted: there is no series then.
  init?(metrics: MetricsRegistry, shard: Int) {
    guard nt_allocations_counted() else { return nil }
    counter = metrics.counter(
      "needletail_loop_allocations_total",
      help: "Heap allocations on the threads of event loops; a steady stream of calls makes none.")
    self.shard = shard
  }

  /// Counts allocations since the last call of either method.
  mutating func count() {
    let now = nt_allocations_of_thread()
    // The first call comes with the first tick: what the thread did before was its start.
    if let seen, now > seen { counter.add(now - seen, shard: shard) }
    seen = now
  }

  /// Leaves out allocations since the last call of either method.
  mutating func skip() { seen = nt_allocations_of_thread() }
}
