internal import Glibc

/// Sequential test of the difference of two rates: how much the outcomes so far say against "the challenger's rate exceeds
/// the baseline's by no more than the margin", and against "by no less than the margin". One may look after every block.
///
/// Outcomes come in blocks of fixed sizes. After each, an e-value of the block is multiplied: the likelihood of the block
/// by rates that were estimated from earlier blocks, over its likelihood by the nearest rates (in the sense of Kullback and
/// Leibler, weighed by the sizes) whose difference is the margin. Under the claim that is tested, the expectation of the
/// product is at most 1 at any time one chooses to stop, so by Ville's inequality it ever reaches 1 / error with at most
/// that probability. Where the estimates themselves agree with the claim, the
/// block's e-value is 1.
///
/// Source: R. Turner, A. Ly, P. Grünwald, Generic E-variables for exact sequential k-sample tests that allow for optional
/// stopping, 2024 (margin 0); R. Turner, P. Grünwald, Exact anytime-valid confidence intervals for contingency tables and
/// beyond, 2023 (other margins). Priors as in the authors' R package safestats.
struct RateTest: Codable, Equatable, Sendable {
  /// Successes and failures of one arm in the blocks so far.
  struct Counts: Codable, Equatable, Sendable {
    var successes = 0
    var failures = 0

    /// Whether they are those of so many outcomes.
    func areOf(_ outcomes: Int) -> Bool { (0...outcomes).contains(successes) && failures == outcomes - successes }
  }

  /// Outcomes of each arm in one block.
  let sizes: BlockSizes
  /// Difference that is tested, from −1 to 1.
  let margin: Double
  private(set) var challenger = Counts()
  private(set) var baseline = Counts()
  /// Logarithm of the e-value against "no more than the margin".
  private(set) var logAbove = 0.0
  /// Logarithm of the e-value against "no less than the margin".
  private(set) var logBelow = 0.0

  /// Weight of the prior of each rate: the parameters of Beta(0.18, 0.18) have the least regret for blocks of one and one.
  private static let prior = 0.18

  init(sizes: BlockSizes, margin: Double) {
    self.sizes = sizes
    self.margin = margin
  }

  /// Adds one block.
  /// - Parameters:
  ///   - challenger: successes among ``BlockSizes/challenger`` outcomes.
  ///   - baseline: successes among ``BlockSizes/baseline`` outcomes.
  /// - Complexity: O(1).
  mutating func add(challenger successes: Int, baseline others: Int) {
    let estimate = (
      Self.rate(self.challenger, size: sizes.challenger), Self.rate(self.baseline, size: sizes.baseline)
    )
    let difference = estimate.0 - estimate.1
    if difference != margin {
      let nearest = Self.nearest(to: estimate, margin: margin, sizes)
      let ratio =
        Self.logRatio(estimate.0, nearest.0, successes, of: sizes.challenger)
        + Self.logRatio(estimate.1, nearest.1, others, of: sizes.baseline)
      if difference > margin { logAbove += ratio } else { logBelow += ratio }
    }
    self.challenger.successes += successes
    self.challenger.failures += sizes.challenger - successes
    self.baseline.successes += others
    self.baseline.failures += sizes.baseline - others
  }

  /// Whether its counts can be those of a number of blocks, which is 0 or more.
  func isConsistent(blocks: Int) -> Bool {
    challenger.areOf(blocks * sizes.challenger) && baseline.areOf(blocks * sizes.baseline)
  }

  /// E-value against "no more than the margin", at most 10³⁰⁰.
  var better: Double { exp(min(logAbove, 690)) }
  /// E-value against "no less than the margin", at most 10³⁰⁰.
  var notBetter: Double { exp(min(logBelow, 690)) }

  private static func rate(_ counts: Counts, size: Int) -> Double {
    let prior = prior * Double(size)
    return (Double(counts.successes) + prior) / (Double(counts.successes + counts.failures) + 2 * prior)
  }

  /// Logarithm of the likelihood of some outcomes at one rate over that at another.
  private static func logRatio(_ rate: Double, _ other: Double, _ successes: Int, of count: Int) -> Double {
    var sum = 0.0
    if successes > 0 { sum += Double(successes) * log(rate / other) }
    if successes < count { sum += Double(count - successes) * log((1 - rate) / (1 - other)) }
    return sum
  }

  /// The rates of which one exceeds the other by the margin that are nearest to the estimated ones.
  ///
  /// The divergence is convex along the line, so the root of its derivative is found by halving.
  static func nearest(
    to rates: (Double, Double), margin: Double, _ sizes: BlockSizes
  ) -> (challenger: Double, baseline: Double) {
    let (challenger, baseline) = (Double(sizes.challenger), Double(sizes.baseline))
    if margin == 0 {
      let pooled = (challenger * rates.0 + baseline * rates.1) / (challenger + baseline)
      return (pooled, pooled)
    }
    var (low, high) = (max(0, -margin), min(1, 1 - margin))
    for _ in 0..<60 {
      let middle = 0.5 * (low + high)
      let other = middle + margin
      guard middle > low, middle < high, middle > 0, middle < 1, other > 0, other < 1 else { break }
      let slope =
        challenger * (other - rates.0) / (other * (1 - other)) + baseline * (middle - rates.1) / (middle * (1 - middle))
      if slope > 0 { high = middle } else { low = middle }
    }
    let middle = 0.5 * (low + high)
    return (middle + margin, middle)
  }
}

/// Outcomes of each arm in one block of a comparison.
struct BlockSizes: Codable, Equatable, Sendable {
  var challenger: Int
  var baseline: Int

  init(challenger: Int, baseline: Int) {
    self.challenger = challenger
    self.baseline = baseline
  }

  /// Sizes in the proportion of two shares, as far as whole numbers go: one of them is 1.
  /// - Parameter sizeMax: the largest size.
  init(shares: (challenger: Int, baseline: Int), sizeMax: Int) {
    func parts(_ large: Int, _ small: Int) -> Int {
      min(sizeMax, max(1, Int((Double(large) / Double(max(1, small))).rounded())))
    }
    if shares.challenger >= shares.baseline {
      self.init(challenger: parts(shares.challenger, shares.baseline), baseline: 1)
    } else {
      self.init(challenger: 1, baseline: parts(shares.baseline, shares.challenger))
    }
  }
}
