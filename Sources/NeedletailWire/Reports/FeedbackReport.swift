/// What came of the outcomes of one call: the answer to `Feedback`. Every outcome is counted once.
public struct FeedbackReport: Sendable, Equatable {
  /// An outcome that was not joined, and why.
  public struct Problem: Sendable, Equatable {
    /// Place among the outcomes, from 0.
    public var index: UInt32 = 0
    /// `unknown`, `late`, `duplicate`, `contradictory`, `value`, `class` or `row`.
    public var result = ""
    /// One sentence.
    public var message = ""

    public init() {}
  }

  public var joined: UInt32 = 0
  /// No prediction of that name is remembered.
  public var unknown: UInt32 = 0
  /// Reported after the window.
  public var late: UInt32 = 0
  /// The same outcome was reported before.
  public var duplicate: UInt32 = 0
  /// Another outcome was reported before, which stands.
  public var contradictory: UInt32 = 0
  /// A class or a row that does not exist, or a value of the wrong kind.
  public var invalid: UInt32 = 0
  /// The first outcomes that were not joined.
  public var problems: [Problem] = []

  public init() {}
}

extension FeedbackReport: WireMessage {
  static let wireName: StaticString = "FeedbackResponse"

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.number(1, &joined)
    fields.number(2, &unknown)
    fields.number(3, &late)
    fields.number(4, &duplicate)
    fields.number(5, &contradictory)
    fields.number(6, &invalid)
    try fields.messages(7, &problems)
  }
}

extension FeedbackReport.Problem: WireMessage {
  static let wireName: StaticString = "OutcomeProblem"

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.number(1, &index)
    fields.text(2, &result)
    fields.text(3, &message)
  }
}

extension FeedbackReport {
  package var json: JSONObject {
    [
      "joined": joined, "unknown": unknown, "late": late, "duplicate": duplicate, "contradictory": contradictory,
      "invalid": invalid, "problems": problems.map(\.json),
    ]
  }
}

extension FeedbackReport.Problem {
  package var json: JSONObject { ["index": index, "result": result, "message": message] }
}
