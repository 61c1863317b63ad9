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
    let (lows, highs) = (Self.spread(low, -.infinity, type.columns), Self.spread(high, .infinity, type.columns))
    if let column = lows.indices.first(where: { lows[$0] > highs[$0] }) {
      throw context.fault(
        "column \(column): expected a lower bound up to the upper one, found \(lows[column]) and \(highs[column])")
    }
    return [type]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let (input, output) = (plan.graph.nodes[node].inputs[0], plan.graph.nodes[node].outputs[0])
    let (columns, name) = (plan.graph.values[input].columns, plan.graph.nodes[node].name)
    let lows = Self.spread(low, -.infinity, columns)
    let kernel = nt_clip(
      low: try plan.storage.copy(lows, for: name),
      high: try plan.storage.copy(Self.spread(high, .infinity, columns), for: name), columns: UInt32(columns))
    plan.add(
      try plan.step(
        node, nt_clip_step(plan.isa.kernelSet), kernel, reading: [input], writing: [output], words: words,
        kernel: "clip"))
    if lows.allSatisfy({ $0 >= 0 }) { plan.markNonnegative(output) }
  }

  public var parameterCount: Int { low.count + high.count }
  public var words: String { "clip" }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    let columns = inputs[0].count
    let (lows, highs) = (Self.spread(low, -.infinity, columns), Self.spread(high, .infinity, columns))
    return [
      inputs[0].indices.map { column in
        let x = inputs[0][column]
        return x.isNaN ? x : min(max(x, Double(lows[column])), Double(highs[column]))
      }
    ]
  }

  /// One bound a column.
  private static func spread(_ bounds: [Float], _ none: Float, _ columns: Int) -> [Float] {
    bounds.count == columns ? bounds : [Float](repeating: bounds.first ?? none, count: columns)
  }
}
