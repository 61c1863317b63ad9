public import CNeedletailProto
internal import NeedletailCore

/// Per input column: width 0 passes it through, width n writes n indicator columns, all zero for a code outside
/// 0 ..< n.
public struct OneHot: PreprocessingOperation {
  public var widths: [Int]

  public init(widths: [Int]) { self.widths = widths }

  public init(_ message: Needletail__V1__OneHot) {
    self.init(widths: MessageValues.integers(message.width, message.n_width))
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__OneHot>? {
    memory.build(needletail__v1__one_hot__init) {
      $0.n_width = widths.count
      $0.width = memory.array(widths.map { UInt32(clamping: $0) })
    }
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    var type = try context.columns(of: .float32, .float64)
    guard widths.count == type.columns else {
      throw context.fault("expected \(type.columns) one-hot widths, found \(widths.count)")
    }
    // At most 2²⁰ columns of at most 2²⁰ each: the sum fits.
    var total = 0
    for (column, width) in widths.enumerated() {
      guard (0...Limits.columnsMax).contains(width) else {
        throw context.fault("width of column \(column): expected 0 to \(Limits.columnsMax), found \(width)", .tooMany)
      }
      total += max(1, width)
    }
    type.shape = [total]
    return [type]
  }

  func join(_ tables: inout PreprocessTables) -> Bool {
    guard tables.widths == nil else { return false }
    tables.widths = widths
    return true
  }

  public func packedBytes(_ context: OperationContext) -> Int { widths.count * PreprocessTables.runBytes }
  public var words: String { "one-hot" }

  public func origins(of inputs: [[Int]], _ context: OperationContext) -> [Int]? {
    zip(inputs[0], widths).flatMap { [Int](repeating: $0, count: max(1, $1)) }
  }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    [
      inputs[0].indices.flatMap { column -> [Double] in
        let x = inputs[0][column]
        return widths[column] == 0 ? [x] : (0..<widths[column]).map { Double($0) == x ? 1 : 0 }
      }
    ]
  }
}
