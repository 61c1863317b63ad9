internal import NeedletailCore

/// Computation of a node. Each operation is one type in one file, which holds all that the product knows of it: its
/// message, its checks with the types of what it writes, how a plan computes it, what it costs, its words for people
/// and a slow reference.
///
/// To add one: a file here, a message and a line of the oneof in `bundle.proto` (then `proto/generate`), and its C
/// kernels. `Clip.swift` is a short example. Nothing else lists operations.
public protocol GraphOperation: Equatable, Sendable {
  /// The C struct that protobuf-c generates for its message.
  associatedtype Message

  // MARK: message

  /// - Throws: where the message holds what this engine does not know, such as a new enumeration value.
  init(_ message: Message) throws(GraphFault)
  /// The message, in memory that lives as long as the builder.
  func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Message>?

  // MARK: checks

  /// How many values a node of it reads and writes.
  static var inputCounts: ClosedRange<Int> { get }
  static var outputCounts: ClosedRange<Int> { get }
  /// Types of what it writes, one for each output.
  ///
  /// All input and output indices and all value types have been checked, and tensors are whole; indices of tensors
  /// have not been checked: ``OperationContext/tensor(_:_:)`` does.
  /// - Throws: the first thing about its inputs, tensors or own numbers that does not fit.
  func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType]
  /// Classes among which its output holds an index; nil for an output of another kind.
  func classes(of inputs: [ValueType]) -> Int?

  // MARK: plan

  /// Adds the steps that compute the node, which has been checked.
  ///
  /// - Parameter node: its index in the graph of `plan`.
  func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError)

  // MARK: cost

  /// Indices of the weight tensors it reads.
  var tensors: [Int] { get }
  /// Numbers in its own message, for people.
  var parameterCount: Int { get }
  /// Its matrix product, if it is one: what the choice at load times.
  func product(_ context: OperationContext) -> MatrixProduct?
  /// Bytes of its weights and tables as a plan stores them, at most. They are added up before the first is allocated.
  func packedBytes(_ context: OperationContext) -> Int
  /// Bytes that ``lower(_:into:)`` takes beside those of the plan and gives back, at most.
  func loweringBytes(_ context: OperationContext) -> Int

  /// Itself without what only a plan's compilation reads: what stays in memory beside a plan.
  var structure: Self { get }

  // MARK: explanations

  /// The feature behind each column that it writes, by those behind the columns that it reads, where −1 is several; nil:
  /// each column depends on all of them.
  func origins(of inputs: [[Int]], _ context: OperationContext) -> [Int]?

  // MARK: words and reference

  /// Name and options, for people: `dense, relu`.
  var words: String { get }
  /// Its outputs for one item of each input, in double precision and without any of the kernels: the definition that
  /// tests hold the kernels against.
  func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]]
  /// Its outputs for one row of a model of text: each value is a list of items, one for each token, or of one item. Only
  /// operations that look at several tokens have more to say here than ``reference(_:_:)``.
  func sequenceReference(_ inputs: [[[Double]]], _ context: OperationContext) -> [[[Double]]]
}

/// Sizes of a fully connected layer, by which its time is estimated.
public struct MatrixProduct: Hashable, Sendable {
  public var columns: Int
  public var depth: Int
  public var isInt8: Bool
}

extension GraphOperation {
  public static var inputCounts: ClosedRange<Int> { 1...1 }
  public static var outputCounts: ClosedRange<Int> { 1...1 }
  public func classes(of inputs: [ValueType]) -> Int? { nil }
  public var tensors: [Int] { [] }
  public var parameterCount: Int { 0 }
  public func product(_ context: OperationContext) -> MatrixProduct? { nil }
  public func packedBytes(_ context: OperationContext) -> Int { 0 }
  public func loweringBytes(_ context: OperationContext) -> Int { 0 }
  public var structure: Self { self }
  public func origins(of inputs: [[Int]], _ context: OperationContext) -> [Int]? { nil }

  public func sequenceReference(_ inputs: [[[Double]]], _ context: OperationContext) -> [[[Double]]] {
    var outputs = [[[Double]]](repeating: [], count: context.outputs.count)
    for item in inputs[0].indices {
      for (index, written) in reference(inputs.map { $0[item] }, context).enumerated() {
        outputs[index].append(written)
      }
    }
    return outputs
  }

  func isEqual(to other: any GraphOperation) -> Bool { (other as? Self) == self }
}

/// A node and the graph around it: what the checks and figures of an operation look at.
public struct OperationContext {
  public let graph: ModelGraph
  public let node: Node

  public init(graph: ModelGraph, node: Node) {
    self.graph = graph
    self.node = node
  }

  /// Types of the values it reads.
  public var inputs: [ValueType] { node.inputs.map { graph.values[$0].type } }
  /// Types of the values it writes, as the graph declares them.
  public var outputs: [ValueType] { node.outputs.map { graph.values[$0].type } }

  /// The tensor at an index that nobody has checked.
  ///
  /// - Parameter role: what it is to the operation: `weights`.
  public func tensor(_ index: Int, _ role: String) throws(GraphFault) -> WeightTensor {
    guard graph.tensors.indices.contains(index) else {
      throw fault("\(role) in tensor \(index), expected 0 to \(graph.tensors.count - 1)")
    }
    return graph.tensors[index]
  }

  /// The one input, of one dimension and one of the element types.
  public func columns(of elements: ValueType.Element...) throws(GraphFault) -> ValueType {
    let type = inputs[0]
    guard elements.contains(type.element), type.shape.count == 1 else {
      let words = elements.map(\.description).joined(separator: " or ")
      throw fault("expected \(words) columns as input, found \(type.words)")
    }
    return type
  }

  /// Checks that there are as many finite numbers as columns.
  func check(_ numbers: [Float], name: String, columns: Int) throws(GraphFault) {
    guard numbers.count == columns else { throw fault("expected \(columns) \(name), found \(numbers.count)") }
    if let column = numbers.firstIndex(where: { !$0.isFinite }) {
      throw fault("\(name), column \(column): expected a finite number, found \(numbers[column])")
    }
  }

  public func fault(_ message: String, _ kind: GraphFault.Kind = .mismatch) -> GraphFault {
    GraphFault(kind: kind, node: node.name, "node \(node.name.quotedForMessage): \(message)")
  }
}

/// Texts among the numbers of a reference: for each text the number of its bytes, and then its bytes.
public enum TextReference {
  public static func item(_ texts: [String]) -> [Double] {
    texts.flatMap { text in [Double(text.utf8.count)] + text.utf8.map { Double($0) } }
  }

  /// The bytes of text `index` of an item.
  public static func text(_ index: Int, of item: [Double]) -> [UInt8] {
    var start = 0
    for _ in 0..<index { start += Int(item[start]) + 1 }
    return item[(start + 1)...].prefix(Int(item[start])).map { UInt8($0) }
  }
}

extension ModelGraph {
  /// A node with the graph around it.
  public func context(of node: Int) -> OperationContext { OperationContext(graph: self, node: nodes[node]) }

  /// All values for one item of value 0, in double precision: the reference of every operation, node after node.
  /// Slow; for tests and for people who doubt a kernel. The graph has been checked, and has one domain.
  ///
  /// - Parameter texts: one for each feature that is text. Operations find them as ``TextReference`` lays them out.
  public func reference(_ item: [Double], texts: [String] = []) -> [[Double]] {
    var items = [[Double]](repeating: [], count: values.count)
    items[0] = item
    if let textInput { items[textInput] = TextReference.item(texts) }
    for node in nodes {
      let written = node.operation.reference(
        node.inputs.map { items[$0] }, OperationContext(graph: self, node: node))
      for (value, item) in zip(node.outputs, written) { items[value] = item }
    }
    return items
  }

  /// All values for one row of a model of text, in double precision; each is a list of items. Slow, as
  /// ``reference(_:)``. The graph has been checked.
  ///
  /// - Parameter known: values that are given, such as the ids of a text's tokens. A node that writes only such values
  ///   is left out.
  public func reference(known: [Int: [[Double]]]) -> [[[Double]]] {
    var items = values.indices.map { known[$0] ?? [] }
    for node in nodes where !node.outputs.allSatisfy({ known[$0] != nil }) {
      let written = node.operation.sequenceReference(
        node.inputs.map { items[$0] }, OperationContext(graph: self, node: node))
      for (value, list) in zip(node.outputs, written) where known[value] == nil { items[value] = list }
    }
    return items
  }
}
