internal import NeedletailCore

extension ModelDefinition {
  /// Every index, shape and number of schema, graph and labels fits the others.
  func validate() throws(BundleError) {
    try schema.validate()
    try graph.validate(featureCount: schema.features.count)
    try validateLabels()
  }

  private func validateLabels() throws(BundleError) {
    try Bounds.check(labels.count, 0...Limits.labelsMax, "labels")
    guard graph.task == .classification || labels.isEmpty else {
      throw BundleError(.invalidGraph, "labels: expected none for a regression, found \(labels.count)")
    }
    for (index, label) in labels.enumerated() where label.isEmpty {
      throw BundleError(.invalidGraph, "label \(index): expected text, found none")
    }
    try NameCheck.unique(labels, "label")
    for output in graph.outputs where output.kind != .number {
      guard let writer = graph.nodes.first(where: { $0.output == output.value }), writer.operation == .argMax else {
        throw BundleError(
          .invalidGraph,
          "output \(output.name.quotedForMessage): expected a class index from an arg max, found another value")
      }
      let classes = graph.values[writer.input].columns
      guard labels.count == classes || (labels.isEmpty && output.kind == .classIndex) else {
        throw BundleError(
          .invalidGraph, "labels: expected \(classes) for output \(output.name.quotedForMessage), found \(labels.count)"
        )
      }
    }
  }
}

extension ModelGraph {
  func validate(featureCount: Int) throws(BundleError) {
    try Bounds.check(values.count, 1...Limits.graphValuesMax, "graph: values")
    try Bounds.check(nodes.count, 0...Limits.graphNodesMax, "graph: nodes")
    try Bounds.check(outputs.count, 1...Limits.graphOutputsMax, "graph: outputs")
    try Bounds.check(tensors.count, 0...Limits.graphTensorsMax, "graph: tensors")
    for (index, value) in values.enumerated() {
      try Bounds.check(value.columns, 1...Limits.columnsMax, "value \(index): columns")
      try NameCheck.text(value.name, "value \(index): name")
    }
    guard values[0].columns == featureCount else {
      throw BundleError(
        .invalidGraph, "value 0: expected \(featureCount) columns, one a feature, found \(values[0].columns)")
    }
    for tensor in tensors { try tensor.validate() }
    try validateNodes()
    try validateOutputs()
  }

  /// Nodes read only what earlier ones wrote, and every value has one writer.
  private func validateNodes() throws(BundleError) {
    var isWritten = [Bool](repeating: false, count: values.count)
    isWritten[0] = true
    for node in nodes {
      let field = "node \(node.name.quotedForMessage)"
      try NameCheck.text(node.name, "node name")
      guard values.indices.contains(node.input), isWritten[node.input] else {
        throw BundleError(
          .invalidGraph, "\(field): input: expected a value that an earlier node wrote, found value \(node.input)")
      }
      guard values.indices.contains(node.output), !isWritten[node.output] else {
        throw BundleError(
          .invalidGraph,
          "\(field): output: expected a value below \(values.count) without a writer, found value \(node.output)")
      }
      isWritten[node.output] = true
      try validate(node.operation, from: values[node.input].columns, to: values[node.output].columns, field)
    }
    if let value = isWritten.firstIndex(of: false) {
      throw BundleError(.invalidGraph, "value \(value): expected a node that writes it, found none")
    }
  }

  private func validateOutputs() throws(BundleError) {
    for (index, output) in outputs.enumerated() {
      try Bounds.check(output.name.utf8.count, 1...Limits.featureNameBytesMax, "output \(index): bytes of its name")
      guard values.indices.contains(output.value) else {
        throw BundleError(
          .invalidGraph,
          "output \(output.name.quotedForMessage): expected a value below \(values.count), found \(output.value)")
      }
    }
    try NameCheck.unique(outputs.map(\.name), "output")
  }

  private func validate(
    _ operation: Operation, from input: Int, to output: Int, _ field: String
  ) throws(BundleError) {
    func expect(_ expected: Int, _ what: String, _ found: Int) throws(BundleError) {
      guard expected == found else {
        throw BundleError(.invalidGraph, "\(field): \(what): expected \(expected), found \(found)")
      }
    }
    switch operation {
    case .impute(let fill):
      try expect(input, "output columns", output)
      try expect(input, "fill values", fill.count)
      try Finite.check(fill, "\(field): fill")
    case .affine(let affine):
      try expect(input, "output columns", output)
      try expect(input, "offsets", affine.offset.count)
      try expect(input, "scales", affine.scale.count)
      try Finite.check(affine.offset, "\(field): offset")
      try Finite.check(affine.scale, "\(field): scale")
    case .oneHot(let widths):
      try expect(input, "widths", widths.count)
      var columns = 0
      for width in widths {
        // At most 2²⁰ widths of at most 2²⁰ columns: the sum fits.
        try Bounds.check(width, 0...Limits.columnsMax, "\(field): width")
        columns += max(width, 1)
      }
      try expect(columns, "output columns", output)
    case .dense(let dense):
      try require([output, input], of: dense.weights, "\(field): weights")
      if let bias = dense.bias {
        try require([output], of: bias, "\(field): bias")
        guard case .float32 = tensors[bias].storage else {
          throw BundleError(.invalidGraph, "\(field): bias: expected FLOAT32, found INT8")
        }
      }
    case .softmax, .sigmoid: try expect(input, "output columns", output)
    case .argMax: try expect(1, "output columns", output)
    }
  }

  private func require(_ shape: [Int], of tensor: Int, _ field: String) throws(BundleError) {
    guard tensors.indices.contains(tensor) else {
      throw BundleError(.invalidGraph, "\(field): expected a tensor below \(tensors.count), found \(tensor)")
    }
    guard tensors[tensor].shape == shape else {
      throw BundleError(.invalidGraph, "\(field): expected shape \(shape), found \(tensors[tensor].shape)")
    }
  }
}

extension WeightTensor {
  func validate() throws(BundleError) {
    let field = "tensor \(name.quotedForMessage)"
    try NameCheck.text(name, "tensor name")
    try Bounds.check(shape.count, 1...Limits.tensorRankMax, "\(field): rank")
    var elements = 1
    for length in shape {
      let (product, overflow) = elements.multipliedReportingOverflow(by: length)
      guard length > 0, !overflow else {
        throw BundleError(.invalidGraph, "\(field): shape: expected lengths from 1, found \(shape)")
      }
      elements = product
    }
    guard elements == elementCount else {
      throw BundleError(.invalidGraph, "\(field): expected \(elements) elements, found \(elementCount)")
    }
    switch storage {
    case .float32(let elements): try Finite.check(elements, field)
    case .int8(let elements, let scales):
      guard scales.count == shape[0] else {
        throw BundleError(.invalidGraph, "\(field): expected \(shape[0]) scales, one a row, found \(scales.count)")
      }
      try Finite.check(scales, "\(field): scales")
      guard scales.allSatisfy({ $0 >= 0 }) else {
        throw BundleError(.invalidGraph, "\(field): scales: expected none below 0, found some")
      }
      // Symmetric quantisation: kernels rely on the range when they add products in pairs.
      guard !elements.contains(Int8.min) else {
        throw BundleError(.invalidGraph, "\(field): expected -127 to 127, found -128")
      }
    }
  }
}

/// Numbers of a model are finite: a NaN among weights turns every answer into NaN.
enum Finite {
  static func check(_ numbers: [some BinaryFloatingPoint], _ field: @autoclosure () -> String) throws(BundleError) {
    guard let index = numbers.firstIndex(where: { !$0.isFinite }) else { return }
    throw BundleError(.invalidGraph, "\(field()): expected finite numbers, found \(numbers[index]) at \(index)")
  }
}
