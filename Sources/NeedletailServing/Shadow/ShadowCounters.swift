internal import NeedletailCore
public import NeedletailMetrics
public import NeedletailModels

/// Metrics of one shadow version. Asking for the same version again gives the same series.
public struct ShadowCounters: Sendable {
  /// Rows compared.
  public let rows: Counter
  /// Rows with another class.
  public let flips: Counter
  /// Numbers that were NaN or infinite.
  public let nonFinite: Counter
  /// Rows left out because an earlier batch was not done, or was too large.
  public let busy: Counter
  /// Rows left out because the versions take different features.
  public let incompatible: Counter
  /// The largest absolute difference of two numbers.
  public let maxDifference: Gauge
  public let compute: Histogram

  public init(_ version: LiveModel, metrics: MetricsRegistry) {
    let labels = [("model", version.model.name), ("version", version.version.description)]
    rows = metrics.counter(
      "needletail_shadow_rows_total", help: "Rows that a shadow version computed and that were compared.",
      labels: labels)
    flips = metrics.counter(
      "needletail_shadow_class_flips_total", help: "Rows for which a shadow version named another class.",
      labels: labels)
    nonFinite = metrics.counter(
      "needletail_shadow_nan_outputs_total", help: "Numbers of a shadow version that were NaN or infinite.",
      labels: labels)
    func skipped(_ reason: String) -> Counter {
      metrics.counter(
        "needletail_shadow_rows_skipped_total", help: "Rows that a shadow version was not given, by reason.",
        labels: labels + [("reason", reason)])
    }
    busy = skipped("busy")
    incompatible = skipped("features")
    maxDifference = metrics.gauge(
      "needletail_shadow_max_difference", help: "Largest absolute difference to the answer of the version compared.",
      labels: labels)
    compute = metrics.histogram(
      "needletail_shadow_compute_seconds", help: "How long a shadow version computed a batch.", labels: labels)
  }

  /// Called by the background thread only.
  func add(_ result: ShadowComparison.Result, rows count: Int) {
    rows.add(UInt64(count))
    if result.flips > 0 { flips.add(UInt64(result.flips)) }
    if result.nonFinite > 0 { nonFinite.add(UInt64(result.nonFinite)) }
    if Double(result.maxDifference) > maxDifference.value { maxDifference.set(Double(result.maxDifference)) }
  }
}
