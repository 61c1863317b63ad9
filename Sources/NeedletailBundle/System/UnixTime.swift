#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Points of the wall clock, for people.
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
}
