public import CNeedletailProto

/// Gives an item another shape with the same elements. It costs nothing, because both values are the same bytes.
public struct Reshape: GraphOperation {
  public var shape: [Int]

  public init(shape: [Int]) { self.shape = shape }

  public init(_ message: Needletail__V1__Reshape) {
    self.init(shape: MessageValues.integers(message.shape, message.n_shape))
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Reshape>? {
    memory.build(needletail__v1__reshape__init) {
      $0.n_shape = shape.count
      $0.shape = memory.array(shape.map { UInt32(clamping: $0) })
    }
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    let input = context.inputs[0]
    let expected = "expected 1 to \(ValueType.rankMax) dimensions of \(input.columns) elements in all"
    // A shape of millions of dimensions is counted, not printed.
    guard (1...ValueType.rankMax).contains(shape.count) else {
      throw context.fault("\(expected), found \(shape.count) dimensions")
    }
    let type = ValueType(input.element, shape, per: input.domain)
    guard shape.allSatisfy({ $0 > 0 }), type.columns == input.columns else {
      throw context.fault("\(expected), found \(shape)")
    }
    return [type]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    plan.alias(plan.graph.nodes[node].outputs[0], of: plan.graph.nodes[node].inputs[0])
  }

  public var words: String { "reshape to \(shape)" }

  public func origins(of inputs: [[Int]], _ context: OperationContext) -> [Int]? { inputs[0] }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] { inputs }
}
