public import NeedletailCapture
internal import NeedletailCore
public import NeedletailEngine

/// A model that answers captured calls in this process, with the bits of a server.
///
/// `@unchecked Sendable`: only one task asks at a time.
public final class ReplayedModel: @unchecked Sendable {
  private let compiled: CompiledModel
  private let workspace: Workspace

  /// - Throws: `PlanError` where there is no memory for its numbers.
  public init(_ compiled: CompiledModel) throws(PlanError) {
    self.compiled = compiled
    workspace = try Workspace(compiled.plan)
  }

  /// Answers a call with the outputs that its caller got; with all of them where the caller got none.
  public func answer(_ call: CapturedCall) -> ReplayAnswer {
    let wanted = Set(call.answers.map { call.model.outputs[$0.output].name })
    do throws(ServingError) {
      return try CapturedTensors.withViews(of: call.inputs) { (tensors) throws(ServingError) in
        try compute(tensors, wanted: wanted)
      }
    } catch {
      return ReplayAnswer(error.code, error.message)
    }
  }

  /// - Parameter wanted: names of outputs; empty: all.
  private func compute(
    _ tensors: UnsafeBufferPointer<TensorView>, wanted: Set<String>
  ) throws(ServingError) -> ReplayAnswer {
    let (plan, binder) = (compiled.plan, compiled.binder)
    let rows = try binder.size(of: tensors, max: BatchExtent(rows: Limits.jobRowsDefault)).extent.rows
    var values = [[Float]](repeating: [], count: plan.outputs.count)
    var row = 0
    while row < rows {
      let count = binder.rowsOfRun(tensors, from: row, of: rows, for: plan)
      var used = 0
      try binder.bind(tensors, rows: row..<row + count, into: workspace.rows, textBytesUsed: &used)
      plan.runAlone(workspace, rows: count)
      if let error = plan.textError(workspace, rows: 0..<count, first: row) { throw error }
      for (index, output) in plan.outputs.enumerated() {
        let width = output.kind == .number ? output.columns : 1
        values[index] += UnsafeBufferPointer(start: workspace.output(index), count: count * width)
      }
      row += count
    }
    var answer = ReplayAnswer(.ok)
    let labels = compiled.definition.labels
    for (index, output) in plan.outputs.enumerated() where wanted.isEmpty || wanted.contains(output.name) {
      answer.outputs[output.name] = .init(values[index], kind: output.kind) { number in
        Int(exactly: number).flatMap { labels.indices.contains($0) ? labels[$0] : nil }
      }
    }
    return answer
  }
}
