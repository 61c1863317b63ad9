internal import Foundation
internal import NeedletailCore
internal import NeedletailEngine

/// Output of `explain` for people: how much each feature contributes on average, and to a few rows.
struct ContributionSummary {
  private let features: [String]
  private let outputs: [String]
  private let baseValues: [Double]
  /// Outputs × features.
  private var magnitudes: [Double]
  private var rowCount = 0
  /// Contributions of a few rows that are shown one by one, and the values of their features.
  var first: Explanation?
  var rows: [[String]] = []
  /// Explains the texts of one of these rows by their terms, for an output.
  var texts: (_ row: Int, _ output: Int) -> [TextExplanation] = { _, _ in [] }

  /// Outputs that are shown; of more, these and a sentence.
  private static let outputsShownMax = 10
  private static let barCharacters = 20

  init(_ explainer: ModelExplainer) {
    features = explainer.features
    outputs = explainer.outputs
    baseValues = explainer.baseValues
    magnitudes = [Double](repeating: 0, count: outputs.count * features.count)
  }

  mutating func add(_ explanation: Explanation, rows: Int) {
    rowCount += rows
    for (index, value) in explanation.contributions.enumerated() {
      magnitudes[index % magnitudes.count] += abs(value)
    }
  }

  func lines(model: String, top: Int) -> [String] {
    var lines = ["\(model): \(BundleOutput.counted(rowCount, "row")) explained"]
    let shown = self.shownOutputs
    for output in shown.prefix(Self.outputsShownMax) {
      lines += [
        "", "Mean contribution to \(words(outputs[output])), which is \(Self.number(baseValues[output])) on average",
      ]
      lines += means(output, top: top)
    }
    if shown.count > Self.outputsShownMax {
      lines += ["", "\(shown.count - Self.outputsShownMax) more outputs: --json and --output have all of them"]
    }
    guard let first else { return lines }
    for row in rows.indices { lines += [""] + self.lines(of: row, first, top: top) }
    return lines
  }

  private func means(_ output: Int, top: Int) -> [String] {
    let own = (0..<features.count).map { magnitudes[output * features.count + $0] / Double(max(rowCount, 1)) }
    let total = own.reduce(0, +)
    let order = own.indices.sorted { own[$0] > own[$1] }
    let largest = order.first.map { own[$0] } ?? 0
    var table = TextTable([("feature", .left), ("mean", .right), ("share", .right), ("", .left)])
    for feature in order.prefix(top) {
      table.rows.append([
        BundleOutput.plain(features[feature]), "±" + Self.number(own[feature]), Self.percent(own[feature], of: total),
        Self.bar(own[feature], of: largest),
      ])
    }
    let others = order.dropFirst(top)
    if !others.isEmpty {
      let rest = others.reduce(0) { $0 + own[$1] }
      table.rows.append([BundleOutput.counted(others.count, "other"), "", Self.percent(rest, of: total), ""])
    }
    return table.lines()
  }

  /// One row: of several outputs, that with the highest score.
  private func lines(of row: Int, _ explanation: Explanation, top: Int) -> [String] {
    let scores = outputs.indices.map { explanation.scores[row * outputs.count + $0] }
    let output = shownOutputs.max { scores[$0] < scores[$1] } ?? 0
    let start = (row * outputs.count + output) * features.count
    let values = (0..<features.count).map { explanation.contributions[start + $0] }
    let order = values.indices.sorted { abs(values[$0]) > abs(values[$1]) }
    let largest = order.first.map { abs(values[$0]) } ?? 0
    var table = TextTable([("feature", .left), ("value", .left), ("contribution", .right), ("", .left)])
    for feature in order.prefix(top) {
      table.rows.append([
        BundleOutput.plain(features[feature]), TerminalTable.cut(BundleOutput.plain(rows[row][feature]), to: 24),
        Self.signed(values[feature]), Self.bar(abs(values[feature]), of: largest),
      ])
    }
    let others = order.dropFirst(top)
    if !others.isEmpty {
      let rest = others.reduce(0) { $0 + values[$1] }
      table.rows.append([BundleOutput.counted(others.count, "other"), "", Self.signed(rest), ""])
    }
    let parts = "\(Self.number(baseValues[output])) and the contributions of"
    return ["Row \(row + 1): \(words(outputs[output])) is \(Self.number(scores[output])), \(parts)"] + table.lines()
      + texts(row, output).map { Self.line(of: $0, top: top) }
  }

  /// A text by its terms: `  note: soup +0.31, bread +0.12, 3 others −0.02; without them −0.08`.
  private static func line(of text: TextExplanation, top: Int) -> String {
    var parts = text.terms.prefix(top).map { "\(BundleOutput.plain($0.text)) \(signed($0.contribution))" }
    let others = text.terms.dropFirst(top)
    if !others.isEmpty {
      let sum = others.reduce(0) { $0 + $1.contribution }
      parts.append("\(BundleOutput.counted(others.count, "other")) \(signed(sum))")
    }
    let terms = parts.isEmpty ? "no known terms" : parts.joined(separator: ", ")
    return "  \(BundleOutput.plain(text.feature)): \(terms); without terms \(signed(text.withoutTerms))"
  }

  /// Outputs whose score ever changes, or all of them: one of two classes may have a score that is always 0.
  private var shownOutputs: [Int] {
    let changing = outputs.indices.filter { output in
      baseValues[output] != 0 || (0..<features.count).contains { magnitudes[output * features.count + $0] != 0 }
    }
    return changing.isEmpty ? Array(outputs.indices) : changing
  }

  private func words(_ output: String) -> String { "the score of \(output.quotedForMessage)" }

  private static func number(_ value: Double) -> String { String(format: "%.4g", value) }

  private static func signed(_ value: Double) -> String { (value < 0 ? "−" : "+") + number(abs(value)) }

  private static func percent(_ part: Double, of whole: Double) -> String {
    whole > 0 ? String(format: "%.0f %%", 100 * part / whole) : ""
  }

  private static func bar(_ value: Double, of largest: Double) -> String {
    largest > 0 ? String(repeating: "█", count: Int((value / largest * Double(barCharacters)).rounded())) : ""
  }
}
