internal import CNeedletailKernels
public import CNeedletailProto
internal import NeedletailCore

/// Elements of the last dimension, in the order named; one may be named several times. A model that ignores features,
/// or treats groups of them apart, selects them.
public struct SelectColumns: GraphOperation {
  public var columns: [Int]

  public init(columns: [Int]) { self.columns = columns }

  public init(_ message: Needletail__V1__SelectColumns) {
    self.init(columns: MessageValues.integers(message.column, message.n_column))
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__SelectColumns>? {
    memory.build(needletail__v1__select_columns__init) {
      $0.n_column = columns.count
      $0.column = memory.array(columns.map { UInt32(clamping: $0) })
    }
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    var type = context.inputs[0]
    let last = type.shape.count - 1
    guard (1...Limits.columnsMax).contains(columns.count) else {
      throw context.fault("expected 1 to \(Limits.columnsMax) columns, found \(columns.count)")
    }
    if let column = columns.first(where: { !(0..<type.shape[last]).contains($0) }) {
      throw context.fault("selects column \(column), expected 0 to \(type.shape[last] - 1)")
    }
    type.shape[last] = columns.count
    return [type]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let input = plan.graph.nodes[node].inputs[0]
    let type = plan.graph.values[input].type
    var kernel = nt_select()
    kernel.columns = try plan.storage.copy(columns.map { UInt32($0) }, for: plan.graph.nodes[node].name)
    kernel.in_columns = UInt32(type.columns / type.outerCount)
    kernel.out_columns = UInt32(columns.count)
    kernel.outer = UInt32(type.outerCount)
    let run: nt_step_function? = if type.element.bytes == 8 { nt_select_8_step } else { nt_select_4_step }
    plan.add(
      try plan.step(
        node, run, kernel, reading: [input],
        writing: plan.graph.nodes[node].outputs, words: "select columns", kernel: "select"))
    if plan.isNonnegative(input) { plan.markNonnegative(plan.graph.nodes[node].outputs[0]) }
  }

  public var parameterCount: Int { columns.count }
  public func packedBytes(_ context: OperationContext) -> Int { columns.count * MemoryLayout<UInt32>.stride }
  public var words: String { "select columns" }

  public func origins(of inputs: [[Int]], _ context: OperationContext) -> [Int]? {
    let outer = context.inputs[0].outerCount
    let width = inputs[0].count / outer
    return (0..<outer).flatMap { block in columns.map { inputs[0][block * width + $0] } }
  }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    let outer = context.inputs[0].outerCount
    let width = inputs[0].count / outer
    return [(0..<outer).flatMap { block in columns.map { inputs[0][block * width + $0] } }]
  }
}
