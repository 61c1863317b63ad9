import NeedletailLoad
import Testing

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
