internal import NeedletailCore
internal import NeedletailServing

/// Chooses the slots whose timeouts are checked next: every slot of a loop once a round, a few at a time. Without I/O.
///
/// The check of a connection that has been silent costs a third of a microsecond, because its state has left the
/// caches by then. 10,000 checks at once held up every call that came meanwhile for 3.3 ms.
struct TimeoutSweep {
  /// Longest time between two checks of one slot.
  let roundNanoseconds: Int64
  private var next = 0

  init(roundNanoseconds: Int64) { self.roundNanoseconds = roundNanoseconds }

  /// Slots to check now, among `count` slots. An upper bound of `count` ends the round.
  mutating func step(over count: Int) -> Range<Int> {
    let first = next < count ? next : 0
    let end = min(first + Limits.timeoutSweepSlotsMax, count)
    next = end
    return first..<end
  }

  /// Time until the next step, so that a round over `count` slots takes ``roundNanoseconds``.
  func pauseNanoseconds(over count: Int) -> Int64 {
    let steps = (count + Limits.timeoutSweepSlotsMax - 1) / Limits.timeoutSweepSlotsMax
    return roundNanoseconds / Int64(max(1, steps))
  }
}

/// One pause in reading a connection.
struct ReadPause: Equatable {
  var nanoseconds: UInt64
  /// Number of pauses in a row, before this one, after which there was nothing to read.
  var emptyReads = 0
}

/// Connections of a loop whose reading is paused, and the end of the pause. All pauses end together, as early as any of
/// them should: no connection is paused for longer than admission asked. Pure.
struct ReadPauses {
  private var addresses: [ReplyAddress] = []
  /// Time at which all pauses end; nil: no connection is paused.
  private(set) var due: Instant?

  /// - Returns: whether ``due`` has changed.
  mutating func add(_ address: ReplyAddress, until end: Instant) -> Bool {
    addresses.append(address)
    if let due, due <= end { return false }
    due = end
    return true
  }

  /// Ends all pauses; `taken` gives its memory for the next ones.
  mutating func take(into taken: inout [ReplyAddress]) {
    taken.removeAll(keepingCapacity: true)
    swap(&addresses, &taken)
    due = nil
  }
}
