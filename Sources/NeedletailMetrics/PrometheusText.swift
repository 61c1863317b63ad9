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
