import NeedletailCore
import NeedletailServing
import Testing

@testable import NeedletailServer

@Suite("Resting connections")
struct RestingConnectionsTests {
  private static func address(_ slot: UInt32) -> ReplyAddress { ReplyAddress(slot: slot, generation: 0, id: 0) }

  @Test func allAreReadWhenTheFirstIsDueWhoeverCameFirst() {
    var resting = RestingConnections()
    #expect(resting.due == nil)
    let first = resting.add(Self.address(1), until: Instant(nanoseconds: 2_000))
    let longer = resting.add(Self.address(2), until: Instant(nanoseconds: 3_000))
    #expect(first && !longer)
    #expect(resting.due == Instant(nanoseconds: 2_000))
    let shorter = resting.add(Self.address(3), until: Instant(nanoseconds: 500))
    #expect(shorter, "it must not wait for the others")
    #expect(resting.due == Instant(nanoseconds: 500))
    var taken: [ReplyAddress] = []
    resting.take(into: &taken)
    #expect(taken.map(\.slot) == [1, 2, 3])
    #expect(resting.due == nil)
    let next = resting.add(Self.address(4), until: Instant(nanoseconds: 9_000))
    #expect(next, "the next ones have a time of their own")
    resting.take(into: &taken)
    #expect(taken.map(\.slot) == [4])
  }
}
