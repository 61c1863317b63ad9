internal import NeedletailCore
internal import NeedletailEngine

/// Runs raw rows through a compiled model, chunk by chunk, on one reused workspace. It is the path that a server takes
/// from cells to answers.
struct RowRunner {
  let model: CompiledModel

  init(_ model: CompiledModel) { self.model = model }

  /// - Parameters:
  ///   - count: number of rows.
  ///   - cells: the row at an index below `count`, one cell a feature.
  /// - Returns: per output of the plan its values, rows × columns; class outputs hold an index a row.
  /// - Throws: `TrainingError` for a row that the schema refuses.
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
            cells(start + row), row: start + row, into: workspace.input + row * plan.inputItemBytes)
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

  /// Median time of one row alone, binding and running, in microseconds.
  ///
  /// - Parameter rows: taken in turns; 0 is returned without any.
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
