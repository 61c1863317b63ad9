internal import CNeedletailKernels
public import CNeedletailProto
internal import Glibc
internal import NeedletailCore
internal import NeedletailSystem

/// A fully connected layer: y = activation(x · Wᵀ + b).
public struct Dense: GraphOperation {
  public enum Activation: UInt8, Sendable, CaseIterable {
    case identity = 0
    case relu = 1
    case tanh = 2
    case logistic = 3
    /// x · Φ(x), the exact erf form.
    case gelu = 4
  }

  /// Index of a tensor of shape [output columns, input columns].
  public var weights: Int
  /// Index of an fp32 tensor of shape [output columns].
  public var bias: Int?
  public var activation: Activation

  public init(weights: Int, bias: Int?, activation: Activation) {
    self.weights = weights
    self.bias = bias
    self.activation = activation
  }

  // MARK: message

  public init(_ message: Needletail__V1__Dense) throws(GraphFault) {
    self.init(
      weights: Int(message.weights), bias: message.bias == 0 ? nil : Int(message.bias) - 1,
      activation: try MessageValues.known(message.activation.rawValue, as: Activation.self, "activation"))
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Dense>? {
    memory.build(needletail__v1__dense__init) {
      $0.weights = UInt32(clamping: weights)
      $0.bias = bias.map { UInt32(clamping: $0 &+ 1) } ?? 0
      $0.activation = Needletail__V1__Activation(UInt32(activation.rawValue))
    }
  }

  // MARK: checks

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    let input = try context.columns(of: .float32)
    let outputs = context.outputs[0].columns
    let weights = try context.tensor(self.weights, "weights")
    guard weights.shape == [outputs, input.columns] else {
      throw context.fault(
        "weights \(weights.name.quotedForMessage): expected shape [\(outputs), \(input.columns)], found \(weights.shape)"
      )
    }
    if weights.isInt8, input.columns > Limits.int8DepthMax {
      throw context.fault("expected at most \(Limits.int8DepthMax) columns for int8 weights, found \(input.columns)")
    }
    if case .int32 = weights.storage {
      throw context.fault("weights \(weights.name.quotedForMessage): expected f32, f16 or int8, found i32")
    }
    if let index = self.bias {
      let bias = try context.tensor(index, "bias")
      guard case .float32 = bias.storage, bias.shape == [outputs] else {
        throw context.fault(
          "bias \(bias.name.quotedForMessage): expected fp32 of shape [\(outputs)], found \(bias.shape)")
      }
    }
    return [ValueType(.float32, [outputs], per: input.domain)]
  }

  // MARK: cost and words

  public var tensors: [Int] { [weights] + (bias.map { [$0] } ?? []) }

  public func product(_ context: OperationContext) -> MatrixProduct? {
    let tensor = context.graph.tensors[weights]
    return MatrixProduct(columns: tensor.shape[0], depth: tensor.shape[1], isInt8: tensor.isInt8)
  }

  public func packedBytes(_ context: OperationContext) -> Int {
    let (columns, depth) = (context.outputs[0].columns, context.inputs[0].columns)
    return context.graph.tensors[weights].isInt8
      ? nt_s8_packed_bytes(columns, depth) : nt_f32_packed_bytes(columns, depth)
  }

  public var words: String { "dense, \(activation)" }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    let x = inputs[0]
    let matrix = context.graph.tensors[weights].floats ?? []
    let added = bias.flatMap { context.graph.tensors[$0].floats }
    return [
      (0..<matrix.count / x.count).map { output in
        var sum = added.map { Double($0[output]) } ?? 0
        for (column, value) in x.enumerated() { sum += Double(matrix[output * x.count + column]) * value }
        return activation.reference(sum)
      }
    ]
  }
}

extension Dense.Activation {
  func reference(_ x: Double) -> Double {
    switch self {
    case .identity: x
    case .relu: max(0, x)
    case .tanh: Glibc.tanh(x)
    case .logistic: 1 / (1 + exp(-x))
    case .gelu: 0.5 * x * erfc(-x / 2.0.squareRoot())
    }
  }

  var kernel: nt_activation { nt_activation(rawValue: UInt32(rawValue)) }
}

// MARK: - plan

extension Dense {
  /// Packed fp32 weights from which a relaxed plan keeps them as bf16 too. Smaller ones come from the cache of one core
  /// (1 to 2 MiB) as fast as they are multiplied: 512 × 512, 1 MiB, take 0.9 to 1.1 of the time with bf16, and 1,024 ×
  /// 1,024 take 0.34 to 0.5 for one to four rows.
  static let relaxedBytesMin = 1 << 20

  /// Bias and activation run in the product's epilogue, while the tile is in registers, and so does a sigmoid behind it.
  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let graph = plan.graph
    let (output, activation) = output(of: node, in: &plan)
    let bias = bias.flatMap { graph.tensors[$0].floats }
    switch graph.tensors[weights].storage {
    case .int8(let elements, let scales):
      try lowerInt8(node, elements, scales, bias, to: output, activation, into: &plan)
    default:
      try lowerFloat32(node, graph.tensors[weights].floats ?? [], bias, to: output, activation, into: &plan)
    }
  }

  /// The value that the layer's step writes, and its activation: a sigmoid that follows is part of the step.
  func output(of node: Int, in plan: inout PlanBuilder) -> (value: Int, activation: Activation) {
    var (output, activation) = (plan.graph.nodes[node].outputs[0], activation)
    if activation == .identity, let next = plan.onlyReader(of: output), plan.graph.nodes[next].operation is Sigmoid {
      (output, activation) = (plan.graph.nodes[next].outputs[0], .logistic)
      plan.fuse(next)
    }
    if activation == .relu || activation == .logistic { plan.markNonnegative(output) }
    return (output, activation)
  }

  private func lowerInt8(
    _ node: Int, _ elements: [Int8], _ scales: [Float], _ bias: [Float]?, to output: Int, _ activation: Activation,
    into plan: inout PlanBuilder
  ) throws(PlanError) {
    guard let kernels = nt_s8_kernels_for(plan.isa.kernelSet) else { preconditionFailure("no int8 kernels") }
    let (input, name) = (plan.graph.nodes[node].inputs[0], plan.graph.nodes[node].name)
    let (columns, depth) = (plan.graph.values[output].columns, plan.graph.values[input].columns)
    let bytes = nt_s8_packed_bytes(columns, depth)
    let packed = try plan.storage.allocate(bytes: bytes, for: name)
    Self.packInPieces(columns, depth) { range in
      elements.withUnsafeBufferPointer { elements in
        scales.withUnsafeBufferPointer { scales in
          bias.withPointer(at: range.lowerBound) { bias in
            kernels.pointee.pack(
              elements.baseAddress! + range.lowerBound * depth, scales.baseAddress! + range.lowerBound, bias,
              range.count,
              depth, packed + nt_s8_packed_offset(range.lowerBound, depth))
          }
        }
      }
    }
    var layer = nt_dense_s8()
    layer.kernels = kernels
    layer.weights = UnsafeRawPointer(packed)
    (layer.columns, layer.depth) = (UInt32(columns), UInt32(depth))
    layer.activation = activation.kernel
    layer.input_is_nonnegative = plan.isNonnegative(input)
    let source = try Quantised.rows(of: input, for: node, kernels, in: &plan)
    let magnitudes = gatherMagnitudes(of: output, in: &plan)
    layer.gathers_magnitudes = magnitudes != nil
    layer.time = try LayerTiming.int8(layer, plan.options)
    var step = try plan.step(
      node, nt_dense_s8_step, layer, reading: [], writing: [output], words: "dense \(activation) int8",
      kernel: "s8_gemm")
    plan.choosableLayers.append(
      .int8(UnsafeMutableRawPointer(mutating: step.parameters).assumingMemoryBound(to: nt_dense_s8.self)))
    step.buffers = [source.rows, source.scales] + step.buffers + (magnitudes.map { [$0] } ?? [])
    step.sharedFromItems = LayerTiming.sharedFromItems(layer.time)
    plan.add(finished(step, columns: columns, depth: depth, weightBytes: bytes))
    plan.countProduct(isInt8: true)
  }

  private func lowerFloat32(
    _ node: Int, _ elements: [Float], _ bias: [Float]?, to output: Int, _ activation: Activation,
    into plan: inout PlanBuilder
  ) throws(PlanError) {
    guard let kernels = nt_f32_kernels_for(plan.isa.kernelSet) else { preconditionFailure("no fp32 kernels") }
    let (input, name) = (plan.graph.nodes[node].inputs[0], plan.graph.nodes[node].name)
    let (columns, depth) = (plan.graph.values[output].columns, plan.graph.values[input].columns)
    let bytes = nt_f32_packed_bytes(columns, depth)
    let packed = try plan.storage.allocate(bytes: bytes, for: name).assumingMemoryBound(to: Float.self)
    Self.packInPieces(columns, depth) { range in
      elements.withUnsafeBufferPointer { elements in
        bias.withPointer(at: range.lowerBound) { bias in
          nt_f32_pack(
            elements.baseAddress! + range.lowerBound * depth, bias, range.count, depth,
            packed + nt_f32_packed_bytes(range.lowerBound, depth) / MemoryLayout<Float>.size)
        }
      }
    }
    var layer = nt_dense_f32()
    layer.kernels = kernels
    layer.weights = UnsafeRawPointer(packed)
    (layer.columns, layer.depth) = (UInt32(columns), UInt32(depth))
    layer.activation = activation.kernel
    let relaxed = bytes >= Self.relaxedBytesMin ? plan.options.relaxed : nil
    let isRelaxed = relaxed != nil
    var (magnitudes, rounded): (Int?, Int?)
    if isRelaxed {
      layer.bf16_weights = UnsafeRawPointer(try Self.packRounded(elements, bias, columns, depth, for: name, in: plan))
      if nt_dense_f32_rounds_rows(&layer) {
        rounded = plan.addBuffer(
          bytesPerItem: 2 * nt_bf16_row_elements(depth), per: plan.graph.values[input].type.domain)
      }
      layer.sgemm = relaxed
      layer.plain_weights = try plan.storage.copy(elements, for: name)
      if let bias { layer.plain_bias = try plan.storage.copy(bias, for: name) }
    } else {
      magnitudes = gatherMagnitudes(of: output, in: &plan)  // a product from outside would not
    }
    layer.gathers_magnitudes = magnitudes != nil
    layer.time = try LayerTiming.float32(layer, plan.options)
    var step = try plan.step(
      node, nt_dense_f32_step, layer, reading: [input], writing: [output],
      words: "dense \(activation) \(isRelaxed ? "bf16 or " : "")fp32",
      kernel: isRelaxed ? "f32_gemm, relaxed" : "f32_gemm")
    step.buffers += [magnitudes, rounded].compactMap { $0 }
    if isRelaxed {
      plan.choosableLayers.append(
        .float32(UnsafeMutableRawPointer(mutating: step.parameters).assumingMemoryBound(to: nt_dense_f32.self)))
    }
    step.sharedFromItems = LayerTiming.sharedFromItems(layer.time)
    plan.add(finished(step, columns: columns, depth: depth, weightBytes: bytes))
    plan.countProduct(isInt8: false)
  }

  private static func packRounded(
    _ elements: [Float], _ bias: [Float]?, _ columns: Int, _ depth: Int, for name: String, in plan: PlanBuilder
  ) throws(PlanError) -> UnsafeMutableRawPointer {
    let packed = try plan.storage.allocate(bytes: nt_bf16_packed_bytes(columns, depth), for: name)
    packInPieces(columns, depth) { range in
      elements.withUnsafeBufferPointer { elements in
        bias.withPointer(at: range.lowerBound) { bias in
          nt_bf16_pack(
            elements.baseAddress! + range.lowerBound * depth, bias, range.count, depth,
            packed + nt_bf16_packed_bytes(range.lowerBound, depth))
        }
      }
    }
    return packed
  }

  /// Packs columns a few panels at a time, because panels do not depend on each other.
  static func packInPieces(_ columns: Int, _ depth: Int, _ pack: (Range<Int>) -> Void) {
    let panel = Int(NT_PANEL_COLUMNS)
    Pieces.forEach(columns, size: max(1, Pieces.bytes / (panel * depth)) * panel, pack)
  }

  private func finished(_ step: PlanBuilder.Step, columns: Int, depth: Int, weightBytes: Int) -> PlanBuilder.Step {
    var step = step
    step.weightBytes = weightBytes
    step.multiplyAddsPerItem = columns * depth
    step.inputColumns = depth
    return step
  }

  /// Has the layer that is about to be added, which writes `value`, spare a following quantise its first pass.
  private func gatherMagnitudes(of value: Int, in plan: inout PlanBuilder) -> Int? {
    let graph = plan.graph
    let isQuantised = plan.readers(of: value).contains { reader in
      guard let dense = graph.nodes[reader].operation as? Dense else { return false }
      return graph.tensors[dense.weights].isInt8
    }
    guard isQuantised else { return nil }
    let buffer = plan.addBuffer(bytesPerItem: 4, per: graph.values[value].type.domain)
    plan.quantisation.magnitudes[value] = buffer
    return buffer
  }
}

/// Values that a plan under construction has as int8.
struct Quantised {
  /// Per value: its int8 rows and their scales, shared by all int8 layers that read it.
  var rows: [Int: (rows: Int, scales: Int)] = [:]
  /// Per value that an int8 layer reads: where the layer that writes it gathers the magnitudes of rows.
  var magnitudes: [Int: Int] = [:]

  /// The int8 rows of a value; quantised once, however many layers read them.
  static func rows(
    of value: Int, for node: Int, _ kernels: UnsafePointer<nt_s8_kernels>, in plan: inout PlanBuilder
  ) throws(PlanError) -> (rows: Int, scales: Int) {
    if let known = plan.quantisation.rows[value] { return known }
    let type = plan.graph.values[value].type
    let rows = plan.addBuffer(bytesPerItem: nt_s8_row_stride(type.columns), per: type.domain)
    let scales = plan.addBuffer(bytesPerItem: 4, per: type.domain)
    let magnitudes = plan.quantisation.magnitudes[value]
    let parameters = nt_quantise(
      kernels: kernels, columns: UInt32(type.columns), has_magnitudes: magnitudes != nil)
    var step = try plan.step(
      node, nt_quantise_step, parameters, reading: [value], writing: [],
      words: magnitudes == nil ? "quantise" : "quantise, largest known",
      kernel: magnitudes == nil ? "quantise" : "quantise_known")
    step.buffers += [rows, scales] + (magnitudes.map { [$0] } ?? [])
    (step.outputColumns, step.written) = (type.columns, rows)
    plan.add(step)
    plan.quantisation.rows[value] = (rows, scales)
    return (rows, scales)
  }
}

extension [Float]? {
  /// Calls `body` with the address of an element, or with nil where there is no array.
  func withPointer(at index: Int, _ body: (UnsafePointer<Float>?) -> Void) {
    guard let array = self else { return body(nil) }
    array.withUnsafeBufferPointer { body($0.baseAddress.map { $0 + index }) }
  }
}
