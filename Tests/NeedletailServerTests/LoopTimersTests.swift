import NeedletailCore
import NeedletailServing
import Testing

@testable import NeedletailServer

@Suite("Timeout sweep")
struct TimeoutSweepTests {
  static let most = Limits.timeoutSweepSlotsMax

  @Test(arguments: [1, most - 1, most, most + 1, 10_000])
  func everySlotIsCheckedOnceARound(_ count: Int) {
    var sweep = TimeoutSweep(roundNanoseconds: 500_000_000)
    for _ in 0..<3 {
      var seen: [Int] = []
      var nanoseconds: Int64 = 0
      repeat {
        let range = sweep.step(over: count)
        #expect(range.count <= Self.most)
        seen += range
        nanoseconds += sweep.pauseNanoseconds(over: count)
      } while seen.last != count - 1
      #expect(seen == Array(0..<count))
      #expect(nanoseconds <= 500_000_000 && nanoseconds > 490_000_000)
    }
  }

  @Test func aRoundWithoutSlotsIsOneEmptyStep() {
    var sweep = TimeoutSweep(roundNanoseconds: 500_000_000)
    #expect(sweep.step(over: 0) == 0..<0)
    #expect(sweep.pauseNanoseconds(over: 0) == 500_000_000)
  }

  @Test func slotsThatAreAddedAreCheckedInTheSameRound() {
    var sweep = TimeoutSweep(roundNanoseconds: 500_000_000)
    #expect(sweep.step(over: Self.most + 10) == 0..<Self.most)
    #expect(sweep.step(over: 2 * Self.most) == Self.most..<2 * Self.most)
    #expect(sweep.step(over: 2 * Self.most) == 0..<Self.most)
  }
}

@Suite("Read pauses")
struct ReadPausesTests {
  private static func address(_ slot: UInt32) -> ReplyAddress { ReplyAddress(slot: slot, generation: 0, id: 0) }

  @Test func allPausesEndWhenTheFirstIsDueInWhateverOrderTheyBegan() {
    var pauses = ReadPauses()
    #expect(pauses.due == nil)
    let first = pauses.add(Self.address(1), until: Instant(nanoseconds: 2_000))
    let longer = pauses.add(Self.address(2), until: Instant(nanoseconds: 3_000))
    #expect(first && !longer)
    #expect(pauses.due == Instant(nanoseconds: 2_000))
    let shorter = pauses.add(Self.address(3), until: Instant(nanoseconds: 500))
    #expect(shorter, "it must not wait for the others")
    #expect(pauses.due == Instant(nanoseconds: 500))
    var taken: [ReplyAddress] = []
    pauses.take(into: &taken)
    #expect(taken.map(\.slot) == [1, 2, 3])
    #expect(pauses.due == nil)
    let next = pauses.add(Self.address(4), until: Instant(nanoseconds: 9_000))
    #expect(next, "the next ones have a time of their own")
    pauses.take(into: &taken)
    #expect(taken.map(\.slot) == [4])
  }
}
