internal import NeedletailCore

/// Whose turn it is to be looked at: every slot of a loop once a round, a few at a time.
///
/// Looking at a connection that has been silent costs a third of a microsecond, for its state has left the
/// caches by then. 10,000 at once held up every call that came meanwhile for 3.3 ms.
struct Patrol {
  /// The longest time between two looks at one slot.
  let roundNanoseconds: Int64
  private var next = 0

  init(roundNanoseconds: Int64) { self.roundNanoseconds = roundNanoseconds }

  /// Of `count` slots, those to look at now. An upper bound of `count` ends the round.
  mutating func step(over count: Int) -> Range<Int> {
    let first = next < count ? next : 0
    let end = min(first + Limits.patrolSlotsMax, count)
    next = end
    return first..<end
  }

  /// Until the next step, so that a round over `count` slots takes its time.
  func pauseNanoseconds(over count: Int) -> Int64 {
    let steps = (count + Limits.patrolSlotsMax - 1) / Limits.patrolSlotsMax
    return roundNanoseconds / Int64(max(1, steps))
  }
}
