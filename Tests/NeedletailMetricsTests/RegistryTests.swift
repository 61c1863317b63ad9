import Foundation
import NeedletailMetrics
import Testing

@Suite("Metrics registry")
struct RegistryTests {
  @Test func theSameSeriesHasTheSameHandle() {
    let metrics = MetricsRegistry(shards: 1)
    let one = metrics.counter("c_total", help: "C.", labels: [("a", "1"), ("b", "2")])
    let same = metrics.counter("c_total", help: "C.", labels: [("b", "2"), ("a", "1")])
    let other = metrics.counter("c_total", help: "C.", labels: [("a", "1"), ("b", "3")])
    #expect(one === same)
    #expect(one !== other)
  }

  @Test func removesAllSeriesThatCarryTheLabels() {
    let metrics = MetricsRegistry(shards: 1)
    for version in ["1", "2"] {
      let labels = [("model", "wine"), ("version", version)]
      metrics.counter("c_total", help: "C.", labels: labels + [("status", "OK")]).add()
      metrics.gauge("g", help: "G.", labels: labels).set(1)
    }
    metrics.gauge("only", help: "O.", labels: [("model", "wine"), ("version", "1")]).set(1)
    #expect(metrics.remove(labels: [("version", "1"), ("model", "wine")]) == 3)
    let text = metrics.render()
    #expect(!text.contains("version=\"1\""))
    #expect(text.contains("c_total{model=\"wine\",status=\"OK\",version=\"2\"} 1"))
    #expect(!text.contains("only"), "a family without series has no header either")
  }

  @Test func removesOneSeriesByNameAndLabels() {
    let metrics = MetricsRegistry(shards: 1)
    metrics.gauge("g", help: "G.", labels: [("l", "1")]).set(1)
    metrics.gauge("g", help: "G.", labels: [("l", "1"), ("m", "2")]).set(2)
    metrics.remove("g", labels: [("l", "1")])
    #expect(metrics.render() == "# HELP g G.\n# TYPE g gauge\ng{l=\"1\",m=\"2\"} 2\n")
  }

  @Test func startsRemovedSeriesAnewWhileOldHandlesGoOnUnseen() {
    let metrics = MetricsRegistry(shards: 1)
    let old = metrics.counter("c_total", help: "C.", labels: [("version", "1")])
    old.add(5)
    metrics.remove(labels: [("version", "1")])
    old.add(5)
    #expect(old.value == 10)
    #expect(metrics.counter("c_total", help: "C.", labels: [("version", "1")]).value == 0)
  }

  @Test func additionsOfManyThreadsAreCountedExactly() {
    let metrics = MetricsRegistry(shards: 3)
    let counter = metrics.counter("c_total", help: "C.")
    let gauge = metrics.gauge("g", help: "G.")
    let histogram = metrics.histogram("h_seconds", help: "H.", buckets: [0.001])
    let (threads, rounds) = (8, 5000)
    DispatchQueue.concurrentPerform(iterations: threads) { thread in
      for round in 0..<rounds {
        // Three threads have a shard of their own, and five share what is beyond the last, or name none.
        counter.add(2, shard: thread)
        gauge.add(1, shard: thread)
        gauge.add(-1)
        histogram.record(microseconds: UInt32(round % 2 == 0 ? 1 : 5000), shard: thread)
        if round % 1000 == 0 { _ = metrics.render() }
      }
    }
    #expect(counter.value == UInt64(threads * rounds * 2))
    #expect(gauge.value == 0)
    #expect(histogram.bucketCounts == [UInt64(threads * rounds / 2), UInt64(threads * rounds / 2)])
    #expect(abs(histogram.sum - Double(threads * rounds / 2) * 5001e-6) < 1e-6)
  }

  @Test func showsSampledSeriesOnlyWhileTheyHaveAValue() {
    let metrics = MetricsRegistry(shards: 1)
    metrics.sampled("none", kind: .gauge, help: "N.") { nil }
    metrics.sampled("some_total", kind: .counter, help: "S.") { 4 }
    #expect(metrics.render() == "# HELP some_total S.\n# TYPE some_total counter\nsome_total 4\n")
  }

  @Test func processFiguresArePlausible() throws {
    #expect(try #require(ProcessFigures.residentBytes()) > 1_048_576)
    #expect(try #require(ProcessFigures.cpuSeconds()) > 0)
    let start = try #require(ProcessFigures.startSeconds())
    #expect(abs(Date().timeIntervalSince1970 - start) < 3600)
    let before = try #require(ProcessFigures.openDescriptors())
    let pipe = Pipe()
    #expect(try #require(ProcessFigures.openDescriptors()) >= before + 1)
    withExtendedLifetime(pipe) {}
    #expect(try #require(ProcessFigures.threads()) >= 1)
  }
}

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
