internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailSystem

/// Runs a plan at every batch bucket, so that no request is the first to read the weights, and to learn what a run costs.
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

  static func run(_ plan: Plan, in member: WorkspaceSet.Member) -> [WarmUpRun] {
    member.workspace.input.initializeMemory(as: UInt8.self, repeating: 0, count: plan.rowsMax * plan.inputItemBytes)
    member.workspace.fillTexts(rows: plan.rowsMax)
    var runs: [WarmUpRun] = []
    if let bound = plan.tokenBound {
      let texts = texts(bound, extentMax: plan.extentMax)
      Pieces.forEach(texts.count, size: 1) {
        let text = texts[$0.lowerBound]
        member.workspace.fillTexts(rows: text.rows, bytes: text.bytes)
        let run = measure(plan, member, rows: text.rows)
        runs.append(WarmUpRun(rows: text.units, nanoseconds: run.nanoseconds))
      }
      return runs
    }
    let buckets = buckets(rowsMax: plan.rowsMax)
    Pieces.forEach(buckets.count, size: 1) { runs.append(measure(plan, member, rows: buckets[$0.lowerBound])) }
    return runs
  }

  /// Batches of texts that are run for a model that reads text as tokens: a short one, then 1, 2, 4 … of one length, and
  /// as many as the largest batch holds. Units are the bound that calls are counted by, and not the tokens that a text
  /// turns out to have: so their proportion in ordinary text is part of what a unit costs.
  static func texts(_ bound: TokenBound, extentMax: BatchExtent) -> [(rows: Int, bytes: Int, units: Int)] {
    let bytes = min(Workspace.sampleTextBytes, bound.rowMax)
    let units = bound.tokens(textBytes: bytes)
    let rowsMax = min(extentMax.rows, max(1, extentMax.units / units))
    let short = bytes / 8
    return [(1, short, bound.tokens(textBytes: short))] + buckets(rowsMax: rowsMax).map { ($0, bytes, $0 * units) }
  }

  private static func measure(_ plan: Plan, _ member: WorkspaceSet.Member, rows: Int) -> WarmUpRun {
    let first = time { plan.runAlone(member.workspace, rows: rows) }
    pause(after: first)
    // In a long run the first touches hardly count: one run is enough and takes less time from serving threads.
    guard first < measuredNanosecondsMax else { return WarmUpRun(rows: rows, nanoseconds: first) }
    return WarmUpRun(rows: rows, nanoseconds: fastest { plan.runAlone(member.workspace, rows: rows) })
  }

  /// Leaves caches and memory bandwidth to the serving threads for as long as the last run took.
  private static func pause(after nanoseconds: UInt64) {
    guard nanoseconds >= pauseNanosecondsMin else { return }
    NativeThread.sleep(microseconds: UInt32(min(nanoseconds, pauseNanosecondsMax) / 1000))
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
