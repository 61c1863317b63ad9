import NeedletailCore
import NeedletailServing
import Testing

@Suite("Load shedder")
struct LoadShedderTests {
  private static let millisecond: UInt64 = 1_000_000
  private var now = Instant(nanoseconds: 1_000_000_000)
  private var shedder = LoadShedder(targetNanoseconds: 5_000_000, now: Instant(nanoseconds: 1_000_000_000))

  /// - Parameters:
  ///   - work: milliseconds of work in the tick; nil: all of it.
  ///   - asked: milliseconds of pending work when a further call comes, which is rejected if it finds no room.
  private mutating func tick(milliseconds: UInt64, work: UInt64? = nil, asked: Double = 0) {
    shedder.begin(now: now)
    _ = excess(pending: asked)
    now.nanoseconds += milliseconds * Self.millisecond
    shedder.end(now: now, workNanoseconds: (work ?? milliseconds) * Self.millisecond)
  }

  /// Excess in milliseconds.
  private mutating func excess(pending: Double = 0, work: Double? = nil) -> Double {
    let millisecond = Double(Self.millisecond)
    let found = shedder.excess(
      now: now, pendingNanoseconds: UInt64(pending * millisecond),
      workNanoseconds: UInt64((work ?? pending) * millisecond))
    return Double(found) / millisecond
  }

  private mutating func overload() { for _ in 0..<5 { tick(milliseconds: 10) } }

  @Test mutating func anOccasionalLongTickIsABurst() {
    shedder.begin(now: now)
    #expect(excess(pending: 40) == 0)
    shedder.end(now: now, workNanoseconds: 40 * Self.millisecond)
    tick(milliseconds: 400)
    #expect(!shedder.isOverloaded)
  }

  @Test mutating func aBurstOfMoreThanAnIntervalIsAnOverloadAtOnce() {
    shedder.begin(now: now)
    #expect(excess(pending: 1, work: 41) == 1, "what the tick has done already counts")
    #expect(shedder.isOverloaded)
    #expect(excess(pending: 3, work: 41) == 0.5)
  }

  @Test mutating func longTicksInARowAreAnOverloadAndTakeHalfTheTargetAtATime() {
    overload()
    #expect(shedder.isOverloaded)
    shedder.begin(now: now)
    #expect(excess(pending: 2.5) == 0)
    #expect(excess(pending: 3.5) == 1)
    now.nanoseconds += 2 * Self.millisecond
    #expect(excess(pending: 1) == 0.5)
  }

  @Test mutating func longTicksOfLittleWorkAreNoOverload() {
    for _ in 0..<20 { tick(milliseconds: 10, work: 2) }
    #expect(!shedder.isOverloaded)
  }

  @Test mutating func anOverloadLastsWhileCallsAreRejected() {
    overload()
    for _ in 0..<40 { tick(milliseconds: 3, asked: 4) }
    #expect(shedder.isOverloaded, "short ticks are short because of the rejections")
    tick(milliseconds: 3)
    tick(milliseconds: 3)
    #expect(shedder.isOverloaded, "a tick or two without one may only have begun early")
    for _ in 0..<12 { tick(milliseconds: 3) }
    #expect(!shedder.isOverloaded)
  }

  @Test mutating func idleTimeEndsTheOverload() {
    overload()
    now.nanoseconds += 30 * Self.millisecond
    shedder.begin(now: now)
    #expect(shedder.isOverloaded)
    now.nanoseconds += 11 * Self.millisecond
    shedder.begin(now: now)
    #expect(!shedder.isOverloaded)
  }

  @Test mutating func betweenTicksThereIsNoExcess() {
    #expect(excess(pending: 1000) == 0)
  }
}
