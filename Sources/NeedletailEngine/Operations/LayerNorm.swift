internal import CNeedletailKernels
public import CNeedletailProto
internal import NeedletailCore

/// y = (x − mean) / √(variance + epsilon) · scale + bias, over the columns of each item: Ba, Kiros and Hinton (2016).
public struct LayerNorm: GraphOperation {
  /// Indices of fp32 tensors of one number a column.
  public var scale: Int
  public var bias: Int
  /// Added to the variance, so that an item of one value stays finite.
  public var epsilon: Float

  public init(scale: Int, bias: Int, epsilon: Float) {
    self.scale = scale
    self.bias = bias
    self.epsilon = epsilon
  }

  public init(_ message: Needletail__V1__LayerNorm) {
    self.init(scale: Int(message.scale), bias: Int(message.bias), epsilon: message.epsilon)
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__LayerNorm>? {
    memory.build(needletail__v1__layer_norm__init) {
      $0.scale = UInt32(clamping: scale)
      $0.bias = UInt32(clamping: bias)
      $0.epsilon = epsilon
    }
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    let type = try context.columns(of: .float32)
    for (index, role) in [(scale, "scale"), (bias, "bias")] {
      let tensor = try context.tensor(index, role)
      guard case .float32 = tensor.storage, tensor.shape == [type.columns] else {
        throw context.fault(
          "\(role) \(tensor.name.quotedForMessage): expected fp32 of shape [\(type.columns)], found \(tensor.shape)")
      }
    }
    guard epsilon.isFinite, epsilon > 0 else {
      throw context.fault("epsilon: expected a finite number above 0, found \(epsilon)")
    }
    return [type]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let graph = plan.graph
    let (input, output) = (graph.nodes[node].inputs[0], graph.nodes[node].outputs[0])
    let name = graph.nodes[node].name
    let kernel = nt_layer_norm(
      columns: UInt32(graph.values[input].columns), epsilon: epsilon,
      gain: try plan.storage.copy(graph.tensors[scale].floats ?? [], for: name),
      bias: try plan.storage.copy(graph.tensors[bias].floats ?? [], for: name))
    plan.add(
      try plan.step(
        node, nt_layer_norm_step(plan.isa.kernelSet), kernel, reading: [input], writing: [output], words: words,
        kernel: "layer_norm"))
  }

  public var tensors: [Int] { [scale, bias] }
  public var parameterCount: Int { 1 }
  public func packedBytes(_ context: OperationContext) -> Int {
    2 * MemoryPlanner.aligned(context.inputs[0].columns * MemoryLayout<Float>.stride)
  }
  public var words: String { "layer norm" }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    let x = inputs[0]
    let mean = x.reduce(0, +) / Double(x.count)
    let variance = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(x.count)
    let deviation = (variance + Double(epsilon)).squareRoot()
    let (gain, added) = (context.graph.tensors[scale].floats ?? [], context.graph.tensors[bias].floats ?? [])
    return [x.indices.map { (x[$0] - mean) / deviation * Double(gain[$0]) + Double(added[$0]) }]
  }
}
