public import NeedletailCore
internal import Synchronization

/// So much a second, with bursts of up to a second's worth. Any thread may take from it.
///
/// The generic cell rate algorithm (ITU-T I.371): one number says until when what was taken so far is
/// paid for. Whoever comes while that lies less than a burst ahead is let in, and moves it by the price
/// of what it takes. A large call is let in too, and those behind it wait until it is paid for: the rate
/// holds over any time longer than a burst.
public final class RateLimit: Sendable {
  private static let burstNanoseconds = UInt64(Limits.keyBurstSeconds) * 1_000_000_000

  private let paidUntil = Atomic<UInt64>(0)

  public init() {}

  /// - Returns: nil if there is room now, else how long until there is.
  public func microsecondsUntilRoom(now: Instant) -> UInt32? {
    Self.wait(paidUntil.load(ordering: .relaxed), now)
  }

  /// Takes `amount` if there is room.
  /// - Returns: nil if it was taken, else how long until there is room.
  public func take(_ amount: UInt64 = 1, perSecond rate: Int, now: Instant) -> UInt32? {
    var seen = paidUntil.load(ordering: .relaxed)
    while true {
      if let wait = Self.wait(seen, now) { return wait }
      let next = max(seen, now.nanoseconds) + Self.price(amount, rate)
      let (taken, found) = paidUntil.compareExchange(expected: seen, desired: next, ordering: .relaxed)
      if taken { return nil }
      seen = found
    }
  }

  /// In nanoseconds, rounded up; at most an hour, so that no sum overflows.
  private static func price(_ amount: UInt64, _ rate: Int) -> UInt64 {
    let rate = UInt64(rate)
    let (product, overflow) = amount.multipliedReportingOverflow(by: 1_000_000_000)
    return min(overflow ? .max : product / rate + (product % rate == 0 ? 0 : 1), 3_600_000_000_000)
  }

  private static func wait(_ paidUntil: UInt64, _ now: Instant) -> UInt32? {
    guard paidUntil > now.nanoseconds, paidUntil - now.nanoseconds >= burstNanoseconds else { return nil }
    return UInt32(clamping: (paidUntil - now.nanoseconds - burstNanoseconds) / 1000 + 1)
  }
}
