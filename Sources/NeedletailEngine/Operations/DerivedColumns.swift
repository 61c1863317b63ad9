internal import CNeedletailKernels
public import CNeedletailProto
internal import NeedletailCore

/// The input's columns and, behind them, columns made from some of them: flags of missing values, products of numbers,
/// and crosses of categories.
public struct DerivedColumns: GraphOperation {
  public enum Kind: UInt8, Sendable, CaseIterable {
    /// 1 where the one operand is NaN, else 0.
    case missing = 0
    /// The product of the operands.
    case product = 1
    /// The bucket of the operands' codes; see ``bucket(of:among:)``.
    case cross = 2
  }

  /// One column that is made from others.
  public struct Derivation: Equatable, Sendable {
    public var kind: Kind
    /// Columns of the input.
    public var operands: [Int]
    /// Number of buckets of a cross; 0 for the others.
    public var buckets: Int

    public init(_ kind: Kind, of operands: [Int], buckets: Int = 0) {
      self.kind = kind
      self.operands = operands
      self.buckets = buckets
    }
  }

  /// Operands of one column at most.
  public static let operandsMax = Int(NT_CROSS_MAX)

  public var derivations: [Derivation]

  public init(derivations: [Derivation]) { self.derivations = derivations }

  /// Bucket of categories by their codes, as plans compute it: the hash MurmurHash3 (x86, 32 bits, seed 0) of the codes
  /// as little-endian int32, −1 for what is no code, and its magnitude modulo the number of buckets.
  ///
  /// - Precondition: at most ``operandsMax`` codes, and a bucket.
  public static func bucket(of codes: [Double], among buckets: Int) -> Int {
    precondition(codes.count <= operandsMax && buckets > 0)
    return Int(nt_cross(codes, codes.count, UInt32(buckets)))
  }

  public init(_ message: Needletail__V1__DerivedColumns) throws(GraphFault) {
    let kinds = MessageValues.array(message.kind, message.n_kind)
    let counts = MessageValues.integers(message.count, message.n_count)
    let columns = MessageValues.integers(message.column, message.n_column)
    let buckets = MessageValues.integers(message.buckets, message.n_buckets)
    guard kinds.count == counts.count, kinds.count == buckets.count else {
      throw GraphFault(
        kind: .mismatch,
        "derived columns: expected as many counts and buckets as kinds, found \(counts.count) and \(buckets.count) for \(kinds.count)"
      )
    }
    var derivations: [Derivation] = []
    var next = 0
    for (index, kind) in kinds.enumerated() {
      // At most 2³² each, compared before it is added.
      guard counts[index] <= columns.count - next else {
        throw GraphFault(
          kind: .mismatch, "derived columns: expected as many operands as the counts say, found \(columns.count)")
      }
      let kind = try MessageValues.known(kind.rawValue, as: Kind.self, "derived column \(index): kind")
      derivations.append(
        Derivation(kind, of: Array(columns[next..<next + counts[index]]), buckets: buckets[index]))
      next += counts[index]
    }
    guard next == columns.count else {
      throw GraphFault(
        kind: .mismatch, "derived columns: expected \(next) operands as the counts say, found \(columns.count)")
    }
    self.init(derivations: derivations)
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__DerivedColumns>? {
    memory.build(needletail__v1__derived_columns__init) {
      $0.n_kind = derivations.count
      $0.kind = memory.array(derivations.map { Needletail__V1__Derivation(UInt32($0.kind.rawValue)) })
      $0.n_count = derivations.count
      $0.count = memory.array(derivations.map { UInt32(clamping: $0.operands.count) })
      let columns = derivations.flatMap(\.operands)
      $0.n_column = columns.count
      $0.column = memory.array(columns.map { UInt32(clamping: $0) })
      $0.n_buckets = derivations.count
      $0.buckets = memory.array(derivations.map { UInt32(clamping: $0.buckets) })
    }
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    var type = try context.columns(of: .float32, .float64)
    guard !derivations.isEmpty else { throw context.fault("expected a derived column, found none", .tooFew) }
    guard derivations.count <= Limits.columnsMax - type.columns else {
      throw context.fault("expected at most \(Limits.columnsMax) columns, found more", .tooMany)
    }
    for (index, derivation) in derivations.enumerated() {
      let counts = derivation.kind == .missing ? 1...1 : 1...Self.operandsMax
      guard counts.contains(derivation.operands.count) else {
        throw context.fault(
          "derived column \(index): expected \(counts.lowerBound) to \(counts.upperBound) operands, found \(derivation.operands.count)"
        )
      }
      if let column = derivation.operands.first(where: { !(0..<type.columns).contains($0) }) {
        throw context.fault("derived column \(index): expected operands 0 to \(type.columns - 1), found \(column)")
      }
      let buckets = derivation.kind == .cross ? 1...Limits.columnsMax : 0...0
      guard buckets.contains(derivation.buckets) else {
        throw context.fault(
          "derived column \(index): expected \(buckets.lowerBound) to \(buckets.upperBound) buckets, found \(derivation.buckets)"
        )
      }
    }
    type.shape = [type.columns + derivations.count]
    return [type]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let (input, output) = (plan.graph.nodes[node].inputs[0], plan.graph.nodes[node].outputs[0])
    let name = plan.graph.nodes[node].name
    let kernel = nt_derive(
      kinds: try plan.storage.copy(derivations.map { UInt32($0.kind.rawValue) }, for: name),
      counts: try plan.storage.copy(derivations.map { UInt32($0.operands.count) }, for: name),
      columns: try plan.storage.copy(derivations.flatMap { $0.operands.map { UInt32($0) } }, for: name),
      buckets: try plan.storage.copy(derivations.map { UInt32($0.buckets) }, for: name),
      count: UInt32(derivations.count), in_columns: UInt32(plan.graph.values[input].columns))
    let run: nt_step_function =
      if plan.graph.values[input].type.element == .float64 { nt_derive_f64_step } else { nt_derive_f32_step }
    plan.add(
      try plan.step(node, run, kernel, reading: [input], writing: [output], words: words, kernel: "derive"))
  }

  public var parameterCount: Int { derivations.reduce(0) { $0 + $1.operands.count } }
  public func packedBytes(_ context: OperationContext) -> Int {
    (parameterCount + 3 * derivations.count) * MemoryLayout<UInt32>.stride
  }
  public var words: String { "derived columns" }

  public func origins(of inputs: [[Int]], _ context: OperationContext) -> [Int]? {
    inputs[0]
      + derivations.map { derivation in
        let own = Set(derivation.operands.map { inputs[0][$0] })
        return own.count == 1 ? own.first ?? -1 : -1
      }
  }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    let x = inputs[0]
    return [
      x
        + derivations.map { derivation -> Double in
          let operands = derivation.operands.map { x[$0] }
          switch derivation.kind {
          case .missing: return operands[0].isNaN ? 1 : 0
          case .product: return operands.reduce(1, *)
          case .cross: return Self.reference(bucket: operands, derivation.buckets)
          }
        }
    ]
  }

  /// The bucket by the published steps of MurmurHash3, which hashes whole blocks of four bytes here.
  private static func reference(bucket codes: [Double], _ buckets: Int) -> Double {
    func rotated(_ x: UInt32, _ bits: UInt32) -> UInt32 { (x << bits) | (x >> (32 - bits)) }
    var hash: UInt32 = 0
    for code in codes {
      let block = code >= 0 && code < 0x1p31 ? UInt32(code) : .max
      hash ^= rotated(block &* 0xcc9e_2d51, 15) &* 0x1b87_3593
      hash = rotated(hash, 13) &* 5 &+ 0xe654_6b64
    }
    hash ^= UInt32(4 * codes.count)
    hash = (hash ^ (hash >> 16)) &* 0x85eb_ca6b
    hash = (hash ^ (hash >> 13)) &* 0xc2b2_ae35
    hash ^= hash >> 16
    return Double(abs(Int(Int32(bitPattern: hash))) % buckets)
  }
}
