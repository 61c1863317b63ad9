internal import CNeedletailSockets
internal import Glibc
internal import Synchronization

/// What other threads ask of a thread that waits with a ``Poller``, and what wakes it.
///
/// Whoever rings writes to the kernel only if the thread sleeps, so that a thread that is busy is not called
/// away for what it looks at next anyway.
public final class Inbox: Sendable {
  public typealias Task = @Sendable () -> Void

  private enum State {
    static let awake: UInt8 = 0
    static let asleep: UInt8 = 1
    /// Somebody wants something; the thread will look.
    static let rung: UInt8 = 2
  }

  private let descriptor: Int32
  private let state = Atomic(State.awake)
  private let tasks = Mutex<[Task]>([])

  /// - Throws: if there is no descriptor left.
  public init() throws(SocketError) {
    descriptor = try SocketError.check(nt_poll_open_event(), "eventfd")
  }

  deinit { _ = close(descriptor) }

  /// The poller tells the ring by an event with this token.
  public func attach(to poller: borrowing Poller, token: UInt64) throws(SocketError) {
    try poller.add(bell: descriptor, token: token)
  }

  // MARK: from any thread

  /// The thread is to run `task`; tasks run in the order in which they came.
  public func post(_ task: @escaping Task) {
    tasks.withLock { $0.append(task) }
    ring()
  }

  /// The thread is to look after what it knows of.
  public func ring() {
    if state.exchange(State.rung, ordering: .sequentiallyConsistent) == State.asleep { nt_poll_ring(descriptor) }
  }

  // MARK: from the thread

  /// - Returns: whether the thread may wait; if not, somebody has rung meanwhile.
  public func sleep() -> Bool {
    state.compareExchange(
      expected: State.awake, desired: State.asleep, ordering: .sequentiallyConsistent
    ).exchanged
  }

  /// - Returns: whether somebody has rung since the last call.
  public func awake() -> Bool {
    state.exchange(State.awake, ordering: .sequentiallyConsistent) == State.rung
  }

  /// Takes what was posted; `taken` gives its memory for what comes next.
  public func take(into taken: inout [Task]) {
    taken.removeAll(keepingCapacity: true)
    tasks.withLock { swap(&$0, &taken) }
  }
}
