internal import CNeedletailKernels
internal import NeedletailCore

/// Checks every index, shape, width and number of a graph, so that the compiler behind it, and the
/// kernels behind that, may trust them.
struct GraphValidator {
  let graph: ModelGraph

  /// - Parameter inputColumns: features of the schema.
  func validate(inputColumns: Int) throws(PlanError) {
    try checkCounts()
    try checkValues(inputColumns: inputColumns)
    for tensor in graph.tensors { try Self.check(tensor) }
    let writers = try checkOrder()
    for node in graph.nodes { try checkOperation(node) }
    try checkOutputs(writers: writers)
  }

  // MARK: - structure

  private func checkCounts() throws(PlanError) {
    try Self.check("values", graph.values.count, 1...Limits.graphValuesMax)
    try Self.check("nodes", graph.nodes.count, 1...Limits.graphNodesMax)
    try Self.check("outputs", graph.outputs.count, 1...Limits.graphOutputsMax)
    try Self.check("tensors", graph.tensors.count, 0...Limits.graphTensorsMax)
  }

  private static func check(_ what: String, _ found: Int, _ expected: ClosedRange<Int>) throws(PlanError) {
    guard expected.contains(found) else {
      throw PlanError("graph: expected \(expected.lowerBound) to \(expected.upperBound) \(what), found \(found)")
    }
  }

  private func checkValues(inputColumns: Int) throws(PlanError) {
    for (index, value) in graph.values.enumerated() where !(1...Limits.columnsMax).contains(value.columns) {
      throw PlanError(
        "value \(index) \(value.name.quotedForMessage): expected 1 to \(Limits.columnsMax) columns, found \(value.columns)"
      )
    }
    guard graph.values[0].columns == inputColumns else {
      throw PlanError(
        "value 0 \(graph.values[0].name.quotedForMessage): expected one column for each of \(inputColumns) features, found \(graph.values[0].columns)"
      )
    }
  }

  /// Each node reads what an earlier one wrote and writes what none did.
  ///
  /// - Returns: per value, the index of the node that writes it; nil for the input row.
  private func checkOrder() throws(PlanError) -> [Int?] {
    var writers = [Int?](repeating: nil, count: graph.values.count)
    for (index, node) in graph.nodes.enumerated() {
      for (role, value) in [("reads", node.input), ("writes", node.output)] {
        guard graph.values.indices.contains(value) else {
          throw error(node, "\(role) value \(value), expected 0 to \(graph.values.count - 1)")
        }
      }
      guard node.input == 0 || writers[node.input] != nil else {
        throw error(node, "reads value \(node.input) before any node has written it")
      }
      guard node.output != 0 else { throw error(node, "writes value 0, which is the input row") }
      if let other = writers[node.output] {
        throw error(
          node, "writes value \(node.output), which node \(graph.nodes[other].name.quotedForMessage) has written")
      }
      writers[node.output] = index
    }
    if let value = graph.values.indices.first(where: { $0 != 0 && writers[$0] == nil }) {
      throw PlanError("value \(value) \(graph.values[value].name.quotedForMessage): no node writes it")
    }
    return writers
  }

  private func checkOutputs(writers: [Int?]) throws(PlanError) {
    var names: Set<String> = []
    for output in graph.outputs {
      let name = "output \(output.name.quotedForMessage)"
      guard (1...Limits.featureNameBytesMax).contains(output.name.utf8.count) else {
        throw PlanError("\(name): expected a name of 1 to \(Limits.featureNameBytesMax) bytes")
      }
      guard names.insert(output.name).inserted else { throw PlanError("\(name): named twice") }
      guard graph.values.indices.contains(output.value) else {
        throw PlanError("\(name): value \(output.value), expected 0 to \(graph.values.count - 1)")
      }
      guard output.kind != .number else { continue }
      guard let writer = writers[output.value], graph.nodes[writer].operation == .argMax else {
        throw PlanError("\(name): expected a class from an argmax, found value \(output.value)")
      }
    }
  }

  // MARK: - tensors

  private static func check(_ tensor: WeightTensor) throws(PlanError) {
    let name = "tensor \(tensor.name.quotedForMessage)"
    guard (1...2).contains(tensor.shape.count), tensor.shape.allSatisfy({ $0 > 0 }) else {
      throw PlanError("\(name): expected a shape of 1 or 2 positive sizes, found \(tensor.shape)")
    }
    var product = 1
    for size in tensor.shape {
      let (next, overflow) = product.multipliedReportingOverflow(by: size)
      guard !overflow else { throw PlanError("\(name): shape \(tensor.shape) overflows") }
      product = next
    }
    guard product == tensor.elementCount else {
      throw PlanError("\(name): expected \(product) elements for shape \(tensor.shape), found \(tensor.elementCount)")
    }
    switch tensor.storage {
    case .float32(let elements):
      if let index = elements.firstIndex(where: { !$0.isFinite }) {
        throw PlanError("\(name), element \(index): expected a finite number, found \(elements[index])")
      }
    case .int8(let elements, let scales):
      guard tensor.shape.count == 2, scales.count == tensor.shape[0] else {
        throw PlanError(
          "\(name): expected a matrix and one scale a row, found shape \(tensor.shape), \(scales.count) scales")
      }
      if let index = scales.firstIndex(where: { !($0.isFinite && $0 > 0) }) {
        throw PlanError("\(name), scale \(index): expected a finite number above 0, found \(scales[index])")
      }
      if let index = elements.firstIndex(of: -128) {
        throw PlanError("\(name), element \(index): expected −127 to 127, found −128")
      }
    }
  }

  // MARK: - operations

  private func checkOperation(_ node: Node) throws(PlanError) {
    let columns = graph.values[node.input].columns
    switch node.operation {
    case .impute(let fill):
      try check(node, fill, name: "fill values", columns: columns)
      try checkOutput(node, columns: columns)
    case .affine(let affine):
      try check(node, affine.offset, name: "offsets", columns: columns)
      try check(node, affine.scale, name: "scales", columns: columns)
      if let column = affine.scale.firstIndex(of: 0) {
        throw error(node, "scale of column \(column): expected a number other than 0, found 0")
      }
      try checkOutput(node, columns: columns)
    case .oneHot(let widths):
      try checkOneHot(node, widths: widths, columns: columns)
    case .dense(let dense):
      try checkDense(node, dense, columns: columns)
    case .softmax, .sigmoid:
      try checkOutput(node, columns: columns)
    case .argMax:
      try checkOutput(node, columns: 1)
    }
  }

  private func checkOneHot(_ node: Node, widths: [Int], columns: Int) throws(PlanError) {
    guard widths.count == columns else {
      throw error(node, "expected \(columns) one-hot widths, found \(widths.count)")
    }
    var total = 0
    for (column, width) in widths.enumerated() {
      guard (0...Limits.columnsMax).contains(width) else {
        throw error(node, "width of column \(column): expected 0 to \(Limits.columnsMax), found \(width)")
      }
      total += max(1, width)
    }
    try checkOutput(node, columns: total)
  }

  private func checkDense(_ node: Node, _ dense: Dense, columns: Int) throws(PlanError) {
    guard graph.tensors.indices.contains(dense.weights) else {
      throw error(node, "weights in tensor \(dense.weights), expected 0 to \(graph.tensors.count - 1)")
    }
    let weights = graph.tensors[dense.weights]
    let outputs = graph.values[node.output].columns
    guard weights.shape == [outputs, columns] else {
      throw error(
        node,
        "weights \(weights.name.quotedForMessage): expected shape [\(outputs), \(columns)], found \(weights.shape)")
    }
    if case .int8 = weights.storage, columns > Int(NT_S8_DEPTH_MAX) {
      throw error(node, "expected at most \(NT_S8_DEPTH_MAX) columns for int8 weights, found \(columns)")
    }
    guard let index = dense.bias else { return }
    guard graph.tensors.indices.contains(index) else {
      throw error(node, "bias in tensor \(index), expected 0 to \(graph.tensors.count - 1)")
    }
    let bias = graph.tensors[index]
    guard case .float32 = bias.storage, bias.shape == [outputs] else {
      throw error(node, "bias \(bias.name.quotedForMessage): expected fp32 of shape [\(outputs)], found \(bias.shape)")
    }
  }

  private func checkOutput(_ node: Node, columns: Int) throws(PlanError) {
    let found = graph.values[node.output].columns
    guard found == columns else { throw error(node, "expected \(columns) output columns, found \(found)") }
  }

  private func check(_ node: Node, _ numbers: [Float], name: String, columns: Int) throws(PlanError) {
    guard numbers.count == columns else { throw error(node, "expected \(columns) \(name), found \(numbers.count)") }
    if let column = numbers.firstIndex(where: { !$0.isFinite }) {
      throw error(node, "\(name), column \(column): expected a finite number, found \(numbers[column])")
    }
  }

  private func error(_ node: Node, _ message: String) -> PlanError {
    PlanError(node: node.name, "node \(node.name.quotedForMessage): \(message)")
  }
}
