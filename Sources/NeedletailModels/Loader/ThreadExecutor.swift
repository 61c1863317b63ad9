internal import NeedletailSystem
internal import Synchronization

/// Runs an actor on one thread of its own: long work there takes no thread from Swift's pool.
final class ThreadExecutor: SerialExecutor {
  private let queue = JobQueue()

  /// - Parameter name: at most 15 bytes, for `top -H`.
  init(name: String) {
    // The thread knows the queue only, so that the executor can go and stop it.
    NativeThread.start(name: name) { [queue] in
      while let next = queue.next() { next.job.runSynchronously(on: next.executor) }
    }
  }

  deinit { queue.stop() }

  func enqueue(_ job: consuming ExecutorJob) {
    queue.add(UnownedJob(job), asUnownedSerialExecutor())
  }
}

/// Jobs that wait for the thread of a ``ThreadExecutor``.
private final class JobQueue: Sendable {
  typealias Entry = (job: UnownedJob, executor: UnownedSerialExecutor)

  private struct State {
    var entries: [Entry] = []
    var isStopped = false
  }

  private let state = Mutex(State())
  private let wakeup = Wakeup()

  func add(_ job: UnownedJob, _ executor: UnownedSerialExecutor) {
    state.withLock { $0.entries.append((job, executor)) }
    wakeup.signal()
  }

  func stop() {
    state.withLock { $0.isStopped = true }
    wakeup.signal()
  }

  /// Waits for the next job; nil once stopped.
  func next() -> Entry? {
    while true {
      let (entry, isStopped) = state.withLock { state in
        (state.entries.isEmpty ? nil : state.entries.removeFirst(), state.isStopped)
      }
      if let entry { return entry }
      if isStopped { return nil }
      wakeup.wait()
    }
  }
}
