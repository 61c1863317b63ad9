import NeedletailCore
import Testing

@testable import NeedletailServer

@Suite("Progress of slow peers")
struct PeerProgressTests {
  private static let stall: UInt64 = 9_000_000_000
  /// Bytes that a peer must take in each tenth of a second, at least.
  private static let slowest = Limits.answerBytesPerSecondMin / 10
  private var now = Instant(nanoseconds: 1_000_000_000)
  private var peer = PeerProgress(taken: 0, stallNanoseconds: stall, now: Instant(nanoseconds: 1_000_000_000))
  private var taken = 0

  /// Lets time pass in steps of 100 ms, in each of which the peer takes `bytes`.
  /// - Returns: seconds after which it was too slow; nil: it never was.
  private mutating func read(_ bytes: Int, seconds: Int) -> Double? {
    let start = now
    for _ in 0..<seconds * 10 {
      now.nanoseconds += 100_000_000
      taken += bytes
      peer.update(taken: taken, now: now)
      if peer.isTooSlow(at: now) { return Double(now.nanoseconds - start.nanoseconds) / 1e9 }
    }
    return nil
  }

  @Test mutating func aPeerThatReadsIsNeverTooSlowHoweverLongItTakes() {
    #expect(read(Self.slowest + 1, seconds: 3600) == nil)
  }

  @Test mutating func aPeerThatTakesNothingIsTooSlowAfterTheStallTime() {
    #expect(read(0, seconds: 60) == 9)
  }

  @Test mutating func aPeerThatTricklesBelowTheSlowestRateIsTooSlowAfterTheStallTime() {
    #expect(read(Self.slowest - 1, seconds: 60) == 9)
  }

  @Test mutating func aPeerThatStopsLaterIsTooSlowAStallTimeAfterItsLastByte() {
    #expect(read(1 << 20, seconds: 13) == nil)
    #expect(read(0, seconds: 60) == 9)
  }

  @Test mutating func aPeerThatReadsInBurstsIsMeasuredOverTheWholePeriod() {
    for _ in 0..<100 {
      #expect(read(0, seconds: 8) == nil)
      taken += 9 * Limits.answerBytesPerSecondMin
      #expect(read(0, seconds: 1) == nil)
    }
  }

  @Test mutating func aPeerHasStoppedASecondAfterItsLastByte() {
    now.nanoseconds += 999_999_999
    #expect(!peer.hasStopped(at: now))
    now.nanoseconds += 1
    #expect(peer.hasStopped(at: now))
    peer.update(taken: 1, now: now)
    #expect(!peer.hasStopped(at: now))
  }
}
