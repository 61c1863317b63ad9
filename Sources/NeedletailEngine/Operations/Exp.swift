internal import CNeedletailKernels
public import CNeedletailProto
internal import Glibc

/// exp(x), per element: the answer of a model of logarithms, such as Poisson regression.
public struct Exp: GraphOperation {
  public init() {}

  public init(_ message: Needletail__V1__Exp) {}

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Exp>? {
    memory.build(needletail__v1__exp__init)
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    [try context.columns(of: .float32)]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let (input, output) = (plan.graph.nodes[node].inputs[0], plan.graph.nodes[node].outputs[0])
    let rows = nt_rows(columns: UInt32(plan.graph.values[input].columns))
    plan.add(
      try plan.step(
        node, nt_exp_step(plan.isa.kernelSet), rows, reading: [input], writing: [output],
        words: "exp", kernel: "exp"))
    plan.markNonnegative(output)
  }

  public var words: String { "exp" }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    [inputs[0].map { exp($0) }]
  }
}
