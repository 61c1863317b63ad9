public import NeedletailCore

/// What became of one row of a call, as somebody reports it.
public struct Outcome: Sendable, Equatable {
  public enum Truth: Sendable, Equatable {
    /// Label of a class.
    case label(String)
    /// Number of a regression, or the index of a class.
    case number(Double)
  }

  /// Digest of the name that the caller gave the call.
  public var key: CallKey
  /// Row of the call, from 0.
  public var row: Int
  public var truth: Truth

  public init(key: CallKey, row: Int = 0, truth: Truth) {
    self.key = key
    self.row = row
    self.truth = truth
  }
}

/// What came of a reported outcome. Raw values are labels of metrics and words of answers.
public enum OutcomeResult: String, Sendable, CaseIterable {
  /// It counts.
  case joined
  /// No prediction of that name is remembered: there was none, it was not chosen, or it is forgotten.
  case unknown
  /// It came after the window.
  case late
  /// The same outcome was there before.
  case duplicate
  /// Another outcome was there before, which stands.
  case contradictory
  /// The value is no number, or not of the kind that the model answers.
  case value
  /// The model does not know the class.
  case `class`
  /// The call has no such row.
  case row

  /// Whether the outcome is wrong whatever the server remembers.
  public var isInvalid: Bool {
    switch self {
    case .value, .class, .row: true
    case .joined, .unknown, .late, .duplicate, .contradictory: false
    }
  }

  /// One sentence for whoever reported it.
  public var sentence: String {
    switch self {
    case .joined: "it counts"
    case .unknown: "expected the name of a prediction that is remembered, found another"
    case .late: "expected an outcome within the window after its prediction, found a later one"
    case .duplicate: "expected one outcome for each row, found the same one again"
    case .contradictory: "expected one outcome for each row, found another one than before, which stands"
    case .value: "expected a finite number for a regression, or a label for a classification, found something else"
    case .class: "expected a class that the model knows, found another"
    case .row: "expected a row of the call, found one beyond"
    }
  }
}
