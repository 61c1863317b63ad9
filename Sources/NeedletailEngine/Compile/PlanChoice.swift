internal import CNeedletailKernels
internal import NeedletailCore

/// Whether loading may compute in another precision than the bundle stores.
public enum PrecisionPolicy: String, Sendable, CaseIterable {
  /// Precision that the trainer chose and recorded its golden samples with: the same integers everywhere.
  case stored
  /// int8 layers as fp32 where this CPU is faster that way and the golden samples pass.
  case auto
}

/// How a model is computed on this CPU, and the timings behind that.
public struct PlanChoice: Sendable, Equatable, CustomStringConvertible {
  public let isa: InstructionSet
  /// int8 weights become fp32 when the plan is compiled.
  public let dequantises: Bool
  /// `int8`, `fp32` or `mixed`; empty for a graph without dense layers.
  public let precision: String
  public let timings: [PlanTiming]
  /// Remark for people, e.g. why the faster way was not taken; may be empty.
  public let note: String

  /// Another way must take less than this part of the time at every batch size timed: timings are noisy,
  /// and a model should not change its ways from load to load.
  static let worthwhilePart = 0.9

  /// Times the dense layers of a graph and chooses.
  ///
  /// Instruction sets give the same bits, so the fastest may always be taken; another precision does
  /// not, so that is up to the policy.
  /// - Parameters:
  ///   - graph: validated.
  ///   - isa: the only kernels to consider; nil takes ``InstructionSet/candidates``.
  public static func make(
    for graph: ModelGraph, policy: PrecisionPolicy, isa: InstructionSet? = nil
  ) throws(PlanError) -> PlanChoice {
    let candidates = isa.map { [$0] } ?? InstructionSet.candidates
    return PlanChoice(
      policy: policy, preferred: candidates[0], timings: try PlanTrial(graph, candidates: candidates).run())
  }

  /// The decision alone.
  /// - Parameter preferred: the instruction set to stay with unless another is clearly faster.
  init(policy: PrecisionPolicy, preferred: InstructionSet, timings: [PlanTiming]) {
    self.timings = timings
    func way(_ isa: InstructionSet, asStored: Bool) -> [PlanTiming] {
      timings.filter { $0.isa == isa && $0.isAsStored == asStored }
    }
    var best = way(preferred, asStored: true)
    for timing in timings where timing.isAsStored && timing.isa != best.first?.isa {
      let other = way(timing.isa, asStored: true)
      if Self.isClearlyFaster(other, than: best) { best = other }
    }
    isa = best.first?.isa ?? preferred
    let converted = way(isa, asStored: false)
    let isFasterConverted = Self.isClearlyFaster(converted, than: best)
    dequantises = policy == .auto && isFasterConverted
    precision = (dequantises ? converted : best).first?.precision ?? ""
    note = isFasterConverted && !dequantises ? "fp32 would be faster: models.precision auto would take it" : ""
  }

  private init(_ other: PlanChoice, precision: String, note: String) {
    isa = other.isa
    dequantises = false
    self.precision = precision
    timings = other.timings
    self.note = note
  }

  /// This choice with the precision of the bundle after all, on the same kernels.
  public func storedInstead(because reason: String) -> PlanChoice {
    PlanChoice(
      self, precision: timings.first { $0.isa == isa && $0.isAsStored }?.precision ?? "",
      note: "fp32 was faster but failed: \(reason)")
  }

  private static func isClearlyFaster(_ some: [PlanTiming], than others: [PlanTiming]) -> Bool {
    !some.isEmpty && some.count == others.count
      && zip(some, others).allSatisfy { $0.microseconds < worthwhilePart * $1.microseconds }
  }

  /// One line, e.g. `int8 on avx2: 12.1 µs for 1 row, 80.4 for 32; fp32 on avx2: 20.3, 150`.
  public var description: String {
    guard !timings.isEmpty else { return "\(isa.rawValue); no dense layers to time" }
    var ways: [[PlanTiming]] = []
    for timing in timings {
      if let last = ways.last?.first, last.isa == timing.isa, last.isAsStored == timing.isAsStored {
        ways[ways.count - 1].append(timing)
      } else {
        ways.append([timing])
      }
    }
    let isChosen = { (way: [PlanTiming]) in way[0].isa == isa && way[0].isAsStored != dequantises }
    let ordered = ways.filter(isChosen) + ways.filter { !isChosen($0) }
    let text = ordered.map { way in
      "\(way[0].precision) on \(way[0].isa.rawValue): "
        + way.map { "\(Self.short($0.microseconds)) µs for \($0.rows) row\($0.rows == 1 ? "" : "s")" }
        .joined(separator: ", ")
    }.joined(separator: "; ")
    return note.isEmpty ? text : "\(text); \(note)"
  }

  /// Three figures.
  private static func short(_ microseconds: Double) -> String {
    let digits = microseconds < 10 ? 100.0 : microseconds < 100 ? 10 : 1
    let rounded = (microseconds * digits).rounded() / digits
    return digits == 1 ? String(Int(min(rounded, 1e12))) : String(rounded)
  }
}

/// Time that the dense layers of one model take on this CPU, computed in one way.
public struct PlanTiming: Sendable, Equatable {
  public let isa: InstructionSet
  /// Numbers that the layers compute in: `int8`, `fp32` or `mixed`.
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
      args.weights = UnsafeRawPointer(memory)
      (args.rows, args.columns, args.depth) = (rows, columns, depth)
      args.panel_end = nt_panel_count(columns)
      args.out = output
      return Stopwatch.best(within: budget) { float32.pointee.gemm(&args) }
    }
  }
}
