import NeedletailCore
import Testing

@testable import NeedletailModels

@Suite("Plan cost")
struct PlanCostTests {
  private let cost = PlanCost([
    .init(rows: 1, nanoseconds: 1000), .init(rows: 2, nanoseconds: 900), .init(rows: 101, nanoseconds: 51_000),
  ])

  @Test func theCostIsLinearBetweenOneRowAndTheLargestBatch() {
    #expect(cost.nanoseconds(rows: 0) == 1000)
    #expect(cost.nanoseconds(rows: 1) == 1000)
    #expect(cost.nanoseconds(rows: 51) == 26_000)
    #expect(cost.nanoseconds(rows: 101) == 51_000)
  }

  @Test func theCostCountsWholeBatchesBeyondTheLargest() {
    #expect(cost.nanoseconds(rows: 202) == 102_000)
  }

  @Test func theCostIsZeroIfNothingWasMeasured() {
    #expect(PlanCost.unknown.nanoseconds(rows: 4096) == 0)
  }

  // MARK: correction

  /// The scale, in 1/64, after some runs.
  private func scale(_ runs: [(estimated: UInt64, measured: UInt64)]) -> UInt32 {
    let scale = CostScale()
    var window = CostScale.Window()
    for run in runs { window.add(estimated: run.estimated, measured: run.measured, to: scale) }
    return scale.sixtyFourths
  }

  @Test func theFastestOfThirtyTwoRunsCorrectsTheCost() {
    let runs = (0..<32).map { (estimated: UInt64(1_000_000), measured: UInt64($0 == 7 ? 100_000 : 900_000)) }
    #expect(scale(Array(runs.dropLast())) == 64, "not before the window is full")
    #expect(scale(runs) == 6, "a tenth")
    #expect(scale(runs.map { ($0.estimated, $0.measured * 100) }) == 640)
  }

  @Test func anEstimateIsMultipliedByTheCorrectionAndNotRoundedToWholeTimes() {
    func corrected(measured: UInt64) -> UInt64 {
      let scale = CostScale()
      var window = CostScale.Window()
      for _ in 0..<32 { window.add(estimated: 1_000_000, measured: measured, to: scale) }
      return scale.corrected(64_000)
    }
    #expect(CostScale().corrected(64_000) == 64_000)
    #expect(corrected(measured: 500_000) == 32_000)
    #expect(corrected(measured: 1_500_000) == 96_000)
  }

  @Test func aCorrectionWithinAQuarterIsNone() {
    #expect(scale(.init(repeating: (1_000_000, 1_200_000), count: 100)) == 64)
    #expect(scale(.init(repeating: (1_000_000, 800_000), count: 100)) == 64)
  }

  @Test func shortRunsAreComparedOnlyIfAllOfThemTakeLong() {
    let (short, long) = (
      (estimated: UInt64(2_000), measured: UInt64(6_000)), (estimated: UInt64(2_000), measured: UInt64(400_000))
    )
    #expect(scale(.init(repeating: short, count: 100)) == 64, "caches and the clock")
    #expect(scale(.init(repeating: long, count: 32)) == 12_800)
    #expect(scale(.init(repeating: long, count: 20) + [short] + .init(repeating: long, count: 20)) == 64, "other work")
  }

  @Test func whatWasNotMeasuredCorrectsNothing() {
    #expect(scale(.init(repeating: (0, 1_000_000), count: 100)) == 64)
    #expect(scale(.init(repeating: (1_000_000, 0), count: 100)) == 64)
    #expect(scale(.init(repeating: (1, .max), count: 32)) == 64 << 10, "bounded")
  }

  @Test func theCostNeverFallsWithMoreRows() {
    let cost = PlanCost([.init(rows: 1, nanoseconds: 500), .init(rows: 4, nanoseconds: 400)])
    #expect(cost.nanoseconds(rows: 2) == 500)
    #expect(cost.nanoseconds(rows: 4) == 500)
  }

  @Test func theCostOfAPlanOfOneRowDoesNotTrap() {
    let cost = PlanCost([.init(rows: 1, nanoseconds: 500)])
    #expect(cost.nanoseconds(rows: 3) == 1500)
  }
}

/// A clock that stands until it is moved.
@Suite("When kernels are timed again")
struct ChoiceWatchTests {
  private func second(_ seconds: Double) -> Instant { Instant(nanoseconds: UInt64(seconds * 1e9)) }

  /// Which of some looks, in turn, find that it is time.
  private func looks(from start: Double, _ looks: [(ratio: Double, at: Double)]) -> [Bool] {
    var watch = ChoiceWatch(now: second(start))
    return looks.map { watch.isDue(ratio: $0.ratio, now: second($0.at)) }
  }

  @Test func runsThatTakeMoreThanTwiceOrLessThanHalfTheTimeContradictTheChoice() {
    for (ratio, isDue) in [
      (1.0, false), (1.9, false), (0.55, false), (2.1, true), (0.45, true), (30, true), (0, false),
    ] {
      #expect(looks(from: 100, [(ratio, 111)]) == [isDue], "\(ratio)")
    }
  }

  @Test func aContradictionIsActedOnOnce() {
    // 5.9 is not twice the 3 that were known by then.
    #expect(looks(from: 0, [(3, 20), (3, 5000), (5.9, 6000), (6.1, 7000)]) == [true, false, false, true])
  }

  @Test func theFirstSecondsOfAVersionSayLittle() {
    #expect(looks(from: 50, [(3, 59), (3, 61)]) == [false, true])
  }

  @Test func aMachineThatChangesItsSpeedAllTheTimeIsTimedLessAndLess() {
    var watch = ChoiceWatch(now: second(0))
    var times: [Int] = []
    for now in 0..<100_000 where watch.isDue(ratio: times.count % 2 == 0 ? 3 : 1, now: second(Double(now))) {
      times.append(now)
    }
    #expect(times.prefix(6) == [10, 20, 40, 80, 160, 320])
    #expect(zip(times, times.dropFirst()).allSatisfy { $1 - $0 <= 3600 })
    #expect(times.count < 45)
  }
}
