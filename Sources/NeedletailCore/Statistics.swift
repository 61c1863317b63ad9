internal import Glibc

/// A generator of random numbers that a seed repeats, on every machine and in every release. Swift's own has no seed.
///
/// It is for schedules, test data and seeds of other generators; not for keys, because its numbers can be foreseen.
///
/// Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014);
/// https://prng.di.unimi.it/splitmix64.c
public struct SplitMix64: RandomNumberGenerator, Sendable {
  private var state: UInt64

  public init(seed: UInt64) { state = seed }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    return Self.mix(state)
  }

  /// A floating-point number from 0 up to but not including 1, with 53 random bits.
  public mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }

  /// The generator's finaliser: a hash of 64 bits whose every bit depends on all bits of `value`.
  public static func mix(_ value: UInt64) -> UInt64 {
    var z = value
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

/// A test whether two shares of failures differ by more than chance: the two-sided z-test of two proportions with the
/// pooled share.
///
/// Source: NIST/SEMATECH e-Handbook of Statistical Methods, section 7.3.3.
public struct TwoProportionTest: Sendable, Equatable {
  /// Difference of the shares in standard errors; positive where the first share is the larger one.
  public let z: Double
  /// Probability that chance alone makes a difference as large, from 0 to 1.
  public let pValue: Double

  /// Compares `a` failures of `n` calls with `b` failures of `m` calls.
  ///
  /// - Returns: nil where fewer than five failures or successes are to be expected on one side, so that the normal
  ///   distribution does not fit.
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
