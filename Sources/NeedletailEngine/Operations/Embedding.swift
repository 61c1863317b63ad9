internal import CNeedletailKernels
public import CNeedletailProto
internal import NeedletailCore
internal import NeedletailSystem

/// Row of a table for each item: the vector of a token, of its type or of its place in the text.
public struct Embedding: GraphOperation {
  /// What names the row. Raw values are those of `needletail.v1.EmbeddingIndex`.
  public enum Index: UInt8, Sendable, CaseIterable {
    /// The item itself.
    case value = 0
    /// The place of the item in its sequence, from 0.
    case position = 1
  }

  /// Index of a tensor of shape [rows, width]: fp32, halves, or int8 with a scale a row.
  public var table: Int
  public var index: Index
  /// Row of index 0. RoBERTa's positions begin behind the row of its padding token.
  public var offset: Int

  public init(table: Int, index: Index = .value, offset: Int = 0) {
    self.table = table
    self.index = index
    self.offset = offset
  }

  public init(_ message: Needletail__V1__Embedding) throws(GraphFault) {
    self.init(
      table: Int(message.table), index: try MessageValues.known(message.index.rawValue, as: Index.self, "index"),
      offset: Int(message.offset))
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Embedding>? {
    memory.build(needletail__v1__embedding__init) {
      $0.table = UInt32(clamping: table)
      $0.index = Needletail__V1__EmbeddingIndex(UInt32(index.rawValue))
      $0.offset = UInt32(clamping: offset)
    }
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    let input = context.inputs[0]
    switch index {
    case .value:
      guard input.element == .int32, input.shape == [1] else {
        throw context.fault("expected i32 [1] as input, found \(input.words)")
      }
    case .position:
      guard input.domain == .token else {
        throw context.fault("expected a value per token as input, found \(input.words)")
      }
    }
    let table = try context.tensor(self.table, "table")
    var isInteger = false
    if case .int32 = table.storage { isInteger = true }
    guard table.shape.count == 2, !isInteger else {
      throw context.fault(
        "table \(table.name.quotedForMessage): expected f32, f16 or int8 of shape [rows, width], found \(table.shape)")
    }
    guard table.shape[0] <= Limits.embeddingRowsMax, table.shape[1] <= Limits.columnsMax else {
      throw context.fault(
        "table \(table.name.quotedForMessage): expected at most \(Limits.embeddingRowsMax) rows of \(Limits.columnsMax) columns, found \(table.shape)",
        .tooMany)
    }
    guard (0..<table.shape[0]).contains(offset) else {
      throw context.fault("offset: expected 0 to \(table.shape[0] - 1), found \(offset)")
    }
    return [ValueType(.float32, [table.shape[1]], per: input.domain)]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let graph = plan.graph
    let (input, output) = (graph.nodes[node].inputs[0], graph.nodes[node].outputs[0])
    let (name, tensor) = (graph.nodes[node].name, graph.tensors[table])
    var kernel = nt_embedding()
    (kernel.rows, kernel.width) = (UInt32(tensor.shape[0]), UInt32(tensor.shape[1]))
    kernel.offset = UInt32(offset)
    kernel.is_by_position = index == .position
    let form: String
    switch tensor.storage {
    case .float16(let elements):
      (kernel.form, form) = (NT_TABLE_F16, "f16")
      kernel.table = UnsafeRawPointer(try Self.copy(elements, for: name, in: plan))
    case .int8(let elements, let scales):
      (kernel.form, form) = (NT_TABLE_S8, "int8")
      kernel.table = UnsafeRawPointer(try Self.copy(elements, for: name, in: plan))
      kernel.scales = try Self.copy(scales, for: name, in: plan)
    case .float32(let elements):
      (kernel.form, form) = (NT_TABLE_F32, "f32")
      kernel.table = UnsafeRawPointer(try Self.copy(elements, for: name, in: plan))
    case .int32: preconditionFailure("a table of i32 passed the check")
    }
    var step = try plan.step(
      node, nt_embedding_step(plan.isa.kernelSet), kernel, reading: [input], writing: [output],
      words: "\(words), \(form)", kernel: "embedding")
    step.weightBytes = tensor.storedBytes
    plan.add(step)
  }

  /// A copy in the plan's memory, made a piece at a time: a vocabulary's table has tens of megabytes.
  private static func copy<Element: BitwiseCopyable>(
    _ elements: [Element], for name: String, in plan: PlanBuilder
  ) throws(PlanError) -> UnsafePointer<Element> {
    let stride = MemoryLayout<Element>.stride
    let memory = try plan.storage.allocate(bytes: elements.count * stride, for: name)
    let typed = memory.bindMemory(to: Element.self, capacity: elements.count)
    elements.withUnsafeBufferPointer { source in
      guard let start = source.baseAddress else { return }
      Pieces.forEach(elements.count) { range in
        (typed + range.lowerBound).update(from: start + range.lowerBound, count: range.count)
      }
    }
    return UnsafePointer(typed)
  }

  public var tensors: [Int] { [table] }
  public var parameterCount: Int { 1 }
  public func packedBytes(_ context: OperationContext) -> Int {
    let tensor = context.graph.tensors[table]
    // The table and its scales each begin on a boundary of their own.
    return tensor.storedBytes + 2 * MemoryPlanner.alignment
  }
  public var words: String { index == .value ? "embedding" : "embedding of positions" }

  /// The rows of values; positions are known to ``sequenceReference(_:_:)`` alone.
  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    [row(at: Int(inputs[0][0]), context)]
  }

  public func sequenceReference(_ inputs: [[[Double]]], _ context: OperationContext) -> [[[Double]]] {
    [
      inputs[0].enumerated().map { place, item in
        row(at: index == .position ? place : Int(item[0]), context)
      }
    ]
  }

  private func row(at index: Int, _ context: OperationContext) -> [Double] {
    let tensor = context.graph.tensors[table]
    let (rows, width) = (tensor.shape[0], tensor.shape[1])
    let row = min(max(index + offset, 0), rows - 1)
    return (tensor.floats ?? [])[row * width..<(row + 1) * width].map { Double($0) }
  }
}
