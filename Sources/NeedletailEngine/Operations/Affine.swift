public import CNeedletailProto

/// y = (x − offset) · scale, per column; clamped to [0, 1] if `clamp`. An f64 input is scaled in f64 and rounded to
/// f32 once, so that what is small beside its offset, such as a time of today, keeps its digits.
///
/// Standardisation and min-max scaling are one formula, told apart for people.
public struct Affine: PreprocessingOperation {
  public enum Scaling: UInt8, Sendable, CaseIterable {
    case standardise = 0
    case minMax = 1
    /// By quantiles, or by another way for each column: offsets are no means.
    case robust = 2
  }

  public var scaling: Scaling
  public var offset: [Float]
  public var scale: [Float]
  public var clamp: Bool

  public init(scaling: Scaling, offset: [Float], scale: [Float], clamp: Bool = false) {
    self.scaling = scaling
    self.offset = offset
    self.scale = scale
    self.clamp = clamp
  }

  public init(_ message: Needletail__V1__Affine) throws(GraphFault) {
    self.init(
      scaling: try MessageValues.known(message.scaling.rawValue, as: Scaling.self, "scaling"),
      offset: MessageValues.array(message.offset, message.n_offset),
      scale: MessageValues.array(message.scale, message.n_scale), clamp: message.clamp != 0)
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Affine>? {
    memory.build(needletail__v1__affine__init) {
      $0.scaling = Needletail__V1__Scaling(UInt32(scaling.rawValue))
      $0.n_offset = offset.count
      $0.offset = memory.array(offset)
      $0.n_scale = scale.count
      $0.scale = memory.array(scale)
      $0.clamp = clamp ? 1 : 0
    }
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    var type = try context.columns(of: .float32, .float64)
    try context.check(offset, name: "offsets", columns: type.columns)
    try context.check(scale, name: "scales", columns: type.columns)
    if let column = scale.firstIndex(of: 0) {
      throw context.fault("scale of column \(column): expected a number other than 0, found 0")
    }
    type.element = .float32
    return [type]
  }

  func join(_ tables: inout PreprocessTables) -> Bool {
    guard tables.affine == nil else { return false }
    guard let widths = tables.widths else {
      tables.affine = self
      return true
    }
    // Behind indicators that it leaves as they are, scaling is the same in front of them.
    guard !clamp else { return false }
    var early = Affine(scaling: scaling, offset: [], scale: [])
    var column = 0
    for width in widths {
      let own = column..<(column + max(width, 1))
      guard width == 0 || own.allSatisfy({ offset[$0] == 0 && scale[$0] == 1 }) else { return false }
      early.offset.append(offset[column])
      early.scale.append(scale[column])
      column = own.upperBound
    }
    tables.affine = early
    return true
  }

  public var parameterCount: Int { offset.count + scale.count }
  public func packedBytes(_ context: OperationContext) -> Int {
    parameterCount * MemoryLayout<Float>.stride + PreprocessTables.runBytes
  }
  public var words: String {
    switch scaling {
    case .standardise: "standardise"
    case .minMax: "min-max"
    case .robust: "scale"
    }
  }

  public func origins(of inputs: [[Int]], _ context: OperationContext) -> [Int]? { inputs[0] }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    [
      inputs[0].indices.map { column in
        let y = (inputs[0][column] - Double(offset[column])) * Double(scale[column])
        return clamp ? min(1, max(0, y)) : y
      }
    ]
  }
}
