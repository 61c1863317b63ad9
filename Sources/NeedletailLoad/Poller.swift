internal import CNeedletailLoad
internal import Glibc

/// epoll, with timeouts in nanoseconds. Confined to the thread that made it.
struct Poller: ~Copyable {
  private let descriptor: Int32
  private let events: UnsafeMutablePointer<nt_poll_event>

  init() {
    descriptor = nt_poll_open()
    precondition(descriptor >= 0, "a poller needs one descriptor")
    events = .allocate(capacity: Int(NT_POLL_EVENTS_MAX))
  }

  deinit {
    events.deallocate()
    _ = close(descriptor)
  }

  /// Watches a socket that connects: it has room once that is done.
  func add(_ socket: Int32, token: Int) { _ = nt_poll_add(descriptor, socket, UInt64(token), true) }

  func modify(_ socket: Int32, token: Int, wantsRoom: Bool) {
    _ = nt_poll_modify(descriptor, socket, UInt64(token), wantsRoom)
  }

  /// - Returns: how many events there are.
  func wait(nanoseconds: UInt64) -> Int { Int(nt_poll_wait(descriptor, events, nanoseconds)) }

  func event(_ index: Int) -> (token: Int, canRead: Bool, canWrite: Bool) {
    let event = events[index]
    return (Int(truncatingIfNeeded: event.token), event.can_read, event.can_write)
  }
}
