import NeedletailCore
import Testing

@testable import NeedletailServer

@Suite("Looking before waiting")
struct IdleSpinTests {
  private func instant(_ microseconds: UInt64) -> Instant { Instant(nanoseconds: microseconds * 1000) }

  @Test func aLoopThatIsNotToldToLookWaitsAtOnce() {
    var spin = IdleSpin(nanoseconds: 0)
    let begins = spin.begins(at: instant(1))
    #expect(!spin.isOn && !begins)
  }

  @Test func aLoopLooksAsLongAsItIsTold() {
    var spin = IdleSpin(nanoseconds: 50_000)
    let begins = spin.begins(at: instant(1000))
    #expect(begins)
    let looks = (1000..<1060).prefix { spin.foundNothing(at: instant(UInt64($0))) { 0 } }
    #expect(looks.last == 1049)
    let beginsAgain = spin.begins(at: instant(1060))
    #expect(beginsAgain, "the time was over, nobody else wanted the processor")
  }

  @Test func aLoopWhoseProcessorOthersWantLooksNoMoreForAWhile() {
    var spin = IdleSpin(nanoseconds: 500_000)
    let begins = spin.begins(at: instant(1000))
    let looksOn = spin.foundNothing(at: instant(1001)) { 0 }
    #expect(begins && looksOn)
    let looksOnAfterAPause = spin.foundNothing(at: instant(1401)) { 1 }
    #expect(!looksOnAfterAPause, "400 µs passed between two looks, and the processor was taken away")
    let triedAgain = [UInt64(1500), 6_400, 6_401].map { spin.begins(at: instant($0)) }
    #expect(triedAgain == [false, false, true])
  }

  @Test func aPauseInWhichNobodyElseRanEndsNothing() {
    var spin = IdleSpin(nanoseconds: 500_000)
    let begins = spin.begins(at: instant(1000))
    let looksOn = spin.foundNothing(at: instant(1401)) { 0 }
    #expect(begins && looksOn, "the host of a virtual machine, or an interrupt, took the time")
  }
}
