internal import NeedletailCore
internal import NeedletailEngine

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
      plan.run(workspace, rows: rows)
      return WarmUpRun(rows: rows, nanoseconds: fastest { plan.run(workspace, rows: rows) })
    }
  }

  /// The loader runs at low priority beside the serving threads: of several runs, the least disturbed one
  /// counts. Large batches are measured fewer times, for theirs average the disturbance out.
  private static func fastest(_ body: () -> Void) -> UInt64 {
    var fastest = UInt64.max
    var spent: UInt64 = 0
    for run in 0..<measuredRunsMax where run == 0 || spent < measuredNanosecondsMax {
      let start = Instant.now().nanoseconds
      body()
      let elapsed = Instant.now().nanoseconds - start
      fastest = min(fastest, elapsed)
      spent += elapsed
    }
    return fastest
  }

  private static let measuredRunsMax = 9
  private static let measuredNanosecondsMax: UInt64 = 2_000_000
}
