internal import NeedletailCore
internal import NeedletailEngine

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Runs a plan once at every batch bucket, so that no request pays for a page that was never touched.
enum WarmUp {
  /// 1, 2, 4 … and the largest batch.
  static func buckets(rowsMax: Int) -> [Int] {
    var buckets: [Int] = []
    var rows = 1
    while rows < rowsMax {
      buckets.append(rows)
      rows *= 2
    }
    return buckets + [rowsMax]
  }

  static func run(_ model: CompiledModel) -> [WarmUpRun] {
    let plan = model.plan
    let workspace = Workspace(plan)
    workspace.input.update(repeating: 0, count: plan.rowsMax * plan.inputColumns)
    return buckets(rowsMax: plan.rowsMax).map { rows in
      let first = time { plan.runAlone(workspace, rows: rows) }
      rest(after: first)
      // A long run averages the first touches out: once is enough, and nobody else is held up twice.
      guard first < measuredNanosecondsMax else { return WarmUpRun(rows: rows, nanoseconds: first) }
      return WarmUpRun(rows: rows, nanoseconds: fastest { plan.runAlone(workspace, rows: rows) })
    }
  }

  /// Leaves caches and memory to those who serve for as long as the last run took them.
  private static func rest(after nanoseconds: UInt64) {
    guard nanoseconds >= restNanosecondsMin else { return }
    usleep(UInt32(min(nanoseconds, restNanosecondsMax) / 1000))
  }

  /// Of this thread's processor time. By the clock on the wall, a run during which the busy serving threads
  /// took the processor looked so expensive that its version's calls went to the workers, and were refused.
  private static func time(_ body: () -> Void) -> UInt64 {
    let start = processorNanoseconds()
    body()
    return processorNanoseconds() - start
  }

  private static func processorNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
  }

  /// The loader shares caches and memory with the serving threads: of several runs, the least disturbed one
  /// counts. Large batches are measured fewer times, for theirs average the disturbance out.
  private static func fastest(_ body: () -> Void) -> UInt64 {
    var fastest = UInt64.max
    var spent: UInt64 = 0
    for run in 0..<measuredRunsMax where run == 0 || spent < measuredNanosecondsMax {
      let elapsed = time(body)
      fastest = min(fastest, elapsed)
      spent += elapsed
    }
    return fastest
  }

  private static let restNanosecondsMin: UInt64 = 1_000_000
  private static let restNanosecondsMax: UInt64 = 20_000_000
  private static let measuredRunsMax = 9
  private static let measuredNanosecondsMax: UInt64 = 2_000_000
}
