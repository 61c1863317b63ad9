internal import CNeedletailSystem
internal import Glibc
internal import NeedletailCore
internal import Synchronization

/// Threads that carry out the long work of one caller, such as loading a model, so that nobody else feels it.
///
/// Work begins on a thread of the policy `SCHED_IDLE`, which any other thread interrupts at once. On a machine without
/// idle time it would never end, so that work which makes no progress ages: its next pieces run at niceness 19, then 10,
/// then 0. A thread without rights may not raise its own priority, but it may hand what is left of its work to another
/// thread, which was started with a higher one. Work is handed on between two pieces of ``Pieces``.
///
/// One thread at a time calls ``run(_:)``. It waits meanwhile, at its own priority, and watches the progress.
///
/// `@unchecked Sendable`: all that is not `shared` is touched by the one caller only; others read atomics.
public final class BackgroundThreads: @unchecked Sendable {
  /// Niceness of each level, in the order in which work ages.
  public static let levels: [Int32] = [NativeThread.idle, 19, 10, 0]

  private let name: String
  /// One thread for each level reached so far.
  private var workers: [Worker] = []
  private let shared = Shared()
  private var starvation = Starvation()
  /// Number of the thread that `starvation` is about.
  private var watched: Int32 = 0
  /// Level that urgent work interrupted; nil: the present work is not urgent.
  private var levelBeforeUrgent: Int?

  /// - Parameter name: at most 12 bytes; the number of the level follows.
  public init(name: String) {
    self.name = name
    startWorker()
  }

  deinit { for worker in workers { worker.stop() } }

  /// Index into ``levels`` at which the next piece runs.
  public var level: Int { shared.level.load(ordering: .relaxed) }

  /// Begins another piece of work, one level below that at which the last one ended: on a machine that has no idle time
  /// a series of loads would wait at each level of each load.
  ///
  /// - Parameter isUrgent: whether somebody waits for it and nobody would feel it; it runs at the highest level.
  public func begin(isUrgent: Bool = false) {
    watched = 0
    guard isUrgent else { return shared.level.store(max(0, level - 1), ordering: .relaxed) }
    levelBeforeUrgent = level
    startAll()
    shared.workers.withLock { $0 = workers }
    shared.level.store(Self.levels.count - 1, ordering: .relaxed)
  }

  /// Ends what ``begin(isUrgent:)`` began: urgent work leaves the level as it was.
  public func end() {
    guard let before = levelBeforeUrgent else { return }
    levelBeforeUrgent = nil
    shared.level.store(before, ordering: .relaxed)
  }

  /// Runs `body` on the thread of the present level, and waits for its end.
  public func run<Value, Failure: Error>(_ body: () throws(Failure) -> Value) throws(Failure) -> Value {
    starvation.resume(at: .now())
    defer { starvation.pause(at: .now()) }
    var result: Result<Value, Failure>?
    Job.perform({ result = Result { () throws(Failure) -> Value in try body() } }) { job in
      workers[level].take(job)
      while !job.ended.wait(until: Instant.now().advanced(byMicroseconds: Starvation.lookMicroseconds)) { look() }
    }
    guard let result else { preconditionFailure("background work ended without a result") }
    return try result.get()
  }

  /// Lets the work age if it made no progress.
  private func look() {
    let thread = shared.running.load(ordering: .relaxed)
    guard thread != 0 else { return }
    if thread != watched {
      watched = thread
      starvation = Starvation()
    }
    let isStarved = starvation.look(
      processorNanoseconds: nt_thread_processor_nanoseconds_of(thread), isRunnable: Self.isRunnable(thread),
      now: .now())
    if isStarved { age() }
  }

  /// Raises the level by one, if there is a higher one.
  private func age() {
    guard level + 1 < Self.levels.count else { return }
    if workers.count == level + 1 { startWorker() }
    raiseLevel()
  }

  /// Starts the threads of all levels.
  func startAll() { while workers.count < Self.levels.count { startWorker() } }

  /// Has the next piece run one level higher, whose thread has been started.
  func raiseLevel() {
    shared.workers.withLock { $0 = workers }
    shared.level.wrappingAdd(1, ordering: .releasing)
  }

  private func startWorker() {
    let worker = Worker(level: workers.count, shared: shared)
    workers.append(worker)
    // A new thread has the priority of the one that starts it: the caller's, not that of the work.
    NativeThread.start(name: "\(name)-\(worker.level)", niceness: Self.levels[worker.level]) { worker.work() }
  }

  /// Whether a thread runs or waits for a processor: the third field of proc(5) is `R`.
  private static func isRunnable(_ thread: Int32) -> Bool {
    guard let text = try? WholeFile.text("/proc/self/task/\(thread)/stat", bytesMax: 4096),
      let nameEnd = text.lastIndex(of: ")")
    else { return true }
    return text[nameEnd...].dropFirst(2).first == "R"
  }

  /// The worker that the calling thread is; nil: a thread of another kind.
  fileprivate static var current: Worker? {
    nt_thread_local().map { Unmanaged<Worker>.fromOpaque($0).takeUnretainedValue() }
  }

  /// State that the caller and the threads share.
  fileprivate final class Shared: Sendable {
    let level = Atomic(0)
    /// Kernel's number of the thread that works; 0: none does.
    let running = Atomic<Int32>(0)
    /// The threads that work may be handed to.
    let workers = Mutex<[Worker]>([])
  }

  /// One thread, and the place where it finds its next job.
  fileprivate final class Worker: Sendable {
    let level: Int
    private let shared: Shared
    private let job = Mutex<Job?>(nil)
    private let isStopped = Atomic(false)
    private let wakeup = Wakeup()

    init(level: Int, shared: Shared) {
      self.level = level
      self.shared = shared
    }

    func take(_ next: Job) {
      job.withLock { $0 = next }
      wakeup.signal()
    }

    func stop() {
      isStopped.store(true, ordering: .releasing)
      wakeup.signal()
    }

    func work() {
      nt_thread_set_local(Unmanaged.passUnretained(self).toOpaque())
      let thread = nt_thread_id()
      while true {
        wakeup.wait()
        if isStopped.load(ordering: .acquiring) { return }
        guard let job = job.withLock({ $0.take() }) else { continue }
        let before = shared.running.exchange(thread, ordering: .relaxed)
        job.run()
        shared.running.store(before, ordering: .relaxed)
        job.ended.signal()
      }
    }

    /// Runs `rest` on the thread of the present level if that is no longer this one.
    /// - Returns: whether it ran.
    func handOn(_ rest: () -> Void) -> Bool {
      let next = shared.level.load(ordering: .acquiring)
      guard next > level else { return false }
      let worker = shared.workers.withLock { $0[next] }
      Job.perform(rest) { job in
        worker.take(job)
        job.ended.wait()
      }
      return true
    }
  }

  /// A closure on its way to another thread, whose end the caller waits for.
  ///
  /// `@unchecked Sendable`: run once, while the caller waits.
  fileprivate final class Job: @unchecked Sendable {
    private var body: (() -> Void)?
    let ended = Wakeup()

    private init(_ body: @escaping () -> Void) { self.body = body }

    /// Runs the closure and lets it go: when the caller wakes, no other thread may hold it.
    @inline(never)
    func run() {
      let body = body
      self.body = nil
      body?()
    }

    /// - Parameter wait: must return only after the job has ended.
    static func perform(_ body: () -> Void, _ wait: (Job) -> Void) {
      withoutActuallyEscaping(body) { wait(Job($0)) }
    }
  }
}

/// Long loops in pieces that are short enough to be let through by those who must not wait.
///
/// One system call that fills or frees some MiB can hold its processor for longer than a scheduler's slice: a read of
/// 64 MiB into new pages took 18 ms on Linux 6.18, whatever the thread's priority. Between two pieces, work of
/// ``BackgroundThreads`` may move to a thread of higher priority. On other threads a loop simply runs.
public enum Pieces {
  /// Bytes that one system call moves, and that one step of a loop over memory takes: some 30 µs.
  public static let bytes = 128 << 10

  /// Calls `body` for consecutive ranges that cover `0..<count`.
  ///
  /// - Parameters:
  ///   - size: largest length of a range.
  ///   - body: does one piece of the work; returns false to end the loop.
  /// - Returns: false if `body` ended the loop.
  @discardableResult
  public static func whileTrue(_ count: Int, size: Int = bytes, _ body: (Range<Int>) -> Bool) -> Bool {
    precondition(size > 0, "a piece has a size")
    return rest(from: 0, to: count, size: size, body)
  }

  /// Calls `body` for consecutive ranges that cover `0..<count`.
  public static func forEach(_ count: Int, size: Int = bytes, _ body: (Range<Int>) -> Void) {
    whileTrue(count, size: size) { range in
      body(range)
      return true
    }
  }

  private static func rest(from start: Int, to count: Int, size: Int, _ body: (Range<Int>) -> Bool) -> Bool {
    var start = start
    let worker = BackgroundThreads.current
    while start < count {
      let end = count - start > size ? start + size : count
      guard body(start..<end) else { return false }
      start = end
      guard let worker, start < count else { continue }
      var isWhole = true
      if worker.handOn({ isWhole = rest(from: start, to: count, size: size, body) }) { return isWhole }
    }
    return true
  }
}

/// Decides whether a thread gets too little processor time. Pure: readings go in.
struct Starvation {
  /// Time between two looks.
  static let lookMicroseconds: UInt64 = 25_000
  /// Time over which progress is measured. A load waits as long at each level, so that a saturated server gives it a full
  /// share after three of these; most bursts of calls are shorter.
  static let windowNanoseconds: UInt64 = 200_000_000
  /// Part of the window below which the thread's processor time is too little.
  static let shareMin = 0.2

  private var began: Instant?
  private var processorAtBegin: UInt64 = 0
  private var looks = 0
  private var runnable = 0
  private var paused: Instant?

  /// Notes that the thread has nothing to do.
  mutating func pause(at now: Instant) { paused = now }

  /// Notes that the thread has work again: the time in which it had none says nothing about its share.
  mutating func resume(at now: Instant) {
    if let began, let paused {
      self.began = Instant(nanoseconds: began.nanoseconds + (now.nanoseconds - paused.nanoseconds))
    }
    paused = nil
  }

  /// - Parameters:
  ///   - processorNanoseconds: processor time that the thread has used since its start.
  ///   - isRunnable: whether it could use a processor now; a thread that waits for a disk starves nobody.
  /// - Returns: whether the thread wanted a processor all through a window and had less than its share.
  mutating func look(processorNanoseconds: UInt64, isRunnable: Bool, now: Instant) -> Bool {
    guard let began else {
      self.began = now
      processorAtBegin = processorNanoseconds
      return false
    }
    looks += 1
    if isRunnable { runnable += 1 }
    let elapsed = now.nanoseconds - began.nanoseconds
    guard elapsed >= Self.windowNanoseconds else { return false }
    let used = Double(processorNanoseconds &- processorAtBegin) / Double(elapsed)
    let isStarved = used < Self.shareMin && runnable * 5 >= looks * 4
    self = Starvation()
    return isStarved
  }
}
