import Glibc
import NeedletailCore
import Testing

@testable import NeedletailModels

/// E-values of two rates. Expected figures come from a plain loop in Python over the formula of Turner, Ly and Grünwald,
/// whose nearest rates a golden-section search of the divergence itself finds.
@Suite("Sequential test of two rates")
struct RateTestTests {
  struct Case: Sendable {
    var sizes: (Int, Int)
    var margin: Double
    /// Successes in each block, one digit each.
    var challenger, baseline: String
    var logAbove, logBelow: Double
  }

  static let cases = [
    Case(
      sizes: (1, 1), margin: 0, challenger: "111101111110111011011011011111111110111111111110111111111111",
      baseline: "110010111010001000000001110111110100110100101111000011110010", logAbove: 6.845419617771842, logBelow: 0
    ),
    Case(
      sizes: (1, 3), margin: 0, challenger: "0001100110011001100100001000000000000110",
      baseline: "3112112132231313223222133223113222221212", logAbove: 0, logBelow: 3.5307195332633774),
    Case(
      sizes: (1, 1), margin: 0.1, challenger: "010011101100111001011111011110110101111101001110110111101011",
      baseline: "100100101100010001010110101100000010100110010011110111100011", logAbove: -0.047780496173524326,
      logBelow: -3.3956299115834954),
    Case(
      sizes: (2, 1), margin: 0.05, challenger: "0112010021210202010121110220111012102021",
      baseline: "0111100010000000010110010110111101011001", logAbove: -0.2587395473318426,
      logBelow: -0.9308928070437058),
  ]

  @Test(arguments: cases.indices) func evidenceIsThatOfAPlainLoop(index: Int) {
    let this = Self.cases[index]
    var test = RateTest(
      sizes: BlockSizes(challenger: this.sizes.0, baseline: this.sizes.1), margin: this.margin)
    for (mine, other) in zip(this.challenger, this.baseline) {
      test.add(challenger: mine.wholeNumberValue ?? 0, baseline: other.wholeNumberValue ?? 0)
    }
    #expect(abs(test.logAbove - this.logAbove) < 1e-7, "\(test.logAbove)")
    #expect(abs(test.logBelow - this.logBelow) < 1e-7, "\(test.logBelow)")
  }

  /// What makes the test valid, computed without chance: whatever came before, the next block's factor has an expectation
  /// of at most 1 under every pair of rates of the claim.
  @Test(arguments: [(1, 1), (1, 3), (2, 1)], [0.0, 0.1]) func noBlockIsExpectedToGainUnderTheClaim(
    sizes: (Int, Int), margin: Double
  ) {
    let blocks = BlockSizes(challenger: sizes.0, baseline: sizes.1)
    var random = SplitMix64(seed: 5)
    var checked = 0
    for _ in 0..<40 {
      var before = RateTest(sizes: blocks, margin: margin)
      for _ in 0..<Int.random(in: 0...12, using: &random) {
        before.add(
          challenger: Int.random(in: 0...sizes.0, using: &random), baseline: Int.random(in: 0...sizes.1, using: &random)
        )
      }
      for mine in stride(from: 0.05, through: 0.95, by: 0.15) {
        for other in stride(from: 0.05, through: 0.95, by: 0.15) {
          var (above, below) = (0.0, 0.0)
          for a in 0...sizes.0 {
            for b in 0...sizes.1 {
              var after = before
              after.add(challenger: a, baseline: b)
              let chance = Self.binomial(sizes.0, a, mine) * Self.binomial(sizes.1, b, other)
              above += chance * exp(after.logAbove - before.logAbove)
              below += chance * exp(after.logBelow - before.logBelow)
            }
          }
          if mine - other <= margin { #expect(above <= 1 + 1e-9, "\(mine) \(other)") }
          if mine - other >= margin { #expect(below <= 1 + 1e-9, "\(mine) \(other)") }
          checked += 1
        }
      }
    }
    #expect(checked == 40 * 49)
  }

  private static func binomial(_ count: Int, _ successes: Int, _ rate: Double) -> Double {
    var ways = 1.0
    for step in 0..<successes { ways *= Double(count - step) / Double(step + 1) }
    return ways * pow(rate, Double(successes)) * pow(1 - rate, Double(count - successes))
  }

  @Test func blocksHaveTheProportionOfTheShares() {
    func sizes(_ challenger: Int, _ baseline: Int) -> [Int] {
      let sizes = BlockSizes(shares: (challenger, baseline), sizeMax: 100)
      return [sizes.challenger, sizes.baseline]
    }
    #expect(sizes(5000, 5000) == [1, 1])
    #expect(sizes(500, 9500) == [1, 19])
    #expect(sizes(7000, 3000) == [2, 1])
    #expect(sizes(1, 9999) == [1, 100])
  }
}

@Suite("Asymptotic confidence sequence")
struct MeanSequenceTests {
  /// Figures of numpy for the same values and the formula of Waudby-Smith et al., one-sided.
  @Test(arguments: [
    (100, 0.05, 0.49998527969571177, 0.30841905812833903), (500, 0.05, 0.4984837086743062, 0.1121960465673387),
    (2000, 0.01, 0.49996566926380115, 0.06779295616078053),
  ])
  func meanAndMarginAreThoseOfNumpy(count: Int, error: Double, mean: Double, margin: Double) {
    var sequence = MeanSequence()
    for index in 1...count {
      let part = (Double(index) * 0.6180339887498949).truncatingRemainder(dividingBy: 1)
      sequence.add(part * part * 3 - 0.5)
    }
    #expect(abs(sequence.mean - mean) < 1e-12)
    #expect(abs(sequence.margin(error: error) - margin) < 1e-12)
  }

  @Test func oneValueBoundsNothing() {
    var sequence = MeanSequence()
    #expect(sequence.margin(error: 0.05) == .infinity)
    sequence.add(3)
    #expect(sequence.margin(error: 0.05) == .infinity)
  }
}
