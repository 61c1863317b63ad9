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

  private struct Shape: Hashable {
    var columns, depth: Int
    var isInt8: Bool
  }

  private let shapes: [(shape: Shape, count: Int)]
  private let candidates: [InstructionSet]

  init(_ graph: ModelGraph, candidates: [InstructionSet]) {
    var counts: [Shape: Int] = [:]
    for node in graph.nodes {
      guard case .dense(let dense) = node.operation else { continue }
      let tensor = graph.tensors[dense.weights]
      var shape = Shape(columns: tensor.shape[0], depth: tensor.shape[1], isInt8: false)
      if case .int8 = tensor.storage { shape.isInt8 = true }
      counts[shape, default: 0] += 1
    }
    func work(_ entry: (key: Shape, value: Int)) -> Int { entry.key.columns * entry.key.depth * entry.value }
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
