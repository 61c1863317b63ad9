public import NeedletailCore
internal import Synchronization

/// A limit of a number a second, with bursts of up to one second's worth. Any thread may take from it.
///
/// This is the generic cell rate algorithm (ITU-T I.371). One point in time says until when everything taken so far
/// is paid for. A call is admitted while that point lies less than a burst ahead, and moves it by its own price. A
/// large call is admitted too and later ones wait until it is paid for, so the rate holds over any time longer than a
/// burst.
public final class RateLimit: Sendable {
  private static let burstNanoseconds = UInt64(Limits.keyBurstSeconds) * 1_000_000_000

  private let paidUntil = Atomic<UInt64>(0)

  public init() {}

  /// - Returns: Time until something can be taken; nil: now.
  public func microsecondsUntilRoom(now: Instant) -> UInt32? {
    Self.wait(paidUntil.load(ordering: .relaxed), now)
  }

  /// Takes `amount` if the limit allows it now.
  /// - Returns: Time until it can be taken; nil: it was taken.
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

  /// Price of `amount` in nanoseconds, rounded up; at most an hour, so that no sum overflows.
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
