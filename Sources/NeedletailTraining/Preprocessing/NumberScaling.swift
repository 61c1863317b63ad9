internal import Glibc
internal import NeedletailCore
internal import NeedletailEngine

/// Treatment of one column of numbers, fitted on its training rows: a curve, then (y − offset) · factor.
struct NumberScaling: Sendable {
  var curve: Curves.Curve = .none
  var offset: Float = 0
  var factor: Float = 1
  /// True where the numbers differ by too little for a factor in f32: the column counts as constant.
  var isBelowF32 = false

  /// A treatment that changes nothing.
  static let none = NumberScaling()

  /// Quantiles that a curve through them has at most, as scikit-learn's `QuantileTransformer`.
  static let knotsMax = 1000
  /// Training rows that the exponent of a power is fitted on: more change its third digit.
  static let powerRowsMax = 100_000

  private init() {}

  /// - Parameters:
  ///   - values: numbers of the training rows, none of them NaN.
  ///   - seen: the same as the engine sees them, in its element type.
  init(_ values: [Double], asSeen seen: [Double], _ scaling: RunConfiguration.Scaling) {
    guard let first = seen.first, scaling != .none else { return }
    let isConstant = seen.allSatisfy { $0 == first }
    switch scaling {
    case .log: curve = .logarithm
    case .power: curve = isConstant ? .none : .yeoJohnson(Self.exponent(seen))
    case .quantileUniform, .quantileNormal:
      if isConstant { break }
      curve = .quantiles(Self.knots(seen), isNormal: scaling == .quantileNormal)
      return
    case .standardise, .minMax, .robust, .none: break
    }
    let numbers = curve == .none ? seen : curve.values(at: seen)
    let kind: ColumnSpread.Kind =
      switch scaling {
      case .minMax: .minMax
      case .robust: .robust
      default: .standardise
      }
    let spread = ColumnSpread(numbers, kind)
    (offset, factor) = (spread.offset, spread.factor)
    isBelowF32 = curve == .none && ColumnSpread(values, kind).isBelowF32
  }

  /// Quantiles at equal distances.
  private static func knots(_ values: [Double]) -> [Double] {
    let sorted = values.sorted()
    let count = max(2, min(knotsMax, sorted.count))
    var largest = -Double.infinity
    // Rounding may turn two neighbours round.
    return (0..<count).map { index in
      largest = max(largest, Quantiles.of(sorted, Double(index) / Double(count - 1)))
      return largest
    }
  }

  /// Exponent under which the numbers are most likely those of a normal distribution, between −8 and 8: found to a half
  /// by trying, then by the golden section.
  private static func exponent(_ all: [Double]) -> Double {
    let step = max(1, all.count / powerRowsMax)
    let values = stride(from: 0, to: all.count, by: step).map { all[$0] }
    let logarithms = values.reduce(0) { $0 + ($1 < 0 ? -log1p(-$1) : log1p($1)) }
    func loss(_ exponent: Double) -> Double {
      let powers = Curves.Curve.yeoJohnson(exponent).values(at: values)
      let count = Double(powers.count)
      let mean = powers.reduce(0, +) / count
      let variance = powers.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / count
      guard variance > Double.leastNormalMagnitude, variance.isFinite else { return .infinity }
      return count / 2 * log(variance) - (exponent - 1) * logarithms
    }
    let tried = stride(from: -8.0, through: 8, by: 0.5).map { ($0, loss($0)) }
    guard let best = tried.min(by: { $0.1 < $1.1 }), best.1.isFinite else { return 1 }
    let golden = (5.0.squareRoot() - 1) / 2
    var (low, high) = (best.0 - 0.5, best.0 + 0.5)
    var (left, right) = (high - golden * (high - low), low + golden * (high - low))
    var (leftLoss, rightLoss) = (loss(left), loss(right))
    while high - low > 1e-9 {
      if leftLoss < rightLoss {
        (high, right, rightLoss) = (right, left, leftLoss)
        left = high - golden * (high - low)
        leftLoss = loss(left)
      } else {
        (low, left, leftLoss) = (left, right, rightLoss)
        right = low + golden * (high - low)
        rightLoss = loss(right)
      }
    }
    return (low + high) / 2
  }
}
