internal import Glibc
internal import NeedletailCore

/// A challenger and the baseline of an experiment, compared: a state machine without I/O.
///
/// Scores of both arms are put together in blocks, in the order in which they come. How many of each make a block follows
/// from the shares alone. Where one arm has more scores than the blocks need, its oldest are left out after a few blocks, so
/// that a block compares scores of the same time: a change of the world, which both arms see, is no difference of the arms.
/// Higher scores are better.
struct ArmPair: Codable, Equatable, Sendable {
  /// What the comparison has shown.
  enum Verdict: String, Codable, Sendable {
    /// The challenger is better by more than the minimum effect.
    case better
    /// It is better by less than that, or worse.
    case notBetter = "not_better"
  }

  let sizes: BlockSizes
  /// Difference of the means that is of interest.
  let minimumEffect: Double
  /// Probability with which each verdict may be wrong.
  let error: Double
  /// Scores that wait for the rest of their block.
  private var waiting: [Double] = []
  private var waitingBaseline: [Double] = []
  /// Nil: scores are not 0 and 1.
  private(set) var rates: RateTest?
  /// Differences of the blocks' means.
  private(set) var difference = MeanSequence()
  private(set) var verdict: Verdict?

  /// - Parameter areRates: whether every score is 0 or 1.
  init(sizes: BlockSizes, minimumEffect: Double, error: Double, areRates: Bool) {
    self.sizes = sizes
    self.minimumEffect = minimumEffect
    self.error = error
    rates = areRates ? RateTest(sizes: sizes, margin: minimumEffect) : nil
  }

  /// Whether another comparison is the same at another time.
  func isComparable(with other: ArmPair) -> Bool {
    sizes == other.sizes && minimumEffect == other.minimumEffect && error == other.error
      && rates?.sizes == other.rates?.sizes && rates?.margin == other.rates?.margin
  }

  /// Whether its figures, as they were read from the disk, can come from outcomes.
  var isConsistent: Bool {
    let blocks = difference.count
    guard (0...Limits.experimentOutcomesMax).contains(blocks),
      waiting.count <= Limits.experimentWaitingBlocksMax * sizes.challenger,
      waitingBaseline.count <= Limits.experimentWaitingBlocksMax * sizes.baseline
    else { return false }
    guard let rates else { return true }
    return rates.isConsistent(blocks: blocks) && (waiting + waitingBaseline).allSatisfy { $0 == 0 || $0 == 1 }
  }

  /// Adds an outcome's score.
  /// - Returns: the verdict, once there is one; it stays.
  /// - Complexity: O(1) amortised.
  mutating func add(_ score: Double, isChallenger: Bool) -> Verdict? {
    guard verdict == nil else { return verdict }
    if isChallenger {
      Self.append(score, to: &waiting, size: sizes.challenger)
    } else {
      Self.append(score, to: &waitingBaseline, size: sizes.baseline)
    }
    guard waiting.count >= sizes.challenger, waitingBaseline.count >= sizes.baseline else { return nil }
    let (mine, others) = (waiting.prefix(sizes.challenger), waitingBaseline.prefix(sizes.baseline))
    let (sum, otherSum) = (mine.reduce(0, +), others.reduce(0, +))
    rates?.add(challenger: Int(sum), baseline: Int(otherSum))
    difference.add(sum / Double(sizes.challenger) - otherSum / Double(sizes.baseline))
    waiting.removeFirst(sizes.challenger)
    waitingBaseline.removeFirst(sizes.baseline)
    verdict = judge()
    return verdict
  }

  private static func append(_ score: Double, to waiting: inout [Double], size: Int) {
    if waiting.count >= Limits.experimentWaitingBlocksMax * size { waiting.removeFirst() }
    waiting.append(score)
  }

  private func judge() -> Verdict? {
    if let rates {
      let needed = -log(error)
      if rates.logAbove >= needed { return .better }
      return rates.logBelow >= needed ? .notBetter : nil
    }
    guard let bounds else { return nil }
    if bounds.lower > minimumEffect { return .better }
    return bounds.upper < minimumEffect ? .notBetter : nil
  }

  /// Bounds of the difference of the means, each of which holds at all times; nil: there are too few outcomes.
  var bounds: (lower: Double, upper: Double)? {
    guard difference.count >= Limits.experimentMeanBlocksMin else { return nil }
    let margin = difference.margin(error: error)
    return (difference.mean - margin, difference.mean + margin)
  }
}
