/// Builds HTML of our tags and other people's text: text and attribute values are escaped, always.
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

  /// Safe between tags and between double quotes. What would change the order or the look of the text
  /// around it, a control or a bidirectional override, is shown as U+FFFD.
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
