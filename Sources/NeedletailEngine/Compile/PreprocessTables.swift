internal import CNeedletailKernels
internal import NeedletailCore

/// The tables of one fused preprocessing step: impute, then scale, then one-hot, each at most once.
struct PreprocessTables {
  private let columns: Int
  private var fill: [Float]?
  private var affine: Affine?
  private var widths: [Int]?

  init(columns: Int) { self.columns = columns }

  /// True if `operation` may follow what is here without changing what it means.
  func accepts(_ operation: Operation) -> Bool {
    switch operation {
    case .impute: fill == nil && affine == nil && widths == nil
    case .affine: affine == nil && widths == nil
    case .oneHot: widths == nil
    default: false
    }
  }

  mutating func add(_ operation: Operation) {
    switch operation {
    case .impute(let fill): self.fill = fill
    case .affine(let affine): self.affine = affine
    case .oneHot(let widths): self.widths = widths
    default: preconditionFailure("\(operation) is no preprocessing")
    }
  }

  var summary: String {
    [
      fill.map { _ in "impute" },
      affine.map { $0.scaling == .standardise ? "standardise" : "min-max" },
      widths.map { _ in "one-hot" },
    ].compactMap { $0 }.joined(separator: " + ")
  }

  /// Lays the tables out for the kernel.
  func store(in storage: PlanStorage, node: String) throws(PlanError) -> UnsafePointer<nt_preprocess> {
    var kernel = nt_preprocess()
    kernel.in_columns = UInt32(columns)
    if let fill { kernel.fill = try storage.copy(fill, for: node) }
    if let affine {
      kernel.offset = try storage.copy(affine.offset, for: node)
      kernel.scale = try storage.copy(affine.scale, for: node)
      kernel.clamp = affine.clamp
    }
    let runs = columnRuns
    kernel.runs = try storage.copy(runs, for: node)
    kernel.run_count = UInt32(runs.count)
    kernel.out_columns = runs.reduce(0) { $0 + ($1.width == 0 ? $1.count : $1.width) }
    return try storage.copy([kernel], for: node)
  }

  /// Neighbours that pass through make one run; an encoded column is a run of its own.
  private var columnRuns: [nt_column_run] {
    var runs: [nt_column_run] = []
    for column in 0..<columns {
      let width = UInt32(widths?[column] ?? 0)
      if width == 0, let last = runs.last, last.width == 0 {
        runs[runs.count - 1].count += 1
      } else {
        runs.append(nt_column_run(first: UInt32(column), count: 1, width: width))
      }
    }
    return runs
  }
}
