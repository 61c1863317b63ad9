internal import FoundationEssentials

/// Builds HTML from our own tags and foreign text: text and attribute values are always escaped.
struct HTMLWriter {
  typealias Attributes = KeyValuePairs<StaticString, String>

  private(set) var html = ""

  /// An element with content.
  mutating func element(
    _ tag: StaticString, _ attributes: Attributes = [:], _ content: (inout HTMLWriter) -> Void
  ) {
    open(tag, attributes)
    content(&self)
    html += "</\(tag)>"
  }

  /// An element that holds text.
  mutating func element(_ tag: StaticString, _ attributes: Attributes = [:], _ text: String) {
    element(tag, attributes) { $0.text(text) }
  }

  /// An element without content: `<meta …>`.
  mutating func void(_ tag: StaticString, _ attributes: Attributes = [:]) { open(tag, attributes) }

  mutating func text(_ text: String) { html += Self.escaped(text) }

  private mutating func open(_ tag: StaticString, _ attributes: Attributes) {
    html += "<\(tag)"
    for (name, value) in attributes { html += " \(name)=\"\(Self.escaped(value))\"" }
    html += ">"
  }

  /// Text that is safe between tags and between double quotes. Characters that would change the order or the look of the
  /// text around them, controls and bidirectional overrides, are shown as U+FFFD.
  static func escaped(_ text: String) -> String {
    var result = ""
    result.reserveCapacity(text.utf8.count)
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      case "'": result += "&#39;"
      case "\n", "\t": result += " "
      case "\u{0}"..."\u{1F}", "\u{7F}"..."\u{9F}", "\u{200E}", "\u{200F}", "\u{202A}"..."\u{202E}",
        "\u{2066}"..."\u{2069}":
        result += "\u{FFFD}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}

/// A point in time as the page shows it, in UTC.
struct PageTime {
  /// `2026-11-21T11:30:00Z`.
  let timestamp: String

  init(milliseconds: UInt64) {
    timestamp = Date(timeIntervalSince1970: Double(milliseconds) / 1000).formatted(.iso8601)
  }

  /// `11:30:00`.
  var clock: String { String(timestamp.dropLast().suffix(8)) }

  /// Writes a text whose tooltip is the whole time.
  func write(_ text: String, _ html: inout HTMLWriter) {
    html.element("time", ["datetime": timestamp, "title": timestamp], text)
  }
}
