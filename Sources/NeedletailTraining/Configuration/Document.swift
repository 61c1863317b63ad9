internal import NeedletailCore
internal import Yams

/// An ordered tree of plain values: a configuration with its defaults, or figures for other programs.
public indirect enum Document: Equatable, Sendable {
  case null
  case flag(Bool)
  case integer(Int)
  case number(Double)
  case text(String)
  case list([Document])
  case section([Entry])

  public struct Entry: Equatable, Sendable {
    public var key: String
    public var value: Document

    public init(_ key: String, _ value: Document) {
      self.key = key
      self.value = value
    }
  }

  /// Value under a key of a section; null where there is none.
  public subscript(_ key: String) -> Document {
    guard case .section(let entries) = self else { return .null }
    return entries.first { $0.key == key }?.value ?? .null
  }

  /// Entries of a section; empty for anything else.
  public var entries: [Entry] {
    if case .section(let entries) = self { entries } else { [] }
  }

  /// A section with one more entry at its end.
  public func adding(_ key: String, _ value: Document) -> Document {
    .section(entries + [Entry(key, value)])
  }

  /// Elements of a list; empty for anything else.
  public var elements: [Document] {
    if case .list(let elements) = self { elements } else { [] }
  }

  public var integer: Int? {
    if case .integer(let value) = self { value } else { nil }
  }

  /// A number, whole ones included.
  public var number: Double? {
    switch self {
    case .number(let value): value
    case .integer(let value): Double(value)
    default: nil
    }
  }

  public var flag: Bool? {
    if case .flag(let value) = self { value } else { nil }
  }

  public var text: String? {
    if case .text(let value) = self { value } else { nil }
  }
}

extension Document {
  /// YAML text with entries in their order; null entries are left out.
  public var yaml: String {
    (try? Yams.serialize(node: yamlNode, allowUnicode: true)) ?? ""
  }

  private var yamlNode: Yams.Node {
    switch self {
    case .null: Node("null", Tag(.null))
    case .flag(let value): Node(value ? "true" : "false", Tag(.bool))
    case .integer(let value): Node(String(value), Tag(.int))
    case .number(let value): Node(Self.numberText(value), Tag(.float))
    case .text(let value):
      // Text that would read as something else keeps its quotes.
      Node(value, Tag(.str), Self.isPlainText(value) ? .any : .doubleQuoted)
    case .list(let elements):
      Node(elements.map(\.yamlNode), Tag(.seq), elements.allSatisfy(\.isScalar) ? .flow : .block)
    case .section(let entries):
      Node(entries.filter { $0.value != .null }.map { (Node($0.key, Tag(.str)), $0.value.yamlNode) }, Tag(.map), .block)
    }
  }

  private var isScalar: Bool {
    switch self {
    case .list, .section: false
    default: true
    }
  }

  /// True where the text needs no quotes in YAML to be read as text.
  static func isPlainText(_ text: String) -> Bool {
    guard let first = text.unicodeScalars.first, first.properties.isAlphabetic else { return false }
    let words: Set<String> = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"]
    return !words.contains(text.lowercased())
  }

  private static func numberText(_ value: Double) -> String {
    if let whole = Int(exactly: value), abs(whole) < 1 << 53 { return "\(whole).0" }
    return "\(value)"
  }

  /// JSON text, indented by two spaces. Lists of scalars stay on one line; NaN and infinities become null.
  public var json: String { json(indent: "") + "\n" }

  private func json(indent: String) -> String {
    switch self {
    case .null: return "null"
    case .flag(let value): return value ? "true" : "false"
    case .integer(let value): return String(value)
    case .number(let value): return value.isFinite ? "\(value)" : "null"
    case .text(let value): return value.jsonQuoted
    case .list(let elements):
      if elements.allSatisfy(\.isScalar) {
        return "[" + elements.map { $0.json(indent: "") }.joined(separator: ", ") + "]"
      }
      let inner = indent + "  "
      return "[\n" + elements.map { inner + $0.json(indent: inner) }.joined(separator: ",\n") + "\n\(indent)]"
    case .section(let entries):
      if entries.isEmpty { return "{}" }
      let inner = indent + "  "
      let lines = entries.map { inner + $0.key.jsonQuoted + ": " + $0.value.json(indent: inner) }
      return "{\n" + lines.joined(separator: ",\n") + "\n\(indent)}"
    }
  }
}
