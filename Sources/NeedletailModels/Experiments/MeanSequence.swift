internal import Glibc

/// Mean of values that come one after the other, with bounds that hold at all times at once.
///
/// The bounds are asymptotic confidence sequences: each holds at all times from ``Limits/experimentMeanBlocksMin`` values
/// on with a probability that approaches 1 − error as that number grows, whatever the values' distribution, if it has
/// slightly more than a variance.
///
/// Source: I. Waudby-Smith, D. Arbour, R. Sinha, E. Kennedy, A. Ramdas, Time-uniform central limit theory and asymptotic
/// confidence sequences, 2024 (theorem 2.2, and its one-sided form).
struct MeanSequence: Codable, Equatable, Sendable {
  private(set) var count = 0
  private(set) var mean = 0.0
  /// Sum of squared distances from the mean.
  private var squares = 0.0

  /// Number of values at which the bounds are tightest; others give up little.
  private static let plannedCount = 1000.0

  init() {}

  /// Adds a value.
  ///
  /// Source of the recurrence: B. P. Welford, Note on a method for calculating corrected sums of squares and products, 1962.
  mutating func add(_ value: Double) {
    count += 1
    let distance = value - mean
    mean += distance / Double(count)
    squares += distance * (value - mean)
  }

  /// Distance of each one-sided bound from the mean; infinite before there are two values.
  ///
  /// σ √(2 (tρ² + 1) / (t²ρ²) · ln(1 + √(tρ² + 1) / (2 error))), with ρ chosen for ``plannedCount``.
  /// - Parameter error: probability with which one bound may ever fail.
  func margin(error: Double) -> Double {
    guard count > 1 else { return .infinity }
    let t = Double(count)
    let evidence = -2 * log(error)
    let rho2 = (evidence + log(evidence + 1)) / Self.plannedCount
    let deviation = (squares / t).squareRoot()
    return deviation
      * (2 * (t * rho2 + 1) / (t * t * rho2) * log(1 + (t * rho2 + 1).squareRoot() / (2 * error))).squareRoot()
  }
}
