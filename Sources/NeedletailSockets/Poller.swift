internal import CNeedletailSockets
internal import Glibc
public import NeedletailSystem
internal import Synchronization

/// Waits for events of many descriptors with epoll. Confined to the thread that waits.
public struct Poller: ~Copyable {
  public struct Event {
    /// Token that the descriptor was added with.
    public var token: UInt64
    public var canRead: Bool
    public var canWrite: Bool
    /// The connection has failed, or both of its sides have ended. Reported also where no event is wanted.
    public var hasFailed: Bool
  }

  private let descriptor: Int32
  private let events: UnsafeMutablePointer<nt_poll_event>

  /// - Throws: if there is no descriptor left.
  public init() throws(SystemError) {
    descriptor = try SystemError.check("epoll") { nt_poll_open() }
    events = .allocate(capacity: Int(NT_POLL_EVENTS_MAX))
  }

  deinit {
    events.deallocate()
    _ = close(descriptor)
  }

  /// Watches `socket` until it is closed.
  /// - Throws: if the kernel has no room for one more.
  public func add(
    _ socket: Int32, token: UInt64, wantsBytes: Bool = true, wantsRoom: Bool = false
  ) throws(SystemError) {
    let epoll = descriptor
    try SystemError.check("epoll_ctl") { nt_poll_add(epoll, socket, token, wantsBytes, wantsRoom) }
  }

  /// Changes the events that are wanted of a watched socket.
  public func modify(_ socket: Int32, token: UInt64, wantsBytes: Bool = true, wantsRoom: Bool) {
    _ = nt_poll_modify(descriptor, socket, token, wantsBytes, wantsRoom)
  }

  /// Watches the descriptor that an ``Inbox`` or a ``Timer`` signals with. Each signal is reported once.
  func add(signal: Int32, token: UInt64) throws(SystemError) {
    let epoll = descriptor
    try SystemError.check("epoll_ctl") { nt_poll_add_signal(epoll, signal, token) }
  }

  /// Waits until something has happened.
  /// - Returns: how many events there are; 0 also where a signal came first.
  public func wait() -> Int { Int(nt_poll_wait_forever(descriptor, events)) }

  /// Waits until something has happened, no longer than `nanoseconds`.
  /// - Returns: how many events there are.
  public func wait(nanoseconds: UInt64) -> Int { Int(nt_poll_wait(descriptor, events, nanoseconds)) }

  /// Looks at what has happened by now, without waiting.
  /// - Returns: how many events there are.
  public func look() -> Int { Int(nt_poll_look(descriptor, events)) }

  /// Event `index` of the last wait.
  @inline(__always)
  public func event(_ index: Int) -> Event {
    let event = events[index]
    return Event(
      token: event.token, canRead: event.can_read, canWrite: event.can_write, hasFailed: event.has_failed)
  }

  /// Lets waits with a time limit end within a microsecond of it, on the calling thread. By default the kernel may be
  /// 50 µs late.
  public static func useTimersOnTime() { nt_poll_precise_timers() }
}

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

/// Tasks that other threads leave for a thread that waits with a ``Poller``, and the wake-up that goes with them.
public final class Inbox: Sendable {
  public typealias Task = @Sendable () -> Void

  private let wakeup: PollerWakeup
  private let tasks = Mutex<[Task]>([])

  /// - Throws: if there is no descriptor left.
  public init() throws(SystemError) { wakeup = try PollerWakeup() }

  /// Lets the poller report a wake-up by an event with this token.
  public func attach(to poller: borrowing Poller, token: UInt64) throws(SystemError) {
    try poller.add(signal: wakeup.descriptor, token: token)
  }

  // MARK: called by any thread

  /// Leaves a task for the thread. Tasks run in the order in which they were left.
  public func post(_ task: @escaping Task) {
    tasks.withLock { $0.append(task) }
    wake()
  }

  /// Wakes the thread, so that it looks at its inbox and at whatever else it knows of.
  public func wake() { wakeup.signal() }

  // MARK: called by the thread that waits

  /// Announces that the thread is about to wait.
  /// - Returns: whether it may wait; if not, a wake-up has come meanwhile.
  public func sleep() -> Bool { wakeup.mayBlock() }

  /// Announces that the thread is awake.
  /// - Returns: whether a wake-up has come since the last call.
  public func awake() -> Bool { wakeup.takeSignal() }

  /// Takes all tasks; `taken` gives its memory for the next ones.
  public func take(into taken: inout [Task]) {
    taken.removeAll(keepingCapacity: true)
    tasks.withLock { swap(&$0, &taken) }
  }
}
