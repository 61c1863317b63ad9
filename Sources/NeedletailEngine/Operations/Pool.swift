internal import CNeedletailKernels
public import CNeedletailProto

/// One item a row from those of its tokens: what stands for a whole text. Zeros for a row without tokens.
public struct Pool: GraphOperation {
  /// Raw values are those of `needletail.v1.PoolMode`.
  public enum Mode: UInt8, Sendable, CaseIterable {
    case mean = 0
    /// The first token, which BERT and its relatives train for this.
    case first = 1
    case max = 2
  }

  public var mode: Mode

  public init(_ mode: Mode) { self.mode = mode }

  public init(_ message: Needletail__V1__Pool) throws(GraphFault) {
    self.init(try MessageValues.known(message.mode.rawValue, as: Mode.self, "mode"))
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Pool>? {
    memory.build(needletail__v1__pool__init) { $0.mode = Needletail__V1__PoolMode(UInt32(mode.rawValue)) }
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    let type = try context.columns(of: .float32)
    guard type.domain == .token else {
      throw context.fault("expected f32 columns per token as input, found \(type.words)")
    }
    return [ValueType(columns: type.columns)]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let (input, output) = (plan.graph.nodes[node].inputs[0], plan.graph.nodes[node].outputs[0])
    let mode: nt_pool_mode =
      switch mode {
      case .mean: NT_POOL_MEAN
      case .first: NT_POOL_FIRST
      case .max: NT_POOL_MAX
      }
    let kernel = nt_token_pool(columns: UInt32(plan.graph.values[input].columns), mode: mode)
    var step = try plan.step(
      node, nt_token_pool_step(plan.isa.kernelSet), kernel, reading: [input], writing: [output], words: words,
      kernel: "pool")
    step.domain = .row
    plan.add(step)
    if plan.isNonnegative(input) { plan.markNonnegative(output) }
  }

  public var parameterCount: Int { 1 }
  public var words: String { "pool, \(mode)" }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] { inputs }

  public func sequenceReference(_ inputs: [[[Double]]], _ context: OperationContext) -> [[[Double]]] {
    let tokens = inputs[0]
    let columns = context.inputs[0].columns
    return [
      [
        (0..<columns).map { column in
          switch mode {
          case _ where tokens.isEmpty: 0
          case .mean: tokens.reduce(0) { $0 + $1[column] } / Double(tokens.count)
          case .first: tokens[0][column]
          case .max: tokens.reduce(-.infinity) { Swift.max($0, $1[column]) }
          }
        }
      ]
    ]
  }
}
