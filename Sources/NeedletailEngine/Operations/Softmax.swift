internal import CNeedletailKernels
public import CNeedletailProto
internal import Glibc

/// exp(x − max) / Σ, per row.
public struct Softmax: GraphOperation {
  public init() {}

  public init(_ message: Needletail__V1__Softmax) {}

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Softmax>? {
    memory.build(needletail__v1__softmax__init)
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    [try context.columns(of: .float32)]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    try plan.addRowStep(node, nt_softmax_step, words: "softmax", kernel: "softmax")
  }

  public var words: String { "softmax" }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    let largest = inputs[0].max() ?? 0
    let powers = inputs[0].map { exp($0 - largest) }
    let total = powers.reduce(0, +)
    return [powers.map { $0 / total }]
  }
}
