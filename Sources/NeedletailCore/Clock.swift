internal import Glibc

/// A point on the monotonic clock, in nanoseconds: changes of the wall clock do not move it. Measurements and
/// timers use this clock.
public struct Instant: Hashable, Comparable, Sendable, BitwiseCopyable {
  public var nanoseconds: UInt64

  @inlinable public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

  /// Reads CLOCK_MONOTONIC; about 20 ns.
  public static func now() -> Instant {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(nanoseconds: UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec))
  }

  @inlinable public static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }

  /// Whole microseconds since `earlier`; 0 if that lies ahead, `UInt32.max` if they are more than fit.
  @inlinable public func microseconds(since earlier: Instant) -> UInt32 {
    guard nanoseconds > earlier.nanoseconds else { return 0 }
    return UInt32(clamping: (nanoseconds - earlier.nanoseconds) / 1000)
  }

  /// This point moved ahead; the end of time if the sum does not fit.
  @inlinable public func advanced(byMicroseconds microseconds: UInt64) -> Instant {
    let (product, overflow) = microseconds.multipliedReportingOverflow(by: 1000)
    let (sum, carry) = nanoseconds.addingReportingOverflow(overflow ? .max : product)
    return Instant(nanoseconds: carry ? .max : sum)
  }
}

/// Time at which a call's budget is spent: a point in time, so that it cannot be restarted by handing it on.
public struct Deadline: Hashable, Sendable {
  /// `.max` nanoseconds stand for never.
  public let instant: Instant

  /// - Parameter timeoutMicroseconds: the client's budget; 0 means none was given.
  @inlinable public init(arrival: Instant, timeoutMicroseconds: UInt32) {
    instant =
      timeoutMicroseconds == 0
      ? Instant(nanoseconds: .max) : arrival.advanced(byMicroseconds: UInt64(timeoutMicroseconds))
  }

  @inlinable public func hasPassed(at now: Instant) -> Bool { now >= instant }
}

/// Time of the wall clock, in milliseconds since 1970 (UTC). It is for people and for dates in files: it may jump, so
/// that nothing is measured or timed with it.
public enum UnixTime {
  /// Reads the wall clock.
  public static func nowMilliseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return UInt64(clamping: time.tv_sec) &* 1000 &+ UInt64(clamping: time.tv_nsec) / 1_000_000
  }

  /// `2025-11-21T08:30:00Z`; times beyond the year 9999 as a number.
  public static func text(milliseconds: UInt64) -> String {
    guard milliseconds < 253_402_300_800_000 else { return "\(milliseconds) ms" }
    var seconds = time_t(milliseconds / 1000)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func padded(_ value: Int32, _ width: Int) -> String {
      let digits = String(value)
      return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    return "\(padded(parts.tm_year + 1900, 4))-\(padded(parts.tm_mon + 1, 2))-\(padded(parts.tm_mday, 2))"
      + "T\(padded(parts.tm_hour, 2)):\(padded(parts.tm_min, 2)):\(padded(parts.tm_sec, 2))Z"
  }

  /// `2025-11-21T08:30:00.012345Z`; times beyond the year 9999 as a number.
  public static func text(microseconds: UInt64) -> String {
    let seconds = text(milliseconds: microseconds / 1_000_000 * 1000)
    guard seconds.hasSuffix("Z") else { return seconds }
    let digits = String(microseconds % 1_000_000)
    return seconds.dropLast() + "." + String(repeating: "0", count: 6 - digits.count) + digits + "Z"
  }
}

/// One reading of both clocks: the monotonic one decides, the wall clock is for people.
package struct Moment: Sendable, Equatable {
  package var instant: Instant
  /// Milliseconds since 1970 (UTC).
  package var milliseconds: UInt64

  package init(instant: Instant, milliseconds: UInt64) {
    self.instant = instant
    self.milliseconds = milliseconds
  }

  package static func now() -> Moment { Moment(instant: .now(), milliseconds: UnixTime.nowMilliseconds()) }
}
