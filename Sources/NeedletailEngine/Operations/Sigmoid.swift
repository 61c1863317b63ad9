internal import CNeedletailKernels
public import CNeedletailProto
internal import Glibc

/// 1 / (1 + exp(−x)), per element.
public struct Sigmoid: GraphOperation {
  public init() {}

  public init(_ message: Needletail__V1__Sigmoid) {}

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Sigmoid>? {
    memory.build(needletail__v1__sigmoid__init)
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    [try context.columns(of: .float32)]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    try plan.addRowStep(node, nt_logistic_step, words: "sigmoid", kernel: "logistic")
  }

  public var words: String { "sigmoid" }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    [inputs[0].map { 1 / (1 + exp(-$0)) }]
  }
}
