/// The number `significand × 10^exponent`.
struct Decimal64 {
  var significand: UInt64
  var exponent: Int

  /// The nearest Double, the even one of two as near; nil where the exponent is beyond ±27, and 5^28 beyond 64 bits.
  @inline(__always)
  var nearestDouble: Double? {
    // Clinger's fast path (1990): both factors are exact, so that there is one rounding.
    if significand <= 1 << 53, (-22...22).contains(exponent) {
      let value = Double(significand)
      return exponent < 0 ? value / Self.powersOfTen[-exponent] : value * Self.powersOfTen[exponent]
    }
    guard significand > 0, (-27...27).contains(exponent) else { return significand == 0 ? 0 : nil }
    return exponent < 0 ? exactQuotient : exactProduct
  }

  /// 64 bits of `significand / 5^-exponent`, the last of which says whether anything follows, are rounded once.
  @inline(never)
  private var exactQuotient: Double {
    let divisor = Self.powersOfFive[-exponent]
    let (up, divisorUp) = (significand.leadingZeroBitCount, divisor.leadingZeroBitCount)
    let (high, scaled) = (significand &<< UInt64(up), divisor &<< UInt64(divisorUp))
    // The quotient has its highest bit set, for both have theirs set; one too large for 64 bits is halved.
    let isHalved = high >= scaled
    let (quotient, remainder) = scaled.dividingFullWidth(isHalved ? (high >> 1, high << 63) : (high, 0))
    return Self.scaled(
      quotient | (remainder == 0 ? 0 : 1), by: divisorUp - up + exponent - (isHalved ? 63 : 64))
  }

  /// The highest 64 bits of `significand × 5^exponent`, the last of which says whether anything follows, are rounded
  /// once.
  @inline(never)
  private var exactProduct: Double {
    let (high, low) = significand.multipliedFullWidth(by: Self.powersOfFive[exponent])
    guard high > 0 else { return Self.scaled(low, by: exponent) }
    let up = high.leadingZeroBitCount
    let bits = up == 0 ? high : high &<< UInt64(up) | low &>> UInt64(64 - up)
    return Self.scaled(bits | (low &<< UInt64(up) == 0 ? 0 : 1), by: exponent + 64 - up)
  }

  /// The nearest Double to `bits × 2^exponent`, which is neither subnormal nor too large.
  private static func scaled(_ bits: UInt64, by exponent: Int) -> Double {
    Double(bits) * Double(sign: .plus, exponent: exponent, significand: 1)
  }

  private static let powersOfTen: InlineArray<23, Double> = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
    1e20, 1e21, 1e22,
  ]

  private static let powersOfFive: InlineArray<28, UInt64> = [
    1, 5, 25, 125, 625, 3125, 15_625, 78_125, 390_625, 1_953_125, 9_765_625, 48_828_125, 244_140_625, 1_220_703_125,
    6_103_515_625, 30_517_578_125, 152_587_890_625, 762_939_453_125, 3_814_697_265_625, 19_073_486_328_125,
    95_367_431_640_625, 476_837_158_203_125, 2_384_185_791_015_625, 11_920_928_955_078_125, 59_604_644_775_390_625,
    298_023_223_876_953_125, 1_490_116_119_384_765_625, 7_450_580_596_923_828_125,
  ]
}
