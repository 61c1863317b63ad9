internal import Synchronization

/// All series of one server. It hands out the handles that hot paths hold, and renders the series for a scrape.
///
/// Looking up a handle takes a lock and allocates, so do it once, at start or when a version goes live. Using a handle
/// does neither.
///
/// ```swift
/// let accepted = metrics.counter("needletail_connections_total", help: "Connections accepted.")
/// accepted.add(shard: loopIndex)
/// ```
public final class MetricsRegistry: Sendable {
  /// Number of event loops that write without sharing cache lines.
  public let shards: Int
  private let families = Mutex<[String: MetricFamily]>([:])

  public init(shards: Int) {
    precondition(shards > 0, "metrics need at least one shard")
    self.shards = shards
  }

  /// Returns the counter with this name and these labels, and makes it on first use.
  /// - Parameter name: Name of the family, which by convention ends in `_total`.
  public func counter(_ name: String, help: String, labels: [(String, String)] = []) -> Counter {
    let instrument = instrument(name, .counter, help, labels) { .counter(Counter(shards: shards)) }
    guard case .counter(let counter) = instrument else { preconditionFailure("\(name) is no counter") }
    return counter
  }

  /// Returns the gauge with this name and these labels, and makes it on first use.
  public func gauge(_ name: String, help: String, labels: [(String, String)] = []) -> Gauge {
    let instrument = instrument(name, .gauge, help, labels) { .gauge(Gauge(shards: shards)) }
    guard case .gauge(let gauge) = instrument else { preconditionFailure("\(name) is no gauge that is set") }
    return gauge
  }

  /// Returns the histogram with this name and these labels, and makes it on first use.
  /// - Parameters:
  ///   - buckets: Inclusive upper bounds in `unit`, ascending; nil: ``Histogram/secondsBuckets``.
  ///   - unit: Unit of the bounds and of the rendered sum.
  public func histogram(
    _ name: String, help: String, labels: [(String, String)] = [], buckets: [Double]? = nil,
    unit: Histogram.Unit = .seconds
  ) -> Histogram {
    let instrument = instrument(name, .histogram, help, labels) {
      .histogram(Histogram(shards: shards, unit: unit, bounds: buckets ?? Histogram.secondsBuckets))
    }
    guard case .histogram(let histogram) = instrument else { preconditionFailure("\(name) is no histogram") }
    return histogram
  }

  /// Adds a series whose value is computed at each scrape, on the scraping thread; nil leaves the series out.
  public func sampled(
    _ name: String, kind: SampledKind, help: String, labels: [(String, String)] = [],
    read: @escaping @Sendable () -> Double?
  ) {
    let type: MetricFamily.Kind =
      switch kind {
      case .counter: .counter
      case .gauge: .gauge
      }
    _ = instrument(name, type, help, labels) { .sampled(read) }
  }

  public enum SampledKind: Sendable {
    case counter
    case gauge
  }

  /// Removes every series that has all of these labels, so that those of retired versions do not accumulate. Handles
  /// that are still held go on counting without being shown; the same series starts at 0 when it is made again.
  /// - Returns: Number of series that were removed.
  @discardableResult
  public func remove(labels: [(String, String)]) -> Int {
    precondition(!labels.isEmpty, "removing series needs a label")
    return families.withLock { families in
      var removed = 0
      for name in families.keys {
        removed += families[name]?.remove(matching: labels) ?? 0
        if families[name]?.series.isEmpty == true { families[name] = nil }
      }
      return removed
    }
  }

  /// Removes the series with this name and exactly these labels.
  public func remove(_ name: String, labels: [(String, String)]) {
    families.withLock { families in
      families[name]?.series[MetricLabels(labels)] = nil
      if families[name]?.series.isEmpty == true { families[name] = nil }
    }
  }

  /// Renders all series in Prometheus' text format 0.0.4, families sorted by name and series by labels.
  public func render() -> String {
    let snapshot = families.withLock { Array($0.values) }
    return PrometheusText.render(snapshot.sorted { $0.name < $1.name })
  }

  private func instrument(
    _ name: String, _ kind: MetricFamily.Kind, _ help: String, _ labels: [(String, String)],
    make: () -> MetricFamily.Instrument
  ) -> MetricFamily.Instrument {
    precondition(MetricFamily.isMetricName(name), "\(name) is no metric name")
    let labels = MetricLabels(labels)
    return families.withLock { families in
      var family = families[name] ?? MetricFamily(name: name, kind: kind, help: help)
      precondition(family.kind == kind, "\(name) is a \(family.kind.rawValue), asked for as a \(kind.rawValue)")
      if let known = family.series[labels] { return known }
      let made = make()
      family.series[labels] = made
      families[name] = family
      return made
    }
  }
}
