import NeedletailCore
import NeedletailModels
import Testing

@testable import NeedletailServing

/// What bulk calls get beside interactive calls that never cease.
extension WorkSchedulerTests {
  @Test func bulkCallsGetANinthOfAVersionWhoseInteractiveCallsNeverCease() {
    var bench = Bench()
    let lane = bench.lane(rowMicroseconds: 10, rowsMax: 1)
    for ticket in 0..<10 { bench.call(ticket, lane: lane, priority: .bulk) }
    var interactive = 100
    var order: [Int] = []
    for _ in 0..<90 {
      // Callers that always have two calls in flight.
      while interactive < 102 + order.count { bench.call(interactive, lane: lane); interactive += 1 }
      order += bench.next()
      bench.finish(microseconds: 10)
    }
    #expect(order.filter { $0 < 100 } == Array(0..<10), "in their order")
    #expect(order.indices.filter { order[$0] < 100 } == (0..<10).map { 9 * $0 + 8 })
  }

  @Test func aLargeBulkCallWaitsForEightTimesItsOwnWork() {
    var bench = Bench()
    let lane = bench.lane(rowMicroseconds: 10, rowsMax: 4)
    bench.call(0, lane: lane, rows: 4, priority: .bulk)
    var interactive = 1
    var batches: [[Int]] = []
    for _ in 0..<12 {
      for _ in 0..<4 { bench.call(interactive, lane: lane); interactive += 1 }
      batches.append(bench.next())
      bench.finish(microseconds: 40)
    }
    #expect(batches.firstIndex(of: [0]) == 8)
    #expect(batches.count { $0.count == 4 } == 11)
  }

  @Test func bulkCallsEndWhateverInteractiveCallsDo() {
    var bench = Bench()
    let lane = bench.lane(rowMicroseconds: 1000, rowsMax: 1)
    bench.call(0, lane: lane, priority: .bulk, timeoutMicroseconds: 100)
    bench.call(1, lane: lane)
    bench.pass(microseconds: 200)
    #expect(bench.next() == [1])
    #expect(bench.batch.dropped.map(\.ticket) == [0] && bench.batch.dropped.first?.reason == .expired)
    bench.finish(microseconds: 1000)
    // More than a ninth can do: each runs, or is refused within nine times the longest wait of an interactive call.
    var ended: [Int: UInt64] = [:]
    let began = bench.now
    for ticket in 100..<200 { bench.call(ticket, lane: lane, priority: .bulk) }
    var interactive = 1000
    for _ in 0..<3000 {
      bench.call(interactive, lane: lane)
      interactive += 1
      let taken = bench.next()
      for ticket in taken + bench.dropped() where ticket < 1000 {
        #expect(ended.updateValue(bench.now.nanoseconds - began.nanoseconds, forKey: ticket) == nil)
      }
      bench.finish(microseconds: 1000)
    }
    #expect(ended.count == 100)
    // 100 ms, the longest interval, and a batch, times nine.
    #expect(ended.values.max() ?? 0 < 1_000_000_000)
  }
}
