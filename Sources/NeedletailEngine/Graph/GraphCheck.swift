internal import NeedletailCore

/// A fault of a graph: the node at fault, if one is, and one sentence.
public struct GraphFault: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Kind: Sendable {
    /// Fewer than there must be.
    case tooFew
    /// Beyond one of the `Limits`.
    case tooMany
    /// Parts that do not fit together, or a number that none may be.
    case mismatch
    /// Something that this engine does not know, or knows and cannot compute.
    case unsupported
    /// The system had no memory, which says nothing about the graph.
    case memory
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
  /// Checks every index, shape, type and number, so that all later readers, down to the kernels, may trust them: the
  /// bundle's reader and writer, and the compiler of plans.
  ///
  /// Rules that hold for every graph are checked here; those of one operation, in its own file.
  /// - Throws: the first fault.
  public func check() throws(GraphFault) {
    let check = GraphCheck(graph: self)
    try check.runOnValues()
    try check.runOnNodes()
  }
}

extension ModelDefinition {
  /// Checks the graph, and that it fits the schema in front of it and the labels behind it.
  ///
  /// - Throws: the first fault.
  public func check() throws(GraphFault) {
    let check = GraphCheck(graph: graph)
    try check.runOnValues()
    try checkBinding()
    try check.runOnNodes()
    try checkOutputs()
  }

  /// Value 0 is what the binder writes: a row of numbers, one for each feature.
  private func checkBinding() throws(GraphFault) {
    let input = graph.values[0]
    let name = "value 0 \(input.name.quotedForMessage)"
    guard input.type.element == .float32 || input.type.element == .float64 else {
      throw GraphFault(
        kind: .unsupported, "\(name): features are bound as f32 or f64, found \(input.type.element)")
    }
    guard input.type.domain == .row else {
      throw GraphFault(
        kind: .unsupported,
        "\(name): features are bound per row, found one item per \(input.type.domain): no tokenizer is part of this engine"
      )
    }
    guard input.type.shape == [schema.features.count] else {
      let found = input.type.shape.count == 1 ? "\(input.columns)" : "shape \(input.type.shape)"
      throw GraphFault("\(name): expected one column for each of \(schema.features.count) features, found \(found)")
    }
    let texts = schema.textCount
    guard texts <= Limits.textFeaturesMax else {
      throw GraphFault(
        kind: .tooMany, "features: expected at most \(Limits.textFeaturesMax) that are text, found \(texts)")
    }
    let found = graph.textInput.map { graph.values[$0].columns } ?? 0
    guard found == texts else {
      throw GraphFault("text input: expected one text for each of \(texts) features that are text, found \(found)")
    }
  }

  /// Answers have one entry a row, and a class index always finds its label.
  private func checkOutputs() throws(GraphFault) {
    guard labels.count <= Limits.labelsMax else {
      throw GraphFault(kind: .tooMany, "labels: expected at most \(Limits.labelsMax), found \(labels.count)")
    }
    for output in graph.outputs {
      let name = "output \(output.name.quotedForMessage)"
      guard graph.values[output.value].type.domain != .token else {
        throw GraphFault("\(name): expected a value per row or sequence, found one per token")
      }
      guard output.kind != .number, let (node, classes) = graph.classes(of: output.value) else { continue }
      guard labels.count == classes || (labels.isEmpty && output.kind == .classIndex) else {
        throw GraphFault(
          node: node.name, "\(name): expected a label for each of \(classes) classes, found \(labels.count)")
      }
    }
  }
}

extension ModelGraph {
  /// The node that writes class indices into a value, and how many classes there are; nil for values of another kind.
  func classes(of value: Int) -> (node: Node, classes: Int)? {
    guard let node = nodes.first(where: { $0.outputs.contains(value) }),
      let classes = node.operation.classes(of: node.inputs.map { values[$0].type })
    else { return nil }
    return (node, classes)
  }
}

/// The checks that hold for every graph, in the order in which each may rely on those before it.
private struct GraphCheck {
  let graph: ModelGraph

  func runOnValues() throws(GraphFault) {
    try checkCounts()
    try checkTextInput()
    try checkValues()
  }

  /// The value that holds texts is there, and is what the binder writes.
  private func checkTextInput() throws(GraphFault) {
    guard let index = graph.textInput else { return }
    guard index > 0, index < graph.values.count else {
      throw GraphFault("text input: value \(index), expected 1 to \(graph.values.count - 1)")
    }
    let type = graph.values[index].type
    guard type.element == .text, type.shape.count == 1, type.domain == .row else {
      throw GraphFault("text input: expected text columns per row, found \(type.words)")
    }
  }

  func runOnNodes() throws(GraphFault) {
    try checkTensors()
    try checkOrder()
    for node in graph.nodes { try checkOperation(node) }
    try checkOutputs()
  }

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

  private func checkValues() throws(GraphFault) {
    for (index, value) in graph.values.enumerated() {
      func fault(_ kind: GraphFault.Kind, _ message: String) -> GraphFault {
        GraphFault(
          kind: kind, node: graph.nodes.first { $0.outputs.contains(index) }?.name,
          "value \(index) \(value.name.quotedForMessage): \(message)")
      }
      let shape = value.type.shape
      guard (1...ValueType.rankMax).contains(shape.count) else {
        throw fault(
          shape.isEmpty ? .tooFew : .tooMany,
          "expected an item of 1 to \(ValueType.rankMax) dimensions, found \(shape.count)")
      }
      guard shape.allSatisfy({ $0 > 0 }), value.columns <= Limits.columnsMax else {
        let found = shape.count == 1 ? "\(shape[0])" : "shape \(shape)"
        throw fault(
          shape.contains { $0 < 1 } ? .tooFew : .tooMany,
          "expected 1 to \(Limits.columnsMax) columns, found \(found)")
      }
      guard value.type.element != .text || index == graph.textInput else {
        throw fault(.unsupported, "expected text in the value of bound texts only, found it here")
      }
    }
  }

  /// A tensor that no node uses has no business in a graph, but must be whole all the same.
  private func checkTensors() throws(GraphFault) {
    for (index, tensor) in graph.tensors.enumerated() {
      guard let message = tensor.fault else { continue }
      let user = graph.nodes.first { $0.operation.tensors.contains(index) }
      throw user.map { fault($0, message) } ?? GraphFault(message)
    }
  }

  /// Each node reads what an earlier one wrote and writes what none did. So a graph with a cycle is refused at the
  /// first node of it.
  private func checkOrder() throws(GraphFault) {
    var writers = [Int?](repeating: nil, count: graph.values.count)
    for (index, node) in graph.nodes.enumerated() {
      guard node.inputs.count <= Limits.nodeValuesMax, node.outputs.count <= Limits.nodeValuesMax else {
        throw fault(
          node,
          "expected at most \(Limits.nodeValuesMax) inputs and outputs, found \(node.inputs.count) and \(node.outputs.count)",
          .tooMany)
      }
      for (role, values) in [("reads", node.inputs), ("writes", node.outputs)] {
        guard let value = values.first(where: { !graph.values.indices.contains($0) }) else { continue }
        throw fault(node, "\(role) value \(value), expected 0 to \(graph.values.count - 1)")
      }
      if let value = node.inputs.first(where: { !isBound($0) && writers[$0] == nil }) {
        throw fault(node, "reads value \(value) before any node has written it")
      }
      for value in node.outputs {
        guard value != 0 else { throw fault(node, "writes value 0, which is the input row") }
        guard value != graph.textInput else {
          throw fault(node, "writes value \(value), which holds the texts of the input")
        }
        if let other = writers[value] {
          let whose = other == index ? "itself" : "node \(graph.nodes[other].name.quotedForMessage)"
          throw fault(node, "writes value \(value), which \(whose) has written")
        }
        writers[value] = index
      }
    }
    if let value = graph.values.indices.first(where: { !isBound($0) && writers[$0] == nil }) {
      throw GraphFault("value \(value) \(graph.values[value].name.quotedForMessage): no node writes it")
    }
  }

  /// True for what the binder writes.
  private func isBound(_ value: Int) -> Bool { value == 0 || value == graph.textInput }

  /// The number of its inputs, their types by the operation's own rules, and that what it writes is declared so.
  private func checkOperation(_ node: Node) throws(GraphFault) {
    let operation = type(of: node.operation)
    for (role, found, expected) in [
      ("inputs", node.inputs.count, operation.inputCounts), ("outputs", node.outputs.count, operation.outputCounts),
    ] where !expected.contains(found) {
      let words =
        expected.count == 1 ? "\(expected.lowerBound)" : "\(expected.lowerBound) to \(expected.upperBound)"
      throw fault(node, "expected \(words) \(role), found \(found)")
    }
    let context = OperationContext(graph: graph, node: node)
    let inferred = try node.operation.infer(context)
    precondition(inferred.count == node.outputs.count, "an operation infers one type an output")
    for (expected, (value, found)) in zip(inferred, zip(node.outputs, context.outputs)) where expected != found {
      // Most graphs are of tables, whose values differ in their columns only.
      if expected.shape.count == 1, found.shape.count == 1, expected.element == found.element,
        expected.domain == found.domain
      {
        throw fault(node, "expected \(expected.columns) output columns, found \(found.columns)")
      }
      throw fault(
        node, "expected \(expected.words) in value \(value), found \(found.words)")
    }
  }

  private func checkOutputs() throws(GraphFault) {
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
      let type = graph.values[output.value].type
      guard type.element == .float32, type.shape.count == 1 else {
        throw GraphFault("\(name): expected f32 columns, found \(type.words)")
      }
      guard output.kind == .number || graph.classes(of: output.value) != nil else {
        throw GraphFault("\(name): expected a class from an argmax, found value \(output.value)")
      }
    }
  }

  private func fault(_ node: Node, _ message: String, _ kind: GraphFault.Kind = .mismatch) -> GraphFault {
    GraphFault(kind: kind, node: node.name, "node \(node.name.quotedForMessage): \(message)")
  }
}
