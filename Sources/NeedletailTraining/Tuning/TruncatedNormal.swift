internal import Glibc

/// Functions of the normal distribution cut off at both ends, exact also far out in its tails.
enum TruncatedNormal {
  private static let logRootTwoPi = 0.918_938_533_204_672_7

  /// Logarithm of the share of the standard normal distribution below x.
  static func logBelow(_ x: Double) -> Double {
    if x > 6 { return -0.5 * erfc(x * 0.5.squareRoot()) }
    if x > -20 { return log(0.5 * erfc(-x * 0.5.squareRoot())) }
    // The asymptotic series of the tail: φ(x) / −x · (1 − 1/x² + 3/x⁴ − …), whose terms fall here for 200 places.
    var (sum, term, order) = (1.0, 1.0, 1.0)
    while abs(term) > 1e-17 {
      term *= -(2 * order - 1) / (x * x)
      sum += term
      order += 1
    }
    return -0.5 * x * x - log(-x) - logRootTwoPi + log(sum)
  }

  /// Logarithm of the share between two places, the lower one first.
  static func logMass(_ low: Double, _ high: Double) -> Double {
    // Both ends on one side: in the left tail, where the shares are small and keep their digits.
    if high <= 0 { return logDifference(logBelow(high), logBelow(low)) }
    if low > 0 { return logDifference(logBelow(-low), logBelow(-high)) }
    return log1p(-exp(logBelow(low)) - exp(logBelow(-high)))
  }

  /// Logarithm of the density at x of a normal distribution that is cut off at `low` and `high`.
  ///
  /// - Parameter logMass: share of the whole distribution between the two.
  static func logDensity(_ x: Double, mean: Double, deviation: Double, logMass: Double) -> Double {
    let distance = (x - mean) / deviation
    return -0.5 * distance * distance - logRootTwoPi - logMass - log(deviation)
  }

  /// Place below which a share of the distribution between `low` and `high` lies.
  static func quantile(_ share: Double, low: Double, high: Double) -> Double {
    guard share > 0 else { return low }
    let mass = logMass(low, high)
    let place =
      low < 0
      ? inverse(logSum(logBelow(low), log(share) + mass))
      : -inverse(logSum(logBelow(-high), log1p(-share) + mass))
    return min(max(place, low), high)
  }

  /// Place below which lies the share with this logarithm, by Newton's method.
  private static func inverse(_ logShare: Double) -> Double {
    // Shares near 1 keep their digits as what is missing to 1.
    let isUpper = logShare > -1e-2
    let wanted = isUpper ? log(-expm1(logShare)) : logShare
    guard wanted.isFinite else { return isUpper ? .infinity : -.infinity }
    // Far out the tail is nearly exp(−x²/2) / √2π; in the middle the logistic function is close.
    var place =
      wanted < -5
      ? -(-2 * (wanted + logRootTwoPi)).squareRoot() : -(3.0.squareRoot() / Double.pi) * log(expm1(-wanted))
    for _ in 0..<100 {
      let below = logBelow(place)
      let step = (below - wanted) * exp(below + 0.5 * place * place + logRootTwoPi)
      place -= step
      if abs(step) < 1e-8 * abs(place) { break }
    }
    return isUpper ? -place : place
  }

  private static func logSum(_ a: Double, _ b: Double) -> Double {
    let (large, small) = (max(a, b), min(a, b))
    return large == -.infinity ? large : large + log1p(exp(small - large))
  }

  private static func logDifference(_ a: Double, _ b: Double) -> Double { a + log1p(-exp(b - a)) }
}
