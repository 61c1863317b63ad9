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
