internal import DequeModule
package import NeedletailCore
internal import NeedletailMetrics
internal import Synchronization

/// Computes rates and quantiles of the last minute from readings of counters that only grow. It reads no clock and no
/// counter itself.
///
/// An idle version costs a few bytes per interval, a busy one the buckets of its histogram.
struct TrafficMeter {
  /// The counters of one version at one moment.
  struct Reading: Sendable, Equatable {
    var requests: UInt64
    var failed: UInt64
    var rows: UInt64
    /// Answers by duration, not cumulative, in the buckets of ``Histogram/secondsBuckets``.
    var buckets: [UInt64]
  }

  /// The traffic between two readings.
  private struct Interval {
    var microseconds: UInt64
    var requests: UInt64 = 0
    var failed: UInt64 = 0
    var rows: UInt64 = 0
    /// Answers by duration; empty if nothing was answered.
    var buckets: [UInt64] = []
    var p99Microseconds: UInt32?
  }

  private struct Series {
    var last: Reading
    var readAt: Instant
    var intervals = Deque<Interval>()
  }

  private let intervalsMax: Int
  private var series: [VersionKey: Series] = [:]

  init(intervalsMax: Int) {
    precondition(intervalsMax > 0, "a meter needs an interval")
    self.intervalsMax = intervalsMax
  }

  /// Takes the readings of all live versions; other versions are forgotten.
  mutating func read(_ readings: [VersionKey: Reading], now: Instant) {
    series = series.filter { readings[$0.key] != nil }
    for (key, reading) in readings {
      guard var known = series[key], reading.requests >= known.last.requests else {
        // The version is new, or live once more with counters that begin at 0.
        series[key] = Series(last: reading, readAt: now)
        continue
      }
      var interval = Interval(microseconds: UInt64(now.microseconds(since: known.readAt)))
      guard interval.microseconds > 0 else { continue }
      if reading.requests > known.last.requests {
        interval.requests = reading.requests - known.last.requests
        interval.failed = reading.failed &- known.last.failed
        interval.rows = reading.rows &- known.last.rows
        let buckets = zip(reading.buckets, known.last.buckets).map { $0 &- $1 }
        if buckets.contains(where: { $0 > 0 }) {
          interval.buckets = buckets
          interval.p99Microseconds = microseconds(0.99, buckets)
        }
      }
      if known.intervals.count == intervalsMax { known.intervals.removeFirst() }
      known.intervals.append(interval)
      known.last = reading
      known.readAt = now
      series[key] = known
    }
  }

  /// Figures of all live versions. The shares of one model's versions sum up to 1 if any of them was asked.
  /// - Complexity: O(versions × intervals × buckets).
  var traffic: [VersionKey: VersionTraffic] {
    var result = series.mapValues(summary)
    var totals: [ModelID: UInt64] = [:]
    for (key, traffic) in result { totals[key.model, default: 0] += traffic.recentRequests }
    for (key, traffic) in result where traffic.recentRequests > 0 {
      result[key]?.share = Double(traffic.recentRequests) / Double(totals[key.model] ?? 1)
    }
    return result
  }

  private func summary(_ series: Series) -> VersionTraffic {
    var traffic = VersionTraffic()
    traffic.requests = series.last.requests
    traffic.failed = series.last.failed
    traffic.rows = series.last.rows
    var buckets: [UInt64] = []
    var microseconds: UInt64 = 0
    for interval in series.intervals {
      microseconds += interval.microseconds
      traffic.recentRequests += interval.requests
      traffic.recentFailed += interval.failed
      traffic.recentRows += interval.rows
      if buckets.isEmpty {
        buckets = interval.buckets
      } else if !interval.buckets.isEmpty {
        for (index, count) in interval.buckets.enumerated() { buckets[index] += count }
      }
      traffic.points.append(
        .init(
          requestsPerSecond: Double(interval.requests) * 1e6 / Double(interval.microseconds),
          p99Microseconds: interval.p99Microseconds))
    }
    traffic.windowMilliseconds = UInt32(clamping: microseconds / 1000)
    if !buckets.isEmpty {
      traffic.p50Microseconds = self.microseconds(0.5, buckets)
      traffic.p99Microseconds = self.microseconds(0.99, buckets)
    }
    return traffic
  }

  private func microseconds(_ rank: Double, _ buckets: [UInt64]) -> UInt32? {
    Histogram.quantile(rank, of: buckets, bounds: Histogram.secondsBuckets).map {
      UInt32(max(1, ($0 * 1e6).rounded(.up)))
    }
  }
}

/// Figures of one live version: since it is live, and lately.
package struct VersionTraffic: Sendable, Equatable {
  /// One interval of the meter, for a curve.
  package struct Point: Sendable, Equatable {
    package var requestsPerSecond: Double
    /// 99th percentile of the answers; nil if nothing was answered.
    package var p99Microseconds: UInt32?

    package init(requestsPerSecond: Double, p99Microseconds: UInt32? = nil) {
      self.requestsPerSecond = requestsPerSecond
      self.p99Microseconds = p99Microseconds
    }
  }

  /// Predict calls that reached it since it is live, calls of these that did not end in OK, and rows answered.
  package var requests: UInt64 = 0
  package var failed: UInt64 = 0
  package var rows: UInt64 = 0
  /// Calls, failed calls and rows within the last ``windowMilliseconds``.
  package var recentRequests: UInt64 = 0
  package var recentFailed: UInt64 = 0
  package var recentRows: UInt64 = 0
  package var windowMilliseconds: UInt32 = 0
  /// Part of the model's recent requests that this version got, 0 to 1.
  package var share: Double = 0
  /// Quantiles of the recent answers, from the request's last byte to its answer; nil if there were none.
  package var p50Microseconds: UInt32?
  package var p99Microseconds: UInt32?
  /// Intervals, oldest first.
  package var points: [Point] = []

  package init() {}

  /// Recent requests per second.
  package var requestsPerSecond: Double {
    windowMilliseconds == 0 ? 0 : Double(recentRequests) * 1000 / Double(windowMilliseconds)
  }
}

/// Reads the counters of all live versions every few seconds, so that people see what versions answer now and not only
/// since they are live. The data path does nothing for it: the reader sums what event loops count anyway.
package final class TrafficReader: Sendable {
  private let registry: ModelRegistry
  private let meter: Mutex<TrafficMeter>

  package init(registry: ModelRegistry) {
    self.registry = registry
    meter = Mutex(TrafficMeter(intervalsMax: Limits.trafficIntervalsMax))
  }

  /// Reads until its task is cancelled.
  package func run() async {
    while !Task.isCancelled {
      read()
      try? await Task.sleep(for: .milliseconds(Limits.trafficIntervalMilliseconds))
    }
  }

  /// Takes one reading now.
  package func read(now: Instant = .now()) {
    var readings: [VersionKey: TrafficMeter.Reading] = [:]
    for entry in registry.current.entries {
      for live in entry.live { readings[VersionKey(live.model, live.version)] = live.counters.reading }
    }
    meter.withLock { $0.read(readings, now: now) }
  }

  /// Figures of all live versions; any thread may ask.
  package var traffic: [VersionKey: VersionTraffic] { meter.withLock { $0.traffic } }
}

extension ModelCounters {
  fileprivate var reading: TrafficMeter.Reading {
    let failed = requestsFailed
    return .init(
      requests: requests(.ok).value &+ failed, failed: failed, rows: rows.value, buckets: answerDuration.bucketCounts)
  }
}
