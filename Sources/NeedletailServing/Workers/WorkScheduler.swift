public import NeedletailCore
public import NeedletailModels

/// Decides which waiting calls a free worker runs next. Pure: calls and time go in, batches come out. A
/// ``WorkerPool`` carries them out under its lock; a test drives the scheduler with a clock of its own.
///
/// - Each version has a lane with two priorities. The lane that had the least worker time goes first, so that a slow
///   model cannot starve a fast one. Source: P. Goyal, H. Vin, H. Cheng, "Start-time Fair Queuing", SIGCOMM 1996.
/// - A batch takes what waits, as long as more work still makes it cheaper per unit or it takes a few milliseconds:
///   calls that come later wait for all of it. While another lane has work, a batch takes a few milliseconds at most.
/// - Waiting is bounded in time: ``CoDel``.
public struct WorkScheduler<Ticket: BitwiseCopyable>: ~Copyable {
  /// What a worker runs. Its arrays are used again.
  public struct Batch {
    public internal(set) var lane = 0
    public internal(set) var tickets: [Ticket] = []
    public internal(set) var extent = BatchExtent.zero
    /// Calls that were taken off a queue and must not be run.
    public internal(set) var dropped: [(ticket: Ticket, reason: WorkDrop)] = []

    public init() {}

    mutating func removeAll() {
      tickets.removeAll(keepingCapacity: true)
      dropped.removeAll(keepingCapacity: true)
      extent = .zero
    }
  }

  public enum NextAction: Equatable, Sendable {
    /// Run the batch, then call ``finish(lane:units:nanoseconds:now:)``.
    case run
    /// Calls wait until then for others to share their batch.
    case wait(until: Instant)
    /// No call waits.
    case sleep
  }

  private let workers: Int
  /// Time that a call may wait for others to share its batch.
  private let queueDelayNanoseconds: UInt64
  private var lanes: [LaneBox<Ticket>?] = []
  /// Virtual time of the lane that was served last. A lane that was idle starts here: idleness earns it nothing.
  private var virtualNow: UInt64 = 0

  public init(workers: Int, queueDelayNanoseconds: UInt64 = 0) {
    precondition(workers > 0, "a scheduler needs a worker")
    self.workers = workers
    self.queueDelayNanoseconds = queueDelayNanoseconds
  }

  // MARK: lanes

  /// - Parameter extentMax: largest batch of the version's plan.
  public mutating func addLane(cost: PlanCost, extentMax: BatchExtent, now: Instant) -> Int {
    let unitsMax = min(extentMax.units, cost.usefulRows(within: Limits.batchNanosecondsUseful))
    let extent = BatchExtent(rows: min(extentMax.rows, unitsMax), units: unitsMax)
    let box = LaneBox<Ticket>(ModelLane(cost: cost, extentMax: extent, now: now))
    if let free = lanes.firstIndex(where: { $0 == nil }) {
      lanes[free] = box
      return free
    }
    lanes.append(box)
    return lanes.count - 1
  }

  /// - Precondition: no call of the lane waits or runs.
  public mutating func removeLane(_ lane: Int) {
    precondition(lanes[lane]?.lane.isIdle == true, "a lane was removed while calls of it were under way")
    lanes[lane] = nil
  }

  private func box(_ lane: Int) -> LaneBox<Ticket> {
    guard let box = lanes[lane] else { preconditionFailure("lane \(lane) does not exist") }
    return box
  }

  // MARK: calls

  /// - Returns: false if every place of the lane is taken.
  public mutating func enqueue(
    _ ticket: Ticket, lane: Int, extent: BatchExtent, priority: CallPriority, deadline: Deadline, now: Instant
  ) -> Bool {
    let box = box(lane)
    if box.lane.isIdle { box.lane.virtualTime = max(box.lane.virtualTime, virtualNow) }
    return box.lane.append(
      .init(ticket: ticket, extent: extent, enqueued: now.nanoseconds, deadline: deadline.instant.nanoseconds),
      priority: priority)
  }

  /// Notes that admission rejected a call of this lane, by ``LaneStatus/unitsLimit``.
  public mutating func rejected(lane: Int, now: Instant) { box(lane).lane.rejected(at: now) }

  /// Whether a call waits.
  public var hasWaiting: Bool { lanes.contains { $0.map { !$0.lane.isEmpty } ?? false } }

  /// Fills `batch` with what a free worker should run.
  /// - Complexity: O(lanes + calls taken).
  public mutating func next(now: Instant, into batch: inout Batch) -> NextAction {
    batch.removeAll()
    var wake: Instant?
    while let index = leastServed(now: now, wake: &wake) {
      let box = box(index)
      fill(&batch, from: box, competition(now: now).nanoseconds(beside: index), now: now)
      // All calls that waited there may have been too late.
      guard !batch.tickets.isEmpty else { continue }
      batch.lane = index
      virtualNow = max(virtualNow, box.lane.virtualTime)
      box.lane.start(units: batch.extent.units, now: now)
      return .run
    }
    if let wake { return .wait(until: wake) }
    return .sleep
  }

  /// - Parameter shared: time in nanoseconds that a call may have to wait for a batch of another lane; 0: there is none.
  private func fill(_ batch: inout Batch, from box: LaneBox<Ticket>, _ shared: UInt64, now: Instant) {
    var bound = box.lane.extentMax
    if shared > 0 {
      bound.units = min(bound.units, box.lane.rate.units(within: Limits.sharedBatchNanosecondsMax, workers: 1))
    }
    while batch.extent.rows < bound.rows, batch.extent.units < bound.units {
      let room = BatchExtent(rows: bound.rows - batch.extent.rows, units: bound.units - batch.extent.units)
      let entry = box.lane.take(now: now, sharedNanoseconds: shared, room: room, isFirst: batch.tickets.isEmpty) {
        ticket, reason in batch.dropped.append((ticket, reason))
      }
      guard let entry else { return }
      batch.tickets.append(entry.ticket)
      batch.extent += entry.extent
    }
  }

  /// The lane to serve. Lanes whose calls still wait for others to share their batch only move `wake`.
  private func leastServed(now: Instant, wake: inout Instant?) -> Int? {
    var best: Int?
    var bestTime = UInt64.max
    for index in lanes.indices {
      guard let box = lanes[index], let oldest = box.lane.oldest else { continue }
      if queueDelayNanoseconds > 0, !isBatchFull(box) {
        let due = oldest.advanced(byMicroseconds: queueDelayNanoseconds / 1000)
        if due > now {
          wake = wake.map { min($0, due) } ?? due
          continue
        }
      }
      if best == nil || box.lane.virtualTime < bestTime {
        best = index
        bestTime = box.lane.virtualTime
      }
    }
    return best
  }

  private func isBatchFull(_ box: LaneBox<Ticket>) -> Bool {
    box.lane.queued.rows >= box.lane.extentMax.rows || box.lane.queued.units >= box.lane.extentMax.units
  }

  /// Notes the cost of a batch.
  public mutating func finish(lane: Int, units: Int, nanoseconds: UInt64, now: Instant) {
    box(lane).lane.finish(units: units, nanoseconds: nanoseconds, now: now)
  }

  // MARK: figures for admission

  /// State of a lane.
  public struct LaneStatus: Equatable, Sendable {
    public var callsQueued: Int
    public var unitsQueued: Int
    /// Units that may wait: what the workers complete in the time that a call may wait.
    public var unitsLimit: Int
    public var unitNanoseconds: UInt64
    public var isOverloaded: Bool
  }

  public func status(of index: Int, now: Instant) -> LaneStatus { status(of: index, competition(now: now), now: now) }

  /// Claims of the lanes on the workers, and so on each other's time, at one moment.
  struct Competition {
    /// Lanes with calls that wait or run.
    fileprivate var busy = 0
    /// The lane with the longest usual batch among those that have, or lately had, work.
    fileprivate var longest: (lane: Int, nanoseconds: UInt64)?
    /// The longest usual batch of the other ones.
    fileprivate var second: UInt64 = 0

    /// Time of the longest usual batch of the lanes beside this one; 0: there are none.
    fileprivate func nanoseconds(beside lane: Int) -> UInt64 {
      longest?.lane == lane ? second : longest?.nanoseconds ?? 0
    }
  }

  /// - Complexity: O(lanes), so that the figures of many lanes take one pass over all and not one for each.
  func competition(now: Instant) -> Competition {
    var found = Competition()
    for index in lanes.indices {
      guard let box = lanes[index] else { continue }
      if !box.lane.isIdle { found.busy += 1 }
      guard box.lane.isActive(at: now) else { continue }
      let nanoseconds = max(UInt64(box.lane.rate.batchNanoseconds), 1)
      if nanoseconds > found.longest?.nanoseconds ?? 0 {
        found.second = found.longest?.nanoseconds ?? 0
        found.longest = (index, nanoseconds)
      } else {
        found.second = max(found.second, nanoseconds)
      }
    }
    return found
  }

  func status(of index: Int, _ competition: Competition, now: Instant) -> LaneStatus {
    let lane = box(index)
    let delay = lane.lane.delay(at: now)
    let active = competition.busy + (lane.lane.isIdle ? 1 : 0)
    return LaneStatus(
      callsQueued: lane.lane.callsQueued, unitsQueued: lane.lane.queued.units,
      unitsLimit: lane.lane.rate.units(
        within: delay.boundNanoseconds(at: now) &+ competition.nanoseconds(beside: index),
        workers: Double(workers) / Double(active)),
      unitNanoseconds: UInt64(lane.lane.rate.unitNanoseconds), isOverloaded: delay.isOverloaded(at: now))
  }
}

/// Holds a lane in place, because arrays cannot hold values that cannot be copied.
private final class LaneBox<Ticket: BitwiseCopyable> {
  var lane: ModelLane<Ticket>
  init(_ lane: consuming ModelLane<Ticket>) { self.lane = lane }
}
