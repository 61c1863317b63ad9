internal import NeedletailCore
internal import Yams

/// One value of a YAML file with its place, so that every error about it names the line.
///
/// ```swift
/// for entry in try file.entries(known: ["name", "models"]) {
///   switch entry.word {
///   case "name": name = try entry.value.text()
///   default: models = try entry.value.elements().map { … }
///   }
/// }
/// ```
public struct YAMLNode: Sendable {
  public enum Content: Sendable {
    /// A text; `isPlain` is false if it was quoted, so that `"null"` is a text and not a missing value.
    case scalar(String, isPlain: Bool)
    case list([YAMLNode])
    case mapping([Entry])
  }

  public struct Entry: Sendable {
    /// The key as a scalar, with the path of the mapping.
    public var key: YAMLNode
    public var value: YAMLNode

    public init(key: YAMLNode, value: YAMLNode) {
      self.key = key
      self.value = value
    }

    /// Text of the key.
    public var word: String {
      if case .scalar(let text, _) = key.content { text } else { "" }
    }
  }

  public var place: YAMLPlace
  /// Keys that lead to the value, such as `limits.in_flight` or `keys[0].name`; empty for the whole file.
  public var path: String
  public var content: Content

  public init(_ content: Content, place: YAMLPlace, path: String) {
    self.content = content
    self.place = place
    self.path = path
  }

  /// Path of the value under a key of this mapping.
  public func path(of key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

  /// Whether the value is missing: `keys:` with nothing after it, `~` or `null`.
  public var isNull: Bool {
    guard case .scalar(let text, isPlain: true) = content else { return false }
    return ["", "~", "null", "Null", "NULL"].contains(text)
  }
}

// MARK: - Reading

extension YAMLNode {
  /// Entries of a mapping in their order; a missing value has none.
  /// - Parameter known: Keys that the mapping may have; nil: any.
  public func entries(known: [String]? = nil) throws(YAMLError) -> [Entry] {
    if isNull { return [] }
    guard case .mapping(let entries) = content else { throw wrong(expected: "a mapping", found: shape) }
    if let known {
      for entry in entries where !known.contains(entry.word) { throw entry.key.unknownKey(known: known) }
    }
    return entries
  }

  /// Elements of a list; a missing value has none.
  public func elements() throws(YAMLError) -> [YAMLNode] {
    if isNull { return [] }
    guard case .list(let elements) = content else { throw wrong(expected: "a list", found: shape) }
    return elements
  }

  /// Text of a scalar that is present.
  public func text() throws(YAMLError) -> String {
    guard case .scalar(let text, _) = content, !isNull else { throw wrong(expected: "one value", found: shape) }
    return text
  }

  /// Case of an enumeration whose raw value is the text of this scalar.
  public func choice<Choice>(of type: Choice.Type = Choice.self) throws(YAMLError) -> Choice
  where Choice: RawRepresentable<String> & CaseIterable {
    guard let choice = Choice(rawValue: try text()) else { throw wrong(among: Choice.allCases.map(\.rawValue)) }
    return choice
  }
}

// MARK: - Errors

extension YAMLNode {
  /// - Parameter found: Description of the value in the message; nil: the text of a scalar, or the kind of another value.
  public func wrong(expected: String, found: String? = nil, hint: String = "") -> YAMLError {
    YAMLError(place, path: path, expected: expected, found: found ?? self.found, hint: hint)
  }

  /// Error for a word that is not one of the known ones.
  public func wrong(among words: [String]) -> YAMLError {
    wrong(expected: "one of \(words.joined(separator: ", "))", hint: hint(among: words))
  }

  private func unknownKey(known: [String]) -> YAMLError {
    let hint = hint(among: known)
    return hint.isEmpty ? wrong(among: known) : wrong(expected: "a known key", hint: hint)
  }

  private func hint(among words: [String]) -> String {
    guard case .scalar(let text, _) = content else { return "" }
    return Suggestion.clause(for: text, among: words)
  }

  private var found: String {
    guard case .scalar(let text, _) = content, !isNull else { return shape }
    return text.quotedForMessage
  }

  /// Error that does not quote the scalar, which may be a secret where a whole entry is expected.
  private var shape: String {
    switch content {
    case .scalar: isNull ? "nothing" : "one value"
    case .list(let elements): "a list of \(elements.count)"
    case .mapping: "a mapping"
    }
  }
}

/// A place in a source, such as `run.yaml:12` or `--set model.hidden`.
public struct YAMLPlace: Hashable, Sendable, CustomStringConvertible {
  /// Path of the file as the user named it, or another name of the source.
  public let source: String
  /// Line, from 1; nil: the whole source.
  public let line: Int?

  public init(_ source: String, line: Int? = nil) {
    self.source = source
    self.line = line
  }

  public var description: String { line.map { "\(source):\($0)" } ?? source }
}

/// The reason why a YAML file cannot be used: one sentence with the line, what was expected and what was found.
public struct YAMLError: Error, Equatable, Sendable, CustomStringConvertible {
  public let place: YAMLPlace
  /// Keys that lead to the value, such as `limits.in_flight`; empty for the file as a whole.
  public let path: String
  public let expected: String
  public let found: String
  /// Clause with the probably intended word, made by ``NeedletailCore/Suggestion``; empty if there is none.
  public let hint: String

  public init(_ place: YAMLPlace, path: String = "", expected: String, found: String, hint: String = "") {
    self.place = place
    self.path = path
    self.expected = expected
    self.found = found
    self.hint = hint
  }

  /// The sentence without its place.
  public var problem: String { "\(path.isEmpty ? "" : "\(path): ")expected \(expected), found \(found)\(hint)" }

  public var description: String { "\(place): \(problem)" }
}

extension YAMLNode {
  /// Parses one document. A document that is empty, or holds only comments, is null.
  /// - Throws: A ``YAMLError`` if the text is not YAML, has a key twice, or grows by aliases beyond its bound.
  public static func parse(_ text: String, file: String) throws(YAMLError) -> YAMLNode {
    try parse(text, path: "") { line in YAMLPlace(file, line: line) }
  }

  /// Parses a text that is not part of a file, such as a value on a command line.
  /// - Parameter path: Keys that lead to the value, for messages.
  public static func parse(_ text: String, at place: YAMLPlace, path: String) throws(YAMLError) -> YAMLNode {
    try parse(text, path: path) { _ in place }
  }

  private static func parse(_ text: String, path: String, place: @escaping (Int) -> YAMLPlace) throws(YAMLError)
    -> YAMLNode
  {
    guard aliasLikes(in: text) <= Limits.yamlAliasesMax else {
      throw YAMLError(place(1), path: path, expected: "at most \(Limits.yamlAliasesMax) aliases", found: "more")
    }
    let root: Yams.Node?
    do {
      root = try Yams.compose(yaml: text)
    } catch {
      throw failure(error, path: path, place: place)
    }
    guard let root else { return YAMLNode(.scalar("", isPlain: true), place: place(1), path: path) }
    // A text without aliases has fewer values than bytes.
    var reader = YAMLReader(place: place, valuesLeft: text.utf8.count + 1)
    return try reader.node(root, path: path, depth: 0)
  }

  private static func failure(_ error: any Error, path: String, place: (Int) -> YAMLPlace) -> YAMLError {
    switch error as? YamlError {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      YAMLError(place(mark.line), path: path, expected: "YAML", found: "something else: \(problem)")
    case .duplicatedKeysInMapping(let duplicates, let context):
      YAMLError(
        place(context.mark.line), path: path, expected: "every key once",
        found: "\((duplicates.first ?? "").quotedForMessage) twice")
    case .reader(let problem, _, _, _):
      YAMLError(place(1), path: path, expected: "YAML", found: "other bytes: \(problem)")
    default: YAMLError(place(1), path: path, expected: "YAML", found: "something else")
    }
  }

  /// Upper bound on the number of aliases in a text. Yams expands aliases, and hashes expanded keys, before they
  /// could be counted exactly.
  private static func aliasLikes(in text: String) -> Int {
    var count = 0
    var beforePrevious = UInt8(ascii: " ")
    var previous = UInt8(ascii: " ")
    for byte in text.utf8 {
      let canFollow =
        beforePrevious <= UInt8(ascii: " ") || beforePrevious >= 0x80 || ",:?[{".utf8.contains(beforePrevious)
      if previous == UInt8(ascii: "*"), byte > UInt8(ascii: " "), canFollow { count += 1 }
      (beforePrevious, previous) = (previous, byte)
    }
    return count
  }
}

/// Converts the nodes of Yams.
private struct YAMLReader {
  let place: (Int) -> YAMLPlace
  var valuesLeft: Int

  mutating func node(_ node: Yams.Node, path: String, depth: Int) throws(YAMLError) -> YAMLNode {
    let place = self.place(node.mark?.line ?? 1)
    guard depth < Limits.yamlDepthMax else {
      throw YAMLError(place, path: path, expected: "at most \(Limits.yamlDepthMax) levels", found: "more")
    }
    valuesLeft -= 1
    guard valuesLeft >= 0 else {
      throw YAMLError(
        place, path: path, expected: "no more values than the file has bytes", found: "aliases of aliases")
    }
    var result = YAMLNode(.list([]), place: place, path: path)
    switch node {
    case .scalar(let scalar): result.content = .scalar(scalar.string, isPlain: scalar.style == .plain)
    case .sequence(let sequence):
      var elements: [YAMLNode] = []
      for (index, element) in sequence.enumerated() {
        elements.append(try self.node(element, path: "\(path)[\(index)]", depth: depth + 1))
      }
      result.content = .list(elements)
    case .mapping(let mapping):
      var entries: [YAMLNode.Entry] = []
      for (key, value) in mapping {
        guard case .scalar(let word) = key else {
          throw YAMLError(
            self.place(key.mark?.line ?? 1), path: path, expected: "a word as key", found: "another shape")
        }
        let name = YAMLNode(
          .scalar(word.string, isPlain: word.style == .plain), place: self.place(word.mark?.line ?? 1), path: path)
        entries.append(
          .init(key: name, value: try self.node(value, path: result.path(of: word.string), depth: depth + 1)))
      }
      result.content = .mapping(entries)
    case .alias: throw result.wrong(expected: "a value", found: "an alias of nothing")
    }
    return result
  }
}
