import Foundation
import NeedletailCore
import NeedletailEngine
import NeedletailMetrics
import NeedletailModels
import NeedletailTestSupport
import Testing

@testable import NeedletailServing

/// Copies of answered calls that a shadow version gets, and the comparison of its answers.
@Suite("Shadows", .timeLimit(.minutes(10)))
struct ShadowTests {
  private static let expensive = [
    WarmUpRun(rows: 1, nanoseconds: 1_000_000), WarmUpRun(rows: 4, nanoseconds: 4_000_000),
  ]

  /// Collects until so many calls have been answered, hands over what was kept, and waits until all rows are
  /// compared or left out.
  private func settle(_ bench: BatcherBench, calls: Int, rows: UInt64, _ counters: ShadowCounters) throws {
    bench.run()
    let deadline = Date().addingTimeInterval(20)
    while bench.writer.order.count < calls || seen(counters) < rows {
      try #require(Date() < deadline, "\(bench.writer.order.count) calls, \(seen(counters)) rows")
      bench.batcher.collect(into: bench.writer)
      bench.batcher.feedShadows()
      usleep(100)
    }
  }

  private func seen(_ counters: ShadowCounters) -> UInt64 {
    counters.rows.value + counters.busy.value + counters.incompatible.value
  }

  @Test(arguments: [0, 2])
  func callsComputedOnLoopOrWorkersAreCompared(workers: Int) throws {
    let bench = BatcherBench(workers: workers)
    defer { bench.stop() }
    let warmUp = workers == 0 ? [] : Self.expensive
    let live = try bench.live(
      ModelFixtures.linearRegression(weights: [2, -3], bias: 1), planRows: 4, warmUp: warmUp)
    let shadow = try bench.live(
      ModelFixtures.linearRegression(weights: [2, -3], bias: 1.25), version: 2, planRows: 4)
    bench.publish(live, shadow: shadow)
    let counters = ShadowCounters(shadow, metrics: bench.metrics)
    bench.writer.time = .now()
    bench.call(1, [[1, 0], [0, 1]])
    try settle(bench, calls: 1, rows: 2, counters)
    #expect(bench.writer.answers[1]?.values == [[3, -2]])
    #expect(counters.rows.value == 2)
    #expect(counters.maxDifference.value == 0.25)
    #expect(shadow.counters.rows.value == 0, "it answers nobody")
  }

  @Test func allCallsOfATickAreComparedOrCountedAsLeftOut() throws {
    let bench = BatcherBench(workers: 2)
    defer { bench.stop() }
    let live = try bench.live(
      ModelFixtures.linearRegression(weights: [2, -3], bias: 1), planRows: 4, warmUp: Self.expensive)
    let shadow = try bench.live(ModelFixtures.linearRegression(weights: [1, 1], bias: 0), version: 2, planRows: 4)
    bench.publish(live, shadow: shadow)
    let counters = ShadowCounters(shadow, metrics: bench.metrics)
    bench.writer.time = .now()
    for id in 1...5 as ClosedRange<UInt64> { bench.call(id, [[Float(id), 0]]) }
    // More rows than a run of the plan takes: the first of them are compared, if there is room.
    bench.call(6, (0..<11).map { [Float($0), 1] })
    try settle(bench, calls: 6, rows: 16, counters)
    #expect(counters.rows.value >= 1)
    #expect(counters.rows.value + counters.busy.value == 16, "every row is compared or counted as left out")
    #expect(bench.writer.answers.count == 6)
  }

  @Test func theThreadRestsAfterEachRoundOfWork() throws {
    let bench = BatcherBench()
    let live = try bench.live(ModelFixtures.linearRegression(weights: [2, -3], bias: 1), planRows: 4)
    let shadow = try bench.live(
      ModelFixtures.linearRegression(weights: [2, -3], bias: 1.25), version: 2, planRows: 4)
    bench.publish(live, shadow: shadow)
    let counters = ShadowCounters(shadow, metrics: bench.metrics)
    let start = Instant.now()
    for call in 1...10 {
      bench.call(UInt64(call), [[1, 0]])
      try settle(bench, calls: call, rows: UInt64(call), counters)
    }
    // Rests are never shorter than they should be, and lie between every two rounds that compared a batch.
    let rests = max(0, Int(counters.rows.value) - 1)
    #expect(Instant.now().microseconds(since: start) >= rests * Limits.backgroundRoundPauseMicroseconds)
    #expect(counters.rows.value >= 2)
  }

  @Test func anOutputThatNobodyAskedForIsNotCompared() throws {
    let bench = BatcherBench(workers: 1)
    defer { bench.stop() }
    let live = try bench.live(ModelFixtures.mlp(widths: [2, 3], seed: 1), planRows: 4, warmUp: Self.expensive)
    let shadow = try bench.live(ModelFixtures.mlp(widths: [2, 3], seed: 9), version: 2, planRows: 4)
    bench.publish(live, shadow: shadow)
    let counters = ShadowCounters(shadow, metrics: bench.metrics)
    bench.writer.time = .now()
    bench.call(1, [[1, 0]], outputs: ["class"])
    try settle(bench, calls: 1, rows: 1, counters)
    #expect(counters.rows.value == 1)
    #expect(counters.maxDifference.value == 0, "probabilities were not asked for")
    bench.call(2, [[1, 0]], outputs: ["probabilities"])
    try settle(bench, calls: 2, rows: 2, counters)
    #expect(counters.maxDifference.value > 0)
  }

  @Test(arguments: [0, 1])
  func aShadowMayTakeFewerFeaturesInAnotherOrder(workers: Int) throws {
    let bench = BatcherBench(workers: workers)
    defer { bench.stop() }
    let live = try bench.live(
      ModelFixtures.linearRegression(weights: [100, 10, 1], bias: 0), planRows: 4,
      warmUp: workers == 0 ? [] : Self.expensive)
    var definition = ModelFixtures.linearRegression(weights: [1, 100], bias: 0.5)
    definition.schema.features[0].name = "x2"
    definition.schema.features[1].name = "x0"
    let shadow = try bench.live(definition, version: 2, planRows: 4)
    bench.publish(live, shadow: shadow)
    let counters = ShadowCounters(shadow, metrics: bench.metrics)
    bench.writer.time = .now()
    bench.call(1, [[1, 0, 3], [4, 0, 6]])
    try settle(bench, calls: 1, rows: 2, counters)
    #expect(bench.writer.answers[1]?.values == [[103, 406]])
    #expect(counters.rows.value == 2)
    #expect(counters.maxDifference.value == 0.5, "x1 was 0, the others stand where the shadow wants them")
  }

  @Test(arguments: [0, 1])
  func rowsThatAShadowCannotTakeAreCounted(workers: Int) throws {
    let bench = BatcherBench(workers: workers)
    defer { bench.stop() }
    let live = try bench.live(
      ModelFixtures.linearRegression(weights: [1], bias: 0), planRows: 4, warmUp: workers == 0 ? [] : Self.expensive)
    let shadow = try bench.live(ModelFixtures.linearRegression(weights: [1, 1], bias: 0), version: 2, planRows: 4)
    bench.publish(live, shadow: shadow)
    let counters = ShadowCounters(shadow, metrics: bench.metrics)
    bench.writer.time = .now()
    bench.call(1, [[1], [2]])
    try settle(bench, calls: 1, rows: 2, counters)
    #expect(counters.incompatible.value == 2 && counters.rows.value == 0)
  }
}
