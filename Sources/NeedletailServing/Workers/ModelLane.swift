internal import NeedletailCore
internal import NeedletailModels

/// Lane of one version: its calls that wait for a worker. Pure; part of a ``WorkScheduler``.
struct ModelLane<Ticket: BitwiseCopyable>: ~Copyable {
  struct Entry: BitwiseCopyable {
    var ticket: Ticket
    var extent: BatchExtent
    /// Nanoseconds of the clock.
    var enqueued: UInt64
    /// Nanoseconds of the clock; `.max`: never.
    var deadline: UInt64
  }

  /// Largest batch.
  let extentMax: BatchExtent
  private var interactive = BoundedRing<Entry>(capacity: Limits.queuedCallsMax)
  private var bulk = BoundedRing<Entry>(capacity: Limits.queuedCallsMax)
  /// Extent of all calls that wait.
  private(set) var queued = BatchExtent.zero
  private(set) var delay: CoDel
  private(set) var rate: ServiceRate
  /// Number of batches that run now.
  private(set) var running = 0
  /// Nanoseconds of worker time that this lane was given. The lane with the least goes first.
  var virtualTime: UInt64 = 0
  /// Whether calls of each priority were found to have waited too long since the batch that is being filled was begun.
  private var isStale = (interactive: false, bulk: false)
  /// Interactive units taken while bulk calls waited, less those that bulk calls taken meanwhile have used up.
  private var unitsPassed = 0
  /// Last time at which it had work.
  private(set) var lastActive = Instant(nanoseconds: 0)

  init(cost: PlanCost, extentMax: BatchExtent, now: Instant) {
    self.extentMax = extentMax
    rate = ServiceRate(cost)
    delay = CoDel(targetNanoseconds: Limits.queueTargetNanosecondsMin, now: now)
    setTarget()
  }

  /// Sets the target by the time of a full batch, even while batches are smaller: by those, an overloaded queue would
  /// keep its batches as small as they happen to be, and small batches cost more per unit.
  private mutating func setTarget() {
    delay.setTarget(serviceNanoseconds: max(UInt64(rate.batchNanoseconds), rate.nanoseconds(units: extentMax.units)))
  }

  var isEmpty: Bool { interactive.isEmpty && bulk.isEmpty }
  var callsQueued: Int { interactive.count + bulk.count }
  var isIdle: Bool { isEmpty && running == 0 }

  /// Whether it has, or lately had, work for the workers.
  func isActive(at now: Instant) -> Bool {
    !isIdle || now.nanoseconds < lastActive.nanoseconds &+ Limits.laneActiveNanoseconds
  }

  /// Arrival of the call that has waited longest.
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
    let wasEmpty = isEmpty
    let isQueued =
      switch priority {
      case .interactive: interactive.append(entry)
      case .bulk: bulk.append(entry)
      }
    if isQueued {
      let now = Instant(nanoseconds: entry.enqueued)
      if wasEmpty { delay.isEmpty(at: now) }
      queued += entry.extent
      lastActive = now
    }
    return isQueued
  }

  /// State of the queue's delay at `now`: time passes for an empty queue too.
  func delay(at now: Instant) -> CoDel {
    var delay = delay
    if isEmpty { delay.isEmpty(at: now) }
    return delay
  }

  /// Notes that a call found no room.
  mutating func rejected(at now: Instant) { delay.rejected(at: now) }

  /// Takes the next call that may run in a batch with this much room left; nil: there is none. Calls that may not run
  /// any more go to `dropped` and take no room.
  /// - Parameters:
  ///   - sharedNanoseconds: time that a call may have to wait for a batch of another lane.
  ///   - isFirst: whether the batch is empty.
  mutating func take(
    now: Instant, sharedNanoseconds: UInt64, room: BatchExtent, isFirst: Bool, dropped: (Ticket, WorkDrop) -> Void
  ) -> Entry? {
    let isOverloaded = delay.isOverloaded(at: now)
    // Admission counts what waits; a call that it admitted within the bound may have found a batch just begun.
    let bound = delay.boundNanoseconds(at: now) &+ UInt64(rate.batchNanoseconds) &+ sharedNanoseconds
    let wereStale = isFirst ? (interactive: false, bulk: false) : isStale
    isStale.interactive = Self.drop(&interactive, &queued, now, dropped) { _ in bound } || wereStale.interactive
    // Bulk calls have a part of the time only, which makes the same work take so many times as long.
    let parts = UInt64(Limits.interactiveUnitsPerBulkUnit + 1)
    isStale.bulk =
      Self.drop(&bulk, &queued, now, dropped) { [rate] in
        (bound &+ rate.nanoseconds(units: $0.extent.units)) &* parts
      } || wereStale.bulk
    func next(_ ring: inout BoundedRing<Entry>, _ queued: inout BatchExtent, _ isStale: Bool) -> Entry? {
      // An overloaded queue that admission could not keep short is served newest first: the newest call has the best
      // chance to be in time, and the caller of the oldest may have gone. A short queue is served in order: newest
      // first, half of its calls would wait only to be dropped.
      let isNewestFirst = isOverloaded && isStale
      while let entry = isNewestFirst ? ring.last : ring.first {
        let isLate = now.nanoseconds >= entry.deadline
        // A call larger than a batch runs alone.
        guard isLate || isFirst || entry.extent.fits(in: room) else { return nil }
        _ = isNewestFirst ? ring.popLast() : ring.popFirst()
        queued -= entry.extent
        guard isLate else { return entry }
        dropped(entry.ticket, .expired)
      }
      return nil
    }
    let isBulkDue = isBulkDue
    var entry = isBulkDue ? next(&bulk, &queued, isStale.bulk) : nil
    var isBulk = entry != nil
    if entry == nil { entry = next(&interactive, &queued, isStale.interactive) }
    if entry == nil, interactive.isEmpty, !isBulkDue {
      entry = next(&bulk, &queued, isStale.bulk)
      isBulk = entry != nil
    }
    if let entry { passed(entry, isBulk: isBulk) }
    if isEmpty { delay.isEmpty(at: now) }
    if isStale.interactive || isStale.bulk { delay.rejected(at: now) }
    return entry
  }

  /// Drops calls at the front whose deadline has passed or which waited longer than their bound. The newest call is never
  /// dropped for its wait by a free worker: if it waited long, the machine was busy, not the queue.
  /// - Returns: whether one had waited too long.
  private static func drop(
    _ ring: inout BoundedRing<Entry>, _ queued: inout BatchExtent, _ now: Instant,
    _ dropped: (Ticket, WorkDrop) -> Void, bound: (Entry) -> UInt64
  ) -> Bool {
    var isStale = false
    while let entry = ring.first {
      let isLate = now.nanoseconds >= entry.deadline
      let waitedTooLong = ring.count > 1 && age(of: entry, at: now) > bound(entry)
      guard isLate || waitedTooLong else { break }
      _ = ring.popFirst()
      queued -= entry.extent
      if !isLate { isStale = true }
      dropped(entry.ticket, isLate ? .expired : .waitedTooLong)
    }
    return isStale
  }

  /// Whether so many interactive calls went first that the next bulk call does: those of callers that always have another
  /// in flight would otherwise leave no moment without one, and bulk calls would neither run nor be refused.
  private var isBulkDue: Bool {
    guard let first = bulk.first else { return false }
    return unitsPassed >= first.extent.units * Limits.interactiveUnitsPerBulkUnit
  }

  /// Counts a call that was taken for or against the bulk calls that wait.
  private mutating func passed(_ entry: Entry, isBulk: Bool) {
    if isBulk { unitsPassed -= min(unitsPassed, entry.extent.units * Limits.interactiveUnitsPerBulkUnit) }
    // Waiting earns; having nothing to do does not.
    if bulk.isEmpty {
      unitsPassed = 0
    } else if !isBulk {
      unitsPassed += entry.extent.units
    }
  }

  private static func age(of entry: Entry, at now: Instant) -> UInt64 {
    now.nanoseconds > entry.enqueued ? now.nanoseconds - entry.enqueued : 0
  }

  mutating func start(units: Int, now: Instant) {
    running += 1
    lastActive = now
    virtualTime &+= rate.nanoseconds(units: units)
  }

  mutating func finish(units: Int, nanoseconds: UInt64, now: Instant) {
    // Replaces what was charged at the start by what it cost; a lane never gets back more than it was charged.
    virtualTime = virtualTime &+ nanoseconds &- min(virtualTime, rate.nanoseconds(units: units))
    running -= 1
    lastActive = now
    rate.add(units: units, nanoseconds: nanoseconds)
    setTarget()
  }
}

/// Reason why a call that waited is not run.
public enum WorkDrop: Sendable {
  /// Its deadline has passed.
  case expired
  /// It waited longer than the queue may make a call wait.
  case waitedTooLong
}

/// Measured cost of a model's batches on the workers: weighted averages of about the last dozen batches, started from
/// what warming measured.
struct ServiceRate {
  /// Time of one unit of work within a batch.
  private(set) var unitNanoseconds: Double
  /// Time of one batch.
  private(set) var batchNanoseconds: Double

  /// Weight of a new batch: large enough to follow a machine that slows down, small enough for one batch that was
  /// preempted.
  private static let weight = 0.125

  init(_ cost: PlanCost) {
    unitNanoseconds = max(1, Double(cost.largestNanoseconds) / Double(cost.rowsMax))
    batchNanoseconds = Double(cost.oneRowNanoseconds)
  }

  mutating func add(units: Int, nanoseconds: UInt64) {
    // No time at all: every deadline had passed before the computation, and nothing was measured.
    guard units > 0, nanoseconds > 0 else { return }
    unitNanoseconds = max(1, unitNanoseconds + Self.weight * (Double(nanoseconds) / Double(units) - unitNanoseconds))
    batchNanoseconds += Self.weight * (Double(nanoseconds) - batchNanoseconds)
  }

  /// Units of work that `workers` workers complete within a time: the concurrency limit that keeps a queue's delay
  /// below that time. Source: J. Little, "A Proof for the Queuing Formula: L = λW", 1961.
  func units(within nanoseconds: UInt64, workers: Double) -> Int {
    let units = Double(nanoseconds) * workers / unitNanoseconds
    return units < Double(Int32.max) ? max(1, Int(units)) : Int(Int32.max)
  }

  func nanoseconds(units: Int) -> UInt64 { UInt64(Double(units) * unitNanoseconds) }
}

/// A queue with two ends and a fixed number of places: nothing is allocated after its start.
struct BoundedRing<Element: BitwiseCopyable>: ~Copyable {
  private let places: UnsafeMutablePointer<Element>
  let capacity: Int
  private var head = 0
  private(set) var count = 0

  init(capacity: Int) {
    precondition(capacity > 0, "a ring needs a place")
    self.capacity = capacity
    places = .allocate(capacity: capacity)
  }

  deinit { places.deallocate() }

  var isEmpty: Bool { count == 0 }

  /// The oldest element.
  var first: Element? { count == 0 ? nil : places[head] }

  /// The newest element.
  var last: Element? { count == 0 ? nil : places[index(count - 1)] }

  /// - Returns: false if every place is taken.
  mutating func append(_ element: Element) -> Bool {
    guard count < capacity else { return false }
    (places + index(count)).initialize(to: element)
    count += 1
    return true
  }

  mutating func popFirst() -> Element? {
    guard let element = first else { return nil }
    head = index(1)
    count -= 1
    return element
  }

  mutating func popLast() -> Element? {
    guard let element = last else { return nil }
    count -= 1
    return element
  }

  private func index(_ offset: Int) -> Int {
    let index = head + offset
    return index < capacity ? index : index - capacity
  }
}

extension BatchExtent {
  /// Subtracts an extent that was added before.
  static func -= (a: inout BatchExtent, b: BatchExtent) {
    a = BatchExtent(rows: a.rows - b.rows, units: a.units - b.units)
  }
}
