import NeedletailCore
import Testing

@testable import NeedletailModels

@Suite("Rollout guard")
struct RolloutGuardTests {
  /// Counters that a test moves, and a clock.
  private struct Bench {
    var watch = RolloutGuard()
    var now = Instant(nanoseconds: 1_000_000_000)
    var counts: [VersionKey: VersionCounts] = [stable: .init(), canary: .init()]
    var limits: GuardLimits

    static let stable = VersionKey(try! ModelID("m"), ModelVersion(3)!)
    static let canary = VersionKey(try! ModelID("m"), ModelVersion(4)!)

    mutating func traffic(
      _ key: VersionKey, requests: UInt64, failures: UInt64 = 0, mistakes: UInt64 = 0, nonFinite: UInt64 = 0,
      microseconds: Double = 10
    ) {
      var counts = counts[key]!
      counts.requests += requests + mistakes
      counts.failures += failures + mistakes
      counts.faults += failures
      counts.numbers += requests * 10
      counts.nonFinite += nonFinite
      counts.computed += requests
      counts.computeMicroseconds += Double(requests) * microseconds
      self.counts[key] = counts
    }

    mutating func look(after milliseconds: UInt64 = 100) -> RolloutGuard.Verdict? {
      now = now.advanced(byMicroseconds: milliseconds * 1000)
      return watch.look(
        [.init(key: Self.canary, baseline: ModelVersion(3)!, limits: limits)], counts, now: now
      ).first
    }
  }

  private let limits = GuardLimits(
    errorRate: 0.05, nanRate: 0.01, latencyRatio: 2, windowMilliseconds: 1000, minRequests: 100)

  @Test func aVersionWithinItsLimitsKeepsItsTraffic() {
    var bench = Bench(limits: limits)
    for _ in 0..<100 {
      bench.traffic(Bench.stable, requests: 95)
      bench.traffic(Bench.canary, requests: 50, failures: 2, nonFinite: 4, microseconds: 19)
      #expect(bench.look() == nil)
    }
  }

  @Test func eachLimitIsNamedWithWhatWasFound() {
    for (failures, nonFinite, microseconds, cause, text) in [
      (10, 0, 10, .guardErrors, "error_rate: expected at most 0.05 above the 0.0 of version 3, found 0.1"),
      (0, 20, 10, .guardNaN, "nan_rate: expected at most 0.01, found 0.02"),
      (0, 0, 25, .guardLatency, "latency_ratio: expected at most 2.0 to version 3, found 2.5"),
    ] as [(UInt64, UInt64, Double, QuarantineCause, String)] {
      var bench = Bench(limits: limits)
      #expect(bench.look() == nil)
      bench.traffic(Bench.stable, requests: 900)
      bench.traffic(
        Bench.canary, requests: 100, failures: failures, nonFinite: nonFinite, microseconds: microseconds)
      let verdict = bench.look()
      #expect(verdict?.cause == cause)
      #expect(verdict?.reason == text + " in 100 requests")
      #expect(verdict?.key == Bench.canary)
    }
  }

  @Test func tooFewRequestsAreNotJudged() {
    var bench = Bench(limits: limits)
    #expect(bench.look() == nil)
    bench.traffic(Bench.canary, requests: 99, failures: 99, nonFinite: 990)
    #expect(bench.look() == nil)
    bench.traffic(Bench.canary, requests: 1)
    #expect(bench.look()?.cause == .guardNaN)
  }

  @Test func requestsBeforeTheWindowAreForgotten() {
    var bench = Bench(limits: limits)
    #expect(bench.look() == nil)
    bench.traffic(Bench.canary, requests: 99, failures: 50)
    #expect(bench.look() == nil)
    for _ in 0..<20 { #expect(bench.look() == nil) }
    bench.traffic(Bench.canary, requests: 200)
    #expect(bench.look() == nil)
  }

  @Test func errorsThatTheStableVersionSharesDoNotCount() {
    var bench = Bench(limits: limits)
    #expect(bench.look() == nil)
    bench.traffic(Bench.stable, requests: 1000, failures: 300)
    bench.traffic(Bench.canary, requests: 100, failures: 33)
    #expect(bench.look() == nil)
    bench.traffic(Bench.canary, requests: 100, failures: 50)
    #expect(bench.look()?.cause == .guardErrors)
  }

  @Test func aVersionWithoutTrafficIsRememberedAsItWas() {
    var bench = Bench(limits: limits)
    #expect(bench.look() == nil)
    bench.traffic(Bench.stable, requests: 1000, microseconds: 10)
    // Hours later the canary has it all.
    for _ in 0..<50 { #expect(bench.look(after: 3_600_000 / 50) == nil) }
    bench.traffic(Bench.canary, requests: 100, microseconds: 30)
    #expect(bench.look()?.cause == .guardLatency)
  }

  /// A client that pins the label could otherwise have the canary rolled back by sending bad input.
  @Test func whatCallersCauseNeitherAddsToTheFaultsNorDilutesThem() {
    var bench = Bench(limits: limits)
    #expect(bench.look() == nil)
    bench.traffic(Bench.stable, requests: 1000)
    bench.traffic(Bench.canary, requests: 99, failures: 9, mistakes: 100_000)
    #expect(bench.look() == nil, "99 that can be judged are too few")
    bench.traffic(Bench.canary, requests: 1, mistakes: 100_000)
    let verdict = bench.look()
    #expect(verdict?.cause == .guardErrors)
    #expect(
      verdict?.reason
        == "error_rate: expected at most 0.05 above the 0.0 of version 3, found 0.09 in 100 requests")
  }

  /// A version that is let go and loaded again between two looks counts from 0: 18 quintillion requests, all of them NaN.
  @Test func countersThatGoBackwardsBeginAnew() {
    var bench = Bench(limits: limits)
    bench.traffic(Bench.stable, requests: 5000)
    bench.traffic(Bench.canary, requests: 5000, failures: 200, nonFinite: 400)
    #expect(bench.look() == nil)
    bench.counts[Bench.canary] = .init()
    bench.traffic(Bench.canary, requests: 10)
    #expect(bench.look() == nil)
    bench.traffic(Bench.canary, requests: 200)
    #expect(bench.look() == nil)
    bench.traffic(Bench.canary, requests: 200, failures: 100)
    #expect(bench.look()?.cause == .guardErrors, "and are judged again")
  }

  @Test func withoutAnythingToCompareWithLatencyIsNotJudged() {
    var bench = Bench(limits: limits)
    #expect(bench.look() == nil)
    bench.traffic(Bench.canary, requests: 1000, microseconds: 5000)
    #expect(bench.look() == nil)
  }

  @Test func aLongWindowKeepsFewReadings() {
    var bench = Bench(
      limits: GuardLimits(errorRate: 0.05, windowMilliseconds: 60_000, minRequests: 100))
    #expect(bench.look() == nil)
    // 1 % of errors for an hour, then 20 %: found although the window began long before.
    for _ in 0..<3600 {
      bench.traffic(Bench.canary, requests: 100, failures: 1)
      #expect(bench.look(after: 1000) == nil)
    }
    var seconds = 0
    repeat {
      bench.traffic(Bench.canary, requests: 100, failures: 20)
      seconds += 1
    } while bench.look(after: 1000) == nil && seconds < 120
    // 0.05 of 60 s: after (0.05 − 0.01) / (0.2 − 0.01) of the window, 13 s.
    #expect((11...16).contains(seconds), "\(seconds)")
  }
}
