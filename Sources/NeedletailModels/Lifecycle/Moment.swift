package import NeedletailCore

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// One reading of both clocks: the monotonic one decides, the wall clock is for people.
package struct Moment: Sendable, Equatable {
  package var instant: Instant
  /// Unix time.
  package var milliseconds: UInt64

  package init(instant: Instant, milliseconds: UInt64) {
    self.instant = instant
    self.milliseconds = milliseconds
  }

  package static func now() -> Moment {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    let milliseconds = Int64(time.tv_sec) &* 1000 &+ Int64(time.tv_nsec) / 1_000_000
    return Moment(instant: .now(), milliseconds: UInt64(clamping: milliseconds))
  }
}
