/// What is wrong with a graph: the node at fault, if one is, and one sentence.
public struct GraphFault: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Kind: Sendable {
    /// Fewer than there must be.
    case tooFew
    /// Beyond one of the `Limits`.
    case tooMany
    /// Parts that do not fit together, or a number that none may be.
    case mismatch
  }

  public let kind: Kind
  /// Name of the node at fault, as the bundle spells it.
  public let node: String?
  /// Field, expected, found.
  public let message: String

  public init(kind: Kind = .mismatch, node: String? = nil, _ message: String) {
    self.kind = kind
    self.node = node
    self.message = message
  }

  public var description: String { message }
}

extension ModelGraph {
  /// Checks every index, shape, width and number, so that whoever comes behind, down to the kernels,
  /// may trust them: the bundle's reader and writer, and the compiler of plans.
  ///
  /// - Parameter inputColumns: features of the schema.
  /// - Throws: the first fault.
  public func check(inputColumns: Int) throws(GraphFault) {
    try GraphCheck(graph: self).run(inputColumns: inputColumns)
  }
}

extension ModelDefinition {
  /// A class index always finds its label.
  ///
  /// - Throws: the first output that lacks one.
  public func checkLabels() throws(GraphFault) {
    guard labels.count <= Limits.labelsMax else {
      throw GraphFault(kind: .tooMany, "labels: expected at most \(Limits.labelsMax), found \(labels.count)")
    }
    for output in graph.outputs where output.kind != .number {
      guard let node = graph.nodes.first(where: { $0.output == output.value }) else { continue }
      let classes = graph.values[node.input].columns
      guard labels.count == classes || (labels.isEmpty && output.kind == .classIndex) else {
        throw GraphFault(
          node: node.name,
          "output \(output.name.quotedForMessage): expected a label for each of \(classes) classes, found \(labels.count)"
        )
      }
    }
  }
}

private struct GraphCheck {
  let graph: ModelGraph

  func run(inputColumns: Int) throws(GraphFault) {
    try checkCounts()
    try checkValues(inputColumns: inputColumns)
    try checkTensors()
    let writers = try checkOrder()
    for node in graph.nodes { try checkOperation(node) }
    try checkOutputs(writers: writers)
  }

  // MARK: - structure

  private func checkCounts() throws(GraphFault) {
    try Self.check("values", graph.values.count, 1...Limits.graphValuesMax)
    try Self.check("nodes", graph.nodes.count, 1...Limits.graphNodesMax)
    try Self.check("outputs", graph.outputs.count, 1...Limits.graphOutputsMax)
    try Self.check("tensors", graph.tensors.count, 0...Limits.graphTensorsMax)
  }

  private static func check(_ what: String, _ found: Int, _ expected: ClosedRange<Int>) throws(GraphFault) {
    guard expected.contains(found) else {
      throw GraphFault(
        kind: found < expected.lowerBound ? .tooFew : .tooMany,
        "graph: expected \(expected.lowerBound) to \(expected.upperBound) \(what), found \(found)")
    }
  }

  private func checkValues(inputColumns: Int) throws(GraphFault) {
    for (index, value) in graph.values.enumerated() where !(1...Limits.columnsMax).contains(value.columns) {
      throw GraphFault(
        kind: value.columns < 1 ? .tooFew : .tooMany, node: graph.nodes.first { $0.output == index }?.name,
        "value \(index) \(value.name.quotedForMessage): expected 1 to \(Limits.columnsMax) columns, found \(value.columns)"
      )
    }
    guard graph.values[0].columns == inputColumns else {
      throw GraphFault(
        "value 0 \(graph.values[0].name.quotedForMessage): expected one column for each of \(inputColumns) features, found \(graph.values[0].columns)"
      )
    }
  }

  /// Each node reads what an earlier one wrote and writes what none did.
  ///
  /// - Returns: per value, the index of the node that writes it; nil for the input row.
  private func checkOrder() throws(GraphFault) -> [Int?] {
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
      throw GraphFault("value \(value) \(graph.values[value].name.quotedForMessage): no node writes it")
    }
    return writers
  }

  private func checkOutputs(writers: [Int?]) throws(GraphFault) {
    var names: Set<String> = []
    for output in graph.outputs {
      let name = "output \(output.name.quotedForMessage)"
      guard (1...Limits.featureNameBytesMax).contains(output.name.utf8.count) else {
        throw GraphFault("\(name): expected a name of 1 to \(Limits.featureNameBytesMax) bytes")
      }
      guard names.insert(output.name).inserted else { throw GraphFault("\(name): named twice") }
      guard graph.values.indices.contains(output.value) else {
        throw GraphFault("\(name): value \(output.value), expected 0 to \(graph.values.count - 1)")
      }
      guard output.kind != .number else { continue }
      guard let writer = writers[output.value], graph.nodes[writer].operation == .argMax else {
        throw GraphFault("\(name): expected a class from an argmax, found value \(output.value)")
      }
    }
  }

  // MARK: - tensors

  private func checkTensors() throws(GraphFault) {
    for (index, tensor) in graph.tensors.enumerated() {
      guard let message = Self.fault(of: tensor) else { continue }
      // The node that computes with it; a tensor that none does has no business in the bundle either.
      let user = graph.nodes.first { node in
        guard case .dense(let dense) = node.operation else { return false }
        return dense.weights == index || dense.bias == index
      }
      throw user.map { error($0, message) } ?? GraphFault(message)
    }
  }

  private static func fault(of tensor: WeightTensor) -> String? {
    let name = "tensor \(tensor.name.quotedForMessage)"
    guard (1...2).contains(tensor.shape.count), tensor.shape.allSatisfy({ $0 > 0 }) else {
      return "\(name): expected a shape of 1 or 2 positive sizes, found \(tensor.shape)"
    }
    var product = 1
    for size in tensor.shape {
      let (next, overflow) = product.multipliedReportingOverflow(by: size)
      guard !overflow else { return "\(name): shape \(tensor.shape) overflows" }
      product = next
    }
    guard product == tensor.elementCount else {
      return "\(name): expected \(product) elements for shape \(tensor.shape), found \(tensor.elementCount)"
    }
    switch tensor.storage {
    case .float32(let elements):
      guard let index = elements.firstIndex(where: { !$0.isFinite }) else { return nil }
      return "\(name), element \(index): expected a finite number, found \(elements[index])"
    case .int8(let elements, let scales):
      guard tensor.shape.count == 2, scales.count == tensor.shape[0] else {
        return "\(name): expected a matrix and one scale a row, found shape \(tensor.shape), \(scales.count) scales"
      }
      if let index = scales.firstIndex(where: { !($0.isFinite && $0 > 0) }) {
        return "\(name), scale \(index): expected a finite number above 0, found \(scales[index])"
      }
      // Symmetric quantisation: kernels rely on the range when they add products in pairs.
      guard let index = elements.firstIndex(of: -128) else { return nil }
      return "\(name), element \(index): expected −127 to 127, found −128"
    }
  }

  // MARK: - operations

  private func checkOperation(_ node: Node) throws(GraphFault) {
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

  private func checkOneHot(_ node: Node, widths: [Int], columns: Int) throws(GraphFault) {
    guard widths.count == columns else {
      throw error(node, "expected \(columns) one-hot widths, found \(widths.count)")
    }
    var total = 0
    for (column, width) in widths.enumerated() {
      guard (0...Limits.columnsMax).contains(width) else {
        throw error(
          node, "width of column \(column): expected 0 to \(Limits.columnsMax), found \(width)", .tooMany)
      }
      total += max(1, width)
    }
    try checkOutput(node, columns: total)
  }

  private func checkDense(_ node: Node, _ dense: Dense, columns: Int) throws(GraphFault) {
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
    if case .int8 = weights.storage, columns > Limits.int8DepthMax {
      throw error(node, "expected at most \(Limits.int8DepthMax) columns for int8 weights, found \(columns)")
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

  private func checkOutput(_ node: Node, columns: Int) throws(GraphFault) {
    let found = graph.values[node.output].columns
    guard found == columns else { throw error(node, "expected \(columns) output columns, found \(found)") }
  }

  private func check(_ node: Node, _ numbers: [Float], name: String, columns: Int) throws(GraphFault) {
    guard numbers.count == columns else { throw error(node, "expected \(columns) \(name), found \(numbers.count)") }
    if let column = numbers.firstIndex(where: { !$0.isFinite }) {
      throw error(node, "\(name), column \(column): expected a finite number, found \(numbers[column])")
    }
  }

  private func error(_ node: Node, _ message: String, _ kind: GraphFault.Kind = .mismatch) -> GraphFault {
    GraphFault(kind: kind, node: node.name, "node \(node.name.quotedForMessage): \(message)")
  }
}
