internal import CNeedletailSockets
internal import Glibc

/// Wakes a ``Poller`` at a time, so that waiting needs none: a time given with every wait would set and clear a
/// timer of the kernel for every call that is served. Confined to the poller's thread.
public struct Alarm: ~Copyable {
  private let descriptor: Int32

  /// - Throws: if there is no descriptor left.
  public init(_ poller: borrowing Poller, token: UInt64) throws(SocketError) {
    let timer = try SocketError.check(nt_poll_open_timer(), "timerfd_create")
    do throws(SocketError) {
      try poller.add(bell: timer, token: token)
    } catch {
      _ = close(timer)
      throw error
    }
    descriptor = timer
  }

  deinit { _ = close(descriptor) }

  /// Rings once, at this time of the monotonic clock and no longer at the one set before.
  public func set(nanoseconds: UInt64) { nt_poll_ring_at(descriptor, nanoseconds) }
}
