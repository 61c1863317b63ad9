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
  /// Whether calls had waited too long when the batch that is being filled was begun.
  private var isStale = false
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
    var isStale = !isFirst && isStale
    func next(_ ring: inout BoundedRing<Entry>, _ queued: inout BatchExtent) -> Entry? {
      // Calls that waited too long stand at the front. The newest call is never dropped by a free worker: if it
      // waited long, the machine was busy, not the queue.
      while ring.count > 1, let entry = ring.first, Self.age(of: entry, at: now) > bound {
        _ = ring.popFirst()
        queued -= entry.extent
        dropped(entry.ticket, .waitedTooLong)
        isStale = true
      }
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
    var entry = next(&interactive, &queued)
    if entry == nil, interactive.isEmpty { entry = next(&bulk, &queued) }
    if isEmpty { delay.isEmpty(at: now) }
    if isStale { delay.rejected(at: now) }
    self.isStale = isStale
    return entry
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
