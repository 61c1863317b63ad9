package import NeedletailCore
internal import NeedletailMetrics
internal import ServiceLifecycle
internal import Synchronization

/// Reads the counters of every live version every few seconds, so that people see what versions answer
/// now and not only since they are live. Off every data path: it only sums what loops count anyway.
package final class TrafficService: Service {
  private let registry: ModelRegistry
  private let meter: Mutex<TrafficMeter>

  package init(registry: ModelRegistry) {
    self.registry = registry
    meter = Mutex(TrafficMeter(intervalsMax: Limits.trafficIntervalsMax))
  }

  package func run() async throws {
    await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        self.read()
        try? await Task.sleep(for: .milliseconds(Limits.trafficIntervalMilliseconds))
      }
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

  /// What every live version answers; anyone may ask.
  package var traffic: [VersionKey: VersionTraffic] { meter.withLock { $0.traffic } }
}

extension ModelCounters {
  fileprivate var reading: TrafficMeter.Reading {
    let failed = requestsFailed
    return .init(
      requests: requests(.ok).value &+ failed, failed: failed, rows: rows.value, buckets: answerDuration.bucketCounts)
  }
}
