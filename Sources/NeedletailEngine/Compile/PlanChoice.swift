internal import CNeedletailKernels
internal import NeedletailCore

/// What the dense layers of one model take on this CPU, computed in one way.
public struct PlanTiming: Sendable, Equatable {
  public let isa: InstructionSet
  /// What the layers compute in: `int8`, `fp32` or `mixed`.
  public let precision: String
  /// False: int8 weights were turned into fp32.
  public let isAsStored: Bool
  public let rows: Int
  /// All layers together, quantising their inputs included.
  public let microseconds: Double
}

/// Times a graph's dense layers on this CPU, in every way that could compute them.
///
/// A trial takes about as long as its budget, however large the model: it times each distinct shape
/// once, the most work first, on a slice of at most 2¹⁸ weights (1 MiB as fp32, no more than cores have
/// to themselves today), and scales up. It says which way is faster, not how fast the model will be.
struct PlanTrial {
  /// A request alone, and a batch.
  static let rows = [1, 32]
  static let budget: Duration = .milliseconds(20)
  private static let sliceWeights = 1 << 18
  private static let shapesMax = 8
  /// One time is the best of the runs that fit: noise only ever adds.
  private static let measureBudget: Duration = .microseconds(200)

  private let shapes: [(shape: MatrixProduct, count: Int)]
  private let candidates: [InstructionSet]

  init(_ graph: ModelGraph, candidates: [InstructionSet]) {
    var counts: [MatrixProduct: Int] = [:]
    for (index, node) in graph.nodes.enumerated() {
      if let product = node.operation.product(graph.context(of: index)) { counts[product, default: 0] += 1 }
    }
    func work(_ entry: (key: MatrixProduct, value: Int)) -> Int { entry.key.columns * entry.key.depth * entry.value }
    shapes = counts.sorted { (work($0), $0.key.depth) > (work($1), $1.key.depth) }.prefix(Self.shapesMax)
      .map { ($0.key, $0.value) }
    self.candidates = candidates
  }

  /// - Returns: nothing for a graph without dense layers.
  /// - Throws: if memory for the slices is wanting.
  func run() throws(PlanError) -> [PlanTiming] {
    guard !shapes.isEmpty else { return [] }
    let hasInt8 = shapes.contains { $0.shape.isInt8 }
    let ways = candidates.flatMap { isa in (hasInt8 ? [true, false] : [true]).map { (isa: isa, isAsStored: $0) } }
    var totals = [[Double]](repeating: Array(repeating: 0, count: Self.rows.count), count: ways.count)
    let clock = ContinuousClock()
    let end = clock.now + Self.budget
    for (index, (shape, count)) in shapes.enumerated() where index == 0 || clock.now < end {
      let slice = try LayerSlice(
        columns: min(shape.columns, max(Int(NT_PANEL_COLUMNS), Self.sliceWeights / shape.depth)), depth: shape.depth,
        rowsMax: Self.rows.max() ?? 1)
      let share = Double(count) * Double(shape.columns) / Double(slice.columns)
      for (way, (isa, isAsStored)) in ways.enumerated() {
        for (batch, rows) in Self.rows.enumerated() {
          let best = try slice.time(rows: rows, isInt8: shape.isInt8 && isAsStored, isa: isa, for: Self.measureBudget)
          totals[way][batch] += share * best
        }
      }
    }
    let stored = !hasInt8 ? "fp32" : shapes.allSatisfy(\.shape.isInt8) ? "int8" : "mixed"
    return ways.enumerated().flatMap { way, key in
      Self.rows.enumerated().map { batch, rows in
        PlanTiming(
          isa: key.isa, precision: key.isAsStored ? stored : "fp32", isAsStored: key.isAsStored, rows: rows,
          microseconds: totals[way][batch])
      }
    }
  }
}

/// Some columns of a layer, with made-up weights: speed does not depend on them.
final class LayerSlice {
  let columns: Int
  private let depth: Int
  private let storage: PlanStorage
  private let input, output, scales: UnsafeMutablePointer<Float>
  private let quantised: UnsafeMutablePointer<Int8>
  private let weights: [Int8]

  init(columns: Int, depth: Int, rowsMax: Int) throws(PlanError) {
    let storage = PlanStorage()
    func floats(_ count: Int) throws(PlanError) -> UnsafeMutablePointer<Float> {
      try storage.allocate(bytes: 4 * count, for: nil).bindMemory(to: Float.self, capacity: count)
    }
    self.storage = storage
    self.columns = columns
    self.depth = depth
    input = try floats(rowsMax * depth)
    for index in 0..<rowsMax * depth { input[index] = Float(index % 251) - 125 }
    output = try floats(rowsMax * columns)
    scales = try floats(rowsMax)
    let bytes = rowsMax * nt_s8_row_stride(depth)
    quantised = try storage.allocate(bytes: bytes, for: nil).bindMemory(to: Int8.self, capacity: bytes)
    weights = (0..<columns * depth).map { Int8(truncatingIfNeeded: $0 % 255 - 127) }
  }

  /// Microseconds of one run: the best of those that fit the budget.
  /// - Parameter quantises: whether an int8 run begins with its input's quantisation.
  func time(
    rows: Int, isInt8: Bool, quantises: Bool = true, isa: InstructionSet, for budget: Duration
  ) throws(PlanError) -> Double {
    guard let int8 = nt_s8_kernels_for(isa.kernelSet), let float32 = nt_f32_kernels_for(isa.kernelSet) else {
      throw PlanError("no \(isa.rawValue) kernels")
    }
    let packed = PlanStorage()
    defer { withExtendedLifetime((self, packed)) {} }
    if isInt8 {
      let memory = try packed.allocate(bytes: nt_s8_packed_bytes(columns, depth), for: nil)
      int8.pointee.pack(weights, [Float](repeating: 0.01, count: columns), nil, columns, depth, memory)
      var args = nt_s8_gemm_args()
      args.a = UnsafePointer(quantised)
      args.a_stride = nt_s8_row_stride(depth)
      args.row_scales = UnsafePointer(scales)
      args.weights = UnsafeRawPointer(memory)
      (args.rows, args.columns, args.depth) = (rows, columns, depth)
      args.panel_end = nt_panel_count(columns)
      args.out = output
      int8.pointee.quantise(input, rows, depth, quantised, args.a_stride, scales)
      return Stopwatch.best(within: budget) {
        if quantises { int8.pointee.quantise(input, rows, depth, quantised, args.a_stride, scales) }
        int8.pointee.gemm(&args)
      }
    } else {
      let memory = try packed.allocate(bytes: nt_f32_packed_bytes(columns, depth), for: nil)
        .bindMemory(to: Float.self, capacity: nt_f32_packed_bytes(columns, depth) / 4)
      nt_f32_pack(weights.map { 0.01 * Float($0) }, nil, columns, depth, memory)
      var args = nt_f32_gemm_args()
      args.a = UnsafePointer(input)
      args.weights = UnsafePointer(memory)
      (args.rows, args.columns, args.depth) = (rows, columns, depth)
      args.panel_end = nt_panel_count(columns)
      args.out = output
      return Stopwatch.best(within: budget) { float32.pointee.gemm(&args) }
    }
  }
}
