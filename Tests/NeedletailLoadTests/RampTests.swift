import NeedletailWire
import Testing

@testable import NeedletailLoad

@Suite struct RampTests {
  /// What a server that serves `capacity` requests a second would show.
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
