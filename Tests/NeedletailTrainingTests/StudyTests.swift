import Glibc
import Testing

@testable import NeedletailTraining

@Suite struct StudyTests {
  /// A rate, two counts and a choice that decides whether the second count exists.
  static let space = SearchSpace([
    .init("rate", .real(1e-4...1, isLogarithmic: true)),
    .init("depth", .whole(1...12, isLogarithmic: false)),
    .init("kind", .choice(3)),
    .init("width", .whole(4...512, isLogarithmic: true), when: .init(dimension: 2, choices: [1])),
  ])

  static func loss(_ point: SearchSpace.Point) -> Double {
    let rate = (point[0] ?? 0) - 0.01
    let depth = (point[1] ?? 0) - 5
    return rate * rate * 1e4 + depth * depth + abs((point[2] ?? 0) - 1) + (point[3] ?? 40) / 100
  }

  func run(_ trials: Int, seed: UInt64 = 7, sampler: Study.Sampler = .tpe, from known: [Study.Trial] = []) -> Study {
    var study = Study(arms: [.init(name: "only", space: Self.space)], seed: seed, sampler: sampler)
    for trial in known { study.take(trial) }
    while study.trials.count < trials {
      let trial = study.ask()
      study.tell(trial.number, .complete, loss: Self.loss(trial.point))
    }
    return study
  }

  @Test(arguments: Study.Sampler.allCases) func everyPointIsInsideTheSpace(sampler: Study.Sampler) {
    let study = run(60, sampler: sampler)
    #expect(study.trials.allSatisfy { Self.space.contains($0.point) })
    #expect(study.trials.contains { $0.point[3] != nil } && study.trials.contains { $0.point[3] == nil })
  }

  @Test func theSameSeedGivesTheSameTrials() {
    #expect(run(40).trials == run(40).trials)
    #expect(run(40).trials != run(40, seed: 8).trials)
  }

  @Test func aStudyThatWasSavedGoesOnAsIfNothingHadHappened() {
    let whole = run(40)
    for interruption in [1, 9, 10, 25] {
      #expect(run(40, from: Array(whole.trials.prefix(interruption))).trials == whole.trials)
    }
  }

  @Test func tpeFindsABetterPointThanRandomSearch() {
    let seeds: [UInt64] = Array(1...10)
    func median(_ sampler: Study.Sampler) -> Double {
      seeds.map { run(60, seed: $0, sampler: sampler).ranking[0].loss ?? .infinity }.sorted()[5]
    }
    #expect(median(.tpe) < median(.random))
  }

  @Test func workersAtOnceDoNotTryTheSamePoint() {
    var study = run(20)
    let points = (0..<8).map { _ in study.ask().point }
    #expect(Set(points.map { "\($0)" }).count == points.count)
  }

  @Test func theFirstTrialOfAnArmIsItsStart() {
    let start: SearchSpace.Point = [0.1, 6, 1, 64]
    var study = Study(arms: [.init(name: "only", space: Self.space, start: start)], seed: 1)
    let first = study.ask().point
    #expect(first == start)
  }

  @Test func theBestArmGetsMostTrialsAndNoArmIsGivenUp() {
    let arm = SearchSpace([.init("x", .real(0...1, isLogarithmic: false))])
    var study = Study(arms: ["a", "b", "c"].map { .init(name: $0, space: arm) }, seed: 1)
    for _ in 0..<60 {
      let trial = study.ask()
      study.tell(trial.number, .complete, loss: [2, 1, 3][trial.arm])
    }
    let counts = (0..<3).map { arm in study.trials.count { $0.arm == arm } }
    #expect(study.trials.prefix(3).map(\.arm) == [0, 1, 2])
    #expect(counts[1] > 2 * counts[0] && counts[0] > counts[2] && counts[2] >= 3)
  }

  @Test func aTrialWithoutALossHasFailedAndTeachesNothing() {
    var study = Study(arms: [.init(name: "only", space: Self.space)], seed: 1)
    for _ in 0..<12 {
      let trial = study.ask()
      study.tell(trial.number, .complete, loss: .nan)
    }
    #expect(study.trials.allSatisfy { $0.state == .failed } && study.ranking.isEmpty)
    let next = study.ask().point
    #expect(Self.space.contains(next))
  }

  // MARK: - pruner

  @Test func aTrialWorseThanTheMedianOfTheOthersAtItsStepEnds() {
    let pruner = MedianPruner(startupTrials: 5)
    let others: [[Int: Double]] = [0.1, 0.2, 0.3, 0.4, 0.5].map { [0: $0 + 1, 1: $0] }
    #expect(pruner.ends(atStep: 1, losses: [0: 2, 1: 0.31], others: others))
    #expect(!pruner.ends(atStep: 1, losses: [0: 2, 1: 0.3], others: others))
    // The best loss so far counts, not the last one.
    #expect(!pruner.ends(atStep: 1, losses: [0: 0.1, 1: 0.9], others: others))
    #expect(!pruner.ends(atStep: 2, losses: [2: 9], others: others), "no other trial came so far")
    #expect(!pruner.ends(atStep: 1, losses: [1: 9], others: Array(others.dropLast())), "four others are too few")
    #expect(pruner.ends(atStep: 1, losses: [1: .nan], others: others))
  }

  @Test func stepsThatWereNotReportedTakeTheNextLoss() {
    var study = Study(arms: [.init(name: "only", space: Self.space)], seed: 1, pruner: MedianPruner(startupTrials: 1))
    let first = study.ask()
    let isFirstPruned = study.report(first.number, step: 10, loss: 0.5)
    study.tell(first.number, .complete, loss: 0.5)
    let second = study.ask()
    let isSecondPruned = study.report(second.number, step: 4, loss: 0.6)
    let isPrunedForTheSameStep = study.report(second.number, step: 4, loss: 0.1)
    let isBetterOnePruned = study.report(second.number, step: 7, loss: 0.4)
    #expect(!isFirstPruned && isSecondPruned && !isPrunedForTheSameStep && !isBetterOnePruned)
    #expect(study.trials[1].steps == [0: 0.6, 1: 0.6, 2: 0.6, 3: 0.6, 4: 0.6, 5: 0.4, 6: 0.4, 7: 0.4])
  }

  // MARK: - parts of the trials

  @Test func completeTrialsRankBeforePrunedOnesAndTheseByTheirSteps() {
    let outcomes: [TPE.Outcome] = [
      .pruned(steps: 3, loss: 0.1), .complete(loss: 5), .running, .pruned(steps: 9, loss: 7), .complete(loss: 4),
      .pruned(steps: 0, loss: nil),
    ]
    let trials = outcomes.enumerated().map { TPE.Observation(point: [Double($0.offset)], outcome: $0.element) }
    func better(_ count: Int) -> [Double] { TPE.split(trials, better: count).better.compactMap { $0.point[0] } }
    #expect(better(1) == [4])
    #expect(better(3) == [1, 3, 4])
    #expect(better(4) == [0, 1, 3, 4])
    #expect(better(5) == [0, 1, 3, 4, 5])
  }

  @Test func quantilesOfATruncatedNormalInvertItsMassFarOutInTheTails() {
    for (low, high) in [(-1.0, 2.0), (3, 5), (-9, -7), (10, 30), (-40, -38), (-0.1, 50)] {
      let whole = TruncatedNormal.logMass(low, high)
      for share in [1e-6, 0.01, 0.5, 0.9, 0.999] {
        let place = TruncatedNormal.quantile(share, low: low, high: high)
        #expect(place >= low && place <= high)
        let found = TruncatedNormal.logMass(low, place) - whole
        #expect(abs(found - log(share)) < 1e-6 * max(1, abs(log(share))), "\(share) of \(low)…\(high)")
      }
    }
  }
}
