import NeedletailMetrics
import Testing

@Suite("Quantiles of histograms")
struct QuantileTests {
  private let bounds = [1.0, 2, 4]

  @Test func quantilesAreInterpolatedWithinTheBucketOfTheirRank() {
    #expect(Histogram.quantile(0.5, of: [0, 10, 0, 0], bounds: bounds) == 1.5)
    #expect(Histogram.quantile(0.25, of: [2, 0, 2, 0], bounds: bounds) == 0.5)
    #expect(Histogram.quantile(0.75, of: [2, 0, 2, 0], bounds: bounds) == 3)
    #expect(Histogram.quantile(1, of: [2, 0, 2, 0], bounds: bounds) == 4)
  }

  @Test func valuesBeyondTheLastBoundCountAsThatBound() {
    #expect(Histogram.quantile(0.99, of: [1, 0, 0, 99], bounds: bounds) == 4)
  }

  @Test func anEmptyHistogramHasNoQuantile() {
    #expect(Histogram.quantile(0.99, of: [0, 0, 0, 0], bounds: bounds) == nil)
  }

  @Test func quantilesAreWithinOneBucketOfTheTruth() throws {
    let histogram = MetricsRegistry(shards: 2).histogram("d_seconds", help: "D.")
    for microseconds: UInt32 in 1...10_000 {
      histogram.record(microseconds: microseconds, shard: Int(microseconds % 2))
    }
    let p99 = try #require(
      Histogram.quantile(0.99, of: histogram.bucketCounts, bounds: Histogram.secondsBuckets))
    #expect(p99 > 0.0098 && p99 <= 0.01)
  }
}
