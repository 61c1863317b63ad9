internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels
internal import Synchronization

/// One version as the workers know it. Keeps the version alive from the first call's admission to the
/// last one's answer: every loop that has scratch for it holds the lane, and scratch stays while calls
/// are out.
///
/// `@unchecked Sendable`: `users` and `workspaces` are touched under the pool's lock, the rest is constant
/// or atomic.
final class WorkerLane: @unchecked Sendable {
  let model: LiveModel
  let plan: Plan
  /// In the pool's scheduler.
  let index: Int
  let limitGauge: Gauge
  let queuedGauge: Gauge
  /// Loops that hold it.
  var users = 0
  /// Scratch that no worker uses now: at most one a worker was ever made.
  var workspaces: [WorkspaceBox] = []

  /// Rows admitted by loops and not yet taken by a worker.
  private let rowsWaiting = Atomic(0)
  /// Rows that may wait: ``WorkScheduler/LaneStatus/rowsLimit``.
  private let rowsLimit = Atomic(Int.max)
  private let rowNanoseconds = Atomic<UInt64>(0)
  /// Since the pool last asked.
  private let hasRefused = Atomic(false)

  init(_ model: LiveModel, index: Int, counters: ServingCounters) {
    self.model = model
    plan = model.compiled.plan
    self.index = index
    limitGauge = counters.queueLimit(of: model)
    queuedGauge = counters.queueRows(of: model)
  }

  /// Nil: the call may wait. Else why not, and when it may be tried again. Bulk calls find half the room.
  func obstacle(rows: Int, priority: CallPriority) -> ServingError? {
    let waiting = rowsWaiting.load(ordering: .relaxed)
    let limit = rowsLimit.load(ordering: .relaxed) / (priority == .bulk ? 2 : 1)
    // Whatever the limit, an empty queue takes one call.
    guard waiting > 0, waiting + rows > limit else { return nil }
    if !hasRefused.load(ordering: .relaxed) { hasRefused.store(true, ordering: .relaxed) }
    return overloaded
  }

  /// For a call that was admitted and not run after all.
  var shedError: ServingError { overloaded }

  /// A constant sentence: with numbers in it, a refusal would cost several times as much.
  private var overloaded: ServingError {
    let microseconds = UInt32(min(1_000_000, drainNanoseconds / 1000))
    return ServingError(
      .overloaded, "queue: expected room for the call's rows, found it full",
      retryAfterMicroseconds: max(Limits.overloadRetryMicrosecondsMin, microseconds))
  }

  /// Until the workers have done all that waits now.
  var drainNanoseconds: UInt64 {
    let rows = max(0, rowsWaiting.load(ordering: .relaxed))
    let product = UInt64(rows).multipliedReportingOverflow(by: rowNanoseconds.load(ordering: .relaxed))
    return product.overflow ? .max : product.partialValue
  }

  /// Whether a call was refused since the last question.
  func takeRefusal() -> Bool { hasRefused.exchange(false, ordering: .relaxed) }

  func admitted(rows: Int) { rowsWaiting.add(rows, ordering: .relaxed) }

  func left(rows: Int) { rowsWaiting.subtract(rows, ordering: .relaxed) }

  func publish(_ status: WorkScheduler<Unmanaged<QueuedCall>>.LaneStatus) {
    rowsLimit.store(status.rowsLimit, ordering: .relaxed)
    rowNanoseconds.store(status.rowNanoseconds, ordering: .relaxed)
    limitGauge.set(Double(status.rowsLimit))
    queuedGauge.set(Double(status.rowsQueued))
  }

  /// Whether a call of one row would be refused now.
  var isFull: Bool {
    let waiting = rowsWaiting.load(ordering: .relaxed)
    return waiting > 0 && waiting >= rowsLimit.load(ordering: .relaxed) / 2
  }
}

/// Holds a workspace in place, for arrays cannot hold what cannot be copied.
///
/// `@unchecked Sendable`: handed from thread to thread under the pool's lock, used by one at a time.
final class WorkspaceBox: @unchecked Sendable {
  let workspace: Workspace
  init(_ plan: Plan) { workspace = Workspace(plan) }
}
