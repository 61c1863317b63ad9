#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// A point on the monotonic clock, in nanoseconds: unmoved by changes of the wall clock.
public struct Instant: Hashable, Comparable, Sendable {
  public var nanoseconds: UInt64

  @inlinable public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

  /// Reads CLOCK_MONOTONIC; about 20 ns.
  public static func now() -> Instant {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(nanoseconds: UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec))
  }

  @inlinable public static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }

  /// Whole microseconds since `earlier`, 0 if that lies ahead; saturates.
  @inlinable public func microseconds(since earlier: Instant) -> UInt32 {
    guard nanoseconds > earlier.nanoseconds else { return 0 }
    return UInt32(clamping: (nanoseconds - earlier.nanoseconds) / 1000)
  }

  @inlinable public func advanced(byMicroseconds microseconds: UInt64) -> Instant {
    let (product, overflow) = microseconds.multipliedReportingOverflow(by: 1000)
    let (sum, carry) = nanoseconds.addingReportingOverflow(overflow ? .max : product)
    return Instant(nanoseconds: carry ? .max : sum)
  }
}

/// When a call's budget is spent: a point in time, so that it cannot be restarted by handing it on.
public struct Deadline: Hashable, Sendable {
  /// `.max` nanoseconds: never.
  public let instant: Instant

  /// - Parameter timeoutMicroseconds: the client's budget; 0 means none was given.
  @inlinable public init(arrival: Instant, timeoutMicroseconds: UInt32) {
    instant =
      timeoutMicroseconds == 0
      ? Instant(nanoseconds: .max) : arrival.advanced(byMicroseconds: UInt64(timeoutMicroseconds))
  }

  @inlinable public func hasPassed(at now: Instant) -> Bool { now >= instant }
}
