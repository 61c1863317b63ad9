internal import NeedletailClient
internal import NeedletailCore

/// Rows to predict, as text, before the model's types are known: a missing value is `""`.
struct FeatureTable {
  /// Where it came from, for messages.
  var source: String
  var columns: [String]
  var rows: [[String]]
  /// How a row is called in messages: `line 3`, `row 2`.
  var rowName: @Sendable (Int) -> String

  /// The tensors that `model` wants, and the columns it does not know.
  /// - Throws: naming the row and the feature at fault.
  func tensors(for model: ModelDescription, rows range: Range<Int>) throws(Failure) -> [InputTensor] {
    var positions: [String: Int] = [:]
    for (position, column) in columns.enumerated() {
      guard positions.updateValue(position, forKey: column) == nil else {
        throw Failure("\(source): column \(column.quotedForMessage) stands there twice")
      }
    }
    var tensors: [InputTensor] = []
    tensors.reserveCapacity(model.inputs.count)
    for input in model.inputs {
      guard let position = positions[input.name] else {
        throw Failure(
          "\(source): no column \(input.name.quotedForMessage), which model \(model.model.quotedForMessage) expects"
            + Suggestion.clause(for: input.name, among: columns))
      }
      let cells = range.map { rows[$0][position] }
      tensors.append(try tensor(of: cells, for: input, firstRow: range.lowerBound))
    }
    return tensors
  }

  /// Columns that the model does not know: the target, or a mistake.
  func extraColumns(for model: ModelDescription) -> [String] {
    let known = Set(model.inputs.map(\.name))
    return columns.filter { !known.contains($0) }
  }

  private func tensor(
    of cells: [String], for input: TensorSpecReport, firstRow: Int
  ) throws(Failure) -> InputTensor {
    if input.type == .string { return .column(input.name, cells) }
    var numbers: [Double] = []
    numbers.reserveCapacity(cells.count)
    for (offset, cell) in cells.enumerated() {
      guard let number = Self.number(cell) else {
        throw Failure(
          "\(source): \(rowName(firstRow + offset)): feature \(input.name.quotedForMessage): expected a number, found "
            + cell.quotedForMessage)
      }
      numbers.append(number)
    }
    return .column(input.name, numbers)
  }

  private static func number(_ cell: String) -> Double? {
    let text = cell.trimmingSpaces
    switch text.lowercased() {
    case "", "na", "nan", "null": return .nan
    case "true": return 1
    case "false": return 0
    default:
      guard let number = NumberText.parse(text), number.isFinite else { return nil }
      return number
    }
  }
}

extension StringProtocol {
  fileprivate var trimmingSpaces: String {
    var text = Substring(self)
    while text.first == " " || text.first == "\t" { text.removeFirst() }
    while text.last == " " || text.last == "\t" { text.removeLast() }
    return String(text)
  }
}
