import NeedletailCore
import NeedletailRedis
import Testing

/// When a server that failed is asked again.
@Suite struct RedisHealthTests {
  private static func at(_ milliseconds: UInt64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }

  @Test func aServerNobodyAskedMayBeAsked() {
    let health = RedisHealth()
    #expect(health.mayAsk && !health.isUp && health.retry == nil)
  }

  @Test func aFailureIsSaidOnceAndSoIsItsEnd() {
    var health = RedisHealth()
    #expect(health.succeeded() == .up)
    #expect(health.succeeded() == nil)
    #expect(health.failed(now: Self.at(0)) == .down)
    #expect(!health.mayAsk && health.retry == Self.at(100))
    #expect(health.failed(now: Self.at(100)) == nil)
    #expect(health.succeeded() == .up && health.mayAsk && health.retry == nil)
  }

  @Test func pausesDoubleUpToTheLongest() throws {
    var health = RedisHealth()
    var now = Self.at(0)
    var pauses: [UInt64] = []
    for _ in 0..<9 {
      _ = health.failed(now: now)
      let retry = try #require(health.retry)
      pauses.append((retry.nanoseconds - now.nanoseconds) / 1_000_000)
      now = retry
    }
    #expect(pauses == [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000])
  }

  @Test func callsThatFailTogetherAreOneFailure() {
    var health = RedisHealth()
    _ = health.failed(now: Self.at(0))
    for _ in 0..<5 { #expect(health.failed(now: Self.at(50)) == nil) }
    #expect(health.retry == Self.at(100))
  }
}
