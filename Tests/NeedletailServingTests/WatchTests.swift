import Glibc
import NeedletailCore
import NeedletailEngine
import NeedletailModels
import NeedletailTestSupport
import Testing

@testable import NeedletailServing

/// Rows that were answered are counted for live statistics.
@Suite("Watching", .timeLimit(.minutes(10)))
struct WatchTests {
  private static let expensive = [
    WarmUpRun(rows: 1, nanoseconds: 1_000_000), WarmUpRun(rows: 4, nanoseconds: 4_000_000),
  ]

  /// Two features of 0 to 4 in two cells each, answers of −20 to 20 in two.
  private static let baseline = DriftBaseline(
    features: ["x0", "x1"].map { name in
      DriftBaseline.Column(
        name: name, rows: 100, missingRate: 0, quantileEdges: [0, 2, 4], binCounts: [50, 50])
    },
    prediction: DriftBaseline.Column(
      name: "y", rows: 100, missingRate: 0, quantileEdges: [-20, 0, 20], binCounts: [50, 50]))

  private func settle(_ watch: VersionWatch, rows: UInt64, _ bench: BatcherBench) throws {
    let deadline = Instant.now().advanced(byMicroseconds: 20_000_000)
    while watch.rows < rows {
      try #require(Instant.now() < deadline, "\(watch.rows) rows")
      bench.batcher.collect(into: bench.writer)
      usleep(100)
    }
  }

  @Test(arguments: [0, 2])
  func callsComputedOnLoopOrWorkersAreCounted(workers: Int) throws {
    let bench = BatcherBench(workers: workers)
    defer { bench.stop() }
    var definition = ModelFixtures.linearRegression(weights: [2, -3], bias: 1)
    definition.schema.features[0].missing = .impute
    let live = try bench.live(
      definition, planRows: 4,
      warmUp: workers == 0 ? [] : Self.expensive, drift: Self.baseline)
    let watch = try #require(live.watch)
    bench.publish(live)
    bench.meet(live)
    bench.writer.time = .now()
    bench.call(1, [[1, 3], [3, 9], [.nan, 1]])
    bench.run()
    try settle(watch, rows: 3, bench)
    let report = watch.report()
    #expect(report.columns.map(\.name) == ["x0", "x1"])
    #expect(report.columns[0].figures.missingRate == 1.0 / 3)
    #expect(report.columns[1].figures.outOfRangeRate == 1.0 / 3, "9 is above 4")
    // 2 · 1 − 3 · 3 + 1 = −6 and 2 · 3 − 3 · 9 + 1 = −20; NaN in, NaN out.
    let answers = try #require(report.answers)
    #expect(answers.rows == 3)
    #expect(answers.mean == -13)
    #expect(answers.nonFiniteRate == 1.0 / 3)
    #expect(answers.column.figures.rows == 2)
  }

  @Test func rowsAreTakenFromAllOverABatch() throws {
    let bench = BatcherBench()
    let live = try bench.live(
      ModelFixtures.linearRegression(weights: [2, -3], bias: 1), planRows: 256, drift: Self.baseline)
    let watch = try #require(live.watch)
    bench.publish(live)
    bench.meet(live)
    bench.writer.time = .now()
    // Sorted, as files are: the first half in one cell, the second in the other.
    bench.call(1, (0..<200).map { [$0 < 100 ? 1 : 3, 0] })
    bench.run()
    try settle(watch, rows: 50, bench)
    #expect(watch.rows == 50, "every fourth of 200 is the most that fits 64")
    #expect(watch.report().columns[0].figures.stabilityIndex < 1e-9)
    #expect(watch.report().answers?.mean == (3 + 7) / 2.0)
  }

  @Test func aCallThatAsksForOtherOutputsCountsItsInputs() throws {
    let watch = try #require(
      VersionWatch(
        CompiledModel(ModelFixtures.linearRegression(weights: [2, -3], bias: 1)), baseline: Self.baseline,
        seconds: 60))
    let input: [Float] = [1, 1]
    var output: [Float] = [0]
    input.withUnsafeBytes { input in
      output.withUnsafeMutableBufferPointer { output in
        guard let row = input.baseAddress, let value = output.baseAddress else { return }
        watch.add(input: row, outputs: [value], rows: 1, selection: 0)
      }
    }
    #expect(watch.rows == 1)
    #expect(watch.report().columns[0].figures.rows == 1)
    #expect(watch.report().answers?.rows == 0)
  }

  @Test func aVersionWithoutABaselineIsNotWatched() throws {
    let bench = BatcherBench()
    let live = try bench.live(ModelFixtures.constant(1))
    #expect(live.watch == nil)
    let other = DriftBaseline(features: [], prediction: DriftBaseline.Column(name: "y", rows: 0, missingRate: 0))
    #expect(try VersionWatch(CompiledModel(ModelFixtures.constant(1)), baseline: other, seconds: 60) == nil)
  }
}
