/// Where something stands: `run.yaml:12`, or `--set model.hidden`.
public struct YAMLPlace: Hashable, Sendable, CustomStringConvertible {
  /// A file as the user named it, or whatever else the text came from.
  public let source: String
  /// From 1; nil if the whole source is meant.
  public let line: Int?

  public init(_ source: String, line: Int? = nil) {
    self.source = source
    self.line = line
  }

  public var description: String { line.map { "\(source):\($0)" } ?? source }
}

/// Why a YAML file cannot be used: one sentence that names the line, what was expected and what was found.
public struct YAMLError: Error, Equatable, Sendable, CustomStringConvertible {
  public let place: YAMLPlace
  /// The keys that lead to it, `limits.in_flight`; empty for the file as a whole.
  public let path: String
  public let expected: String
  public let found: String
  /// What was probably meant, as ``NeedletailCore/Suggestion`` words it, or nothing.
  public let hint: String

  public init(_ place: YAMLPlace, path: String = "", expected: String, found: String, hint: String = "") {
    self.place = place
    self.path = path
    self.expected = expected
    self.found = found
    self.hint = hint
  }

  /// Without the place, where that says nothing to the reader.
  public var problem: String { "\(path.isEmpty ? "" : "\(path): ")expected \(expected), found \(found)\(hint)" }

  public var description: String { "\(place): \(problem)" }
}
