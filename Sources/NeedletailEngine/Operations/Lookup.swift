internal import CNeedletailKernels
public import CNeedletailProto
internal import NeedletailCore

/// Per column: nothing passes it through; a table takes it for a code and writes the numbers of the code's row. What is
/// no code of the table, NaN among it, gets the row behind the last.
public struct Lookup: GraphOperation {
  /// Numbers of one column's codes.
  public struct Table: Equatable, Sendable {
    /// Numbers of a row, from 1.
    public var width: Int
    /// (codes + 1) × width.
    public var values: [Float]

    public init(width: Int, values: [Float]) {
      self.width = width
      self.values = values
    }

    /// Number of codes.
    var entries: Int { values.count / max(width, 1) - 1 }
  }

  public var tables: [Table?]

  public init(tables: [Table?]) { self.tables = tables }

  public init(_ message: Needletail__V1__Lookup) throws(GraphFault) {
    let widths = MessageValues.integers(message.width, message.n_width)
    let entries = MessageValues.integers(message.entries, message.n_entries)
    guard widths.count == entries.count else {
      throw GraphFault(
        kind: .mismatch, "lookup: expected as many entries as widths, found \(entries.count) for \(widths.count)")
    }
    let values = MessageValues.array(message.value, message.n_value)
    var tables: [Table?] = []
    var next = 0
    for (width, entries) in zip(widths, entries) {
      guard width > 0 else {
        tables.append(nil)
        continue
      }
      // Both have 32 bits: the product fits.
      let count = (entries + 1) * width
      guard count <= values.count - next else {
        throw GraphFault(kind: .mismatch, "lookup: expected as many numbers as the tables have, found \(values.count)")
      }
      tables.append(Table(width: width, values: Array(values[next..<next + count])))
      next += count
    }
    guard next == values.count else {
      throw GraphFault(kind: .mismatch, "lookup: expected \(next) numbers as the tables have, found \(values.count)")
    }
    self.init(tables: tables)
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Lookup>? {
    memory.build(needletail__v1__lookup__init) {
      $0.n_width = tables.count
      $0.width = memory.array(tables.map { UInt32(clamping: $0?.width ?? 0) })
      $0.n_entries = tables.count
      $0.entries = memory.array(tables.map { UInt32(clamping: $0?.entries ?? 0) })
      let values = tables.flatMap { $0?.values ?? [] }
      $0.n_value = values.count
      $0.value = memory.array(values)
    }
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    var type = try context.columns(of: .float32, .float64)
    guard tables.count == type.columns else {
      throw context.fault("expected \(type.columns) columns, found \(tables.count)")
    }
    // At most 2²⁰ columns of at most 2²⁰ each: the sum fits.
    var columns = 0
    for (column, table) in tables.enumerated() {
      guard let table else {
        columns += 1
        continue
      }
      guard (1...Limits.columnsMax).contains(table.width), (0...Limits.categoriesMax).contains(table.entries) else {
        throw context.fault(
          "table of column \(column): expected at most \(Limits.columnsMax) numbers for each of \(Limits.categoriesMax) codes, found \(table.width) for \(table.entries)",
          .tooMany)
      }
      guard table.values.count == (table.entries + 1) * table.width else {
        throw context.fault("table of column \(column): expected whole rows, found \(table.values.count) numbers")
      }
      if let value = table.values.first(where: { !$0.isFinite }) {
        throw context.fault("table of column \(column): expected finite numbers, found \(value)")
      }
      columns += table.width
    }
    guard columns <= Limits.columnsMax else {
      throw context.fault("expected at most \(Limits.columnsMax) columns, found \(columns)", .tooMany)
    }
    type.shape = [columns]
    return [type]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let (input, output) = (plan.graph.nodes[node].inputs[0], plan.graph.nodes[node].outputs[0])
    let name = plan.graph.nodes[node].name
    let values = tables.flatMap { $0?.values ?? [] }
    let kernel = nt_lookup(
      widths: try plan.storage.copy(tables.map { UInt32($0?.width ?? 0) }, for: name),
      entries: try plan.storage.copy(tables.map { UInt32($0?.entries ?? 0) }, for: name),
      values: try plan.storage.copy(values.isEmpty ? [0] : values, for: name),
      in_columns: UInt32(tables.count), out_columns: UInt32(plan.graph.values[output].columns))
    let run: nt_step_function =
      if plan.graph.values[input].type.element == .float64 { nt_lookup_f64_step } else { nt_lookup_f32_step }
    plan.add(
      try plan.step(node, run, kernel, reading: [input], writing: [output], words: words, kernel: "lookup"))
  }

  public var parameterCount: Int { tables.reduce(0) { $0 + ($1?.values.count ?? 0) } }
  public func packedBytes(_ context: OperationContext) -> Int {
    (max(1, parameterCount) + 2 * tables.count) * MemoryLayout<UInt32>.stride
  }
  public var words: String { "lookup" }

  public func origins(of inputs: [[Int]], _ context: OperationContext) -> [Int]? {
    zip(inputs[0], tables).flatMap { [Int](repeating: $0, count: $1?.width ?? 1) }
  }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    [
      zip(inputs[0], tables).flatMap { code, table -> [Double] in
        guard let table else { return [code] }
        let row = (0..<table.entries).first { Double($0) == code } ?? table.entries
        return table.values[row * table.width..<(row + 1) * table.width].map { Double($0) }
      }
    ]
  }
}
