internal import CNeedletailKernels
public import CNeedletailProto

/// Index of the largest column as one fp32 column, the lowest on a tie; a NaN never wins.
public struct ArgMax: GraphOperation {
  public init() {}

  public init(_ message: Needletail__V1__ArgMax) {}

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__ArgMax>? {
    memory.build(needletail__v1__arg_max__init)
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    let input = try context.columns(of: .float32)
    return [ValueType(.float32, [1], per: input.domain)]
  }

  public func classes(of inputs: [ValueType]) -> Int? { inputs.first?.columns }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    try plan.addRowStep(node, nt_argmax_step, words: "argmax", kernel: "argmax")
  }

  public var words: String { "arg max" }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    var winner = 0
    var largest = -Double.infinity
    for (column, x) in inputs[0].enumerated() where x > largest { (winner, largest) = (column, x) }
    return [[Double(winner)]]
  }
}
