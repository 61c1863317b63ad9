import NeedletailCore
import NeedletailModels
import Testing

@testable import NeedletailServing

@Suite("Work scheduler")
struct WorkSchedulerTests {
  /// A scheduler with a clock that is moved by hand. A ticket is a number.
  struct Bench: ~Copyable {
    var scheduler: WorkScheduler<Int>
    var batch = WorkScheduler<Int>.Batch()
    var now = Instant(nanoseconds: 1_000_000_000_000)

    init(workers: Int = 1, queueDelayMicroseconds: UInt64 = 0) {
      scheduler = WorkScheduler(workers: workers, queueDelayNanoseconds: queueDelayMicroseconds * 1000)
    }

    mutating func pass(microseconds: UInt64) { now.nanoseconds += microseconds * 1000 }

    /// A lane whose rows cost so much each, on top of what a batch does.
    mutating func lane(rowMicroseconds: UInt64, batchMicroseconds: UInt64 = 0, rowsMax: Int = 8) -> Int {
      let runs = [1, rowsMax].map { rows in
        WarmUpRun(rows: rows, nanoseconds: (batchMicroseconds + rowMicroseconds * UInt64(rows)) * 1000)
      }
      return scheduler.addLane(cost: PlanCost(runs), extentMax: BatchExtent(rows: rowsMax), now: now)
    }

    @discardableResult
    mutating func call(
      _ ticket: Int, lane: Int, rows: Int = 1, priority: CallPriority = .interactive, timeoutMicroseconds: UInt32 = 0
    ) -> Bool {
      scheduler.enqueue(
        ticket, lane: lane, extent: BatchExtent(rows: rows), priority: priority,
        deadline: Deadline(arrival: now, timeoutMicroseconds: timeoutMicroseconds), now: now)
    }

    /// Tickets of the next batch; empty if there is none.
    mutating func next() -> [Int] { scheduler.next(now: now, into: &batch) == .run ? batch.tickets : [] }

    mutating func dropped() -> [Int] { batch.dropped.map(\.ticket) }

    /// The last batch took so long.
    mutating func finish(microseconds: UInt64) {
      pass(microseconds: microseconds)
      scheduler.finish(lane: batch.lane, units: batch.extent.units, nanoseconds: microseconds * 1000, now: now)
    }
  }

  // MARK: batches

  @Test(arguments: [
    // Rows that cost the same each: as many as take 5 ms.
    (one: 1_000, largest: 100_000, useful: 5),
    // Quick ones: the largest batch takes less.
    (one: 10, largest: 1_000, useful: Int.max),
    // 900 µs to read the weights, 100 µs a row: at 90 rows that is a tenth.
    (one: 1_000, largest: 10_900, useful: 90),
    // A row that takes longer than any batch should: alone.
    (one: 9_000, largest: 900_000, useful: 1),
    // Rows that cost nothing.
    (one: 1_000, largest: 1_000, useful: Int.max),
  ])
  func aBatchHasNoMoreRowsThanMakeItCheaper(one: UInt64, largest: UInt64, useful: Int) {
    let cost = PlanCost([.init(rows: 1, nanoseconds: one * 1000), .init(rows: 100, nanoseconds: largest * 1000)])
    #expect(cost.usefulRows(within: 5_000_000) == useful)
    var scheduler = WorkScheduler<Int>(workers: 1)
    let now = Instant(nanoseconds: 1_000_000_000)
    let lane = scheduler.addLane(cost: cost, extentMax: BatchExtent(rows: 64), now: now)
    let deadline = Deadline(arrival: now, timeoutMicroseconds: 0)
    for ticket in 0..<100 {
      let isQueued = scheduler.enqueue(
        ticket, lane: lane, extent: BatchExtent(rows: 1), priority: .interactive, deadline: deadline, now: now)
      #expect(isQueued)
    }
    var batch = WorkScheduler<Int>.Batch()
    let action = scheduler.next(now: now, into: &batch)
    #expect(action == .run)
    #expect(batch.extent.rows == min(useful, 64))
  }

  @Test func aFreeWorkerTakesAllThatWaitsUpToTheLargestBatch() {
    var bench = Bench()
    let lane = bench.lane(rowMicroseconds: 10, rowsMax: 8)
    for ticket in 1...3 { bench.call(ticket, lane: lane, rows: 3) }
    #expect(bench.next() == [1, 2], "a third one would make nine rows")
    #expect(bench.next() == [3])
    #expect(bench.next() == [])
  }

  @Test func aCallLargerThanABatchRunsAlone() {
    var bench = Bench()
    let lane = bench.lane(rowMicroseconds: 10, rowsMax: 8)
    bench.call(1, lane: lane)
    bench.call(2, lane: lane, rows: 20)
    bench.call(3, lane: lane)
    #expect(bench.next() == [1])
    #expect(bench.next() == [2])
    #expect(bench.next() == [3])
  }

  /// Rows of different length: tokens of texts, for example.
  @Test func aBatchIsBoundedByUnitsAsWellAsByRows() {
    var scheduler = WorkScheduler<Int>(workers: 1)
    let now = Instant(nanoseconds: 1_000_000_000)
    let cost = PlanCost([WarmUpRun(rows: 1, nanoseconds: 1000), WarmUpRun(rows: 512, nanoseconds: 512_000)])
    let lane = scheduler.addLane(cost: cost, extentMax: BatchExtent(rows: 8, units: 512), now: now)
    let deadline = Deadline(arrival: now, timeoutMicroseconds: 0)
    for (ticket, units) in [200, 200, 200, 10, 10].enumerated() {
      let isQueued = scheduler.enqueue(
        ticket, lane: lane, extent: BatchExtent(rows: 1, units: units), priority: .interactive, deadline: deadline,
        now: now)
      #expect(isQueued)
    }
    #expect(scheduler.status(of: lane, now: now).unitsQueued == 620)
    var batch = WorkScheduler<Int>.Batch()
    var action = scheduler.next(now: now, into: &batch)
    #expect(action == .run && batch.tickets == [0, 1])
    #expect(batch.extent == BatchExtent(rows: 2, units: 400))
    action = scheduler.next(now: now, into: &batch)
    #expect(action == .run && batch.tickets == [2, 3, 4])
    #expect(scheduler.status(of: lane, now: now).unitsQueued == 0)
  }

  @Test func callsWaitForOthersOnlyForTheQueueDelay() {
    var bench = Bench(queueDelayMicroseconds: 200)
    let lane = bench.lane(rowMicroseconds: 10, rowsMax: 4)
    let due = bench.now.advanced(byMicroseconds: 200)
    bench.call(1, lane: lane)
    #expect(bench.scheduler.next(now: bench.now, into: &bench.batch) == .wait(until: due))
    bench.pass(microseconds: 150)
    bench.call(2, lane: lane)
    #expect(bench.scheduler.next(now: bench.now, into: &bench.batch) == .wait(until: due))
    bench.pass(microseconds: 50)
    #expect(bench.next() == [1, 2])
    for ticket in 3...6 { bench.call(ticket, lane: lane) }
    #expect(bench.next() == [3, 4, 5, 6], "a full batch does not wait")
  }

  // MARK: deadlines and priorities

  @Test func aCallWhoseDeadlineHasPassedIsNotRun() {
    var bench = Bench()
    let lane = bench.lane(rowMicroseconds: 10)
    bench.call(1, lane: lane, timeoutMicroseconds: 100)
    bench.call(2, lane: lane, timeoutMicroseconds: 500)
    bench.pass(microseconds: 100)
    #expect(bench.next() == [2])
    #expect(bench.batch.dropped.count == 1)
    #expect(bench.batch.dropped.first?.ticket == 1 && bench.batch.dropped.first?.reason == .expired)
  }

  @Test func bulkCallsRunWhenNoInteractiveCallOfTheirModelWaits() {
    var bench = Bench()
    let lane = bench.lane(rowMicroseconds: 10, rowsMax: 2)
    bench.call(1, lane: lane, priority: .bulk)
    for ticket in 2...4 { bench.call(ticket, lane: lane) }
    #expect(bench.next() == [2, 3])
    #expect(bench.next() == [4, 1], "there is room beside the last interactive one")
  }

  // MARK: overload

  /// Twice as much comes as the one worker can do: 10 calls of 1 ms in 5 ms, again and again.
  @Test func anOverloadedQueueDropsCallsThatWaitedTooLongAndTakesTheNewestFirst() {
    var bench = Bench()
    let lane = bench.lane(rowMicroseconds: 1000, rowsMax: 1)
    var ticket = 0
    var started: [Int: UInt64] = [:]
    var run: [Int] = []
    var waits: [UInt64] = []
    for step in 0..<400 {
      for _ in 0..<2 {
        ticket += 1
        started[ticket] = bench.now.nanoseconds
        bench.call(ticket, lane: lane)
      }
      let tickets = bench.next()
      if step > 100 {
        run += tickets
        waits += tickets.compactMap { started[$0].map { bench.now.nanoseconds - $0 } }
        #expect(bench.scheduler.status(of: lane, now: bench.now).isOverloaded)
        #expect(bench.batch.dropped.allSatisfy { $0.reason == .waitedTooLong })
      }
      bench.finish(microseconds: 1000)
    }
    // Goodput is that of the worker, and nobody who was served waited longer than the target, 2 ms.
    #expect(run.count == 299)
    #expect(waits.allSatisfy { $0 <= 2_000_000 })
    #expect(bench.scheduler.status(of: lane, now: bench.now).unitsQueued < 10)
    #expect(zip(run, run.dropFirst()).allSatisfy { $0 < $1 }, "the newest of each step ran")
  }

  @Test func anOverloadedQueueThatAdmissionKeepsShortIsServedInOrderAndDropsNoCall() {
    var bench = Bench()
    let lane = bench.lane(rowMicroseconds: 1000, rowsMax: 1)
    var ticket = 0
    var run: [Int] = []
    for step in 0..<400 {
      for _ in 0..<2 {
        let status = bench.scheduler.status(of: lane, now: bench.now)
        guard status.unitsQueued == 0 || status.unitsQueued < status.unitsLimit else {
          bench.scheduler.rejected(lane: lane, now: bench.now)
          continue
        }
        ticket += 1
        bench.call(ticket, lane: lane)
      }
      let tickets = bench.next()
      if step > 100 {
        run += tickets
        #expect(bench.scheduler.status(of: lane, now: bench.now).isOverloaded)
        #expect(bench.dropped() == [], "every admitted call is served")
      }
      bench.finish(microseconds: 1000)
    }
    #expect(run.count == 299 && zip(run, run.dropFirst()).allSatisfy { $0 + 1 == $1 })
  }

  @Test func aBurstIsServedInOrderAndWhole() {
    var bench = Bench()
    let lane = bench.lane(rowMicroseconds: 1000, rowsMax: 1)
    for ticket in 1...8 { bench.call(ticket, lane: lane) }
    var run: [Int] = []
    for _ in 1...8 {
      run += bench.next()
      #expect(bench.dropped() == [])
      bench.finish(microseconds: 1000)
    }
    #expect(run == Array(1...8))
  }

  @Test func anIntervalWithoutRejectionsEndsTheOverload() {
    var bench = Bench()
    let lane = bench.lane(rowMicroseconds: 1000, rowsMax: 1)
    for ticket in 1...60 {
      bench.call(ticket * 2, lane: lane)
      bench.call(ticket * 2 + 1, lane: lane)
      _ = bench.next()
      bench.finish(microseconds: 1000)
    }
    #expect(bench.scheduler.status(of: lane, now: bench.now).isOverloaded)
    while bench.next() != [] { bench.finish(microseconds: 1000) }
    #expect(bench.scheduler.status(of: lane, now: bench.now).isOverloaded, "it is empty because calls were dropped")
    bench.pass(microseconds: 21_000)
    #expect(!bench.scheduler.status(of: lane, now: bench.now).isOverloaded)
  }

  @Test func theLimitFollowsTheMeasuredCostOfBatches() {
    var bench = Bench(workers: 2)
    let lane = bench.lane(rowMicroseconds: 100, rowsMax: 8)
    let before = bench.scheduler.status(of: lane, now: bench.now).unitsLimit
    for ticket in 1...60 {
      bench.call(ticket, lane: lane, rows: 8)
      _ = bench.next()
      // The machine has become ten times slower than it was when the model was warmed.
      bench.finish(microseconds: 8000)
    }
    let status = bench.scheduler.status(of: lane, now: bench.now)
    #expect((990...1000).contains(status.unitNanoseconds / 1000))
    // The time that may be waited grows with a batch's cost, and what runs in it falls with a row's.
    #expect(before == 320, "ten times twice a batch, 16 ms, at 100 µs a row on two workers")
    #expect((195...205).contains(status.unitsLimit), "100 ms at 1 ms a row on two workers: \(status.unitsLimit)")
  }

  @Test func aFullLaneTakesNoMore() {
    var bench = Bench()
    let lane = bench.lane(rowMicroseconds: 1)
    for ticket in 1...Limits.queuedCallsMax { #expect(bench.call(ticket, lane: lane) == true) }
    #expect(bench.call(0, lane: lane) == false)
    #expect(bench.call(0, lane: lane, priority: .bulk) == true, "bulk has places of its own")
  }

  // MARK: fairness

  @Test func aSlowModelDoesNotStarveAFastOne() {
    var bench = Bench()
    let slow = bench.lane(rowMicroseconds: 4000, rowsMax: 8)
    let fast = bench.lane(rowMicroseconds: 100, rowsMax: 8)
    var time: [Int: UInt64] = [slow: 0, fast: 0]
    var ticket = 0
    for _ in 0..<400 {
      // Both always have more than enough to do.
      for lane in [slow, fast] {
        while bench.scheduler.status(of: lane, now: bench.now).unitsQueued < 16 {
          ticket += 1
          bench.call(ticket, lane: lane)
        }
      }
      guard bench.next() != [] else { continue }
      let cost = UInt64(bench.batch.extent.rows) * (bench.batch.lane == slow ? 4000 : 100)
      time[bench.batch.lane, default: 0] += cost
      bench.finish(microseconds: cost)
    }
    let share = Double(time[fast] ?? 0) / Double((time[fast] ?? 0) + (time[slow] ?? 0))
    #expect((0.45...0.55).contains(share), "the fast one had \(share) of the worker's time")
  }

  @Test func aBatchIsShortWhileAnotherModelWantsTheWorkers() {
    var bench = Bench()
    let slow = bench.lane(rowMicroseconds: 1000, batchMicroseconds: 10_000, rowsMax: 64)
    for ticket in 1...64 { bench.call(ticket, lane: slow) }
    #expect(bench.next().count == 64, "alone it takes all that makes a batch cheaper")
    bench.finish(microseconds: 64_000)
    let fast = bench.lane(rowMicroseconds: 10)
    bench.call(100, lane: fast)
    for ticket in 101...164 { bench.call(ticket, lane: slow) }
    #expect(bench.next() == [100])
    bench.finish(microseconds: 10)
    #expect(bench.next().count == 4, "5 ms at most")
  }

  @Test func aLaneThatWasIdleGetsNoMoreThanItsShare() {
    var bench = Bench()
    let (one, other) = (bench.lane(rowMicroseconds: 1000, rowsMax: 1), bench.lane(rowMicroseconds: 1000, rowsMax: 1))
    for ticket in 0..<50 {
      bench.call(ticket, lane: one)
      _ = bench.next()
      bench.finish(microseconds: 1000)
    }
    for ticket in 0..<4 {
      bench.call(100 + ticket, lane: one)
      bench.call(200 + ticket, lane: other)
    }
    var lanes: [Int] = []
    for _ in 0..<4 {
      _ = bench.next()
      lanes.append(bench.batch.lane)
      bench.finish(microseconds: 1000)
    }
    #expect(lanes.filter { $0 == one }.count == 2, "they take turns: \(lanes)")
  }

  @Test func aRemovedLanesSlotIsReused() {
    var bench = Bench()
    let one = bench.lane(rowMicroseconds: 1)
    let two = bench.lane(rowMicroseconds: 1)
    bench.scheduler.removeLane(one)
    #expect(bench.lane(rowMicroseconds: 1) == one)
    bench.call(1, lane: two)
    #expect(bench.next() == [1] && bench.batch.lane == two)
  }

  // MARK: the ring

  @Test func aRingRemovesElementsFromBothEndsAcrossItsWrap() {
    var ring = BoundedRing<Int>(capacity: 3)
    for element in 1...3 {
      let isTaken = ring.append(element)
      #expect(isTaken)
    }
    let isTaken = ring.append(4)
    #expect(!isTaken)
    var taken = [ring.popFirst()]
    _ = ring.append(5)
    taken += [ring.popLast(), ring.popFirst(), ring.popLast(), ring.popFirst()]
    #expect(taken == [1, 5, 2, 3, nil])
  }
}
