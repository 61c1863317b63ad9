/// One raw value of a row, as a file or a client gives it.
public enum Cell: Equatable, Sendable {
  case number(Double)
  case text(String)
  case missing
}

/// One raw row and what must come out of it. A version goes live only if all its samples pass on the
/// machine that will serve it.
public struct GoldenSample: Equatable, Sendable {
  public enum Answer: Equatable, Sendable {
    case numbers([Double])
    case strings([String])
  }

  public enum Expectation: Equatable, Sendable {
    /// Answers, each with the name of its output.
    case answers([(name: String, answer: Answer)])
    /// The row must be refused with this code.
    case refusal(StatusCode)

    public static func == (a: Expectation, b: Expectation) -> Bool {
      switch (a, b) {
      case (.answers(let x), .answers(let y)):
        x.count == y.count && zip(x, y).allSatisfy { $0.name == $1.name && $0.answer == $1.answer }
      case (.refusal(let x), .refusal(let y)): x == y
      default: false
      }
    }
  }

  /// Why this sample is here: `row 17`, `all missing`, `unseen category in colour`.
  public var name: String
  /// One per feature, in schema order.
  public var cells: [Cell]
  public var expectation: Expectation
  /// Largest |found − expected| / max(1, |expected|); classes must be equal.
  public var tolerance: Double

  public init(name: String, cells: [Cell], expectation: Expectation, tolerance: Double) {
    self.name = name
    self.cells = cells
    self.expectation = expectation
    self.tolerance = tolerance
  }
}
