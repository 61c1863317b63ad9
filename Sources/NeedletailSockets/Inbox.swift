public import NeedletailSystem
internal import Synchronization

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
