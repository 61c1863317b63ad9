import Foundation
import NeedletailCore
import NeedletailEngine
import NeedletailMetrics
import NeedletailModels
import NeedletailTestSupport
import Synchronization
import Testing

@testable import NeedletailServing

/// Uses real threads; the scheduler's decisions are tested without.
@Suite("Worker pool", .timeLimit(.minutes(10)))
struct WorkerPoolTests {
  /// y = 2 a − 3 b + 1, with a stated cost of a millisecond a row, so that it goes to the workers.
  private static let line = ModelFixtures.linearRegression(weights: [2, -3], bias: 1)
  private static let expensive = [
    WarmUpRun(rows: 1, nanoseconds: 1_000_000), WarmUpRun(rows: 4, nanoseconds: 4_000_000),
  ]

  /// Collects on this thread until `count` calls have ended.
  private func wait(_ bench: BatcherBench, until count: Int) throws {
    let deadline = Date().addingTimeInterval(20)
    while bench.writer.order.count < count {
      try #require(Date() < deadline, "\(bench.writer.order.count) of \(count) calls came back")
      bench.batcher.collect(into: bench.writer)
      usleep(100)
    }
  }

  @Test func everyCallGetsItsOwnRowsBack() throws {
    let bench = BatcherBench(workers: 2)
    let model = try bench.live(Self.line, planRows: 4, warmUp: Self.expensive)
    bench.publish(model)
    bench.writer.time = .now()
    for id in 1...20 as ClosedRange<UInt64> { bench.call(id, [[Float(id), 0]]) }
    bench.call(21, (0..<11).map { [Float($0), 1] })
    #expect(bench.writer.order.isEmpty && bench.batcher.callsPending == 21)
    bench.run()
    try wait(bench, until: 21)
    for id in 1...20 as ClosedRange<UInt64> { #expect(bench.writer.answers[id]?.values == [[Float(id) * 2 + 1]]) }
    #expect(bench.writer.answers[21]?.values == [(0..<11).map { Float($0) * 2 - 2 }])
    #expect(bench.batcher.callsPending == 0)
    #expect(bench.requests(model, .ok) == 21)
    #expect(model.counters.rows.value == 31)
    #expect(model.counters.queueDuration.count == 21 && model.counters.computeDuration.count == 21)
    #expect(model.counters.batchRows.sum == 31, "each row stood in one batch")
    bench.stop()
  }

  @Test func smallPlansStayOnTheLoop() throws {
    let bench = BatcherBench(workers: 1)
    bench.publish(try bench.live(Self.line, warmUp: [WarmUpRun(rows: 1, nanoseconds: 900)]))
    bench.call(1, [[1, 0]])
    bench.run()
    #expect(bench.writer.answers[1]?.values == [[3]])
    bench.stop()
  }

  @Test func aCallThatExpiresWhileItWaitsIsNotComputed() throws {
    // No worker runs until the deadline has passed.
    let bench = BatcherBench(workers: 1, isStarted: false)
    let model = try bench.live(Self.line, planRows: 4, warmUp: Self.expensive)
    bench.publish(model)
    bench.writer.time = .now()
    bench.call(1, [[1, 0]], timeoutMicroseconds: 1000)
    bench.call(2, [[1, 0]])
    bench.run()
    usleep(2000)
    bench.workers?.start()
    try wait(bench, until: 2)
    #expect(bench.writer.errors[1]?.code == .deadlineExceeded)
    #expect(bench.writer.answers[2]?.values == [[3]])
    #expect(model.counters.rows.value == 1, "the expired row was not computed")
    #expect(bench.requests(model, .deadlineExceeded) == 1)
    bench.stop()
  }

  @Test func moreThanTheTimeAllowsIsRejectedWithATimeToRetry() throws {
    let bench = BatcherBench(workers: 1, isStarted: false)
    let model = try bench.live(Self.line, planRows: 1, warmUp: Self.expensive)
    bench.publish(model)
    bench.writer.time = .now()
    // 20 ms of 1 ms rows may wait; bulk half of it.
    for id in 1...30 as ClosedRange<UInt64> { bench.call(id, [[1, 0]]) }
    bench.call(31, [[1, 0]], priority: .bulk)
    bench.run()
    let refused = bench.writer.errors.keys.sorted()
    #expect(refused == Array(21...31))
    let error = try #require(bench.writer.errors[30])
    #expect(error.code == .overloaded && error.message == "queue: expected room for the call's rows, found it full")
    #expect((15_000...25_000).contains(error.retryAfterMicroseconds), "the queue takes 20 ms")
    #expect(bench.requests(model, .overloaded) == 11)
    #expect(bench.workers?.isUnderPressure == true)
    let next = decide(bench, rows: 1)
    #expect(next.error?.code == .overloaded, "rejected by its head")
    #expect(next.readPauseNanoseconds == Limits.readPauseNanosecondsMax, "the queue lasts longer than that")
    #expect(decide(bench, rows: .max).error?.code == .overloaded)
    bench.run()
    bench.workers?.start()
    try wait(bench, until: 31)
    #expect(bench.writer.answers.count + bench.writer.errors.count == 31)
    bench.stop()
  }

  /// Decides about a call of `rows` rows by its head.
  private func decide(_ bench: BatcherBench, rows: UInt64) -> (error: ServingError?, readPauseNanoseconds: UInt64) {
    Array("m".utf8).withUnsafeBytes { name in
      bench.decide(
        CallHead(
          deadline: Deadline(arrival: bench.writer.time, timeoutMicroseconds: 0), model: name, selector: .serving,
          rows: rows))
    }
  }

  @Test func aSplitIsDrawnOnceForACallHoweverFullAnArmIs() throws {
    let bench = BatcherBench(workers: 1, isStarted: false)
    let models = try [2, 1].map { try bench.live(Self.line, version: $0, planRows: 1, warmUp: Self.expensive) }
    let half = RoutingPoint.count / 2
    bench.registry.publish(
      ModelTable([
        ModelTable.Entry(
          model: models[0].model, live: models, serving: models[1].version,
          routing: ModelRouting(shares: models.map { .init($0.version, points: half) }))
      ]))
    bench.writer.time = .now()
    for id in 1...30 as ClosedRange<UInt64> { bench.call(id, [[1, 0]], version: 2) }
    #expect(bench.writer.errors[30]?.code == .overloaded, "this arm is full")
    let refused = (0..<2000).count { _ in decide(bench, rows: 1).error != nil }
    // Half of them, and five standard deviations of chance. Drawn anew for the full arm it would be 1,500 of 2,000, or 500.
    #expect((888...1112).contains(refused))
    bench.run()
    bench.workers?.start()
    bench.stop()
  }

  @Test func whetherACallIsRejectedDependsOnItsRows() throws {
    let bench = BatcherBench(workers: 1, isStarted: false)
    // One row is for the loop, four are for the workers.
    let cost = [WarmUpRun(rows: 1, nanoseconds: 1_000), WarmUpRun(rows: 4, nanoseconds: 4_000_000)]
    bench.publish(try bench.live(Self.line, planRows: 4, warmUp: cost))
    bench.writer.time = .now()
    let four = [[Float]](repeating: [1, 0], count: 4)
    for id in 1...40 as ClosedRange<UInt64> { bench.call(id, four) }
    #expect(bench.writer.errors[40]?.code == .overloaded)
    bench.run()
    #expect(decide(bench, rows: 4).error?.code == .overloaded)
    let single = decide(bench, rows: 1)
    #expect(single.error == nil && single.readPauseNanoseconds == 0, "it must not wait for those")
    bench.run()
    bench.workers?.start()
    try wait(bench, until: 40)
    bench.stop()
  }

  @Test func aWrongCallReturnsItsMemoryAndAffectsNoOther() throws {
    let bench = BatcherBench(workers: 1)
    bench.publish(try bench.live(Self.line, planRows: 4, warmUp: Self.expensive))
    bench.writer.time = .now()
    bench.call(1, [[.nan, 0]])
    bench.call(2, [[1, 0]])
    #expect(bench.writer.errors[1]?.code == .invalidArgument)
    bench.run()
    try wait(bench, until: 2)
    #expect(bench.writer.answers[2]?.values == [[3]])
    bench.stop()
  }

  /// From admission to answer a version stays, however many swaps come in between.
  @Test func aVersionLivesUntilItsLastCallIsAnswered() throws {
    let bench = BatcherBench(workers: 1, isStarted: false)
    weak var old: LiveModel?
    do {
      let model = try bench.live(ModelFixtures.constant(1), version: 1, planRows: 4, warmUp: Self.expensive)
      bench.publish(model)
      bench.writer.time = .now()
      bench.call(1, [[0]])
      bench.run()
      old = model
    }
    bench.publish(try bench.live(ModelFixtures.constant(2), version: 2))
    bench.batcher.sweep()
    bench.registry.reclaim()
    #expect(old != nil, "a call of it waits")
    bench.workers?.start()
    try wait(bench, until: 1)
    #expect(bench.writer.answers[1]?.version == 1)
    bench.batcher.sweep()
    bench.registry.reclaim()
    #expect(old == nil)
    bench.stop()
  }

  @Test(.enabled(if: Allocations.areCounted)) func memoryOfCallsIsUsedAgain() throws {
    var slab = CallSlab(mailbox: Mailbox {})
    let first = slab.take(inputFloats: 1000, outputFloats: 2000, isLarge: false)
    let call = try #require(first)
    #expect(call.memory.capacityFloats == 4096)
    slab.giveBack(call)
    let before = Allocations.during {}
    var second: QueuedCall?
    let made = Allocations.during { second = slab.take(inputFloats: 4096, outputFloats: 0, isLarge: false) }
    #expect(before == 0 && made == 0)
    #expect(second === call)
    // As much as a loop may hold, and no more; but one alone may be of any size.
    let tooMuch = slab.take(inputFloats: Limits.queuedFloatsMax, outputFloats: 0, isLarge: false)
    #expect(tooMuch == nil)
    slab.giveBack(call)
    let alone = slab.take(inputFloats: Limits.queuedFloatsMax * 2, outputFloats: 0, isLarge: false)
    slab.giveBack(try #require(alone))
    slab.trim()
    let held = slab.floatsHeld
    #expect(held <= Limits.queuedFloatsKept)
  }

  @Test func memoryThatAPeakTookIsFreedWhileOtherCallsAreOut() throws {
    var slab = CallSlab(mailbox: Mailbox {})
    let calls = (0..<10).compactMap { _ in slab.take(inputFloats: 1 << 20, outputFloats: 0, isLarge: false) }
    #expect(calls.count == 10)
    let last = slab.take(inputFloats: 10, outputFloats: 10, isLarge: false)
    for call in calls { slab.giveBack(call) }
    slab.trim()
    let (held, taken) = (slab.floatsHeld, slab.floatsTaken)
    #expect(held <= Limits.queuedFloatsKept)
    #expect(taken == 1024)
    slab.giveBack(try #require(last))
    let rest = slab.floatsTaken
    #expect(rest == 0)
  }

  @Test func aLargeAnswersMemoryLivesAsLongAsItIsKept() throws {
    var slab = CallSlab(mailbox: Mailbox {})
    // More than a loop may hold: answers that are sent from where they are count elsewhere.
    let first = slab.take(inputFloats: 1000, outputFloats: Limits.queuedFloatsMax, isLarge: true)
    let second = slab.take(inputFloats: 1000, outputFloats: Limits.queuedFloatsMax, isLarge: true)
    let call = try #require(first)
    let (taken, held) = (slab.floatsTaken, slab.floatsHeld)
    #expect(taken == 2000 && held == 0)
    call.layOut(inputFloats: 1000, outputFloats: Limits.queuedFloatsMax)
    call.output[0] = 5
    call.output[1 << 20] = 7
    let kept = call.memory
    slab.giveBack(call)
    slab.giveBack(try #require(second))
    #expect(call.output[0] == 5)
    for _ in 0..<16 { kept.discard(before: kept.floats + 1000 + (1 << 20)) }
    #expect(call.output[0] == 0, "pages that were read went back to the system")
    #expect(call.output[1 << 20] == 7)
  }

  @Test func freeMemoryOfAllSizesTogetherIsBounded() {
    var slab = CallSlab(mailbox: Mailbox {})
    // Bursts of calls of one size after another, as many as may be out at a time.
    for size in 10...22 {
      var out: [QueuedCall] = []
      while out.count < 512, let call = slab.take(inputFloats: 1 << size, outputFloats: 0, isLarge: false) {
        out.append(call)
      }
      for call in out { slab.giveBack(call) }
      let held = slab.floatsHeld
      #expect(held <= Limits.queuedFloatsMax, "after calls of 2^\(size) floats")
    }
    let large = slab.take(inputFloats: Limits.queuedFloatsMax * 2, outputFloats: 0, isLarge: false)
    if let large { slab.giveBack(large) }
    let held = slab.floatsHeld
    #expect(large != nil && held <= Limits.queuedFloatsMax, "one that is alone is not kept")
    var again: QueuedCall?
    if Allocations.areCounted {
      if let call = slab.take(inputFloats: 4096, outputFloats: 0, isLarge: false) { slab.giveBack(call) }
      let made = Allocations.during { again = slab.take(inputFloats: 4096, outputFloats: 0, isLarge: false) }
      #expect(made == 0)
    }
    _ = again
  }

  @Test func callsReturnToTheLoopWhenTheirRunsTurnOutToBeShort() throws {
    let bench = BatcherBench(workers: 1)
    defer { bench.stop() }
    bench.publish(try bench.live(Self.line, planRows: 4, warmUp: Self.expensive))
    for id in 1...40 as ClosedRange<UInt64> {
      bench.writer.time = .now()
      bench.call(id, [[1, 0]])
      bench.run()
      try wait(bench, until: Int(id))
    }
    bench.call(41, [[1, 0]])
    bench.run()
    #expect(bench.writer.answers[41]?.values == [[3]], "answered by the loop, in its own tick")
  }

  @Test func callsLeaveTheLoopWhenTheirRunsTurnOutToBeLong() throws {
    let bench = BatcherBench(workers: 1)
    defer { bench.stop() }
    // Warming found 30 µs; each run takes a millisecond by the loop's clock.
    bench.publish(try bench.live(Self.line, warmUp: [WarmUpRun(rows: 1, nanoseconds: 30_000)]))
    bench.writer.stepNanoseconds = 1_000_000
    for id in 1...32 as ClosedRange<UInt64> {
      bench.call(id, [[1, 0]])
      bench.run()
      #expect(bench.writer.answers[id] != nil)
    }
    bench.writer.stepNanoseconds = 0
    bench.writer.time = .now()
    bench.call(33, [[1, 0]])
    #expect(bench.batcher.callsPending == 1)
    bench.run()
    try wait(bench, until: 33)
    #expect(bench.writer.answers[33]?.values == [[3]])
    #expect(bench.writer.order.last == 33)
  }

  @Test func theFirstCallForWorkersMakesNoSeries() throws {
    let bench = BatcherBench(workers: 1)
    defer { bench.stop() }
    bench.publish(try bench.live(Self.line, planRows: 4, warmUp: Self.expensive))
    func names() -> [Substring] {
      bench.metrics.render().split(separator: "\n").compactMap { $0.split(separator: " ").first }
    }
    let before = names()
    bench.writer.time = .now()
    bench.call(1, [[1, 0]])
    bench.run()
    try wait(bench, until: 1)
    #expect(names() == before, "a series is made under the registry's lock, which a scrape may hold")
  }

  @Test func manyWorkersLoseNoCall() throws {
    let bench = BatcherBench(workers: 3)
    let model = try bench.live(
      Self.line, planRows: 4,
      warmUp: [WarmUpRun(rows: 1, nanoseconds: 160_000), WarmUpRun(rows: 4, nanoseconds: 160_000)])
    bench.publish(model)
    var ended = 0
    for round in 0..<200 {
      bench.writer.time = .now()
      for index in 0..<10 { bench.call(UInt64(round * 10 + index + 1), [[Float(index), 0]]) }
      bench.run()
      bench.batcher.collect(into: bench.writer)
      ended += 10
    }
    try wait(bench, until: ended)
    #expect(bench.writer.answers.count + bench.writer.errors.count == 2000)
    #expect(bench.writer.answers.allSatisfy { $0.value.values == [[Float(($0.key - 1) % 10) * 2 + 1]] })
    #expect(bench.writer.errors.values.allSatisfy { $0.code == .overloaded })
    #expect(bench.batcher.callsPending == 0)
    bench.stop()
  }
}
