internal import CNeedletailKernels
public import CNeedletailProto
internal import NeedletailCore

/// The inputs side by side, along the last dimension of their items. All have one element type and domain, and the
/// same dimensions before the last.
public struct Concat: GraphOperation {
  public init() {}

  public init(_ message: Needletail__V1__Concat) {}

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Concat>? {
    memory.build(needletail__v1__concat__init)
  }

  public static var inputCounts: ClosedRange<Int> { 2...Limits.nodeValuesMax }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    let inputs = context.inputs
    var type = inputs[0]
    let last = type.shape.count - 1
    // At most 256 inputs of 2²⁰ columns: the sum fits.
    for input in inputs.dropFirst() {
      guard input.element == type.element, input.domain == type.domain,
        input.shape.dropLast() == type.shape.dropLast()
      else {
        throw context.fault(
          "expected inputs that differ in their last dimension only, found \(inputs[0].words) and \(input.words)")
      }
      type.shape[last] += input.shape[last]
    }
    return [type]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let (inputs, name) = (plan.graph.nodes[node].inputs, plan.graph.nodes[node].name)
    let types = inputs.map { plan.graph.values[$0].type }
    var kernel = nt_concat()
    kernel.input_count = UInt32(inputs.count)
    kernel.outer = UInt32(types[0].outerCount)
    kernel.block_bytes = try plan.storage.copy(
      types.map { UInt32($0.itemBytes / $0.outerCount) }, for: name)
    plan.add(
      try plan.step(
        node, nt_concat_step, kernel, reading: inputs, writing: plan.graph.nodes[node].outputs,
        words: "concat of \(inputs.count)", kernel: "concat"))
  }

  public var words: String { "concat" }

  public func origins(of inputs: [[Int]], _ context: OperationContext) -> [Int]? {
    let outer = context.inputs[0].outerCount
    return (0..<outer).flatMap { block in
      inputs.flatMap { $0[block * $0.count / outer..<(block + 1) * $0.count / outer] }
    }
  }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    let outer = context.inputs[0].outerCount
    return [
      (0..<outer).flatMap { block in
        inputs.flatMap { $0[block * $0.count / outer..<(block + 1) * $0.count / outer] }
      }
    ]
  }
}

extension ValueType {
  /// Blocks of the last dimension in one item.
  var outerCount: Int { shape.dropLast().reduce(1, *) }
}
