internal import NeedletailCore
internal import NeedletailYAML
internal import Yams

/// One key of a run file: what it may hold, its default, and a sentence for people.
///
/// One description checks the user's file, fills in defaults, and writes the starter file.
public struct Setting: Sendable {
  public indirect enum Kind: Sendable {
    case integer(ClosedRange<Int>)
    case number(ClosedRange<Double>)
    case flag
    case text
    case choice([String])
    /// One of the words, or a section of numbers whose keys the data decides.
    case wordOrNumbers([String], ClosedRange<Double>)
    /// A list whose elements are scalars of this kind, or lists of scalars.
    case list(Kind)
    /// Keys of their own.
    case section([Setting])
    /// A section whose keys are column names.
    case sectionPerColumn([Setting])
  }

  public var key: String
  public var kind: Kind
  /// Default; `.null` leaves the key absent.
  public var fallback: Document
  public var isRequired: Bool
  /// One sentence for people.
  public var summary: String

  /// A setting with a default.
  public init(_ key: String, _ kind: Kind, _ fallback: Document, _ summary: String) {
    self.key = key
    self.kind = kind
    self.fallback = fallback
    self.summary = summary
    isRequired = false
  }

  /// A setting without a default. Left out, it stays absent, or is refused if it is required.
  public init(_ key: String, _ kind: Kind, isRequired: Bool = false, _ summary: String) {
    self.key = key
    self.kind = kind
    self.isRequired = isRequired
    self.summary = summary
    fallback = .null
  }
}

extension Setting.Kind {
  /// Words of an error message for what was expected.
  var expectation: String {
    switch self {
    case .integer(let range): "a whole number from \(range.lowerBound) to \(range.upperBound)"
    case .number(let range): "a number from \(Self.text(range.lowerBound)) to \(Self.text(range.upperBound))"
    case .flag: "true or false"
    case .text: "text"
    case .choice(let words): words.joined(separator: " | ")
    case .wordOrNumbers(let words, let range):
      words.joined(separator: " | ") + " | keys with \(Self.number(range).expectation) each"
    case .list(let element): "a list, each \(element.expectation)"
    case .section, .sectionPerColumn: "a section of keys"
    }
  }

  private static func text(_ bound: Double) -> String {
    if let whole = Int(exactly: bound) { return String(whole) }
    return "\(bound)"
  }
}

/// Checks a run file against the settings that exist, and merges the defaults under it.
struct SettingsCheck {
  /// Place of each value in the run file, by its dotted path.
  private(set) var places: [String: YAMLPlace] = [:]

  /// - Parameters:
  ///   - node: the section as the user wrote it; nil for none.
  ///   - settings: keys that it may have.
  ///   - path: dotted path of the section; empty for the whole file.
  ///   - place: place of the section, or of the nearest one around it that the user wrote.
  /// - Returns: every setting in the order of `settings`: the user's value, else the default.
  /// - Throws: `YAMLError` for an unknown key, a value that does not fit, or a required one that is absent.
  mutating func merge(
    _ node: YAMLNode?, under settings: [Setting], path: String, place: YAMLPlace
  ) throws(YAMLError) -> Document {
    let given = try node?.entries(known: settings.map(\.key)) ?? []
    var entries: [Document.Entry] = []
    for setting in settings {
      let inner = path.isEmpty ? setting.key : "\(path).\(setting.key)"
      let own = given.first { $0.word == setting.key }
      if let own { places[inner] = own.key.place }
      let value = try self.value(own?.value, setting, path: inner, place: own?.key.place ?? place)
      if value == .null, setting.isRequired {
        throw YAMLError(place, path: inner, expected: setting.kind.expectation, found: "nothing")
      }
      entries.append(.init(setting.key, value))
    }
    return .section(entries)
  }

  private mutating func value(
    _ node: YAMLNode?, _ setting: Setting, path: String, place: YAMLPlace
  ) throws(YAMLError) -> Document {
    switch setting.kind {
    case .section(let settings):
      return try merge(node, under: settings, path: path, place: place)
    case .sectionPerColumn(let settings):
      var entries: [Document.Entry] = []
      for column in try node?.entries() ?? [] {
        let inner = column.value.path
        places[inner] = column.key.place
        entries.append(
          .init(column.word, try merge(column.value, under: settings, path: inner, place: column.key.place)))
      }
      return .section(entries)
    case .wordOrNumbers(let words, let range):
      guard let node, !node.isNull else { return setting.fallback }
      guard case .mapping = node.content else { return try scalar(node, .choice(words)) }
      var entries: [Document.Entry] = []
      for entry in try node.entries() {
        places[entry.value.path] = entry.key.place
        entries.append(.init(entry.word, try scalar(entry.value, .number(range))))
      }
      return .section(entries)
    case .list(let element):
      guard let node, !node.isNull else { return setting.fallback }
      // A single value may stand for a list of one: `files: wine.csv`.
      guard case .list(let nodes) = node.content else { return .list([try scalar(node, element)]) }
      return .list(try nodes.map { node throws(YAMLError) in try self.element(node, element) })
    default:
      guard let node, !node.isNull else { return setting.fallback }
      return try scalar(node, setting.kind)
    }
  }

  /// An element of a list, which may be a list of scalars itself.
  private func element(_ node: YAMLNode, _ kind: Setting.Kind) throws(YAMLError) -> Document {
    guard case .list(let inner) = kind else { return try scalar(node, kind) }
    guard case .list(let nodes) = node.content else { throw node.wrong(expected: kind.expectation) }
    return .list(try nodes.map { node throws(YAMLError) in try scalar(node, inner) })
  }

  private func scalar(_ node: YAMLNode, _ kind: Setting.Kind) throws(YAMLError) -> Document {
    guard case .scalar(let text, _) = node.content else { throw node.wrong(expected: kind.expectation) }
    switch kind {
    case .integer(let range):
      if let value = Int(text), range.contains(value) { return .integer(value) }
    case .number(let range):
      if let value = Double(text), range.contains(value) { return .number(value) }
    case .flag:
      if text == "true" || text == "false" { return .flag(text == "true") }
    case .choice(let words):
      if words.contains(text) { return .text(text) }
      throw node.wrong(expected: kind.expectation, hint: Suggestion.clause(for: text, among: words))
    case .text:
      return .text(text)
    case .wordOrNumbers, .list, .section, .sectionPerColumn:
      break
    }
    throw node.wrong(expected: kind.expectation)
  }
}

extension YAMLNode {
  /// Value under a path of keys; nil where the user gave none.
  func value(at path: [String]) -> YAMLNode? {
    guard let key = path.first else { return self }
    guard case .mapping(let entries) = content else { return nil }
    return entries.first { $0.word == key }?.value.value(at: Array(path.dropFirst()))
  }

  /// Lays the assignment of a `--set` over the run file.
  ///
  /// - Parameter assignment: `a.b=c`. A key that contains a dot stands in double quotes.
  /// - Throws: `YAMLError` where it is no assignment.
  mutating func set(_ assignment: String) throws(YAMLError) {
    // A name in quotes may hold the sign itself.
    var isQuoted = false
    let equals = assignment.indices.first { index in
      if assignment[index] == "\"" { isQuoted.toggle() }
      return assignment[index] == "=" && !isQuoted
    }
    guard let equals else {
      throw YAMLError(YAMLPlace("--set \(assignment)"), expected: "key.key=value", found: "no \"=\"")
    }
    let pathText = String(assignment[..<equals])
    let place = YAMLPlace("--set \(pathText)")
    let path = Self.keys(of: pathText)
    guard path.count < Limits.yamlDepthMax, path.allSatisfy({ !$0.isEmpty }) else {
      throw YAMLError(place, expected: "keys separated by dots", found: pathText.quotedForMessage)
    }
    let text = String(assignment[assignment.index(after: equals)...])
    put(try .parse(text, at: place, path: path.joined(separator: ".")), at: path[...])
  }

  private mutating func put(_ value: YAMLNode, at path: ArraySlice<String>) {
    guard let word = path.first else {
      self = value
      return
    }
    var entries: [Entry] = []
    if case .mapping(let existing) = content { entries = existing }
    let index = entries.firstIndex { $0.word == word } ?? entries.count
    if index == entries.count {
      let key = YAMLNode(.scalar(word, isPlain: false), place: value.place, path: self.path)
      entries.append(Entry(key: key, value: YAMLNode(.mapping([]), place: value.place, path: self.path(of: word))))
    }
    entries[index].value.put(value, at: path.dropFirst())
    if path.count == 1 { entries[index].key.place = value.place }
    content = .mapping(entries)
  }

  private static func keys(of path: String) -> [String] {
    var keys = [""]
    var isQuoted = false
    for character in path {
      switch character {
      case "\"": isQuoted.toggle()
      case "." where !isQuoted: keys.append("")
      default: keys[keys.count - 1].append(character)
      }
    }
    return keys
  }
}

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
