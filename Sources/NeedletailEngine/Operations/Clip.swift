internal import CNeedletailKernels
public import CNeedletailProto

/// y = min(max(x, low), high), per column; NaN stays NaN. A bound is one number for all columns, one for each, or
/// none. It keeps outliers, or answers, within what training saw.
public struct Clip: GraphOperation {
  public var low: [Float]
  public var high: [Float]

  public init(low: [Float] = [], high: [Float] = []) {
    self.low = low
    self.high = high
  }

  public init(_ message: Needletail__V1__Clip) {
    self.init(
      low: MessageValues.array(message.low, message.n_low), high: MessageValues.array(message.high, message.n_high))
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Clip>? {
    memory.build(needletail__v1__clip__init) {
      $0.n_low = low.count
      $0.low = memory.array(low)
      $0.n_high = high.count
      $0.high = memory.array(high)
    }
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    let type = try context.columns(of: .float32)
    for (name, bounds) in [("lower", low), ("upper", high)] {
      guard [0, 1, type.columns].contains(bounds.count) else {
        throw context.fault("expected 0, 1 or \(type.columns) \(name) bounds, found \(bounds.count)")
      }
      if let index = bounds.firstIndex(where: { !$0.isFinite }) {
        throw context.fault("\(name) bound \(index): expected a finite number, found \(bounds[index])")
      }
    }
    guard !(low.isEmpty && high.isEmpty) else { throw context.fault("expected a bound, found none") }
    // Where both bounds are single numbers, column 0 says it for all.
    for column in 0..<max(low.count, high.count) where lowerBound(of: column) > upperBound(of: column) {
      throw context.fault(
        "column \(column): expected a lower bound up to the upper one, found \(lowerBound(of: column)) and \(upperBound(of: column))"
      )
    }
    return [type]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let (input, output) = (plan.graph.nodes[node].inputs[0], plan.graph.nodes[node].outputs[0])
    let (columns, name) = (plan.graph.values[input].columns, plan.graph.nodes[node].name)
    let kernel = nt_clip(
      low: try plan.storage.copy(low.isEmpty ? [-.infinity] : low, for: name),
      high: try plan.storage.copy(high.isEmpty ? [.infinity] : high, for: name), columns: UInt32(columns),
      has_one_low: low.count < 2, has_one_high: high.count < 2)
    plan.add(
      try plan.step(
        node, nt_clip_step(plan.isa.kernelSet), kernel, reading: [input], writing: [output], words: words,
        kernel: "clip"))
    if !low.isEmpty, low.allSatisfy({ $0 >= 0 }) { plan.markNonnegative(output) }
  }

  public var parameterCount: Int { low.count + high.count }
  public func packedBytes(_ context: OperationContext) -> Int {
    (max(1, low.count) + max(1, high.count)) * MemoryLayout<Float>.stride
  }
  public var words: String { "clip" }

  public func origins(of inputs: [[Int]], _ context: OperationContext) -> [Int]? { inputs[0] }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    [
      inputs[0].indices.map { column in
        let x = inputs[0][column]
        return x.isNaN ? x : min(max(x, Double(lowerBound(of: column))), Double(upperBound(of: column)))
      }
    ]
  }

  /// The lower bound of a column; minus infinity without one. A single bound is never spread: a value may have a million
  /// columns, and a graph thousands of nodes.
  private func lowerBound(of column: Int) -> Float { low.count > 1 ? low[column] : low.first ?? -.infinity }

  /// The upper bound of a column; infinity without one.
  private func upperBound(of column: Int) -> Float { high.count > 1 ? high[column] : high.first ?? .infinity }
}
