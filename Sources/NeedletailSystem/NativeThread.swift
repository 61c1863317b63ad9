internal import CNeedletailSystem
internal import Glibc
internal import Synchronization

/// A thread outside of Swift's pool: for event loops, workers, and long work that must not hold a pool thread.
public final class NativeThread: Sendable {
  /// How a thread runs.
  public struct Options: Sendable {
    /// Name in `top -H`, at most 15 bytes.
    public var name: String
    /// 0 is the priority of the event loops, 19 the lowest that has a share of its own, and ``NativeThread/idle`` none.
    public var niceness: Int32
    /// Numbers of the processors that the thread may use; empty: those of the process.
    public var processors: [UInt32]

    public init(name: String, niceness: Int32 = 0, processors: [UInt32] = []) {
      self.name = name
      self.niceness = niceness
      self.processors = processors
    }
  }

  /// Niceness of a thread that runs only while no other thread wants the processor: the policy `SCHED_IDLE`, which the
  /// kernel counts as one above 19. A thread without special rights cannot leave it.
  public static let idle: Int32 = 20

  private let isRunning = Atomic(true)
  private let ended = Monitor()

  private init() {}

  /// Starts a thread that ends when `body` returns.
  ///
  /// A niceness or processors that the system refuses leave the thread as it was: slower, but at work.
  ///
  /// - Returns: a handle for those who wait for the thread's end; dropping it does not end the thread.
  /// - Precondition: the system has room for another thread.
  @discardableResult
  public static func start(_ options: Options, _ body: @escaping @Sendable () -> Void) -> NativeThread {
    let thread = NativeThread()
    let start = Unmanaged.passRetained(Start(options, thread: thread, body: body)).toOpaque()
    var handle = pthread_t()
    let code = pthread_create(&handle, nil, { start in NativeThread.main(start) }, start)
    precondition(code == 0, "\(SystemError(code: code, "start thread \(options.name)"))")
    pthread_detach(handle)
    return thread
  }

  /// Starts a thread; see ``start(_:_:)``.
  @discardableResult
  public static func start(
    name: String, niceness: Int32 = 0, run body: @escaping @Sendable () -> Void
  ) -> NativeThread {
    start(Options(name: name, niceness: niceness), body)
  }

  /// How often the system has taken the processor from the calling thread for another one: a system call, some 0.3 µs.
  public static func preemptions() -> UInt64 { nt_thread_preemptions() }

  /// Waits until the thread's body has returned. Blocks the caller: for threads, not for tasks.
  public func join() {
    ended.lock()
    while isRunning.load(ordering: .acquiring) { ended.wait() }
    ended.unlock()
  }

  /// Blocks the calling thread for a while.
  public static func sleep(microseconds: UInt32) { usleep(microseconds) }

  /// Drops a reference once it is the only one, so that a thread which lets go of another one at this moment frees
  /// nothing; or after ten seconds, for a thread that holds one for as long does not run. Blocks the caller meanwhile.
  public static func dropLast<Part: AnyObject>(_ part: inout Part?) {
    var waits = 0
    while part != nil, waits < 10_000, !isKnownUniquelyReferenced(&part) {
      sleep(microseconds: 1000)
      waits += 1
    }
    part = nil
  }

  /// Processor time that the calling thread has used, in nanoseconds.
  public static var processorNanoseconds: UInt64 { nt_thread_processor_nanoseconds() }

  /// Work that a new thread is handed.
  private final class Start: Sendable {
    let options: Options
    let thread: NativeThread
    let body: @Sendable () -> Void

    init(_ options: Options, thread: NativeThread, body: @escaping @Sendable () -> Void) {
      self.options = options
      self.thread = thread
      self.body = body
    }
  }

  private static func main(_ pointer: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let pointer else { return nil }
    let start = Unmanaged<Start>.fromOpaque(pointer).takeRetainedValue()
    let options = start.options
    nt_thread_set_name(options.name)
    // Where the system refuses the policy, the lowest niceness is nearest.
    let niceness = options.niceness >= idle && nt_thread_set_idle() == 0 ? 0 : min(19, options.niceness)
    // On Linux a niceness belongs to a thread, and 0 names the caller.
    if niceness != 0 { setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, niceness) }
    if !options.processors.isEmpty { _ = nt_thread_set_processors(options.processors, options.processors.count) }
    start.body()
    start.thread.end()
    return nil
  }

  private func end() {
    ended.lock()
    isRunning.store(false, ordering: .releasing)
    ended.signalAll()
    ended.unlock()
  }
}
