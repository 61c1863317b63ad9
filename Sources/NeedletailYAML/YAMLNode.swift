internal import NeedletailCore

/// One value of a YAML file, which knows where it stands: whatever is wrong with it can be said with its line.
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
    /// `isPlain` is false in quotes, where `"null"` is a text.
    case scalar(String, isPlain: Bool)
    case list([YAMLNode])
    case mapping([Entry])
  }

  public struct Entry: Sendable {
    /// A scalar; its path is that of the mapping.
    public var key: YAMLNode
    public var value: YAMLNode

    public init(key: YAMLNode, value: YAMLNode) {
      self.key = key
      self.value = value
    }

    /// The text of the key.
    public var word: String {
      if case .scalar(let text, _) = key.content { text } else { "" }
    }
  }

  public var place: YAMLPlace
  /// The keys that lead here: `limits.in_flight`, `keys[0].name`; empty for the whole file.
  public var path: String
  public var content: Content

  public init(_ content: Content, place: YAMLPlace, path: String) {
    self.content = content
    self.place = place
    self.path = path
  }

  /// The path of what stands here under a key.
  public func path(of key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

  /// `keys:` with nothing behind it, `~` or `null`.
  public var isNull: Bool {
    guard case .scalar(let text, isPlain: true) = content else { return false }
    return ["", "~", "null", "Null", "NULL"].contains(text)
  }
}

// MARK: - Reading

extension YAMLNode {
  /// What a mapping holds, in its order; nothing stands for none.
  /// - Parameter known: the keys it may have; nil: any.
  public func entries(known: [String]? = nil) throws(YAMLError) -> [Entry] {
    if isNull { return [] }
    guard case .mapping(let entries) = content else { throw wrong(expected: "a mapping", found: shape) }
    if let known {
      for entry in entries where !known.contains(entry.word) { throw entry.key.unknownKey(known: known) }
    }
    return entries
  }

  /// What a list holds; nothing stands for none.
  public func elements() throws(YAMLError) -> [YAMLNode] {
    if isNull { return [] }
    guard case .list(let elements) = content else { throw wrong(expected: "a list", found: shape) }
    return elements
  }

  /// The text of a scalar that is there.
  public func text() throws(YAMLError) -> String {
    guard case .scalar(let text, _) = content, !isNull else { throw wrong(expected: "one value", found: shape) }
    return text
  }

  /// One of the words of an enumeration.
  public func choice<Choice>(of type: Choice.Type = Choice.self) throws(YAMLError) -> Choice
  where Choice: RawRepresentable<String> & CaseIterable {
    guard let choice = Choice(rawValue: try text()) else { throw wrong(among: Choice.allCases.map(\.rawValue)) }
    return choice
  }
}

// MARK: - Errors

extension YAMLNode {
  /// - Parameter found: what is said to stand here; nil: the text of a scalar, or the shape of anything else.
  public func wrong(expected: String, found: String? = nil, hint: String = "") -> YAMLError {
    YAMLError(place, path: path, expected: expected, found: found ?? self.found, hint: hint)
  }

  /// For a word that is none of those known.
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

  /// Without the text of a scalar: where a whole entry is expected, it may be a secret.
  private var shape: String {
    switch content {
    case .scalar: isNull ? "nothing" : "one value"
    case .list(let elements): "a list of \(elements.count)"
    case .mapping: "a mapping"
    }
  }
}
