public import CNeedletailProto

/// y = isnan(x) ? fill : x, per column, for f32 and f64.
public struct Impute: PreprocessingOperation {
  public var fill: [Float]

  public init(fill: [Float]) { self.fill = fill }

  public init(_ message: Needletail__V1__Impute) {
    self.init(fill: MessageValues.array(message.fill, message.n_fill))
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Impute>? {
    memory.build(needletail__v1__impute__init) {
      $0.n_fill = fill.count
      $0.fill = memory.array(fill)
    }
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    let input = try context.columns(of: .float32, .float64)
    try context.check(fill, name: "fill values", columns: input.columns)
    return [input]
  }

  func join(_ tables: inout PreprocessTables) -> Bool {
    guard tables.fill == nil, tables.affine == nil, tables.widths == nil else { return false }
    tables.fill = fill
    return true
  }

  public var parameterCount: Int { fill.count }
  public func packedBytes(_ context: OperationContext) -> Int {
    fill.count * MemoryLayout<Float>.stride + PreprocessTables.runBytes
  }
  public var words: String { "impute" }

  public func origins(of inputs: [[Int]], _ context: OperationContext) -> [Int]? { inputs[0] }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    [zip(inputs[0], fill).map { $0.isNaN ? Double($1) : $0 }]
  }
}
