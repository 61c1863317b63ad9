internal import CNeedletailKernels
public import CNeedletailProto
internal import Glibc
internal import NeedletailCore

/// softmax(q · kᵀ / √columns of a head) · v among the tokens of one sequence, for each head by itself: Vaswani et al.,
/// "Attention is all you need" (2017). Sequences are as long as they are; none is filled up to another's length.
public struct SelfAttention: GraphOperation {
  /// Equal parts into which the columns of q, k and v are cut.
  public var heads: Int

  public init(heads: Int) { self.heads = heads }

  public init(_ message: Needletail__V1__SelfAttention) { self.init(heads: Int(message.heads)) }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__SelfAttention>? {
    memory.build(needletail__v1__self_attention__init) { $0.heads = UInt32(clamping: heads) }
  }

  /// q, k and v side by side in one value, or each in its own.
  public static var inputCounts: ClosedRange<Int> { 1...3 }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    let inputs = context.inputs
    guard inputs.count != 2 else { throw context.fault("expected 1 or 3 inputs, found 2") }
    for input in inputs {
      guard input.element == .float32, input.shape.count == 1, input.domain == .token else {
        throw context.fault("expected f32 columns per token as input, found \(input.words)")
      }
      guard input == inputs[0] else {
        throw context.fault("expected inputs of one type, found \(inputs[0].words) and \(input.words)")
      }
    }
    let parts = inputs.count == 1 ? 3 : 1
    let columns = inputs[0].columns
    guard heads > 0, heads <= columns, columns % (parts * heads) == 0 else {
      throw context.fault(
        "expected columns that \(heads) heads\(parts == 3 ? " of q, k and v" : "") divide, found \(columns)")
    }
    return [ValueType(.float32, [columns / parts], per: .token)]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    guard let kernels = nt_f32_kernels_for(plan.isa.kernelSet) else { preconditionFailure("no fp32 kernels") }
    let (inputs, output) = (plan.graph.nodes[node].inputs, plan.graph.nodes[node].outputs[0])
    let columns = plan.graph.values[output].columns
    let width = columns / heads
    let kernel = nt_attention(
      kernels: kernels, heads: UInt32(heads), head_width: UInt32(width), scale: Float(1 / Double(width).squareRoot()),
      is_fused: inputs.count == 1)
    var step = try plan.step(
      node, nt_attention_step(plan.isa.kernelSet), kernel, reading: inputs, writing: [output], words: words,
      kernel: "attention")
    step.buffers.append(
      plan.addBuffer(
        bytes: nt_attention_scratch_bytes(width, plan.options.extentMax.units), per: .token))
    step.outputColumns = columns
    plan.add(step)
  }

  public var parameterCount: Int { 1 }
  public var words: String { "self-attention of \(heads) heads" }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    sequenceReference(inputs.map { [$0] }, context).map { $0[0] }
  }

  public func sequenceReference(_ inputs: [[[Double]]], _ context: OperationContext) -> [[[Double]]] {
    let tokens = inputs[0].count
    let columns = context.outputs[0].columns
    let width = columns / heads
    func element(_ part: Int, _ token: Int, _ column: Int) -> Double {
      inputs.count == 1 ? inputs[0][token][part * columns + column] : inputs[part][token][column]
    }
    var answers = [[Double]](repeating: [Double](repeating: 0, count: columns), count: tokens)
    for head in 0..<heads {
      let own = head * width..<(head + 1) * width
      for query in 0..<tokens {
        let scores = (0..<tokens).map { key in
          own.reduce(0) { $0 + element(0, query, $1) * element(1, key, $1) } / Double(width).squareRoot()
        }
        let largest = scores.max() ?? 0
        let weights = scores.map { exp($0 - largest) }
        let sum = weights.reduce(0, +)
        for column in own {
          answers[query][column] = (0..<tokens).reduce(0) { $0 + weights[$1] * element(2, $1, column) } / sum
        }
      }
    }
    return [answers]
  }
}
