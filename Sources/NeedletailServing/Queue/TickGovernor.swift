public import NeedletailCore

/// Bounds what one event loop takes on in one tick: the queue of the inline path is the tick itself.
///
/// What is read later in a tick waits for all that was read before it. A tick that is longer than its
/// target now and then is a burst; when several in a row were, or a burst is longer than the interval of
/// eight targets, the loop is overloaded. It then takes no more than half the target at a time, for what
/// comes while a tick computes waits for all of the tick, even if only to be refused. The overload ends
/// when nobody was refused for an interval: a single tick without a refusal may only have begun early.
/// Pure.
public struct TickGovernor {
  private let targetNanoseconds: UInt64
  private var start: Instant?
  private var lastEnd: Instant
  /// When a tick was last within its target, or the loop had nothing to do.
  private var lastCalm: Instant
  /// Ticks since then.
  private var longTicks = 0
  private var lastRefusal: Instant
  public private(set) var isOverloaded = false

  /// One that was long because the machine did something else is no overload.
  private static let longTicksMin = 3

  public init(targetNanoseconds: UInt64, now: Instant) {
    self.targetNanoseconds = targetNanoseconds
    lastEnd = now
    lastCalm = now
    lastRefusal = now
  }

  private var intervalNanoseconds: UInt64 { targetNanoseconds &* 8 }

  /// The first call of a tick has come.
  public mutating func begin(now: Instant) {
    start = now
    if now.nanoseconds > lastEnd.nanoseconds &+ targetNanoseconds { calm(now) }
    if now.nanoseconds > lastRefusal.nanoseconds &+ intervalNanoseconds { isOverloaded = false }
  }

  /// All answers of the tick are made.
  /// - Parameter workNanoseconds: what its calls cost by estimate. Where that is little, the tick was long
  ///   because others took the processor, and refusing calls would not make it shorter.
  public mutating func end(now: Instant, workNanoseconds: UInt64) {
    guard let start else { return }
    self.start = nil
    lastEnd = now
    guard now.nanoseconds > start.nanoseconds &+ targetNanoseconds, workNanoseconds > targetNanoseconds / 2 else {
      return calm(now)
    }
    longTicks += 1
    guard longTicks >= Self.longTicksMin, now.nanoseconds > lastCalm.nanoseconds &+ intervalNanoseconds else { return }
    if !isOverloaded { lastRefusal = now }
    isOverloaded = true
  }

  private mutating func calm(_ now: Instant) {
    lastCalm = now
    longTicks = 0
  }

  /// Nanoseconds that the tick is above its bound; 0: there is room. A call that asks and finds none is
  /// refused.
  /// - Parameters:
  ///   - pendingNanoseconds: of work taken on and not yet done.
  ///   - workNanoseconds: of all that the tick took on.
  public mutating func excess(now: Instant, pendingNanoseconds: UInt64, workNanoseconds: UInt64) -> UInt64 {
    guard let start else { return 0 }
    let excess: UInt64
    if isOverloaded {
      let elapsed = now.nanoseconds > start.nanoseconds ? now.nanoseconds - start.nanoseconds : 0
      excess = Self.difference(elapsed &+ pendingNanoseconds, targetNanoseconds / 2)
    } else {
      // A burst is measured by its work alone, for a tick may stand still for reasons of the machine.
      excess = Self.difference(workNanoseconds, intervalNanoseconds)
      isOverloaded = excess > 0
    }
    if excess > 0 { lastRefusal = now }
    return excess
  }

  private static func difference(_ value: UInt64, _ bound: UInt64) -> UInt64 { value > bound ? value - bound : 0 }
}
