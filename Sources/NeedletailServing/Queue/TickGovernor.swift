public import NeedletailCore

/// Bounds what one event loop takes on in one tick: the queue of the inline path is the tick itself.
///
/// What is read later in a tick waits for all that was read before it. A tick that is longer than its
/// target now and then is a burst; when none was within it for an interval, the loop is overloaded, and
/// what does not fit the target is refused, before it is decoded. Pure.
public struct TickGovernor {
  private let targetNanoseconds: UInt64
  private var start: Instant?
  private var lastEnd: Instant
  /// When a tick was last within its target, or the loop had nothing to do.
  private var lastCalm: Instant
  /// Ticks since then. One that was long because the machine did something else is no overload.
  private var longTicks = 0

  private static let longTicksMin = 3

  public init(targetNanoseconds: UInt64, now: Instant) {
    self.targetNanoseconds = targetNanoseconds
    lastEnd = now
    lastCalm = now
  }

  private var intervalNanoseconds: UInt64 { targetNanoseconds &* 20 }

  /// The first call of a tick has come.
  public mutating func begin(now: Instant) {
    start = now
    if now.nanoseconds > lastEnd.nanoseconds &+ targetNanoseconds { calm(now) }
  }

  /// All answers of the tick are made.
  public mutating func end(now: Instant) {
    guard let start else { return }
    if now.nanoseconds <= start.nanoseconds &+ targetNanoseconds { calm(now) } else { longTicks += 1 }
    lastEnd = now
    self.start = nil
  }

  private mutating func calm(_ now: Instant) {
    lastCalm = now
    longTicks = 0
  }

  public func isOverloaded(at now: Instant) -> Bool {
    longTicks >= Self.longTicksMin && now.nanoseconds > lastCalm.nanoseconds &+ intervalNanoseconds
  }

  /// Nanoseconds that the tick is above its bound, with `pendingNanoseconds` of work taken on and not yet
  /// done; 0: there is room.
  public func excess(now: Instant, pendingNanoseconds: UInt64) -> UInt64 {
    guard let start else { return 0 }
    // A burst is measured by its work alone, for a tick may stand still for reasons of the machine.
    guard isOverloaded(at: now) else {
      return pendingNanoseconds > intervalNanoseconds ? pendingNanoseconds - intervalNanoseconds : 0
    }
    let elapsed = now.nanoseconds > start.nanoseconds ? now.nanoseconds - start.nanoseconds : 0
    let total = elapsed &+ pendingNanoseconds
    return total > targetNanoseconds ? total - targetNanoseconds : 0
  }
}
