public import NeedletailCore

/// Bounds the work that one event loop takes on in one tick: on the inline path, the tick is the queue.
///
/// A call that is read late in a tick waits for all calls that were read before it. A tick that is longer than its
/// target now and then is a burst. The loop is overloaded when several ticks in a row were too long, or when one
/// burst is longer than the interval of eight targets. An overloaded loop takes on at most half a target of work per
/// tick, because a call that arrives while a tick computes waits for the whole tick, even if only to be rejected.
/// The overload ends when no call was rejected for one interval: a single tick without a rejection may only have
/// begun early. Pure: times go in, decisions come out.
public struct LoadShedder {
  private let targetNanoseconds: UInt64
  /// Start of the current tick; nil between ticks.
  private var start: Instant?
  private var lastEnd: Instant
  /// Last time at which a tick was within its target, or at which the loop had nothing to do.
  private var lastCalm: Instant
  /// Number of ticks since ``lastCalm`` that were longer than their target.
  private var longTicks = 0
  /// End of the last tick in which a call was rejected.
  private var lastRejection: Instant
  private var hasRejected = false
  public private(set) var isOverloaded = false

  /// Long ticks in a row that count as overload. One long tick may be due to other work of the machine.
  private static let longTicksMin = 3

  public init(targetNanoseconds: UInt64, now: Instant) {
    self.targetNanoseconds = targetNanoseconds
    lastEnd = now
    lastCalm = now
    lastRejection = now
  }

  private var intervalNanoseconds: UInt64 { targetNanoseconds &* 8 }

  /// Notes that the first call of a tick has come.
  public mutating func begin(now: Instant) {
    start = now
    if now.nanoseconds > lastEnd.nanoseconds &+ targetNanoseconds { calm(now) }
    if now.nanoseconds > lastRejection.nanoseconds &+ intervalNanoseconds { isOverloaded = false }
  }

  /// Notes that all answers of the tick are made.
  /// - Parameter workNanoseconds: estimated cost of the tick's calls. Where this is small, the tick was long because
  ///   other threads took the processor, and rejecting calls would not make it shorter.
  public mutating func end(now: Instant, workNanoseconds: UInt64) {
    guard let start else { return }
    self.start = nil
    lastEnd = now
    // Counted from the tick's end: one that takes a whole interval would otherwise forget its own rejections.
    if hasRejected {
      lastRejection = now
      hasRejected = false
    }
    guard now.nanoseconds > start.nanoseconds &+ targetNanoseconds, workNanoseconds > targetNanoseconds / 2 else {
      return calm(now)
    }
    longTicks += 1
    guard longTicks >= Self.longTicksMin, now.nanoseconds > lastCalm.nanoseconds &+ intervalNanoseconds else { return }
    if !isOverloaded { lastRejection = now }
    isOverloaded = true
  }

  private mutating func calm(_ now: Instant) {
    lastCalm = now
    longTicks = 0
  }

  /// Nanoseconds by which the tick exceeds its bound; 0: there is room. The call that asks and finds an excess must
  /// be rejected.
  /// - Parameters:
  ///   - pendingNanoseconds: estimated cost of the work that was taken on and is not yet done.
  ///   - workNanoseconds: estimated cost of all work that the tick took on.
  public mutating func excess(now: Instant, pendingNanoseconds: UInt64, workNanoseconds: UInt64) -> UInt64 {
    guard let start else { return 0 }
    let excess: UInt64
    if isOverloaded {
      let elapsed = now.nanoseconds > start.nanoseconds ? now.nanoseconds - start.nanoseconds : 0
      excess = Self.difference(elapsed &+ pendingNanoseconds, targetNanoseconds / 2)
    } else {
      // A burst is measured by its work alone: the machine may stop a tick for reasons of its own.
      excess = Self.difference(workNanoseconds, intervalNanoseconds)
      isOverloaded = excess > 0
    }
    if excess > 0 { hasRejected = true }
    return excess
  }

  private static func difference(_ value: UInt64, _ bound: UInt64) -> UInt64 { value > bound ? value - bound : 0 }
}
