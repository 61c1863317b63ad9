internal import DequeModule
internal import NeedletailCore
internal import NeedletailMetrics

/// Readings of ever-growing counters in, rates and quantiles of the last minute out. It reads no clock
/// and no counter.
///
/// An idle version costs a few bytes an interval, a busy one its histogram's buckets.
struct TrafficMeter {
  /// The counters of one version at one moment.
  struct Reading: Sendable, Equatable {
    var requests: UInt64
    var failed: UInt64
    var rows: UInt64
    /// Of the duration of answers, not cumulative, of ``Histogram/secondsBuckets``.
    var buckets: [UInt64]
  }

  /// What happened between two readings.
  private struct Interval {
    var microseconds: UInt64
    var requests: UInt64 = 0
    var failed: UInt64 = 0
    var rows: UInt64 = 0
    /// Empty if nothing was answered.
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

  /// Takes the readings of all live versions; what is not among them is forgotten.
  mutating func read(_ readings: [VersionKey: Reading], now: Instant) {
    series = series.filter { readings[$0.key] != nil }
    for (key, reading) in readings {
      guard var known = series[key], reading.requests >= known.last.requests else {
        // New, or live once more with counters that begin at 0.
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

  /// Everything that is known; versions of one model share 1 among them, if any was asked.
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
