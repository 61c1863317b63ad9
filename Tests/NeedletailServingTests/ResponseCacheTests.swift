import Glibc
import NeedletailCore
import NeedletailEngine
import NeedletailMetrics
import NeedletailModels
import NeedletailTestSupport
import Testing

@testable import NeedletailServing

/// Calls that are answered from the cache; the expected numbers are those of computed ones.
@Suite("Response cache", .timeLimit(.minutes(10)))
struct ResponseCacheTests {
  private static let line = ModelFixtures.linearRegression(weights: [2, -3], bias: 1)
  private static let expensive = [
    WarmUpRun(rows: 1, nanoseconds: 1_000_000), WarmUpRun(rows: 4, nanoseconds: 4_000_000),
  ]

  private static func bench(models: [String]? = nil, workers: Int = 0) -> BatcherBench {
    BatcherBench(workers: workers, cache: CacheOptions(bytesMax: 1 << 20, models: models))
  }

  private static func counts(_ bench: BatcherBench) -> (hits: UInt64, misses: UInt64) {
    let counters = CacheCounters(metrics: bench.metrics)
    return (counters.hits.value, counters.misses.value)
  }

  private static func settle(_ bench: BatcherBench, calls: Int) throws {
    bench.run()
    let deadline = Instant.now().advanced(byMicroseconds: 20_000_000)
    while bench.writer.order.count < calls {
      try #require(Instant.now() < deadline)
      bench.batcher.collect(into: bench.writer)
      usleep(100)
    }
  }

  @Test(arguments: [0, 2])
  func theSameRowsAreComputedOnce(workers: Int) throws {
    let bench = Self.bench(workers: workers)
    defer { bench.stop() }
    let model = try bench.live(Self.line, planRows: 4, warmUp: workers == 0 ? [] : Self.expensive)
    bench.publish(model)
    bench.writer.time = .now()
    bench.call(1, [[1, 0], [0, 1]])
    try Self.settle(bench, calls: 1)
    bench.call(2, [[1, 0], [0, 1]])
    #expect(bench.writer.order == [1, 2], "it is answered at once")
    bench.call(3, [[1, 0]])
    bench.call(4, [[0, 1], [1, 0]])
    try Self.settle(bench, calls: 4)
    #expect(bench.writer.answers[1]?.values == [[3, -2]] && bench.writer.answers[2]?.values == [[3, -2]])
    #expect(bench.writer.answers[3]?.values == [[3]] && bench.writer.answers[4]?.values == [[-2, 3]])
    #expect(Self.counts(bench) == (1, 3))
    #expect(bench.requests(model, .ok) == 4 && model.counters.rows.value == 7)
    #expect(model.counters.computeDuration.count == 3, "what was not computed took no time")
    #expect(model.counters.answerDuration.count == 4 && bench.batcher.callsPending == 0)
    bench.batcher.sent(at: bench.writer.time)
    #expect(model.counters.sendDuration.count == 4)
  }

  /// Whether or not the class is asked for, and as often as it is given.
  @Test(arguments: [0, 2], [[], ["probabilities", "label"], ["probabilities"]])
  func keptAnswersCountByTheirClass(workers: Int, outputs: [String]) throws {
    let bench = Self.bench(workers: workers)
    defer { bench.stop() }
    let definition = ModelFixtures.mlp(widths: [2, 3], precision: .int8)
    let model = try bench.live(definition, planRows: 4, warmUp: workers == 0 ? [] : Self.expensive)
    bench.publish(model)
    bench.writer.time = .now()
    let rows: [[Float]] = [[3, -1], [-2, 0.5], [-4, -4]]
    for id in 1...4 as ClosedRange<UInt64> {
      bench.call(id, rows, outputs: outputs)
      try Self.settle(bench, calls: Int(id))
      #expect(bench.writer.answers[id]?.values == bench.writer.answers[1]?.values)
    }
    #expect(Self.counts(bench) == (3, 1))
    let probabilities = try #require(bench.writer.answers[1]?.values[0])
    #expect(try #require(bench.writer.answers[1]).values.map(\.isEmpty) == Self.left(out: outputs))
    var expected = ["c0": 0.0, "c1": 0.0, "c2": 0.0]
    for row in 0..<3 {
      let own = probabilities[3 * row..<3 * row + 3]
      expected["c\(own.firstIndex(of: own.max()!)! - 3 * row)"]! += 4
    }
    for (name, count) in expected { #expect(Self.counted(bench, as: name) == count) }
  }

  private static func counted(_ bench: BatcherBench, as name: String) -> Double? {
    let lines = bench.metrics.render().split(separator: "\n").filter { line in
      line.hasPrefix("needletail_answers_total{") && line.contains("class=\"\(name)\"")
    }
    return lines.count == 1 ? lines[0].split(separator: " ").last.flatMap { Double($0) } : nil
  }

  /// Which outputs of a classifier a call does not have that asked for these.
  private static func left(out outputs: [String]) -> [Bool] {
    ["probabilities", "class", "label"].map { !outputs.isEmpty && !outputs.contains($0) }
  }

  @Test func anotherVersionAnswersForItself() throws {
    let bench = Self.bench()
    let old = try bench.live(Self.line)
    bench.publish(old)
    bench.call(1, [[1, 0]])
    bench.run()
    let new = try bench.live(ModelFixtures.linearRegression(weights: [5, 0], bias: 9), version: 2)
    bench.publish(new, old)
    bench.call(2, [[1, 0]])
    bench.call(3, [[1, 0]], version: 1)
    bench.run()
    bench.call(4, [[1, 0]])
    bench.run()
    #expect(bench.writer.answers[2]?.values == [[14]] && bench.writer.answers[4]?.values == [[14]])
    #expect(bench.writer.answers[3]?.values == [[3]])
    #expect(Self.counts(bench) == (2, 2))
  }

  @Test func onlyNamedModelsAreCached() throws {
    let bench = Self.bench(models: ["other"])
    bench.publish(try bench.live(Self.line))
    for id in 1...3 as ClosedRange<UInt64> {
      bench.call(id, [[1, 0]])
      bench.run()
    }
    #expect(Self.counts(bench) == (0, 0) && bench.writer.answers.count == 3)
  }

  @Test func aCallThatFailsIsNotKept() throws {
    let bench = Self.bench()
    bench.publish(try bench.live(Self.line))
    for id in 1...2 as ClosedRange<UInt64> {
      bench.call(id, [[.nan, 0]])
      bench.run()
    }
    bench.call(3, [[1, 0]], timeoutMicroseconds: 10)
    bench.writer.time = bench.writer.time.advanced(byMicroseconds: 100)
    bench.run()
    #expect(bench.writer.errors.count == 3)
    bench.call(4, [[1, 0]])
    bench.run()
    #expect(bench.writer.answers[4]?.values == [[3]] && Self.counts(bench).hits == 0)
  }

  @Test func theRowsOfAHitTakeNoRoomInTheBatch() throws {
    let bench = Self.bench()
    let model = try bench.live(Self.line, planRows: 4)
    bench.publish(model)
    bench.call(1, [[1, 0]])
    bench.run()
    for id in 2...9 as ClosedRange<UInt64> { bench.call(id, [[1, 0]]) }
    bench.call(10, [[2, 0]])
    bench.run()
    #expect(model.counters.batchRows.sum == 2 && model.counters.batchRows.count == 2)
    #expect((2...9).allSatisfy { bench.writer.answers[$0]?.values == [[3]] })
    #expect(bench.writer.answers[10]?.values == [[5]])
  }

  @Test func aShadowSeesEveryCall() throws {
    let bench = Self.bench()
    let live = try bench.live(Self.line)
    let shadow = try bench.live(ModelFixtures.linearRegression(weights: [2, -3], bias: 1.25), version: 2)
    bench.publish(live, shadow: shadow)
    for id in 1...5 as ClosedRange<UInt64> {
      bench.call(id, [[1, 0]])
      bench.run()
    }
    #expect(Self.counts(bench) == (0, 0) && live.counters.batchRows.sum == 5)
  }

  @Test func liveStatisticsSeePopularRows() throws {
    let bench = Self.bench()
    let baseline = DriftBaseline(
      features: ["x0", "x1"].map { name in
        DriftBaseline.Column(name: name, rows: 100, missingRate: 0, quantileEdges: [0, 2, 4], binCounts: [50, 50])
      },
      prediction: DriftBaseline.Column(
        name: "y", rows: 100, missingRate: 0, quantileEdges: [-20, 0, 20], binCounts: [50, 50]))
    let live = try bench.live(Self.line, drift: baseline)
    let watch = try #require(live.watch)
    bench.publish(live)
    bench.meet(live)
    bench.writer.time = .now()
    let deadline = Instant.now().advanced(byMicroseconds: 20_000_000)
    var id: UInt64 = 0
    // Nothing is asked but one row: without its samples there would be none after the first.
    while watch.rows < 3 {
      try #require(Instant.now() < deadline, "\(watch.rows) rows")
      id += 1
      bench.call(id, [[1, 0]])
      bench.run()
      usleep(1000)
    }
    #expect(Self.counts(bench).hits > 0, "between two samples the cache answers")
  }
}
