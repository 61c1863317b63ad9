internal import CNeedletailKernels
public import CNeedletailProto
internal import Glibc
internal import NeedletailCore

/// softmax(q · kᵀ / √columns of a head) · v among the tokens of one sequence, for each head by itself: Vaswani et al.,
/// "Attention is all you need" (2017). Sequences are as long as they are; none is filled up to another's length.
///
/// Keys and values of a prefix stand in front of those of every sequence: Li and Liang, "Prefix-tuning" (2021).
public struct SelfAttention: GraphOperation {
  /// Indices of fp32 tensors of shape [places, columns of k].
  public struct Prefix: Equatable, Sendable {
    public var keys: Int
    public var values: Int

    public init(keys: Int, values: Int) {
      self.keys = keys
      self.values = values
    }
  }

  /// Equal parts into which the columns of q, k and v are cut.
  public var heads: Int
  /// Nil: tokens attend to each other alone.
  public var prefix: Prefix?

  public init(heads: Int, prefix: Prefix? = nil) {
    self.heads = heads
    self.prefix = prefix
  }

  public init(_ message: Needletail__V1__SelfAttention) throws(GraphFault) {
    let (keys, values) = (Int(message.prefix_keys), Int(message.prefix_values))
    guard (keys == 0) == (values == 0) else {
      throw GraphFault("expected keys and values of a prefix, or neither, found \(keys == 0 ? "values" : "keys") alone")
    }
    self.init(heads: Int(message.heads), prefix: keys == 0 ? nil : Prefix(keys: keys - 1, values: values - 1))
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__SelfAttention>? {
    memory.build(needletail__v1__self_attention__init) {
      $0.heads = UInt32(clamping: heads)
      $0.prefix_keys = prefix.map { UInt32(clamping: $0.keys &+ 1) } ?? 0
      $0.prefix_values = prefix.map { UInt32(clamping: $0.values &+ 1) } ?? 0
    }
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
    if let prefix { try check(prefix, columns: columns / parts, context) }
    return [ValueType(.float32, [columns / parts], per: .token)]
  }

  /// A prefix has no more places than a row may have tokens.
  private func check(_ prefix: Prefix, columns: Int, _ context: OperationContext) throws(GraphFault) {
    let keys = try context.tensor(prefix.keys, "prefix keys")
    let places = keys.shape.first ?? 0
    guard case .float32 = keys.storage, keys.shape == [places, columns], (1...Limits.rowTokensMax).contains(places)
    else {
      throw context.fault(
        "prefix keys \(keys.name.quotedForMessage): expected fp32 of shape [1 to \(Limits.rowTokensMax), \(columns)], "
          + "found \(keys.shape)")
    }
    let values = try context.tensor(prefix.values, "prefix values")
    guard case .float32 = values.storage, values.shape == keys.shape else {
      throw context.fault(
        "prefix values \(values.name.quotedForMessage): expected fp32 of shape \(keys.shape), found \(values.shape)")
    }
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    guard let kernels = nt_f32_kernels_for(plan.isa.kernelSet) else { preconditionFailure("no fp32 kernels") }
    let (inputs, output) = (plan.graph.nodes[node].inputs, plan.graph.nodes[node].outputs[0])
    let columns = plan.graph.values[output].columns
    let width = columns / heads
    var kernel = nt_attention(
      kernels: kernels, heads: UInt32(heads), head_width: UInt32(width), scale: Float(1 / Double(width).squareRoot()),
      is_fused: inputs.count == 1, prefix: 0, prefix_keys: nil, prefix_values: nil)
    var words = words
    if let prefix {
      let (name, tensors) = (plan.graph.nodes[node].name, plan.graph.tensors)
      kernel.prefix = UInt32(tensors[prefix.keys].shape[0])
      kernel.prefix_keys = try plan.storage.copy(tensors[prefix.keys].floats ?? [], for: name)
      kernel.prefix_values = try plan.storage.copy(tensors[prefix.values].floats ?? [], for: name)
      words += " of \(kernel.prefix)"
    }
    var step = try plan.step(
      node, nt_attention_step(plan.isa.kernelSet), kernel, reading: inputs, writing: [output], words: words,
      kernel: "attention")
    step.weightBytes = 2 * Int(kernel.prefix) * columns * MemoryLayout<Float>.stride
    step.buffers.append(
      plan.addBuffer(
        bytes: nt_attention_scratch_bytes(width, Int(kernel.prefix) + plan.options.extentMax.units), per: .token))
    step.outputColumns = columns
    plan.add(step)
  }

  public var tensors: [Int] { prefix.map { [$0.keys, $0.values] } ?? [] }
  public var parameterCount: Int { 1 }
  public func packedBytes(_ context: OperationContext) -> Int {
    tensors.reduce(0) {
      $0 + MemoryPlanner.aligned(context.graph.tensors[$1].elementCount * MemoryLayout<Float>.stride)
    }
  }
  public var words: String { "self-attention of \(heads) heads" + (prefix == nil ? "" : ", prefix") }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    sequenceReference(inputs.map { [$0] }, context).map { $0[0] }
  }

  public func sequenceReference(_ inputs: [[[Double]]], _ context: OperationContext) -> [[[Double]]] {
    let tokens = inputs[0].count
    let columns = context.outputs[0].columns
    let width = columns / heads
    let before = prefix.map {
      [[], context.graph.tensors[$0.keys].floats ?? [], context.graph.tensors[$0.values].floats ?? []]
    }
    let places = (before?[1].count ?? 0) / columns
    /// Keys and values of the prefix have numbers below 0.
    func element(_ part: Int, _ token: Int, _ column: Int) -> Double {
      if token < 0 { return Double(before?[part][(token + places) * columns + column] ?? 0) }
      return inputs.count == 1 ? inputs[0][token][part * columns + column] : inputs[part][token][column]
    }
    var answers = [[Double]](repeating: [Double](repeating: 0, count: columns), count: tokens)
    for head in 0..<heads {
      let own = head * width..<(head + 1) * width
      for query in 0..<tokens {
        let scores = (-places..<tokens).map { key in
          own.reduce(0) { $0 + element(0, query, $1) * element(1, key, $1) } / Double(width).squareRoot()
        }
        let largest = scores.max() ?? 0
        let weights = scores.map { exp($0 - largest) }
        let sum = weights.reduce(0, +)
        for column in own {
          answers[query][column] =
            weights.indices.reduce(0) { $0 + weights[$1] * element(2, $1 - places, column) } / sum
        }
      }
    }
    return [answers]
  }
}
