internal import CNeedletailSockets
internal import Glibc
internal import Synchronization

/// Tasks that other threads leave for a thread that waits with a ``Poller``, and the wake-up that goes with them.
///
/// A wake-up writes to the kernel only if the thread sleeps: a busy thread looks at its inbox next anyway.
public final class Inbox: Sendable {
  public typealias Task = @Sendable () -> Void

  private enum State {
    static let awake: UInt8 = 0
    static let asleep: UInt8 = 1
    /// A wake-up has come, and the thread has not looked yet.
    static let woken: UInt8 = 2
  }

  private let descriptor: Int32
  private let state = Atomic(State.awake)
  private let tasks = Mutex<[Task]>([])

  /// - Throws: if there is no descriptor left.
  public init() throws(SocketError) {
    descriptor = try SocketError.check(nt_poll_open_event(), "eventfd")
  }

  deinit { _ = close(descriptor) }

  /// Lets the poller report a wake-up by an event with this token.
  public func attach(to poller: borrowing Poller, token: UInt64) throws(SocketError) {
    try poller.add(signal: descriptor, token: token)
  }

  // MARK: from any thread

  /// Leaves a task for the thread. Tasks run in the order in which they were left.
  public func post(_ task: @escaping Task) {
    tasks.withLock { $0.append(task) }
    wake()
  }

  /// Wakes the thread, so that it looks at its inbox and at whatever else it knows of.
  public func wake() {
    if state.exchange(State.woken, ordering: .sequentiallyConsistent) == State.asleep { nt_poll_signal(descriptor) }
  }

  // MARK: from the thread

  /// Announces that the thread is about to wait.
  /// - Returns: whether it may wait; if not, a wake-up has come meanwhile.
  public func sleep() -> Bool {
    state.compareExchange(
      expected: State.awake, desired: State.asleep, ordering: .sequentiallyConsistent
    ).exchanged
  }

  /// Announces that the thread is awake.
  /// - Returns: whether a wake-up has come since the last call.
  public func awake() -> Bool {
    state.exchange(State.awake, ordering: .sequentiallyConsistent) == State.woken
  }

  /// Takes all tasks; `taken` gives its memory for the next ones.
  public func take(into taken: inout [Task]) {
    taken.removeAll(keepingCapacity: true)
    tasks.withLock { swap(&$0, &taken) }
  }
}
