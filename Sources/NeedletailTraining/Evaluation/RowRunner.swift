internal import NeedletailCore
internal import NeedletailEngine

/// Runs raw rows through a compiled model, chunk by chunk, on one reused workspace: the server's own path
/// from cells to answers.
struct RowRunner {
  let model: CompiledModel

  init(_ model: CompiledModel) { self.model = model }

  /// - Parameter cells: the row at an index below `count`.
  /// - Returns: per output of the plan its values, rows × columns; class outputs hold an index a row.
  func run(count: Int, cells: (Int) -> [Cell]) throws(TrainingError) -> [[Float]] {
    let plan = model.plan
    let workspace = Workspace(plan)
    var results = plan.outputs.map { output in
      var values: [Float] = []
      values.reserveCapacity(count * output.columns)
      return values
    }
    var start = 0
    while start < count {
      let rows = min(plan.rowsMax, count - start)
      for row in 0..<rows {
        do throws(ServingError) {
          try model.binder.bind(
            cells(start + row), row: start + row, into: workspace.input + row * plan.inputColumns)
        } catch {
          throw TrainingError(error)
        }
      }
      plan.run(workspace, rows: rows)
      for (index, output) in plan.outputs.enumerated() {
        results[index].append(
          contentsOf: UnsafeBufferPointer(start: workspace.output(index), count: rows * output.columns))
      }
      start += rows
    }
    return results
  }

  /// Microseconds of one row alone, bind and run: the median of `repetitions` over the given rows.
  func microsecondsPerRow(_ rows: [[Cell]], repetitions: Int = 2000) throws(TrainingError) -> Double {
    guard !rows.isEmpty else { return 0 }
    let plan = model.plan
    let workspace = Workspace(plan)
    var times: [UInt64] = []
    times.reserveCapacity(repetitions)
    for repetition in 0..<(repetitions + 100) {
      let cells = rows[repetition % rows.count]
      let before = Instant.now()
      do throws(ServingError) {
        try model.binder.bind(cells, into: workspace.input)
      } catch {
        throw TrainingError(error)
      }
      plan.run(workspace, rows: 1)
      let after = Instant.now()
      // The first hundred fill the caches.
      if repetition >= 100 { times.append(after.nanoseconds - before.nanoseconds) }
    }
    times.sort()
    return Double(times[times.count / 2]) / 1000
  }
}
