internal import CNeedletailKernels
internal import NeedletailCore

/// A one-hot encoding and the layer behind it as one step: an indicator that is 1 adds the row of its weights, and those
/// that are 0 are never written, nor multiplied.
///
/// With 4,000 categories in front of 16 outputs a row took 4,000 products an output; it takes one.
enum IndicatorLayer {
  /// Columns of a layer from which looking rows up is worth a step of its own, and how many of them there are for each
  /// number that a row brings.
  static let depthMin = 64
  static let widthMin = 4

  /// True where most columns of a one-hot encoding are indicators.
  static func isWorthwhile(_ widths: [Int]) -> Bool {
    let depth = widths.reduce(0) { $0 + max($1, 1) }
    return depth >= depthMin && depth >= widthMin * widths.count
  }
}

extension ModelGraph {
  /// True for a layer that reads indicators of categories for the most part, or terms of a text: with fp32 weights a plan
  /// looks them up.
  public func readsIndicators(_ node: Int) -> Bool {
    var value = nodes[node].inputs[0]
    while let writer = nodes.first(where: { $0.outputs.contains(value) }) {
      if writer.operation is TextTerms { return true }
      if let oneHot = writer.operation as? OneHot { return IndicatorLayer.isWorthwhile(oneHot.widths) }
      guard writer.operation is Affine else { return false }
      value = writer.inputs[0]
    }
    return false
  }
}

extension PreprocessingOperation {
  /// Adds the step of a chain of preprocessing with the layer behind it.
  ///
  /// - Parameters:
  ///   - node: the first of the chain.
  ///   - last: the last of the chain.
  ///   - words: of the chain's operations.
  /// - Returns: false, with the plan as it was, where the two stay apart.
  func lowerWithLayer(
    _ node: Int, _ last: Int, _ tables: PreprocessTables, _ words: [String], into plan: inout PlanBuilder
  ) throws(PlanError) -> Bool {
    let graph = plan.graph
    let (input, name) = (graph.nodes[node].inputs[0], graph.nodes[node].name)
    let columns = graph.nodes[last].outputs[0]
    guard let widths = tables.widths, IndicatorLayer.isWorthwhile(widths),
      graph.values[columns].type.element == .float32, let next = plan.onlyReader(of: columns),
      let dense = graph.nodes[next].operation as? Dense, !graph.tensors[dense.weights].isInt8
    else { return false }
    plan.fuse(next)
    let (output, activation) = dense.output(of: next, in: &plan)
    let (outputs, depth) = (graph.values[output].columns, graph.values[columns].columns)
    let bytes = nt_f32_packed_bytes(outputs, depth)
    let packed = try plan.storage.allocate(bytes: bytes, for: name).assumingMemoryBound(to: Float.self)
    let weights = graph.tensors[dense.weights].floats ?? []
    let bias = dense.bias.flatMap { graph.tensors[$0].floats }
    Dense.packInPieces(outputs, depth) { range in
      weights.withUnsafeBufferPointer { weights in
        bias.withPointer(at: range.lowerBound) { bias in
          nt_f32_pack(
            weights.baseAddress! + range.lowerBound * depth, bias, range.count, depth,
            packed + nt_f32_packed_bytes(range.lowerBound, depth) / MemoryLayout<Float>.size)
        }
      }
    }
    let isDouble = graph.values[input].type.element == .float64
    let kernel = nt_indicator_layer(
      columns: try tables.kernel(columns: widths.count, in: plan.storage, node: name), weights: UnsafePointer(packed),
      outputs: UInt32(outputs), depth: UInt32(depth), activation: activation.kernel)
    let isa = plan.isa.kernelSet
    let scratch = plan.addBuffer(bytes: 8 * widths.count, per: graph.values[input].type.domain)
    var step = try plan.step(
      node, isDouble ? nt_indicator_layer_f64_step(isa) : nt_indicator_layer_f32_step(isa), kernel, reading: [input],
      writing: [output], words: (words + ["looked-up dense \(activation) fp32"]).joined(separator: " + "),
      kernel: "indicators")
    step.buffers.append(scratch)
    step.weightBytes = bytes
    step.multiplyAddsPerItem = widths.count * outputs
    plan.add(step)
    plan.countProduct(isInt8: false)
    return true
  }
}
