#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Whether two shares of failures differ by more than chance: the two-proportion z-test with the pooled
/// share, two-sided.
/// Source: NIST/SEMATECH e-Handbook of Statistical Methods, section 7.3.3.
public struct TwoProportionTest: Sendable, Equatable {
  /// In standard errors; positive where the first share is the larger one.
  public let z: Double
  /// How often chance alone makes a difference as large.
  public let pValue: Double

  /// - Returns: nil where there is too little to tell: fewer than five failures or successes are to be
  ///   expected on one side, so that the normal distribution does not fit.
  public init?(failures a: UInt64, of n: UInt64, against b: UInt64, of m: UInt64) {
    guard n > 0, m > 0, a <= n, b <= m else { return nil }
    let (sizeA, sizeB) = (Double(n), Double(m))
    let pooled = (Double(a) + Double(b)) / (sizeA + sizeB)
    let rarest = min(pooled, 1 - pooled) * min(sizeA, sizeB)
    guard rarest >= 5 else { return nil }
    let error = (pooled * (1 - pooled) * (1 / sizeA + 1 / sizeB)).squareRoot()
    z = (Double(a) / sizeA - Double(b) / sizeB) / error
    pValue = erfc(abs(z) / 2.0.squareRoot())
  }
}
