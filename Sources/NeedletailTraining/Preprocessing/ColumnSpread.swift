internal import NeedletailEngine

/// Centre and width of one numeric column over its training rows, and the scaling that follows from them:
/// (x − offset) · factor. Both numbers are f32 in a graph, also where x is f64.
struct ColumnSpread {
  /// The mean, or the minimum, rounded to f32.
  let offset: Float
  /// Number that every value equals; nil where they differ.
  private let constant: Double?
  /// Inverse of the deviation, or of the range. It is infinite where that is 0.
  private let inverse: Double

  /// - Parameters:
  ///   - values: numbers as the engine sees them, none of them NaN; at least one.
  ///   - scaling: `standardise` for mean and deviation, `minMax` for minimum and range.
  init(_ values: [Double], _ scaling: Affine.Scaling) {
    let first = values[0]
    constant = values.allSatisfy { $0 == first } ? first : nil
    switch scaling {
    case .standardise:
      // The mean of equal values may differ from them in its last digit.
      let mean = constant ?? values.reduce(0, +) / Double(values.count)
      let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
      offset = Float(mean)
      inverse = 1 / variance.squareRoot()
    case .minMax:
      let low = values.reduce(first, min)
      offset = Float(low)
      inverse = 1 / (values.reduce(first, max) - low)
    }
  }

  /// True for a column that varies by so little that f32 cannot hold the factor: less than 1 / 3.4e38.
  var isBelowF32: Bool { constant == nil && !Float(inverse).isFinite }

  /// Factor of the column, finite and not 0.
  ///
  /// A column that never changed in training becomes 0 throughout: (v − v) · 1. In f64 the constant v need not be an
  /// f32, and v − offset is up to half a rounding step of f32, 64 for the seconds since 1970. A factor of at most 2⁻⁴⁰
  /// leaves no more than 1e-12 of that. It also rounds a column below f32 to 0 exactly, whatever its outliers. A
  /// smaller factor would itself be 0 in f32 for constants near 3.4e38, where half a step is 2¹⁰³.
  var factor: Float {
    guard constant != nil || isBelowF32 else { return Float(inverse) }
    let residual = constant.map { abs($0 - Double(offset)) } ?? 1
    return residual == 0 ? 1 : Float(0x1p-40 / max(1, residual))
  }

  /// True where rounding to f32 may move a value by more than a ten-thousandth of the column's deviation, as it does
  /// to the seconds of a day in this century. A column that counts as constant has no digits to lose.
  static func losesDigits(_ values: [Double]) -> Bool {
    let spread = ColumnSpread(values, .standardise)
    guard spread.constant == nil, !spread.isBelowF32 else { return false }
    let roundingMax = values.reduce(0) { max($0, abs($1 - Double(Float($1)))) }
    return roundingMax * spread.inverse > 1e-4
  }
}
