public import NeedletailMetrics

/// Metrics of cached answers, over all loops and versions.
public final class CacheCounters: Sendable {
  let hits: Counter
  let misses: Counter
  let evictions: Counter
  let bytes: Gauge

  public init(metrics: MetricsRegistry) {
    hits = metrics.counter("needletail_cache_hits_total", help: "Calls answered from the cache.")
    misses = metrics.counter(
      "needletail_cache_misses_total", help: "Calls that were looked up in the cache and computed.")
    evictions = metrics.counter(
      "needletail_cache_evictions_total", help: "Cached answers that made way for others.")
    bytes = metrics.gauge("needletail_cache_bytes", help: "Bytes of cached answers with their rows.")
  }
}
