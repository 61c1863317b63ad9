internal import CNeedletailKernels
public import CNeedletailProto

/// y = activation(x), per element: where no layer stands in front that could apply it.
public struct Activate: GraphOperation {
  public var activation: Dense.Activation

  public init(_ activation: Dense.Activation) { self.activation = activation }

  public init(_ message: Needletail__V1__Activate) throws(GraphFault) {
    self.init(try MessageValues.known(message.activation.rawValue, as: Dense.Activation.self, "activation"))
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Activate>? {
    memory.build(needletail__v1__activate__init) {
      $0.activation = Needletail__V1__Activation(UInt32(activation.rawValue))
    }
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    [try context.columns(of: .float32)]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let (input, output) = (plan.graph.nodes[node].inputs[0], plan.graph.nodes[node].outputs[0])
    let kernel = nt_activated(columns: UInt32(plan.graph.values[input].columns), activation: activation.kernel)
    plan.add(
      try plan.step(
        node, nt_activate_step(plan.isa.kernelSet), kernel, reading: [input], writing: [output], words: words,
        kernel: "activate"))
    if activation == .relu || activation == .logistic { plan.markNonnegative(output) }
  }

  public var words: String { "activate, \(activation)" }

  public func origins(of inputs: [[Int]], _ context: OperationContext) -> [Int]? { inputs[0] }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    [inputs[0].map(activation.reference)]
  }
}
