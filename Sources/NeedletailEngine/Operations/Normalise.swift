internal import CNeedletailKernels
public import CNeedletailProto

/// y = x / max(√Σx², epsilon), over the columns of each item: a vector of length one, for similarities.
public struct Normalise: GraphOperation {
  /// Least length that is divided by, so that zeros stay zeros.
  public var epsilon: Float

  public init(epsilon: Float = 1e-12) { self.epsilon = epsilon }

  public init(_ message: Needletail__V1__Normalise) { self.init(epsilon: message.epsilon) }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Normalise>? {
    memory.build(needletail__v1__normalise__init) { $0.epsilon = epsilon }
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    guard epsilon.isFinite, epsilon > 0 else {
      throw context.fault("epsilon: expected a finite number above 0, found \(epsilon)")
    }
    return [try context.columns(of: .float32)]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let (input, output) = (plan.graph.nodes[node].inputs[0], plan.graph.nodes[node].outputs[0])
    let kernel = nt_normalise(columns: UInt32(plan.graph.values[input].columns), epsilon: epsilon)
    plan.add(
      try plan.step(
        node, nt_normalise_step(plan.isa.kernelSet), kernel, reading: [input], writing: [output], words: words,
        kernel: "normalise"))
  }

  public var parameterCount: Int { 1 }
  public var words: String { "normalise" }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    let norm = max(inputs[0].reduce(0) { $0 + $1 * $1 }.squareRoot(), Double(epsilon))
    return [inputs[0].map { $0 / norm }]
  }
}
