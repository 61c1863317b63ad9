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
