internal import CNeedletailKernels

/// An operation on columns that one fused step can hold together with its neighbours: preprocessing reads each row
/// once, however many operations it has.
protocol PreprocessingOperation: GraphOperation {
  /// Adds itself behind what the tables hold already.
  /// - Returns: false, with the tables as they were, where it cannot follow that.
  func join(_ tables: inout PreprocessTables) -> Bool
}

extension PreprocessingOperation {
  /// Adds one step for this operation and those behind it, as long as each feeds only the next.
  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let graph = plan.graph
    let (input, name) = (graph.nodes[node].inputs[0], graph.nodes[node].name)
    var tables = PreprocessTables()
    guard join(&tables) else { preconditionFailure("empty tables take any preprocessing") }
    var (last, words) = (node, [self.words])
    while let next = plan.onlyReader(of: graph.nodes[last].outputs[0]),
      let operation = graph.nodes[next].operation as? any PreprocessingOperation, operation.join(&tables)
    {
      words.append(operation.words)
      plan.fuse(next)
      last = next
    }
    if try lowerWithLayer(node, last, tables, words, into: &plan) { return }
    let output = graph.nodes[last].outputs[0]
    let (from, to) = (graph.values[input].type, graph.values[output].type)
    let isa = plan.isa.kernelSet
    let run =
      switch (from.element, to.element) {
      case (.float64, .float64): nt_preprocess_f64_step(isa)
      case (.float64, _): nt_preprocess_f64_f32_step(isa)
      default: nt_preprocess_f32_step(isa)
      }
    let kernel = try tables.kernel(columns: from.columns, in: plan.storage, node: name)
    plan.add(
      try plan.step(
        node, run, kernel, reading: [input], writing: [output], words: words.joined(separator: " + "),
        kernel: "preprocess"))
  }
}

/// The tables of one fused step: impute, then scale, then one-hot, each at most once. A scaling that follows the
/// indicators counts as one before them.
struct PreprocessTables {
  var fill: [Float]?
  var affine: Affine?
  var widths: [Int]?
  /// Bytes of one run of columns. There is one without one-hot, and at most one a column with it.
  static let runBytes = MemoryLayout<nt_column_run>.stride

  /// Lays the tables out for the kernel.
  func kernel(columns: Int, in storage: PlanStorage, node: String) throws(PlanError) -> nt_preprocess {
    var kernel = nt_preprocess()
    kernel.in_columns = UInt32(columns)
    if let fill { kernel.fill = try storage.copy(fill, for: node) }
    if let affine {
      kernel.offset = try storage.copy(affine.offset, for: node)
      kernel.scale = try storage.copy(affine.scale, for: node)
      kernel.clamp = affine.clamp
    }
    let runs = columnRuns(columns)
    kernel.runs = try storage.copy(runs, for: node)
    kernel.run_count = UInt32(runs.count)
    kernel.out_columns = runs.reduce(0) { $0 + ($1.width == 0 ? $1.count : $1.width) }
    return kernel
  }

  /// Neighbours that pass through make one run; an encoded column is a run of its own.
  private func columnRuns(_ columns: Int) -> [nt_column_run] {
    var runs: [nt_column_run] = []
    for column in 0..<columns {
      let width = UInt32(widths?[column] ?? 0)
      if width == 0, let last = runs.last, last.width == 0 {
        runs[runs.count - 1].count += 1
      } else {
        runs.append(nt_column_run(first: UInt32(column), count: 1, width: width))
      }
    }
    return runs
  }
}
