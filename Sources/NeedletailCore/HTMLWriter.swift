/// Builds HTML from our own tags and foreign text: text and attribute values are always escaped.
public struct HTMLWriter: Sendable {
  public typealias Attributes = KeyValuePairs<StaticString, String>

  public private(set) var html = ""

  public init() {}

  /// An element with content.
  public mutating func element(
    _ tag: StaticString, _ attributes: Attributes = [:], _ content: (inout HTMLWriter) -> Void
  ) {
    open(tag, attributes)
    content(&self)
    html += "</\(tag)>"
  }

  /// An element that holds text.
  public mutating func element(_ tag: StaticString, _ attributes: Attributes = [:], _ text: String) {
    element(tag, attributes) { $0.text(text) }
  }

  /// An element without content: `<meta …>`.
  public mutating func void(_ tag: StaticString, _ attributes: Attributes = [:]) { open(tag, attributes) }

  public mutating func text(_ text: String) { html += Self.escaped(text) }

  /// Markup or a style sheet of our own, which goes in as it is.
  public mutating func trusted(_ markup: String) { html += markup }

  private mutating func open(_ tag: StaticString, _ attributes: Attributes) {
    html += "<\(tag)"
    for (name, value) in attributes { html += " \(name)=\"\(Self.escaped(value))\"" }
    html += ">"
  }

  /// Text that is safe between tags and between double quotes. Characters that would change the order or the look of the
  /// text around them, controls and bidirectional overrides, are shown as U+FFFD.
  public static func escaped(_ text: String) -> String {
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
