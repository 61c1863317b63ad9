internal import NeedletailCore
internal import NeedletailModels

/// The calls of one version that wait for a worker. Pure; part of a ``WorkScheduler``.
struct ModelLane<Ticket: BitwiseCopyable>: ~Copyable {
  struct Entry: BitwiseCopyable {
    var ticket: Ticket
    var rows: Int
    /// Nanoseconds.
    var enqueued: UInt64
    /// Nanoseconds; `.max`: never.
    var deadline: UInt64
  }

  /// Rows of one batch.
  let rowsMax: Int
  private var interactive = BoundedRing<Entry>(capacity: Limits.queuedCallsMax)
  private var bulk = BoundedRing<Entry>(capacity: Limits.queuedCallsMax)
  private(set) var rowsQueued = 0
  private(set) var delay: QueueDelay
  private(set) var rate: ServiceRate
  /// Batches that run now.
  private(set) var running = 0
  /// Nanoseconds of worker time this lane was given: who had least goes first.
  var virtualTime: UInt64 = 0
  /// While the batch that is being filled began, calls had waited too long.
  private var isStale = false
  /// When it last had work.
  private(set) var lastActive = Instant(nanoseconds: 0)

  init(cost: PlanCost, rowsMax: Int, now: Instant) {
    self.rowsMax = rowsMax
    rate = ServiceRate(cost)
    delay = QueueDelay(targetNanoseconds: Limits.queueTargetNanosecondsMin, now: now)
    setTarget()
  }

  /// By a full batch, even where batches are shorter now: by those, an overloaded queue would keep its
  /// batches as short as they happen to be, and short ones cost more.
  private mutating func setTarget() {
    delay.setTarget(serviceNanoseconds: max(UInt64(rate.batchNanoseconds), rate.nanoseconds(rows: rowsMax)))
  }

  var isEmpty: Bool { interactive.isEmpty && bulk.isEmpty }
  var callsQueued: Int { interactive.count + bulk.count }
  var isIdle: Bool { isEmpty && running == 0 }

  /// When the call that waits longest came.
  var oldest: Instant? {
    let first: UInt64? =
      switch (interactive.first?.enqueued, bulk.first?.enqueued) {
      case (let one?, let other?): min(one, other)
      case (let one?, nil): one
      case (nil, let other): other
      }
    return first.map { Instant(nanoseconds: $0) }
  }

  /// - Returns: false if every place is taken.
  mutating func append(_ entry: Entry, priority: CallPriority) -> Bool {
    let isQueued =
      switch priority {
      case .interactive: interactive.append(entry)
      case .bulk: bulk.append(entry)
      }
    if isQueued {
      let now = Instant(nanoseconds: entry.enqueued)
      if rowsQueued == 0 { delay.isEmpty(at: now) }
      rowsQueued += entry.rows
      lastActive = now
    }
    return isQueued
  }

  /// How its queue stands: time passes for an empty one too.
  func delay(at now: Instant) -> QueueDelay {
    var delay = delay
    if isEmpty { delay.isEmpty(at: now) }
    return delay
  }

  /// A call found no room.
  mutating func refused(at now: Instant) { delay.refused(at: now) }

  /// The next call that may run in a batch with `rowsLeft` rows of room, or nil. What may not run any more
  /// goes to `dropped`, without taking room.
  /// - Parameter sharedNanoseconds: what a call may have to wait for a batch of another lane.
  mutating func take(
    now: Instant, sharedNanoseconds: UInt64, rowsLeft: Int, isFirst: Bool, dropped: (Ticket, WorkDrop) -> Void
  ) -> Entry? {
    let isOverloaded = delay.isOverloaded(at: now)
    // Admission counts what waits; whoever it took on within the bound may have found a batch just begun.
    let bound = delay.boundNanoseconds(at: now) &+ UInt64(rate.batchNanoseconds) &+ sharedNanoseconds
    var isStale = !isFirst && isStale
    func next(_ ring: inout BoundedRing<Entry>, _ rowsQueued: inout Int) -> Entry? {
      // Too old: at the front, for age grows towards it. The newest is never too old for a worker that is
      // free: that it waited is then the machine's fault, not the queue's.
      while ring.count > 1, let entry = ring.first, Self.age(of: entry, at: now) > bound {
        _ = ring.popFirst()
        rowsQueued -= entry.rows
        dropped(entry.ticket, .waitedTooLong)
        isStale = true
      }
      // An overloaded queue that admission could not keep short is served newest first: it has the best
      // chance to be in time, and nobody may be waiting any more for the oldest. One that is short is
      // served in order: newest first, half of it would wait only to be dropped.
      let isNewestFirst = isOverloaded && isStale
      while let entry = isNewestFirst ? ring.last : ring.first {
        let isLate = now.nanoseconds >= entry.deadline
        // A call of more rows than a batch has runs alone.
        guard isLate || isFirst || entry.rows <= rowsLeft else { return nil }
        _ = isNewestFirst ? ring.popLast() : ring.popFirst()
        rowsQueued -= entry.rows
        guard isLate else { return entry }
        dropped(entry.ticket, .expired)
      }
      return nil
    }
    var entry = next(&interactive, &rowsQueued)
    if entry == nil, interactive.isEmpty { entry = next(&bulk, &rowsQueued) }
    if isEmpty { delay.isEmpty(at: now) }
    if isStale { delay.refused(at: now) }
    self.isStale = isStale
    return entry
  }

  private static func age(of entry: Entry, at now: Instant) -> UInt64 {
    now.nanoseconds > entry.enqueued ? now.nanoseconds - entry.enqueued : 0
  }

  mutating func start(rows: Int, now: Instant) {
    running += 1
    lastActive = now
    virtualTime &+= rate.nanoseconds(rows: rows)
  }

  mutating func finish(rows: Int, nanoseconds: UInt64, now: Instant) {
    // What was charged at the start is set right; a lane never gets back more than it was charged.
    virtualTime = virtualTime &+ nanoseconds &- min(virtualTime, rate.nanoseconds(rows: rows))
    running -= 1
    lastActive = now
    rate.add(rows: rows, nanoseconds: nanoseconds)
    setTarget()
  }
}

/// Why a call that waited is not run.
public enum WorkDrop: Sendable {
  /// Its deadline has passed.
  case expired
  /// It waited longer than the queue may make a call wait.
  case waitedTooLong
}
