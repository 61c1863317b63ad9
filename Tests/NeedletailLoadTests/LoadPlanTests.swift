import NeedletailWire
import Testing

@testable import NeedletailLoad

@Suite struct ScheduleTests {
  private static func times(_ schedule: ArrivalSchedule, _ count: Int) -> [UInt64] {
    var schedule = schedule
    return (0..<count).map { _ in
      defer { schedule.advance() }
      return schedule.nextNanoseconds
    }
  }

  @Test func constantArrivalsKeepEqualGaps() {
    let schedule = ArrivalSchedule(ratePerSecond: 1000, arrivals: .constant, startNanoseconds: 5, seed: 1)
    #expect(Self.times(schedule, 4) == [5, 1_000_005, 2_000_005, 3_000_005])
  }

  @Test func phaseStaggersSchedulesOfSeveralThreads() {
    let schedule = ArrivalSchedule(
      ratePerSecond: 1000, arrivals: .constant, startNanoseconds: 0, phase: 0.25, seed: 1)
    #expect(Self.times(schedule, 2) == [250_000, 1_250_000])
  }

  @Test func constantArrivalsDoNotDriftOverALongRun() {
    let schedule = ArrivalSchedule(ratePerSecond: 30_000, arrivals: .constant, startNanoseconds: 0, seed: 1)
    let last = Self.times(schedule, 300_001).last ?? 0
    #expect(abs(Int64(last) - 10_000_000_000) < 10)
  }

  @Test func poissonArrivalsHaveTheRateAndTheSpreadOfExponentialGaps() {
    let schedule = ArrivalSchedule(ratePerSecond: 10_000, arrivals: .poisson, startNanoseconds: 0, seed: 7)
    let times = Self.times(schedule, 100_000)
    let gaps = zip(times.dropFirst(), times).map { Double($0 - $1) }
    let mean = gaps.reduce(0, +) / Double(gaps.count)
    let variance = gaps.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(gaps.count)
    #expect(abs(mean / 100_000 - 1) < 0.02)
    // Mean and standard deviation of an exponential distribution are equal.
    #expect(abs(variance.squareRoot() / mean - 1) < 0.02)
  }

  @Test func aSeedRepeatsASchedule() {
    func schedule(_ seed: UInt64) -> ArrivalSchedule {
      ArrivalSchedule(ratePerSecond: 10, arrivals: .poisson, startNanoseconds: 0, seed: seed)
    }
    #expect(Self.times(schedule(3), 50) == Self.times(schedule(3), 50))
    #expect(Self.times(schedule(3), 50) != Self.times(schedule(4), 50))
  }

  @Test func dueRequestsThatWereNotSentAreCounted() {
    let schedule = ArrivalSchedule(ratePerSecond: 1000, arrivals: .constant, startNanoseconds: 0, seed: 1)
    #expect(schedule.expectedCount(before: 0) == 0)
    #expect(schedule.expectedCount(before: 5_000_000) == 5)
  }

  @Test func aMixKeepsItsWeightsAndSpreadsThem() {
    #expect(ModelMix(weights: [1]).sequence == [0])
    #expect(ModelMix(weights: [3, 1]).sequence == [0, 0, 1, 0])
    #expect(ModelMix(weights: [1, 1]).sequence == [0, 1])
  }

  @Test func aMixOfHugeWeightsStaysShortAndKeepsEveryModel() {
    let sequence = ModelMix(weights: [1000, 1000, 1]).sequence
    #expect(sequence.count <= 1001)
    #expect(Set(sequence) == [0, 1, 2])
  }
}

@Suite struct RampTests {
  /// Report of a server that serves `capacity` requests a second.
  private static func report(rate: Double, capacity: Double, p99: UInt64, lag: UInt64 = 1000) -> LoadReport {
    var plan = LoadPlan(
      target: .unix(path: ""), pacing: .open(ratePerSecond: rate, arrivals: .constant), frames: RequestFrames(),
      mix: ModelMix(weights: [1]), names: ["m"])
    plan.duration = .seconds(1)
    var statistics = LoadStatistics()
    statistics.sent = UInt64(rate)
    statistics.good = UInt64(min(rate, capacity))
    statistics.answered = statistics.good
    for _ in 0..<100 {
      statistics.recordLatency(nanoseconds: p99)
      statistics.recordLag(nanoseconds: lag)
    }
    return LoadReport(plan, statistics)
  }

  private static func run(_ ramp: Ramp, _ show: (Double) -> LoadReport) -> Ramp {
    var ramp = ramp
    while let rate = ramp.nextRate { _ = ramp.record(show(rate)) }
    return ramp
  }

  @Test func findsTheRateWhereGoodputGivesWay() throws {
    let ramp = Self.run(Ramp(startingAt: 1000)) { Self.report(rate: $0, capacity: 37_000, p99: 50_000) }
    let (knee, limit) = try (#require(ramp.knee), #require(ramp.limit))
    #expect(knee.rate < 37_400)
    #expect(limit.rate >= 37_000)
    #expect(limit.verdict == .goodput)
    #expect(limit.rate / knee.rate < 1.15)
    #expect(ramp.steps.count < 12)
  }

  @Test func findsTheRateWhereLatencyExceedsTheLimit() {
    let ramp = Self.run(Ramp(startingAt: 100, p99LimitMicroseconds: 2000)) {
      Self.report(rate: $0, capacity: 1e9, p99: $0 > 900 ? 3_000_000 : 100_000)
    }
    #expect(ramp.limit?.verdict == .latency)
    #expect((ramp.knee?.rate ?? 0) > 750 && (ramp.knee?.rate ?? 0) <= 900)
  }

  @Test func withoutALimitTenTimesTheFirstStepIsTooSlow() {
    var ramp = Ramp(startingAt: 100)
    #expect(ramp.record(Self.report(rate: 100, capacity: 1e9, p99: 500_000)) == .holds)
    #expect(abs((ramp.p99LimitMicroseconds ?? 0) - 5000) < 10)
  }

  @Test func blamesTheGeneratorWhereItsOwnLagIsTheLatency() {
    var ramp = Ramp(startingAt: 100, p99LimitMicroseconds: 1000)
    let verdict = ramp.record(Self.report(rate: 100, capacity: 1e9, p99: 5_000_000, lag: 4_000_000))
    #expect(verdict == .generator)
  }

  @Test func endsWhereTheFirstRateDoesNotHold() {
    let ramp = Self.run(Ramp(startingAt: 1000)) { Self.report(rate: $0, capacity: 10, p99: 1000) }
    #expect(ramp.steps.count == 1)
    #expect(ramp.knee == nil)
  }

  @Test func endsAgainstAServerWithoutALimit() {
    let ramp = Self.run(Ramp(startingAt: 1e6)) { Self.report(rate: $0, capacity: 1e12, p99: 1000) }
    #expect(ramp.limit == nil)
    #expect(ramp.knee != nil)
  }
}
