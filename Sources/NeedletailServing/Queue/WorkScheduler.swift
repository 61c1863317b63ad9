public import NeedletailCore
public import NeedletailModels

/// Decides which waiting calls a free worker runs next. Pure: calls and time in, batches out; a
/// ``WorkerPool`` carries them out under its lock, a test drives it with a clock of its own.
///
/// - Each version has a lane with two priorities. Whoever had the least worker time goes first, so that a
///   slow model cannot starve a fast one (start-time fair queueing: P. Goyal, H. Vin, H. Cheng, 1996).
/// - A batch takes what is there, as long as rows still make it cheaper or it takes a few milliseconds, for
///   what comes next waits for all of it; while another lane has work, a few milliseconds at most.
/// - Waiting is bounded in time: ``QueueDelay``.
public struct WorkScheduler<Ticket: BitwiseCopyable>: ~Copyable {
  /// What a worker runs. Its arrays are used again.
  public struct Batch {
    public internal(set) var lane = 0
    public internal(set) var tickets: [Ticket] = []
    public internal(set) var rows = 0
    /// Taken off a queue and not to be run.
    public internal(set) var dropped: [(ticket: Ticket, reason: WorkDrop)] = []

    public init() {}

    mutating func removeAll() {
      tickets.removeAll(keepingCapacity: true)
      dropped.removeAll(keepingCapacity: true)
      rows = 0
    }
  }

  public enum NextAction: Equatable, Sendable {
    /// Run the batch, then ``finish(lane:rows:nanoseconds:now:)``.
    case run
    /// Calls wait for company until then.
    case wait(until: Instant)
    case rest
  }

  private let workers: Int
  /// What a call may wait for others to share its batch.
  private let queueDelayNanoseconds: UInt64
  private var lanes: [LaneBox<Ticket>?] = []
  /// Of the lane that was served last: a lane that was idle starts here and has no arrears to claim.
  private var virtualNow: UInt64 = 0

  public init(workers: Int, queueDelayNanoseconds: UInt64 = 0) {
    precondition(workers > 0, "a scheduler needs a worker")
    self.workers = workers
    self.queueDelayNanoseconds = queueDelayNanoseconds
  }

  // MARK: lanes

  public mutating func addLane(cost: PlanCost, rowsMax: Int, now: Instant) -> Int {
    let box = LaneBox<Ticket>(
      ModelLane(
        cost: cost, rowsMax: min(rowsMax, cost.usefulRows(within: Limits.batchNanosecondsUseful)), now: now))
    if let free = lanes.firstIndex(where: { $0 == nil }) {
      lanes[free] = box
      return free
    }
    lanes.append(box)
    return lanes.count - 1
  }

  /// - Precondition: nothing of it waits or runs.
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
    _ ticket: Ticket, lane: Int, rows: Int, priority: CallPriority, deadline: Deadline, now: Instant
  ) -> Bool {
    let box = box(lane)
    if box.lane.isIdle { box.lane.virtualTime = max(box.lane.virtualTime, virtualNow) }
    return box.lane.append(
      .init(ticket: ticket, rows: rows, enqueued: now.nanoseconds, deadline: deadline.instant.nanoseconds),
      priority: priority)
  }

  /// A call found no room there, by ``LaneStatus/rowsLimit``.
  public mutating func refused(lane: Int, now: Instant) { box(lane).lane.refused(at: now) }

  /// Whether a call waits.
  public var hasWaiting: Bool { lanes.contains { $0.map { !$0.lane.isEmpty } ?? false } }

  /// Fills `batch` with what a free worker should run.
  /// - Complexity: O(lanes + calls taken).
  public mutating func next(now: Instant, into batch: inout Batch) -> NextAction {
    batch.removeAll()
    var wake: Instant?
    while let index = leastServed(now: now, wake: &wake) {
      let box = box(index)
      fill(&batch, from: box, now: now)
      // All that waited there may have been too late.
      guard batch.rows > 0 else { continue }
      batch.lane = index
      virtualNow = max(virtualNow, box.lane.virtualTime)
      box.lane.start(rows: batch.rows, now: now)
      return .run
    }
    if let wake { return .wait(until: wake) }
    return .rest
  }

  private func fill(_ batch: inout Batch, from box: LaneBox<Ticket>, now: Instant) {
    var rowsLeft = box.lane.rowsMax
    let shared = sharedNanoseconds(box, now: now)
    if shared > 0 { rowsLeft = min(rowsLeft, box.lane.rate.rows(within: Limits.sharedBatchNanosecondsMax, workers: 1)) }
    while rowsLeft > 0 {
      let entry = box.lane.take(
        now: now, sharedNanoseconds: shared, rowsLeft: rowsLeft, isFirst: batch.tickets.isEmpty
      ) { ticket, reason in
        batch.dropped.append((ticket, reason))
      }
      guard let entry else { return }
      batch.tickets.append(entry.ticket)
      batch.rows += entry.rows
      rowsLeft -= entry.rows
    }
  }

  /// The lane to serve. Lanes whose calls still wait for company only move `wake`.
  private func leastServed(now: Instant, wake: inout Instant?) -> Int? {
    var best: Int?
    var bestTime = UInt64.max
    for index in lanes.indices {
      guard let box = lanes[index], let oldest = box.lane.oldest else { continue }
      if queueDelayNanoseconds > 0, box.lane.rowsQueued < box.lane.rowsMax {
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

  /// The longest usual batch of the other lanes that have, or lately had, work for the same workers; 0:
  /// there are none.
  private func sharedNanoseconds(_ box: LaneBox<Ticket>, now: Instant) -> UInt64 {
    var longest: UInt64 = 0
    for other in lanes {
      guard let other, other !== box else { continue }
      let isActive =
        !other.lane.isIdle || now.nanoseconds < other.lane.lastActive.nanoseconds &+ Limits.laneActiveNanoseconds
      if isActive { longest = max(longest, UInt64(other.lane.rate.batchNanoseconds), 1) }
    }
    return longest
  }

  /// What a batch cost.
  public mutating func finish(lane: Int, rows: Int, nanoseconds: UInt64, now: Instant) {
    box(lane).lane.finish(rows: rows, nanoseconds: nanoseconds, now: now)
  }

  // MARK: what admission goes by

  /// Where a lane stands.
  public struct LaneStatus: Equatable, Sendable {
    public var callsQueued: Int
    public var rowsQueued: Int
    /// Rows that may wait: what the workers get through in the time that a call may wait.
    public var rowsLimit: Int
    public var rowNanoseconds: UInt64
    public var isOverloaded: Bool
  }

  public func status(of index: Int, now: Instant) -> LaneStatus {
    let lane = box(index)
    let delay = lane.lane.delay(at: now)
    var active = 1
    for other in lanes { if let other, other !== lane, !other.lane.isIdle { active += 1 } }
    return LaneStatus(
      callsQueued: lane.lane.callsQueued, rowsQueued: lane.lane.rowsQueued,
      rowsLimit: lane.lane.rate.rows(
        within: delay.boundNanoseconds(at: now) &+ sharedNanoseconds(lane, now: now),
        workers: Double(workers) / Double(active)),
      rowNanoseconds: UInt64(lane.lane.rate.rowNanoseconds), isOverloaded: delay.isOverloaded(at: now))
  }
}

/// Holds a lane in place, for arrays cannot hold what cannot be copied.
private final class LaneBox<Ticket: BitwiseCopyable> {
  var lane: ModelLane<Ticket>
  init(_ lane: consuming ModelLane<Ticket>) { self.lane = lane }
}
