internal import NeedletailCore
internal import NeedletailWire

/// Outcomes in JSON, and the answer to them:
///
/// ```json
/// {"outcomes": [{"key": "order-8812", "label": "churned"}, {"key": "order-8813", "row": 2, "value": 3.5}]}
/// ```
enum FeedbackJSON {
  /// - Throws: `.invalidArgument` naming what is wrong.
  static func outcomes(_ body: UnsafeRawBufferPointer) throws(ServingError) -> [ReportedOutcome] {
    var cursor = JSONCursor(body)
    var outcomes: [ReportedOutcome] = []
    var isFirst = true
    try cursor.enter(UInt8(ascii: "{"), "an object")
    while try cursor.next(until: UInt8(ascii: "}"), &isFirst) {
      let key = try cursor.key()
      guard key.elementsEqual("outcomes".utf8) else {
        try cursor.skipValue()
        continue
      }
      var isFirstOutcome = true
      try cursor.enter(UInt8(ascii: "["), "a list of outcomes")
      while try cursor.next(until: UInt8(ascii: "]"), &isFirstOutcome) {
        if let error = ReportedOutcome.countError(outcomes.count + 1) { throw error }
        outcomes.append(try outcome(&cursor, index: outcomes.count))
      }
    }
    guard cursor.peek() == nil else { throw cursor.fault("nothing behind the object") }
    if let error = ReportedOutcome.countError(outcomes.count) { throw error }
    return outcomes
  }

  private static func outcome(_ cursor: inout JSONCursor, index: Int) throws(ServingError) -> ReportedOutcome {
    var key: [UInt8] = []
    var row: UInt32 = 0
    var label: [UInt8]?
    var value: Double?
    var isFirst = true
    try cursor.enter(UInt8(ascii: "{"), "an outcome")
    while try cursor.next(until: UInt8(ascii: "}"), &isFirst) {
      let member = try cursor.key()
      if member.elementsEqual("key".utf8) {
        key = try text(&cursor, "a string for key")
      } else if member.elementsEqual("row".utf8) {
        guard let number = UInt32(exactly: try cursor.count("a row from 0")) else {
          throw .invalidArgument("outcomes[\(index)]: row: expected a number below 2³², found a larger one")
        }
        row = number
      } else if member.elementsEqual("label".utf8) {
        label = try text(&cursor, "a string for label")
      } else if member.elementsEqual("value".utf8) {
        let number = try cursor.number("a number for value")
        // A number beyond all doubles is infinite, which is no outcome.
        value = NumberText.parse(number) ?? .infinity
      } else {
        try cursor.skipValue()
      }
    }
    return try key.withUnsafeBufferPointer { (key) throws(ServingError) in
      let key = UnsafeRawBufferPointer(key)
      guard let label else {
        return try ReportedOutcome(index: index, key: key, row: row, label: nil, value: value)
      }
      return try label.withUnsafeBufferPointer { (label) throws(ServingError) in
        try ReportedOutcome(
          index: index, key: key, row: row, label: UnsafeRawBufferPointer(label), value: value)
      }
    }
  }

  /// What a string means.
  private static func text(_ cursor: inout JSONCursor, _ words: String) throws(ServingError) -> [UInt8] {
    let text = try cursor.text(words)
    guard text.hasEscapes else { return Array(text.raw) }
    var bytes = [UInt8](repeating: 0, count: text.raw.count)
    let count = bytes.withUnsafeMutableBytes { memory in
      memory.baseAddress.flatMap { JSONCursor.unescape(text.raw, to: $0) }
    }
    guard let count else { throw cursor.fault("a string of valid escapes") }
    return Array(bytes[..<count])
  }

  /// The answer as JSON.
  static func answer(_ report: FeedbackReport) -> String {
    let problems = report.problems.map { problem in
      "{\"index\":\(problem.index),\"result\":\(JSONText.quoted(problem.result)),"
        + "\"message\":\(JSONText.quoted(problem.message))}"
    }
    return "{\"joined\":\(report.joined),\"unknown\":\(report.unknown),\"late\":\(report.late),"
      + "\"duplicate\":\(report.duplicate),\"contradictory\":\(report.contradictory),"
      + "\"invalid\":\(report.invalid),\"problems\":[\(problems.joined(separator: ","))]}"
  }
}
