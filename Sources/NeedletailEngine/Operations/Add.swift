internal import CNeedletailKernels
public import CNeedletailProto

/// y = a + b, per element, of two inputs of one type, shape and domain: a residual, or two scores.
public struct Add: GraphOperation {
  public init() {}

  public init(_ message: Needletail__V1__Add) {}

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Add>? {
    memory.build(needletail__v1__add__init)
  }

  public static var inputCounts: ClosedRange<Int> { 2...2 }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    let (a, b) = (context.inputs[0], context.inputs[1])
    guard a == b, a.element == .float32 || a.element == .float64 else {
      throw context.fault("expected two inputs of one f32 or f64 type, found \(a.words) and \(b.words)")
    }
    return [a]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let inputs = plan.graph.nodes[node].inputs
    let type = plan.graph.values[inputs[0]].type
    let isa = plan.isa.kernelSet
    plan.add(
      try plan.step(
        node, type.element == .float32 ? nt_add_f32_step(isa) : nt_add_f64_step(isa),
        nt_add(elements: UInt32(type.columns)), reading: inputs, writing: plan.graph.nodes[node].outputs, words: "add",
        kernel: "add"))
  }

  public var words: String { "add" }

  public func origins(of inputs: [[Int]], _ context: OperationContext) -> [Int]? {
    zip(inputs[0], inputs[1]).map { $0 == $1 ? $0 : -1 }
  }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    [zip(inputs[0], inputs[1]).map { $0 + $1 }]
  }
}
