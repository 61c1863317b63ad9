internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailSystem
internal import Glibc

/// Runs a plan once at every batch bucket, so that no request pays for a page that was never touched.
enum WarmUp {
  /// Sizes of the batches that are run: 1, 2, 4 … and the largest batch, in rows.
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
    workspace.input.initializeMemory(as: UInt8.self, repeating: 0, count: plan.rowsMax * plan.inputItemBytes)
    return buckets(rowsMax: plan.rowsMax).map { rows in
      let first = time { plan.runAlone(workspace, rows: rows) }
      pause(after: first)
      // In a long run the first touches hardly count: one run is enough and takes less time from serving threads.
      guard first < measuredNanosecondsMax else { return WarmUpRun(rows: rows, nanoseconds: first) }
      return WarmUpRun(rows: rows, nanoseconds: fastest { plan.runAlone(workspace, rows: rows) })
    }
  }

  /// Leaves caches and memory bandwidth to the serving threads for as long as the last run took.
  private static func pause(after nanoseconds: UInt64) {
    guard nanoseconds >= pauseNanosecondsMin else { return }
    usleep(UInt32(min(nanoseconds, pauseNanosecondsMax) / 1000))
  }

  /// Processor time of this thread that `body` takes. Measured by the wall clock, a run during which the serving threads
  /// took the processor looked so expensive that its version's calls went to the workers, and were refused.
  private static func time(_ body: () -> Void) -> UInt64 {
    let start = NativeThread.processorNanoseconds
    body()
    return NativeThread.processorNanoseconds - start
  }

  /// Least of several runs: the loader shares caches and memory with the serving threads, so that the least disturbed run
  /// counts. Large batches are measured fewer times, because a long run averages the disturbance out.
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

  private static let pauseNanosecondsMin: UInt64 = 1_000_000
  private static let pauseNanosecondsMax: UInt64 = 20_000_000
  private static let measuredRunsMax = 9
  private static let measuredNanosecondsMax: UInt64 = 2_000_000
}
