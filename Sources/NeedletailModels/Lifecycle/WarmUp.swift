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
      let start = Instant.now()
      plan.run(workspace, rows: rows)
      return WarmUpRun(rows: rows, microseconds: Instant.now().microseconds(since: start))
    }
  }
}
