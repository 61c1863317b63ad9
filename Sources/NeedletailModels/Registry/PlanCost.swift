/// What a plan's runs cost, as they were measured while its version was warmed.
public struct PlanCost: Equatable, Sendable {
  /// Nothing measured: every run is taken to cost nothing.
  public static let unknown = PlanCost([])

  /// Of a batch of one row.
  public let oneRowNanoseconds: UInt64
  /// Of the largest batch.
  public let largestNanoseconds: UInt64
  /// Rows of the largest batch.
  public let rowsMax: Int

  /// - Parameter runs: ascending by rows.
  public init(_ runs: [WarmUpRun]) {
    oneRowNanoseconds = runs.first?.nanoseconds ?? 0
    // A larger batch that seems cheaper than one row was measured in a quieter moment.
    largestNanoseconds = max(oneRowNanoseconds, runs.last?.nanoseconds ?? 0)
    rowsMax = max(1, runs.last?.rows ?? 1)
  }

  /// What rows add to a batch that runs anyway.
  public func marginalNanoseconds(rows: Int) -> UInt64 {
    UInt64(Double(largestNanoseconds) * Double(rows) / Double(rowsMax))
  }

  /// Rows of a batch beyond which more only add delay: it takes the time given, or what every batch costs
  /// whatever its rows, the reading of the weights above all, is less than a tenth of it. `.max`: the largest batch
  /// measured was not beyond.
  public func usefulRows(within nanoseconds: UInt64) -> Int {
    guard rowsMax > 1, largestNanoseconds > oneRowNanoseconds else { return .max }
    let perRow = Double(largestNanoseconds - oneRowNanoseconds) / Double(rowsMax - 1)
    let fixed = max(0, Double(oneRowNanoseconds) - perRow)
    let rows = max((Double(nanoseconds) - fixed) / perRow, 10 * fixed / perRow)
    return rows < Double(rowsMax) ? max(1, Int(rows)) : .max
  }

  /// An estimate for any number of rows: on a straight line between the two ends, and beyond the largest
  /// batch as many of those as it takes.
  public func nanoseconds(rows: Int) -> UInt64 {
    guard rows > 1 else { return oneRowNanoseconds }
    guard rows < rowsMax else {
      return UInt64(Double(largestNanoseconds) * Double(rows) / Double(rowsMax))
    }
    let share = Double(rows - 1) / Double(rowsMax - 1)
    return oneRowNanoseconds + UInt64(Double(largestNanoseconds - oneRowNanoseconds) * share)
  }
}
