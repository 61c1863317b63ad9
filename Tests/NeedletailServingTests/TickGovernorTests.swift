import NeedletailCore
import NeedletailServing
import Testing

@Suite("Tick governor")
struct TickGovernorTests {
  private static let millisecond: UInt64 = 1_000_000
  private var now = Instant(nanoseconds: 1_000_000_000)
  private var governor = TickGovernor(targetNanoseconds: 5_000_000, now: Instant(nanoseconds: 1_000_000_000))

  private mutating func tick(milliseconds: UInt64) {
    governor.begin(now: now)
    now.nanoseconds += milliseconds * Self.millisecond
    governor.end(now: now)
  }

  @Test mutating func aLongTickNowAndThenIsABurst() {
    governor.begin(now: now)
    #expect(governor.excess(now: now, pendingNanoseconds: 100 * Self.millisecond) == 0)
    #expect(governor.excess(now: now, pendingNanoseconds: 101 * Self.millisecond) == Self.millisecond)
    governor.end(now: now)
    tick(milliseconds: 400)
    tick(milliseconds: 40)
    #expect(!governor.isOverloaded(at: now))
  }

  @Test mutating func longTicksWithoutARestAreAnOverload() {
    for _ in 0..<11 { tick(milliseconds: 10) }
    #expect(governor.isOverloaded(at: now))
    governor.begin(now: now)
    #expect(governor.excess(now: now, pendingNanoseconds: 5 * Self.millisecond) == 0)
    #expect(governor.excess(now: now, pendingNanoseconds: 6 * Self.millisecond) == Self.millisecond)
    let later = Instant(nanoseconds: now.nanoseconds + 4 * Self.millisecond)
    #expect(governor.excess(now: later, pendingNanoseconds: 3 * Self.millisecond) == 2 * Self.millisecond)
  }

  @Test mutating func oneTickWithinItsTargetEndsTheOverload() {
    for _ in 0..<11 { tick(milliseconds: 10) }
    tick(milliseconds: 5)
    #expect(!governor.isOverloaded(at: now))
  }

  @Test mutating func aRestEndsTheOverload() {
    for _ in 0..<11 { tick(milliseconds: 10) }
    now.nanoseconds += 6 * Self.millisecond
    governor.begin(now: now)
    #expect(!governor.isOverloaded(at: now))
  }

  @Test func betweenTicksThereIsNoExcess() {
    #expect(governor.excess(now: now, pendingNanoseconds: 1 << 40) == 0)
  }
}
