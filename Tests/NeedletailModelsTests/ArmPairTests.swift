import Foundation
import NeedletailCore
import Testing

@testable import NeedletailModels

/// Whole comparisons, simulated with fixed seeds and looked at after every outcome. `NEEDLETAIL_EXPERIMENTS=2000` makes
/// more of them.
@Suite("Arms of an experiment, simulated", .timeLimit(.minutes(10)))
struct ArmPairTests {
  static let runs = ProcessInfo.processInfo.environment["NEEDLETAIL_EXPERIMENTS"].flatMap { Int($0) } ?? 200
  private static let error = 0.05

  /// A kind of outcome.
  enum Kind: String, CaseIterable, Sendable {
    case rate
    /// Errors whose distribution is skewed: exponential.
    case mean
  }

  /// Counts of verdicts.
  private struct Counts {
    var better = 0
    var notBetter = 0
  }

  /// - Parameters:
  ///   - levels: rate, or mean error, of challenger and baseline.
  ///   - share: of the challenger, in per cent.
  private static func simulate(
    _ kind: Kind, _ levels: (Double, Double), share: Int, minimumEffect: Double = 0, outcomes: Int
  ) -> Counts {
    var counts = Counts()
    for run in 0..<runs {
      var random = SplitMix64(seed: UInt64(run) * 7919 + 1)
      var pair = ArmPair(
        sizes: BlockSizes(shares: (share, 100 - share), sizeMax: 100), minimumEffect: minimumEffect, error: error,
        areRates: kind == .rate)
      for _ in 0..<outcomes {
        let isChallenger = random.next() % 100 < UInt64(share)
        let level = isChallenger ? levels.0 : levels.1
        let drawn = random.unit()
        let score = kind == .rate ? (drawn < level ? 1.0 : 0) : level * log(1 - drawn)
        guard let verdict = pair.add(score, isChallenger: isChallenger) else { continue }
        if verdict == .better { counts.better += 1 } else { counts.notBetter += 1 }
        break
      }
    }
    return counts
  }

  /// Most wrong verdicts of so many runs: as the error allows, and four standard deviations of chance.
  private static var wrongMax: Int {
    Int(error * Double(runs) + 4 * (error * (1 - error) * Double(runs)).squareRoot())
  }

  @Test(arguments: Kind.allCases, [50, 10]) func equalArmsAreSeldomFoundDifferentHoweverOftenOneLooks(
    kind: Kind, share: Int
  ) {
    let counts = Self.simulate(kind, (0.8, 0.8), share: share, outcomes: 1500)
    print("equal arms, \(kind), \(share) %: \(counts.better) better, \(counts.notBetter) not, of \(Self.runs)")
    #expect(counts.better <= Self.wrongMax)
    #expect(counts.notBetter <= Self.wrongMax)
  }

  @Test(arguments: Kind.allCases) func aBetterArmIsFound(kind: Kind) {
    let levels = kind == .rate ? (0.95, 0.8) : (0.7, 1)
    let counts = Self.simulate(kind, levels, share: 50, outcomes: 1500)
    print("better arm, \(kind): \(counts.better) better, \(counts.notBetter) not, of \(Self.runs)")
    #expect(counts.better * 100 >= 90 * Self.runs)
    #expect(counts.notBetter <= Self.wrongMax)
  }

  @Test func equalArmsAreFoundNotToDifferByTheMinimumEffect() {
    let counts = Self.simulate(.rate, (0.9, 0.9), share: 50, minimumEffect: 0.1, outcomes: 1500)
    #expect(counts.notBetter * 100 >= 90 * Self.runs)
    #expect(counts.better <= Self.wrongMax)
  }

  @Test func anArmThatIsBetterByTheMinimumEffectExactlyIsDecidedEitherWayNoOftenerThanTheErrorAllows() {
    let counts = Self.simulate(.rate, (0.85, 0.75), share: 50, minimumEffect: 0.1, outcomes: 1000)
    #expect(counts.better <= Self.wrongMax)
    #expect(counts.notBetter <= Self.wrongMax)
  }

  /// One arm has more outcomes than the blocks need, and the rate of both rises from 0.55 to 0.95.
  @Test(arguments: [60, 50]) func aChangeOfTheWorldIsNoDifference(share: Int) {
    var counts = Counts()
    for run in 0..<Self.runs {
      var random = SplitMix64(seed: UInt64(run) * 7919 + 1)
      var pair = ArmPair(
        sizes: BlockSizes(shares: (share, 100 - share), sizeMax: 100), minimumEffect: 0, error: Self.error,
        areRates: true)
      for index in 0..<4000 {
        let isChallenger = random.next() % 100 < UInt64(share)
        let isRight = random.unit() < 0.55 + 0.4 * Double(index) / 4000
        // At equal shares every second outcome of the challenger is never reported.
        let isReported = share != 50 || !isChallenger || random.next() % 2 == 0
        guard isReported, let verdict = pair.add(isRight ? 1 : 0, isChallenger: isChallenger) else { continue }
        if verdict == .better { counts.better += 1 } else { counts.notBetter += 1 }
        break
      }
    }
    print("changing world, \(share) %: \(counts.better) better, \(counts.notBetter) not, of \(Self.runs)")
    #expect(counts.better <= Self.wrongMax)
    #expect(counts.notBetter <= Self.wrongMax)
  }

  @Test func scoresWaitForTheRestOfTheirBlockAndTheOldestGoFirst() {
    var pair = ArmPair(
      sizes: BlockSizes(challenger: 1, baseline: 2), minimumEffect: 0, error: 0.05, areRates: false)
    for score in 0..<2 * Limits.experimentWaitingBlocksMax + 10 { _ = pair.add(Double(score), isChallenger: false) }
    #expect(pair.difference.count == 0)
    _ = pair.add(100, isChallenger: true)
    // The first ten were left out: 10 and 11 are the oldest that wait.
    #expect(pair.difference.count == 1)
    #expect(pair.difference.mean == 100 - 10.5)
    #expect(pair.bounds == nil)
  }
}
