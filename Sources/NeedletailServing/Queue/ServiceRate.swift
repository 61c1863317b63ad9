internal import NeedletailModels

/// What a model's batches cost on the workers, as measured: weighted averages of the last dozen batches,
/// started from what warming measured.
struct ServiceRate {
  /// Of one row within a batch.
  private(set) var rowNanoseconds: Double
  /// Of one batch.
  private(set) var batchNanoseconds: Double

  /// A new batch counts for an eighth: quick enough for a machine that slows down, slow enough for one
  /// batch that was preempted.
  private static let weight = 0.125

  init(_ cost: PlanCost) {
    rowNanoseconds = max(1, Double(cost.largestNanoseconds) / Double(cost.rowsMax))
    batchNanoseconds = Double(cost.oneRowNanoseconds)
  }

  mutating func add(rows: Int, nanoseconds: UInt64) {
    // No time at all: every deadline had passed before the computation, and nothing was measured.
    guard rows > 0, nanoseconds > 0 else { return }
    rowNanoseconds = max(1, rowNanoseconds + Self.weight * (Double(nanoseconds) / Double(rows) - rowNanoseconds))
    batchNanoseconds += Self.weight * (Double(nanoseconds) - batchNanoseconds)
  }

  /// Rows that `workers` workers get through in a time: the concurrency limit that keeps a queue below
  /// it (J. Little: what is in a queue is what passes through it times how long it stays).
  func rows(within nanoseconds: UInt64, workers: Double) -> Int {
    let rows = Double(nanoseconds) * workers / rowNanoseconds
    return rows < Double(Int32.max) ? max(1, Int(rows)) : Int(Int32.max)
  }

  func nanoseconds(rows: Int) -> UInt64 { UInt64(Double(rows) * rowNanoseconds) }
}
