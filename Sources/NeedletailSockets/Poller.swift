internal import CNeedletailSockets
internal import Glibc

/// epoll: which of many descriptors can be read, can be written to, or have failed. Confined to the thread that
/// waits.
public struct Poller: ~Copyable {
  public struct Event {
    /// What the descriptor was added with.
    public var token: UInt64
    public var canRead: Bool
    public var canWrite: Bool
    /// The connection has failed, or both of its sides have ended; told also where nothing is waited for.
    public var hasFailed: Bool
  }

  private let descriptor: Int32
  private let events: UnsafeMutablePointer<nt_poll_event>

  /// - Throws: if there is no descriptor left.
  public init() throws(SocketError) {
    descriptor = try SocketError.check(nt_poll_open(), "epoll")
    events = .allocate(capacity: Int(NT_POLL_EVENTS_MAX))
  }

  deinit {
    events.deallocate()
    _ = close(descriptor)
  }

  /// Watches `socket`; closing it ends that.
  /// - Throws: if the kernel has no room for one more.
  public func add(
    _ socket: Int32, token: UInt64, wantsBytes: Bool = true, wantsRoom: Bool = false
  ) throws(SocketError) {
    _ = try SocketError.check(nt_poll_add(descriptor, socket, token, wantsBytes, wantsRoom), "epoll_ctl")
  }

  public func modify(_ socket: Int32, token: UInt64, wantsBytes: Bool = true, wantsRoom: Bool) {
    _ = nt_poll_modify(descriptor, socket, token, wantsBytes, wantsRoom)
  }

  /// Watches what an ``Inbox`` or an ``Alarm`` rings with: each time it rings is told once.
  func add(bell: Int32, token: UInt64) throws(SocketError) {
    _ = try SocketError.check(nt_poll_add_bell(descriptor, bell, token), "epoll_ctl")
  }

  /// Waits until something has happened.
  /// - Returns: how many events there are; 0 also where a signal came first.
  public func wait() -> Int { Int(nt_poll_wait_forever(descriptor, events)) }

  /// The same, no longer than `nanoseconds`.
  public func wait(nanoseconds: UInt64) -> Int { Int(nt_poll_wait(descriptor, events, nanoseconds)) }

  /// What has happened by now.
  public func look() -> Int { Int(nt_poll_look(descriptor, events)) }

  @inline(__always)
  public func event(_ index: Int) -> Event {
    let event = events[index]
    return Event(
      token: event.token, canRead: event.can_read, canWrite: event.can_write, hasFailed: event.has_failed)
  }

  /// Lets waiting with a time end within a microsecond of it, on the calling thread.
  public static func useTimersOnTime() { nt_poll_precise_timers() }
}
