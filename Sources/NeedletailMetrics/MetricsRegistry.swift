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

/// All series with one name.
struct MetricFamily {
  enum Kind: String {
    case counter
    case gauge
    case histogram
  }

  /// The source of the value of a series.
  enum Instrument {
    case counter(Counter)
    case gauge(Gauge)
    case histogram(Histogram)
    case sampled(@Sendable () -> Double?)
  }

  let name: String
  let kind: Kind
  let help: String
  var series: [MetricLabels: Instrument] = [:]

  init(name: String, kind: Kind, help: String) {
    self.name = name
    self.kind = kind
    self.help = help
  }

  mutating func remove(matching labels: [(String, String)]) -> Int {
    let before = series.count
    series = series.filter { !$0.key.contains(labels) }
    return before - series.count
  }

  /// Whether a name matches `[a-zA-Z_:][a-zA-Z0-9_:]*`.
  static func isMetricName(_ name: String) -> Bool { isName(name, colons: true) }

  static func isName(_ name: String, colons: Bool) -> Bool {
    guard let first = name.utf8.first, !(0x30...0x39).contains(first) else { return false }
    return name.utf8.allSatisfy { byte in
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x5F: true
      case 0x3A: colons
      default: false
      }
    }
  }
}

/// The labels of one series, sorted by name, so that labels in another order give the same series.
struct MetricLabels: Hashable, Comparable {
  struct Pair: Hashable {
    let name: String
    let value: String
  }

  let pairs: [Pair]

  /// Names of labels are constants of the program; values may be any text.
  init(_ labels: [(String, String)]) {
    pairs = labels.map { Pair(name: $0.0, value: $0.1) }.sorted { $0.name < $1.name }
    for pair in pairs {
      precondition(MetricFamily.isName(pair.name, colons: false), "\(pair.name) is no label name")
    }
    precondition(Set(pairs.map(\.name)).count == pairs.count, "a label stands twice in \(pairs)")
  }

  func contains(_ labels: [(String, String)]) -> Bool {
    labels.allSatisfy { pairs.contains(Pair(name: $0.0, value: $0.1)) }
  }

  static func < (a: MetricLabels, b: MetricLabels) -> Bool {
    for (x, y) in zip(a.pairs, b.pairs) where x != y {
      return (x.name, x.value) < (y.name, y.value)
    }
    return a.pairs.count < b.pairs.count
  }
}

/// Prometheus' text exposition format 0.0.4.
///
/// Source: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
enum PrometheusText {
  static func render(_ families: [MetricFamily]) -> String {
    var text = ""
    for family in families {
      let series = family.series.sorted { $0.key < $1.key }
      var body = ""
      for (labels, instrument) in series {
        append(instrument, name: family.name, labels: labels, to: &body)
      }
      guard !body.isEmpty else { continue }
      text += "# HELP \(family.name) \(escapedHelp(family.help))\n# TYPE \(family.name) \(family.kind.rawValue)\n"
      text += body
    }
    return text
  }

  private static func append(
    _ instrument: MetricFamily.Instrument, name: String, labels: MetricLabels, to text: inout String
  ) {
    switch instrument {
    case .counter(let counter):
      line(name, labels, value: String(counter.value), to: &text)
    case .gauge(let gauge):
      line(name, labels, value: number(gauge.value), to: &text)
    case .sampled(let read):
      guard let value = read() else { return }
      line(name, labels, value: number(value), to: &text)
    case .histogram(let histogram):
      // Buckets and count come from one reading, so that a scrape during a recording cannot show them disagree.
      var cumulative: UInt64 = 0
      for (index, count) in histogram.bucketCounts.enumerated() {
        cumulative &+= count
        let bound = index < histogram.bounds.count ? number(histogram.bounds[index]) : "+Inf"
        line(name + "_bucket", labels, extra: ("le", bound), value: String(cumulative), to: &text)
      }
      line(name + "_sum", labels, value: number(histogram.sum), to: &text)
      line(name + "_count", labels, value: String(cumulative), to: &text)
    }
  }

  private static func line(
    _ name: String, _ labels: MetricLabels, extra: (String, String)? = nil, value: String, to text: inout String
  ) {
    text += name
    var pairs = labels.pairs.map { "\($0.name)=\"\(escapedValue($0.value))\"" }
    if let extra { pairs.append("\(extra.0)=\"\(extra.1)\"") }
    if !pairs.isEmpty { text += "{" + pairs.joined(separator: ",") + "}" }
    text += " " + value + "\n"
  }

  /// Formats whole numbers without a point, and others as the shortest text that reads back as the same number.
  static func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
    if value == value.rounded(), abs(value) < 1e15 { return String(Int64(value)) }
    return value.description
  }

  static func escapedHelp(_ help: String) -> String {
    escaped(help, quotes: false)
  }

  static func escapedValue(_ value: String) -> String {
    escaped(value, quotes: true)
  }

  /// Escapes scalar by scalar, because Swift takes a carriage return with a line feed for one character.
  private static func escaped(_ text: String, quotes: Bool) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\"" where quotes: result += "\\\""
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
