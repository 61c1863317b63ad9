/// One key of a run file: what it may hold, its default, and a sentence for people.
///
/// The same description checks the user's file, fills in defaults, and writes the starter file.
public struct Setting: Sendable {
  public indirect enum Kind: Sendable {
    case integer(ClosedRange<Int>)
    case number(ClosedRange<Double>)
    case flag
    case text
    case choice([String])
    /// Of scalars.
    case list(Kind)
    case section([Setting])
    /// A section whose keys are column names.
    case sectionPerColumn([Setting])
  }

  public var key: String
  public var kind: Kind
  /// `.null`: absent unless the user says something.
  public var fallback: Document
  public var isRequired: Bool
  public var summary: String

  /// A setting with a default.
  public init(_ key: String, _ kind: Kind, _ fallback: Document, _ summary: String) {
    self.key = key
    self.kind = kind
    self.fallback = fallback
    self.summary = summary
    isRequired = false
  }

  /// A setting that is absent, or refused, unless the user gives it.
  public init(_ key: String, _ kind: Kind, isRequired: Bool = false, _ summary: String) {
    self.key = key
    self.kind = kind
    self.isRequired = isRequired
    self.summary = summary
    fallback = .null
  }
}

extension Setting.Kind {
  /// What an error message says was expected.
  var expectation: String {
    switch self {
    case .integer(let range): "a whole number from \(range.lowerBound) to \(range.upperBound)"
    case .number(let range): "a number from \(Self.text(range.lowerBound)) to \(Self.text(range.upperBound))"
    case .flag: "true or false"
    case .text: "text"
    case .choice(let words): words.joined(separator: " | ")
    case .list(let element): "a list, each \(element.expectation)"
    case .section, .sectionPerColumn: "a section of keys"
    }
  }

  private static func text(_ bound: Double) -> String {
    if let whole = Int(exactly: bound) { return String(whole) }
    return "\(bound)"
  }
}
