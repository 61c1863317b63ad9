import Foundation
import NeedletailMetrics
import NeedletailTestSupport
import Testing

@Suite("Prometheus text")
struct RenderTests {
  @Test func rendersFamiliesByNameWithHelpAndTypeOnce() {
    let metrics = MetricsRegistry(shards: 2)
    metrics.counter("z_total", help: "Last.").add(3)
    let first = metrics.counter("a_total", help: "First.", labels: [("model", "wine"), ("code", "OK")])
    first.add(2, shard: 0)
    first.add(5, shard: 1)
    metrics.counter("a_total", help: "First.", labels: [("model", "digits"), ("code", "OK")]).add()
    metrics.gauge("m", help: "Middle.").set(-1.5)
    #expect(
      metrics.render() == """
        # HELP a_total First.
        # TYPE a_total counter
        a_total{code="OK",model="digits"} 1
        a_total{code="OK",model="wine"} 7
        # HELP m Middle.
        # TYPE m gauge
        m -1.5
        # HELP z_total Last.
        # TYPE z_total counter
        z_total 3

        """)
  }

  @Test func rendersHistogramsCumulativeInSeconds() {
    let metrics = MetricsRegistry(shards: 2)
    let histogram = metrics.histogram(
      "h_seconds", help: "Durations.", labels: [("phase", "queue")], buckets: [0.001, 0.01])
    histogram.record(microseconds: 1000, shard: 0)  // inclusive
    histogram.record(microseconds: 1001, shard: 1)
    histogram.record(microseconds: 2_000_000, shard: 1)
    #expect(
      metrics.render() == """
        # HELP h_seconds Durations.
        # TYPE h_seconds histogram
        h_seconds_bucket{phase="queue",le="0.001"} 1
        h_seconds_bucket{phase="queue",le="0.01"} 2
        h_seconds_bucket{phase="queue",le="+Inf"} 3
        h_seconds_sum{phase="queue"} 2.002001
        h_seconds_count{phase="queue"} 3

        """)
  }

  @Test func histogramsOfCountsAreRenderedAsCounts() {
    let metrics = MetricsRegistry(shards: 1)
    let histogram = metrics.histogram("rows", help: "Rows.", buckets: [1, 8], unit: .items)
    histogram.record(items: 8)
    histogram.record(items: 9)
    #expect(histogram.bucketCounts == [0, 1, 1])
    #expect(metrics.render().contains("rows_bucket{le=\"8\"} 1\nrows_bucket{le=\"+Inf\"} 2\nrows_sum 17\n"))
  }

  @Test func escapesHelpAndValues() {
    let metrics = MetricsRegistry(shards: 1)
    metrics.gauge("g", help: "a\\b\n\"c\"", labels: [("l", "a\\b\n\"c\"\r\nd")]).set(1)
    #expect(
      metrics.render()
        == "# HELP g a\\\\b\\n\"c\"\n# TYPE g gauge\ng{l=\"a\\\\b\\n\\\"c\\\"\r\\nd\"} 1\n")
  }

  @Test(arguments: [
    (0.0, "0"), (3, "3"), (-2, "-2"), (0.1, "0.1"), (1e-6, "1e-06"), (1e18, "1e+18"), (.infinity, "+Inf"),
    (-.infinity, "-Inf"), (.nan, "NaN"),
  ])
  func writesNumbers(value: Double, text: String) {
    let metrics = MetricsRegistry(shards: 1)
    metrics.gauge("g", help: "Number.").set(value)
    #expect(metrics.render().hasSuffix("\ng \(text)\n"))
  }

  @Test func promtoolFindsNoFault() throws {
    let metrics = MetricsRegistry(shards: 2)
    metrics.addProcessMetrics()
    metrics.counter(
      "needletail_requests_total", help: "Calls.", labels: [("model", "a\"\\\n"), ("status", "OK")]
    ).add(7)
    metrics.histogram("needletail_request_duration_seconds", help: "Durations.", labels: [("phase", "queue")])
      .record(microseconds: 17)
    metrics.histogram("needletail_batch_rows", help: "Rows.", buckets: [1, 2, 4], unit: .items).record(items: 3)
    metrics.gauge("needletail_requests_in_flight", help: "Calls in flight.").add(2)
    let promtool = "/usr/bin/promtool"
    guard FileManager.default.isExecutableFile(atPath: promtool) else { return }
    let (status, output) = try ChildProcess.run([promtool, "check", "metrics"], input: Array(metrics.render().utf8))
    #expect(String(decoding: output, as: UTF8.self) == "")
    #expect(status == 0)
  }
}
