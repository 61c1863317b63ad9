internal import Synchronization

/// All series of one server: hands out the handles that hot paths hold, and renders them on a scrape.
///
/// Looking a handle up takes a lock and allocates: do it once, at start or when a version goes live.
/// Using one does neither.
///
/// ```swift
/// let accepted = metrics.counter("needletail_connections_total", help: "Connections accepted.")
/// accepted.add(shard: loopIndex)
/// ```
public final class MetricsRegistry: Sendable {
  /// How many event loops write without sharing cache lines.
  public let shards: Int
  private let families = Mutex<[String: MetricFamily]>([:])

  public init(shards: Int) {
    precondition(shards > 0, "metrics need at least one shard")
    self.shards = shards
  }

  /// The counter of this name and these labels, made on first use.
  /// - Parameter name: ends in `_total`, by convention.
  public func counter(_ name: String, help: String, labels: [(String, String)] = []) -> Counter {
    let instrument = instrument(name, .counter, help, labels) { .counter(Counter(shards: shards)) }
    guard case .counter(let counter) = instrument else { preconditionFailure("\(name) is no counter") }
    return counter
  }

  /// The gauge of this name and these labels, made on first use.
  public func gauge(_ name: String, help: String, labels: [(String, String)] = []) -> Gauge {
    let instrument = instrument(name, .gauge, help, labels) { .gauge(Gauge(shards: shards)) }
    guard case .gauge(let gauge) = instrument else { preconditionFailure("\(name) is no gauge that is set") }
    return gauge
  }

  /// The histogram of this name and these labels, made on first use.
  /// - Parameters:
  ///   - buckets: inclusive upper bounds in `unit`, ascending; nil for ``Histogram/secondsBuckets``.
  ///   - unit: of the bounds and of the rendered sum.
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

  /// A series whose value is asked for at each scrape, on the scraping thread. Nil leaves the series out.
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

  /// Drops every series that carries all of these labels, so that retired versions do not pile up.
  /// Handles somebody still holds go on counting, unseen; asking for the same series again starts at 0.
  /// - Returns: how many series went.
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

  /// Drops the one series of this name and exactly these labels.
  public func remove(_ name: String, labels: [(String, String)]) {
    families.withLock { families in
      families[name]?.series[MetricLabels(labels)] = nil
      if families[name]?.series.isEmpty == true { families[name] = nil }
    }
  }

  /// Everything in Prometheus' text format 0.0.4: families by name, series by labels.
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
