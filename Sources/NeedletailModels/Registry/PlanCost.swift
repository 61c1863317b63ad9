/// Estimated run time of a plan, from the runs that were measured while its version was warmed.
public struct PlanCost: Equatable, Sendable {
  /// The cost of a plan that was not measured: every run is estimated as 0.
  public static let unknown = PlanCost([])

  /// Time of a batch of one row.
  public let oneRowNanoseconds: UInt64
  /// Time of the largest batch.
  public let largestNanoseconds: UInt64
  /// Rows of the largest batch.
  public let rowsMax: Int

  /// - Parameter runs: measured runs, ascending by rows.
  public init(_ runs: [WarmUpRun]) {
    oneRowNanoseconds = runs.first?.nanoseconds ?? 0
    // A larger batch that seems cheaper than one row was measured in a quieter moment.
    largestNanoseconds = max(oneRowNanoseconds, runs.last?.nanoseconds ?? 0)
    rowsMax = max(1, runs.last?.rows ?? 1)
  }

  /// Time that rows add to a batch that runs anyway.
  public func marginalNanoseconds(rows: Int) -> UInt64 {
    UInt64(Double(largestNanoseconds) * Double(rows) / Double(rowsMax))
  }

  /// Number of rows of a batch beyond which more rows only add delay: then the batch takes the time given, or the part of
  /// its time that does not depend on its rows (mostly reading the weights) is below a tenth. `.max` if the largest batch
  /// measured was not beyond.
  public func usefulRows(within nanoseconds: UInt64) -> Int {
    guard rowsMax > 1, largestNanoseconds > oneRowNanoseconds else { return .max }
    let perRow = Double(largestNanoseconds - oneRowNanoseconds) / Double(rowsMax - 1)
    let fixed = max(0, Double(oneRowNanoseconds) - perRow)
    let rows = max((Double(nanoseconds) - fixed) / perRow, 10 * fixed / perRow)
    return rows < Double(rowsMax) ? max(1, Int(rows)) : .max
  }

  /// Estimate for any number of rows: on a straight line between the two ends, and beyond the largest batch as many of
  /// those as it takes.
  public func nanoseconds(rows: Int) -> UInt64 {
    guard rows > 1 else { return oneRowNanoseconds }
    guard rows < rowsMax else {
      return UInt64(Double(largestNanoseconds) * Double(rows) / Double(rowsMax))
    }
    let share = Double(rows - 1) / Double(rowsMax - 1)
    return oneRowNanoseconds + UInt64(Double(largestNanoseconds - oneRowNanoseconds) * share)
  }
}

/// Time that one batch took while a version was warmed.
public struct WarmUpRun: Equatable, Sendable {
  public let rows: Int
  /// Time of the fastest run at this size after the first one, which touched the pages.
  public let nanoseconds: UInt64

  public init(rows: Int, nanoseconds: UInt64) {
    self.rows = rows
    self.nanoseconds = nanoseconds
  }
}
