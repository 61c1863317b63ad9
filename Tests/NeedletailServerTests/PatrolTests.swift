import NeedletailCore
import Testing

@testable import NeedletailServer

@Suite("Patrol")
struct PatrolTests {
  static let most = Limits.patrolSlotsMax

  @Test(arguments: [1, most - 1, most, most + 1, 10_000])
  func everySlotHasItsTurnOnceARound(_ count: Int) {
    var patrol = Patrol(roundNanoseconds: 500_000_000)
    for _ in 0..<3 {
      var seen: [Int] = []
      var nanoseconds: Int64 = 0
      repeat {
        let turn = patrol.step(over: count)
        #expect(turn.count <= Self.most)
        seen += turn
        nanoseconds += patrol.pauseNanoseconds(over: count)
      } while seen.last != count - 1
      #expect(seen == Array(0..<count))
      #expect(nanoseconds <= 500_000_000 && nanoseconds > 490_000_000)
    }
  }

  @Test func withoutSlotsARoundIsOneStepOfNothing() {
    var patrol = Patrol(roundNanoseconds: 500_000_000)
    #expect(patrol.step(over: 0) == 0..<0)
    #expect(patrol.pauseNanoseconds(over: 0) == 500_000_000)
  }

  @Test func slotsThatAreAddedHaveTheirTurnInTheSameRound() {
    var patrol = Patrol(roundNanoseconds: 500_000_000)
    #expect(patrol.step(over: Self.most + 10) == 0..<Self.most)
    #expect(patrol.step(over: 2 * Self.most) == Self.most..<2 * Self.most)
    #expect(patrol.step(over: 2 * Self.most) == 0..<Self.most)
  }
}
