public import NeedletailCore
internal import NeedletailSystem

/// The computation of a model: the blueprint, from which a ``Plan`` is compiled.
///
/// Value 0 is the bound input row: one column per feature, categories as their codes, texts as their length in bytes,
/// missing as NaN. Nodes stand in
/// topological order: each reads what earlier ones wrote and writes what none did. The same graph runs in the
/// trainer and in the server, preprocessing included.
public struct ModelGraph: Equatable, Sendable {
  public enum Task: String, Sendable, CaseIterable {
    case classification
    case regression
  }

  /// A value that leaves the graph, with its name.
  public struct Output: Equatable, Sendable {
    public typealias Kind = OutputKind

    public var name: String
    public var value: Int
    public var kind: Kind

    public init(name: String, value: Int, kind: Kind) {
      self.name = name
      self.value = value
      self.kind = kind
    }
  }

  public var task: Task
  public var values: [Value]
  public var nodes: [Node]
  public var outputs: [Output]
  public var tensors: [WeightTensor]
  /// Index of the value that holds the texts of a row, which the binder writes; nil for a model without text.
  public var textInput: Int?
  /// What makes tokens of text, for graphs that read text as tokens.
  public var tokenizer: Tokenizer?

  public init(
    task: Task, values: [Value], nodes: [Node], outputs: [Output], tensors: [WeightTensor], textInput: Int? = nil,
    tokenizer: Tokenizer? = nil
  ) {
    self.tokenizer = tokenizer
    self.task = task
    self.textInput = textInput
    self.values = values
    self.nodes = nodes
    self.outputs = outputs
    self.tensors = tensors
  }
}

/// One operation of a graph, with the values that it reads and writes.
public struct Node: Sendable {
  public var name: String
  /// Indices of the values it reads, in the order that its operation gives them a meaning.
  public var inputs: [Int]
  /// Indices of the values it writes.
  public var outputs: [Int]
  public var operation: any GraphOperation

  public init(name: String, inputs: [Int], outputs: [Int], operation: any GraphOperation) {
    self.name = name
    self.inputs = inputs
    self.outputs = outputs
    self.operation = operation
  }

  /// A node of one input and one output, as most are.
  public init(name: String, input: Int, output: Int, operation: any GraphOperation) {
    self.init(name: name, inputs: [input], outputs: [output], operation: operation)
  }
}

extension Node: Equatable {
  public static func == (a: Node, b: Node) -> Bool {
    a.name == b.name && a.inputs == b.inputs && a.outputs == b.outputs && a.operation.isEqual(to: b.operation)
  }
}

/// Element type, shape and domain of a value.
public struct ValueType: Equatable, Sendable {
  /// Type of one element. Raw values are those of `needletail.v1.DataType`.
  public enum Element: UInt8, Sendable, CaseIterable, CustomStringConvertible {
    case float32 = 1
    case float64 = 2
    case int32 = 5
    case int64 = 6
    /// UTF-8.
    case text = 9

    /// Bytes of one element in a plan's scratch; for a text those of its place, an `nt_text_item`.
    public var bytes: Int {
      switch self {
      case .float32, .int32: 4
      case .float64, .int64: 8
      case .text: 16
      }
    }

    public var description: String {
      switch self {
      case .float32: "f32"
      case .float64: "f64"
      case .int32: "i32"
      case .int64: "i64"
      case .text: "text"
      }
    }
  }

  /// Thing for which a value has one item. Raw values are those of `needletail.v1.Domain`.
  public enum Domain: UInt8, Sendable, CaseIterable, CustomStringConvertible {
    case row = 0
    /// A unit of a ``BatchExtent``; for tables, a row.
    case token = 1
    /// A row's text; a row has one, so there are as many as rows.
    case sequence = 2

    public var description: String {
      switch self {
      case .row: "row"
      case .token: "token"
      case .sequence: "sequence"
      }
    }
  }

  /// Dimensions of an item.
  public static let rankMax = 4

  public var element: Element
  /// Shape of one item, one to ``rankMax`` dimensions; a row of a table is `[columns]`.
  public var shape: [Int]
  public var domain: Domain

  public init(_ element: Element, _ shape: [Int], per domain: Domain = .row) {
    self.element = element
    self.shape = shape
    self.domain = domain
  }

  /// fp32 columns per row: what models of tables compute with.
  public init(columns: Int) { self.init(.float32, [columns]) }

  /// Elements of one item, all dimensions multiplied. ``ModelGraph/check()`` has bounded it; before that the product
  /// of a hostile shape is cut off at `Int.max`.
  public var columns: Int {
    shape.reduce(1) { product, size in
      let (result, overflow) = product.multipliedReportingOverflow(by: size)
      return overflow ? .max : result
    }
  }

  /// Bytes of one item in a plan's scratch.
  public var itemBytes: Int { element.bytes * columns }

  /// The type in words, for messages: `f32 [8] per row`.
  public var words: String { "\(element) \(shape) per \(domain)" }
}

extension ModelGraph {
  /// A place between nodes: one item for each row, token or sequence of a run.
  public struct Value: Equatable, Sendable {
    public var name: String
    public var type: ValueType

    public init(name: String, type: ValueType) {
      self.name = name
      self.type = type
    }

    /// fp32 columns per row.
    public init(name: String, columns: Int) { self.init(name: name, type: ValueType(columns: columns)) }

    /// Elements of one item. Setting it makes the item one dimension of so many.
    public var columns: Int {
      get { type.columns }
      set { type.shape = [newValue] }
    }
  }
}

/// All that is needed to bind raw rows, compute and name the answers: what a bundle carries and an engine compiles.
public struct ModelDefinition: Equatable, Sendable {
  public var schema: FeatureSchema
  public var graph: ModelGraph
  /// Label of every class, by class index; empty for regression.
  public var labels: [String]

  public init(schema: FeatureSchema, graph: ModelGraph, labels: [String]) {
    self.schema = schema
    self.graph = graph
    self.labels = labels
  }
}

/// Weights in their canonical form, row-major, never packed for one instruction set.
public struct WeightTensor: Equatable, Sendable {
  public enum Storage: Equatable, Sendable {
    case float32([Float])
    /// IEEE 754 binary16, as bit patterns: half the bytes in a bundle, widened to fp32 when a plan is compiled.
    case float16([UInt16])
    /// Symmetric, −127…127; `scales` holds one factor per row (first dimension, output channel): w = q · scale.
    case int8([Int8], scales: [Float])
    case int32([Int32])
  }

  public static let rankMax = 5

  public var name: String
  public var shape: [Int]
  public var storage: Storage

  public init(name: String, shape: [Int], storage: Storage) {
    self.name = name
    self.shape = shape
    self.storage = storage
  }

  public var elementCount: Int {
    switch storage {
    case .float32(let elements): elements.count
    case .float16(let elements): elements.count
    case .int8(let elements, _): elements.count
    case .int32(let elements): elements.count
    }
  }

  /// Bytes that a bundle stores, before compression and without gaps.
  public var storedBytes: Int {
    switch storage {
    case .float32(let elements): 4 * elements.count
    case .float16(let elements): 2 * elements.count
    case .int8(let elements, let scales): elements.count + 4 * scales.count
    case .int32(let elements): 4 * elements.count
    }
  }

  public var isInt8: Bool {
    if case .int8 = storage { true } else { false }
  }

  /// The elements as fp32, binary16 widened exactly, int8 multiplied by its scales; nil for int32, which are no
  /// weights.
  public var floats: [Float]? {
    switch storage {
    case .float32(let elements): return elements
    case .float16(let elements):
      return [Float](unsafeUninitializedCapacity: elements.count) { floats, count in
        Pieces.forEach(elements.count) { for index in $0 { floats[index] = Self.widened(elements[index]) } }
        count = elements.count
      }
    case .int8(let elements, let scales):
      let columns = max(1, elements.count / max(1, scales.count))
      return [Float](unsafeUninitializedCapacity: elements.count) { floats, count in
        Pieces.forEach(elements.count) { range in
          for index in range { floats[index] = Float(elements[index]) * scales[index / columns] }
        }
        count = elements.count
      }
    case .int32: return nil
    }
  }

  /// A binary16 as fp32, exactly: IEEE 754-2019, 3.4. Written out because Swift's `Float16` does not exist on all
  /// platforms.
  static func widened(_ bits: UInt16) -> Float {
    let sign = UInt32(bits & 0x8000) << 16
    let exponent = UInt32(bits >> 10 & 0x1f)
    let fraction = UInt32(bits & 0x3ff)
    switch exponent {
    case 0:
      let magnitude = Float(fraction) * 0x1p-24
      return sign == 0 ? magnitude : -magnitude
    case 31: return Float(bitPattern: sign | 0x7f80_0000 | fraction << 13)
    default: return Float(bitPattern: sign | (exponent + 112) << 23 | fraction << 13)
    }
  }

  private static func firstIndex<Element>(in elements: [Element], where isFault: (Element) -> Bool) -> Int? {
    var found: Int?
    Pieces.whileTrue(elements.count) { range in
      found = elements[range].firstIndex(where: isFault)
      return found == nil
    }
    return found
  }

  /// Fault of the tensor by itself, in one sentence; nil if it has none.
  var fault: String? {
    let name = "tensor \(self.name.quotedForMessage)"
    guard (1...Self.rankMax).contains(shape.count), shape.allSatisfy({ $0 > 0 }) else {
      return "\(name): expected a shape of 1 to \(Self.rankMax) positive sizes, found \(shape)"
    }
    var product = 1
    for size in shape {
      let (next, overflow) = product.multipliedReportingOverflow(by: size)
      guard !overflow else { return "\(name): shape \(shape) overflows" }
      product = next
    }
    guard product == elementCount else {
      return "\(name): expected \(product) elements for shape \(shape), found \(elementCount)"
    }
    switch storage {
    case .float32(let elements):
      guard let index = Self.firstIndex(in: elements, where: { !$0.isFinite }) else { return nil }
      return "\(name), element \(index): expected a finite number, found \(elements[index])"
    case .float16(let elements):
      guard let index = Self.firstIndex(in: elements, where: { $0 & 0x7c00 == 0x7c00 }) else { return nil }
      return "\(name), element \(index): expected a finite number, found \(Self.widened(elements[index]))"
    case .int8(let elements, let scales):
      guard shape.count >= 2, scales.count == shape[0] else {
        return "\(name): expected a matrix and one scale a row, found shape \(shape), \(scales.count) scales"
      }
      if let index = scales.firstIndex(where: { !($0.isFinite && $0 > 0) }) {
        return "\(name), scale \(index): expected a finite number above 0, found \(scales[index])"
      }
      // Symmetric quantisation: kernels rely on the range when they add products in pairs.
      guard let index = Self.firstIndex(in: elements, where: { $0 == -128 }) else { return nil }
      return "\(name), element \(index): expected −127 to 127, found −128"
    case .int32: return nil
    }
  }
}

extension ModelGraph {
  /// This graph with all int8 weights as fp32.
  var dequantised: ModelGraph {
    var graph = self
    for index in graph.tensors.indices where graph.tensors[index].isInt8 {
      if let floats = graph.tensors[index].floats { graph.tensors[index].storage = .float32(floats) }
    }
    return graph
  }
}
