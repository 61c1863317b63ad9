public import NeedletailCore

/// A definition with its binder and its plan: everything that answers rows.
public final class CompiledModel: Sendable {
  /// Schema, labels and the graph's structure; the canonical weights are dropped, for the plan holds
  /// them packed.
  public let definition: ModelDefinition
  public let plan: Plan
  /// The trial behind the plan; nil where nobody asked for one.
  public let choice: PlanChoice?
  public let binder: FeatureBinder

  /// - Parameter choice: how to compute it, from ``PlanChoice/make(for:policy:isa:)`` for this graph; nil
  ///   computes what the definition stores, on the kernels of `options`.
  /// - Throws: what is wrong with the schema, the graph or the labels.
  public init(
    _ definition: ModelDefinition, options: PlanOptions = PlanOptions(), choice: PlanChoice? = nil
  ) throws(PlanError) {
    var options = options
    if let choice { options.isa = choice.isa }
    self.choice = choice
    try FeatureBinder.check(definition.schema)
    do throws(GraphFault) {
      try definition.check()
    } catch {
      throw PlanError(error)
    }
    binder = try FeatureBinder(definition.schema, element: definition.graph.values[0].type.element)
    plan =
      choice?.dequantises == true
      ? try Plan(definition.graph.dequantised, options: options)
      : try Plan(checked: definition.graph, options: options)
    var structure = definition
    structure.graph.tensors = []
    self.definition = structure
  }

  /// Answers raw rows, for tools and tests: chunks by `plan.rowsMax`, allocates.
  ///
  /// - Parameter rows: one cell per feature, in schema order.
  /// - Returns: per output, the values of all rows one after the other (row-major); class indices as
  ///   numbers, class labels as strings.
  public func answers(for rows: [[Cell]]) throws(ServingError) -> [(name: String, answer: GoldenSample.Answer)] {
    let workspace = Workspace(plan)
    var numbers = [[Double]](repeating: [], count: plan.outputs.count)
    var strings = [[String]](repeating: [], count: plan.outputs.count)
    for start in stride(from: 0, to: rows.count, by: plan.rowsMax) {
      let chunk = rows[start..<min(rows.count, start + plan.rowsMax)]
      for (offset, cells) in chunk.enumerated() {
        try binder.bind(cells, row: start + offset, into: workspace.input + offset * plan.inputItemBytes)
      }
      plan.runAlone(workspace, rows: chunk.count)
      for (index, output) in plan.outputs.enumerated() {
        let values = UnsafeBufferPointer(start: workspace.output(index), count: chunk.count * output.columns)
        switch output.kind {
        case .number, .classIndex: numbers[index] += values.map { Double($0) }
        case .classLabel: strings[index] += values.map { definition.labels[Int($0)] }
        }
      }
    }
    return plan.outputs.indices.map { index in
      let output = plan.outputs[index]
      return (output.name, output.kind == .classLabel ? .strings(strings[index]) : .numbers(numbers[index]))
    }
  }
}
