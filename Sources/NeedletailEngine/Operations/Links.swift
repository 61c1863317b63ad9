internal import CNeedletailKernels
public import CNeedletailProto
internal import Glibc

// Functions of one number that turn the sums of a model into its answers, per element.

/// exp(x): the answer of a model of logarithms, such as Poisson regression.
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
    try plan.addRowStep(node, nt_exp_step, words: words, kernel: words)
  }

  public var words: String { "exp" }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    [inputs[0].map { exp($0) }]
  }
}

/// log(1 + exp(x)): the answer of LightGBM's `cross_entropy_lambda`.
public struct Softplus: GraphOperation {
  public init() {}

  public init(_ message: Needletail__V1__Softplus) {}

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Softplus>? {
    memory.build(needletail__v1__softplus__init)
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    [try context.columns(of: .float32)]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    try plan.addRowStep(node, nt_softplus_step, words: words, kernel: words)
  }

  public var words: String { "softplus" }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    [inputs[0].map { max($0, 0) + log1p(exp(-abs($0))) }]
  }
}

/// x · |x|: the answer of a model of signed square roots, such as LightGBM's with `reg_sqrt`.
public struct SignedSquare: GraphOperation {
  public init() {}

  public init(_ message: Needletail__V1__SignedSquare) {}

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__SignedSquare>? {
    memory.build(needletail__v1__signed_square__init)
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    [try context.columns(of: .float32)]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    try plan.addRowStep(node, nt_signed_square_step, words: words, kernel: words, isNonnegative: false)
  }

  public var words: String { "signed square" }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    [inputs[0].map { $0 * abs($0) }]
  }
}
