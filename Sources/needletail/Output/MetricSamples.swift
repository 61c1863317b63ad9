/// Samples of a text in Prometheus' format 0.0.4, by the name of their family.
struct MetricSamples {
  struct Sample: Equatable {
    let labels: [String: String]
    let value: Double
  }

  private var families: [String: [Sample]] = [:]

  /// Lines that are no samples are skipped.
  init(_ text: String) {
    for line in text.split(separator: "\n") where !line.hasPrefix("#") {
      guard let (name, sample) = Self.sample(line) else { continue }
      families[name, default: []].append(sample)
    }
  }

  subscript(name: String) -> [Sample] { families[name] ?? [] }

  /// Value of the series with exactly these labels.
  func value(_ name: String, _ labels: [String: String]) -> Double? {
    self[name].first { $0.labels == labels }?.value
  }

  private static func sample(_ line: Substring) -> (String, Sample)? {
    guard let end = line.firstIndex(where: { $0 == "{" || $0 == " " }) else { return nil }
    let name = String(line[..<end])
    var labels: [String: String] = [:]
    var rest = line[end...]
    if rest.first == "{" {
      rest = rest.dropFirst()
      while let first = rest.first, first != "}" {
        guard let equals = rest.firstIndex(of: "=") else { return nil }
        let label = String(rest[..<equals])
        rest = rest[rest.index(after: equals)...]
        guard rest.first == "\"", let value = text(&rest) else { return nil }
        labels[label] = value
        if rest.first == "," { rest = rest.dropFirst() }
      }
      rest = rest.dropFirst()
    }
    guard let value = rest.split(separator: " ").first.flatMap({ Double($0 == "+Inf" ? "inf" : String($0)) }) else {
      return nil
    }
    return (name, Sample(labels: labels, value: value))
  }

  /// Takes a quoted text off the front: `\\`, `\"` and `\n` stand for a backslash, a quote and a line feed.
  private static func text(_ rest: inout Substring) -> String? {
    rest = rest.dropFirst()
    var text = ""
    while let character = rest.popFirst() {
      switch character {
      case "\"": return text
      case "\\":
        guard let escaped = rest.popFirst() else { return nil }
        text.append(escaped == "n" ? "\n" : escaped)
      default: text.append(character)
      }
    }
    return nil
  }
}
