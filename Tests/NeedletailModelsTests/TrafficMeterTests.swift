import NeedletailCore
import NeedletailMetrics
import Testing

@testable import NeedletailModels

@Suite struct TrafficMeterTests {
  private let stable: VersionKey
  private let canary: VersionKey
  private let other: VersionKey
  private var meter = TrafficMeter(intervalsMax: 3)

  init() throws {
    let wine = try ModelID("wine")
    stable = VersionKey(wine, ModelVersion(1)!)
    canary = VersionKey(wine, ModelVersion(2)!)
    other = VersionKey(try ModelID("other"), ModelVersion(1)!)
  }

  /// - Parameter fast: answers that took up to 5 µs, `slow`: 10 s.
  private func reading(_ fast: UInt64, slow: UInt64 = 0, failed: UInt64 = 0) -> TrafficMeter.Reading {
    var buckets = [UInt64](repeating: 0, count: Histogram.secondsBuckets.count + 1)
    buckets[0] = fast
    buckets[Histogram.secondsBuckets.count - 1] = slow
    return .init(requests: fast + slow + failed, failed: failed, rows: (fast + slow) * 2, buckets: buckets)
  }

  private func second(_ number: UInt64) -> Instant { Instant(nanoseconds: number * 1_000_000_000) }

  @Test mutating func countsSinceLiveAndRatesSinceTheFirstReading() {
    meter.read([stable: reading(100)], now: second(10))
    #expect(meter.traffic[stable]?.requests == 100)
    #expect(meter.traffic[stable]?.requestsPerSecond == 0)
    meter.read([stable: reading(140, failed: 10)], now: second(15))
    let traffic = meter.traffic[stable]
    #expect(traffic?.requests == 150 && traffic?.failed == 10 && traffic?.rows == 280)
    #expect(traffic?.recentRequests == 50 && traffic?.recentFailed == 10 && traffic?.recentRows == 80)
    #expect(traffic?.windowMilliseconds == 5000 && traffic?.requestsPerSecond == 10)
  }

  @Test mutating func forgetsWhatIsOlderThanTheWindow() {
    for number in 0...5 as ClosedRange<UInt64> {
      meter.read([stable: reading(number < 2 ? number * 1000 : 1000 + number)], now: second(number))
    }
    // Seconds 3, 4 and 5 brought one call each.
    #expect(meter.traffic[stable]?.recentRequests == 3)
    #expect(meter.traffic[stable]?.windowMilliseconds == 3000)
    #expect(meter.traffic[stable]?.points.map(\.requestsPerSecond) == [1, 1, 1])
  }

  @Test mutating func quantilesAreThoseOfTheWindowNotOfTheWholeLife() {
    meter.read([stable: reading(0)], now: second(0))
    meter.read([stable: reading(0, slow: 100)], now: second(1))
    #expect(meter.traffic[stable]?.p99Microseconds ?? 0 > 5_000_000)
    for number in 2...4 as ClosedRange<UInt64> {
      meter.read([stable: reading(number * 100, slow: 100)], now: second(number))
    }
    #expect(meter.traffic[stable]?.p99Microseconds == 5)
    #expect(meter.traffic[stable]?.p50Microseconds == 3)
    #expect(meter.traffic[stable]?.points.last?.p99Microseconds == 5)
  }

  @Test mutating func anIdleVersionHasNoQuantiles() {
    for number in 0...2 as ClosedRange<UInt64> { meter.read([stable: reading(7)], now: second(number)) }
    #expect(meter.traffic[stable]?.p99Microseconds == nil)
    #expect(meter.traffic[stable]?.points == [.init(requestsPerSecond: 0), .init(requestsPerSecond: 0)])
  }

  @Test mutating func versionsOfOneModelShareItsRequests() {
    let before = [stable: reading(0), canary: reading(0), other: reading(0)]
    meter.read(before, now: second(0))
    #expect(meter.traffic.values.allSatisfy { $0.share == 0 })
    meter.read([stable: reading(95), canary: reading(4, failed: 1), other: reading(10)], now: second(1))
    #expect(meter.traffic[stable]?.share == 0.95)
    #expect(meter.traffic[canary]?.share == 0.05)
    #expect(meter.traffic[other]?.share == 1)
  }

  @Test mutating func aVersionThatIsGoneIsForgottenAndOneThatReturnsBeginsAnew() {
    meter.read([stable: reading(100)], now: second(0))
    meter.read([:], now: second(1))
    #expect(meter.traffic.isEmpty)
    meter.read([stable: reading(100)], now: second(2))
    // Its counters began at 0 while nobody looked.
    meter.read([stable: reading(30)], now: second(3))
    #expect(meter.traffic[stable]?.requests == 30 && meter.traffic[stable]?.recentRequests == 0)
  }

  @Test mutating func twoReadingsAtOneTimeAreNoInterval() {
    meter.read([stable: reading(0)], now: second(1))
    meter.read([stable: reading(5)], now: second(1))
    meter.read([stable: reading(9)], now: second(2))
    #expect(meter.traffic[stable]?.requestsPerSecond == 9)
  }
}
