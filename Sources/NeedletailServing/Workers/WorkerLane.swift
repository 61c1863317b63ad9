internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels
internal import Synchronization

/// Lane of one version as loops and workers share it; ``ModelLane`` holds its calls. It keeps the version alive from
/// the first call's admission to the last one's answer: every loop with a batch for the version holds the lane, and
/// batches stay while calls are with the workers.
///
/// `@unchecked Sendable`: `users` and `runs` are touched under the pool's lock, the rest is constant or atomic.
final class WorkerLane: @unchecked Sendable {
  let model: LiveModel
  let plan: Plan
  /// Index of the lane in the pool's scheduler.
  let index: Int
  /// Number of loops that hold it.
  var users = 0
  private var runs = CostScale.Window()

  /// Units admitted by loops and not yet taken by a worker.
  private let unitsWaiting = Atomic(0)
  /// Units that may wait: ``WorkScheduler/LaneStatus/unitsLimit``.
  private let unitsLimit = Atomic(Int.max)
  private let unitNanoseconds = Atomic<UInt64>(0)
  /// Whether a call was rejected since the pool last asked.
  private let hasRejected = Atomic(false)

  init(_ model: LiveModel, index: Int) {
    self.model = model
    plan = model.compiled.plan
    self.index = index
  }

  /// Reason why a call of this extent may not wait, with the time after which to try again; nil: it may wait. Bulk
  /// calls find half the room.
  func rejection(of extent: BatchExtent, priority: CallPriority) -> ServingError? {
    let waiting = unitsWaiting.load(ordering: .relaxed)
    let limit = unitsLimit.load(ordering: .relaxed) / (priority == .bulk ? 2 : 1)
    // An empty queue takes one call, however large.
    guard waiting > 0, waiting + extent.units > limit else { return nil }
    if !hasRejected.load(ordering: .relaxed) { hasRejected.store(true, ordering: .relaxed) }
    return shedError
  }

  /// Error of a call that finds no room. A constant sentence: with numbers in it, a rejection would cost several times
  /// as much.
  var shedError: ServingError {
    let microseconds = UInt32(min(1_000_000, drainNanoseconds / 1000))
    return ServingError(
      .overloaded, "queue: expected room for the call's rows, found it full",
      retryAfterMicroseconds: max(Limits.overloadRetryMicrosecondsMin, microseconds))
  }

  /// Time until the workers have done all that waits now.
  var drainNanoseconds: UInt64 {
    let units = max(0, unitsWaiting.load(ordering: .relaxed))
    let product = UInt64(units).multipliedReportingOverflow(by: unitNanoseconds.load(ordering: .relaxed))
    return product.overflow ? .max : product.partialValue
  }

  /// Whether a call was rejected since the last question.
  func takeRejection() -> Bool { hasRejected.exchange(false, ordering: .relaxed) }

  func admitted(_ extent: BatchExtent) { unitsWaiting.add(extent.units, ordering: .relaxed) }

  func left(_ extent: BatchExtent) { unitsWaiting.subtract(extent.units, ordering: .relaxed) }

  func publish(_ status: WorkScheduler<Unmanaged<QueuedCall>>.LaneStatus) {
    unitsLimit.store(status.unitsLimit, ordering: .relaxed)
    unitNanoseconds.store(status.unitNanoseconds, ordering: .relaxed)
    model.counters.queueLimit.set(Double(status.unitsLimit))
    model.counters.queueRows.set(Double(status.unitsQueued))
  }

  /// Notes how long a batch took; 0: nothing was computed.
  func ran(units: Int, nanoseconds: UInt64) {
    runs.add(estimated: model.cost.nanoseconds(rows: units), measured: nanoseconds, to: model.costScale)
  }

  /// Whether bulk calls would be rejected now: the lane is at least half full.
  var isFull: Bool {
    let waiting = unitsWaiting.load(ordering: .relaxed)
    return waiting > 0 && waiting >= unitsLimit.load(ordering: .relaxed) / 2
  }
}
