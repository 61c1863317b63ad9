internal import Dispatch
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Runs an actor on one thread of its own, of low priority: long work there steals neither the event
/// loops' processor time nor a thread of Swift's pool.
final class ThreadExecutor: SerialExecutor {
  private let queue = JobQueue()

  /// - Parameters:
  ///   - name: at most 15 bytes, for `top -H`.
  ///   - niceness: 0 is the priority of the event loops, 19 the lowest.
  init(name: String, niceness: Int32) {
    // The thread knows the queue only, so that the executor can go and stop it.
    NativeThread.start(name: name, niceness: niceness) { [queue] in
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
  private let signal = DispatchSemaphore(value: 0)

  func add(_ job: UnownedJob, _ executor: UnownedSerialExecutor) {
    state.withLock { $0.entries.append((job, executor)) }
    signal.signal()
  }

  func stop() {
    state.withLock { $0.isStopped = true }
    signal.signal()
  }

  /// Waits for the next job; nil once stopped.
  func next() -> Entry? {
    while true {
      signal.wait()
      let (entry, isStopped) = state.withLock { state in
        (state.entries.isEmpty ? nil : state.entries.removeFirst(), state.isStopped)
      }
      if let entry { return entry }
      if isStopped { return nil }
    }
  }
}

/// A thread outside of Swift's pool.
package enum NativeThread {
  private final class Body: Sendable {
    let name: String
    let niceness: Int32
    let run: @Sendable () -> Void

    init(name: String, niceness: Int32, run: @escaping @Sendable () -> Void) {
      self.name = name
      self.niceness = niceness
      self.run = run
    }
  }

  /// Starts a detached thread that ends when `run` returns.
  package static func start(name: String, niceness: Int32, run: @escaping @Sendable () -> Void) {
    let body = Unmanaged.passRetained(Body(name: name, niceness: niceness, run: run)).toOpaque()
    #if canImport(Glibc)
      var thread = pthread_t()
      let code = pthread_create(&thread, nil, { body in NativeThread.main(body) }, body)
      precondition(code == 0, "cannot start a thread: \(SystemFailure(code).message)")
      pthread_detach(thread)
    #else
      var thread: pthread_t?
      let code = pthread_create(&thread, nil, { body in NativeThread.main(body) }, body)
      precondition(code == 0, "cannot start a thread: \(SystemFailure(code).message)")
      if let thread { pthread_detach(thread) }
    #endif
  }

  private static func main(_ pointer: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let pointer else { return nil }
    let body = Unmanaged<Body>.fromOpaque(pointer).takeRetainedValue()
    #if canImport(Glibc)
      // Glibc's function for it is not visible in Swift.
      if let file = fopen("/proc/thread-self/comm", "we") {
        fputs(body.name, file)
        fclose(file)
      }
      // On Linux priorities are per thread, and 0 is the caller. Refused at worst: then it just is not lower.
      setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, body.niceness)
    #else
      pthread_setname_np(body.name)
    #endif
    body.run()
    return nil
  }
}
