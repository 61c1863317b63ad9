internal import Foundation
internal import NeedletailClient
internal import NeedletailCore

/// Places in texts that an answer shows by several outputs, put together: entities, or the part that answers a question.
struct TextPlaces {
  /// One place.
  struct Place: Encodable {
    /// Kind of an entity; nil of an answer.
    var label: String?
    var text: String
    /// Characters of the row's text.
    var start: Int64
    var end: Int64
    /// From 0 to 1.
    var score: Float

    /// The place on a terminal.
    var words: String {
      let kind = label.map { BundleOutput.plain($0) + " " } ?? ""
      return kind + text.quotedForMessage + " (\(start) to \(end), \(String(format: "%.4f", score)))"
    }
  }

  /// Name of all of them.
  let name: String
  /// Whether a row has several.
  let isList: Bool
  private let prefix: String
  private let labels: [String]?
  private let texts: [String]
  private let starts: [Int64]
  private let ends: [Int64]
  private let scores: [Float]
  private let width: Int

  private static let parts = ["label", "text", "start", "end", "score"]

  /// - Returns: nil where the answer has no places, or not all of their parts.
  init?(_ answer: Prediction) {
    isList = answer["entity_text"] != nil
    (prefix, name) = isList ? ("entity", "entities") : ("answer", "answer")
    guard answer[name] == nil, let text = answer["\(prefix)_text"], let texts = answer.strings("\(prefix)_text"),
      let starts = answer.integers("\(prefix)_start"), let ends = answer.integers("\(prefix)_end"),
      let scores = answer.floats("\(prefix)_score"), starts.count == texts.count, ends.count == texts.count,
      scores.count == texts.count
    else { return nil }
    labels = answer.strings("\(prefix)_label")
    guard isList ? labels?.count == texts.count : labels == nil else { return nil }
    (self.texts, self.starts, self.ends, self.scores) = (texts, starts, ends, scores)
    width = text.shape.dropFirst().reduce(1, *)
  }

  /// Whether an output is one of its parts.
  func isPart(_ output: String) -> Bool { Self.parts.contains { output == "\(prefix)_\($0)" } }

  /// Places of a row; rows are filled up to the one with the most.
  subscript(row: Int) -> [Place] {
    (row * width..<(row + 1) * width).filter { !isList || labels?[$0] != "" }.map {
      Place(label: labels?[$0], text: texts[$0], start: starts[$0], end: ends[$0], score: scores[$0])
    }
  }
}
