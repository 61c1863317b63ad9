internal import NeedletailCore
internal import NeedletailModels

/// How good the answers of a live version were whose outcomes are known: what the status page says of it.
/// `needletail feedback show` tells the rest.
struct VersionFeedback: Sendable {
  /// The same in `status.json`.
  struct JSON: Encodable {
    var model: String
    var version: UInt64
    var rows: Int
    var accuracy: Double?
    var meanAbsoluteError: Double?
    /// What the first of the two should be.
    var expected: Double?
    /// Null where the outcomes are too few to say.
    var worse: Bool?
  }

  var model: ModelID
  var version: ModelVersion
  var figures: OutcomeFigures
  var expected: Double?
  var isWorse: Bool?

  /// - Returns: nil for a version of which no outcome is known.
  init?(_ live: LiveModel, _ report: FeedbackBook.Report) {
    guard let figures = report.all else { return nil }
    model = live.model
    version = live.version
    self.figures = figures
    expected = report.expected
    isWorse = report.isWorse
  }

  var json: JSON {
    JSON(
      model: model.name, version: version.number, rows: figures.rows, accuracy: figures.accuracy,
      meanAbsoluteError: figures.meanAbsoluteError, expected: expected, worse: isWorse)
  }

  /// One sentence for people.
  var sentence: String {
    let rows = "\(figures.rows) \(figures.rows == 1 ? "outcome" : "outcomes"): "
    if let accuracy = figures.accuracy {
      return rows + "accuracy \(Self.text(accuracy))" + (expected.map { ", expected \(Self.text($0))" } ?? "")
    }
    if let error = figures.meanAbsoluteError {
      return rows + "mean absolute error \(Self.text(error))" + (expected.map { ", expected \(Self.text($0))" } ?? "")
    }
    return rows + "all answers were NaN or infinite"
  }

  /// Four significant digits.
  private static func text(_ value: Double) -> String {
    guard value.isFinite, value != 0 else { return "\(value)" }
    var scale = 1.0
    while abs(value) * scale < 1000 { scale *= 10 }
    return "\((value * scale).rounded() / scale)"
  }
}
