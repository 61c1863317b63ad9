internal import CNeedletailSockets
internal import Glibc
public import NeedletailSystem

/// A timer that wakes a ``Poller`` at a point in time, so that waiting itself needs no time limit: a limit given with
/// every wait would set and clear a timer of the kernel for every call that is served. Confined to the poller's thread.
public struct Timer: ~Copyable {
  private let descriptor: Int32

  /// - Throws: if there is no descriptor left.
  public init(_ poller: borrowing Poller, token: UInt64) throws(SystemError) {
    let timer = try SystemError.check("timerfd_create") { nt_poll_open_timer() }
    do throws(SystemError) {
      try poller.add(signal: timer, token: token)
    } catch {
      _ = close(timer)
      throw error
    }
    descriptor = timer
  }

  deinit { _ = close(descriptor) }

  /// Fires once, at this time of the monotonic clock, and no longer at the time set before. A time that has passed
  /// fires at once.
  public func set(nanoseconds: UInt64) { nt_poll_fire_at(descriptor, nanoseconds) }
}
