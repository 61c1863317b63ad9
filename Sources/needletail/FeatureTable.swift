internal import Foundation
internal import Glibc
internal import NeedletailCSV
internal import NeedletailClient
internal import NeedletailCore
internal import NeedletailSystem

/// Rows to predict, as text, before the model's types are known: a missing value is `""`.
struct FeatureTable {
  /// Name of the source in messages.
  var source: String
  var columns: [String]
  var rows: [[String]]
  /// Name of a row in messages: `line 3`, `row 2`.
  var rowName: @Sendable (Int) -> String

  /// The tensors of the model's inputs.
  /// - Throws: a sentence that names the row and the feature at fault.
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

  /// Columns that are no input of the model: the target, or a mistake.
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

extension FeatureTable {
  /// Reads `path`, or standard input for `-`: JSON if the name ends so or the text begins so, else CSV.
  init(path: String) throws(Failure) {
    let bytes: [UInt8]
    do throws(SystemError) {
      let file = try FileDescriptor(opening: path == "-" ? "/dev/stdin" : path, O_RDONLY)
      bytes = try file.readToEnd()
    } catch {
      throw Failure("\(path): cannot be read: \(error.reason)")
    }
    let source = path == "-" ? "standard input" : path
    let first = bytes.first { !" \t\r\n".utf8.contains($0) }
    let isJSON =
      path.hasSuffix(".json")
      || (!path.hasSuffix(".csv") && (first == UInt8(ascii: "{") || first == UInt8(ascii: "[")))
    if isJSON {
      try self.init(json: Data(bytes), source: source)
    } else {
      try self.init(csv: bytes, source: source)
    }
  }

  /// One row from `feature=value` pairs.
  init(pairs: [String]) throws(Failure) {
    var columns: [String] = []
    var row: [String] = []
    for pair in pairs {
      guard let equals = pair.firstIndex(of: "="), equals != pair.startIndex else {
        throw Failure("--set: expected FEATURE=VALUE, found \(pair.quotedForMessage)")
      }
      columns.append(String(pair[..<equals]))
      row.append(String(pair[pair.index(after: equals)...]))
    }
    self.init(source: "--set", columns: columns, rows: [row]) { _ in "the row" }
  }
}

extension FeatureTable {
  /// Reads CSV with a header, as the trainer does.
  /// - Throws: a sentence that names the file and the line.
  init(csv bytes: [UInt8], source: String) throws(Failure) {
    do throws(CSVError) {
      let (header, rows, lines) = try Self.records(bytes)
      guard let header else { throw CSVError(line: 1, "expected a header, found nothing") }
      guard !rows.isEmpty else { throw CSVError(line: 2, "expected rows after the header, found none") }
      self.init(source: source, columns: header, rows: rows) { "line \(lines[$0])" }
    } catch {
      throw Failure("\(source): \(error)")
    }
  }

  private static func records(
    _ bytes: [UInt8]
  ) throws(CSVError) -> (header: [String]?, rows: [[String]], lines: [Int]) {
    var header: [String]?
    var rows: [[String]] = []
    var lines: [Int] = []
    var parser = CSVParser()
    func take(_ record: CSVRecord) throws(CSVError) {
      if let header { try record.check(against: header) }
      var cells: [String] = []
      for index in 0..<record.count {
        guard let text = record.text(index) else {
          throw CSVError(line: record.line, "field \(index + 1): expected UTF-8, found bytes that are not")
        }
        cells.append(text)
      }
      if header == nil {
        header = cells
      } else {
        rows.append(cells)
        lines.append(record.line)
      }
    }
    try bytes.withUnsafeBufferPointer { (bytes) throws(CSVError) in
      var position = 0
      while try parser.next(in: bytes, from: &position) { try parser.withRecord(take) }
    }
    if try parser.finish() { try parser.withRecord(take) }
    return (header, rows, lines)
  }
}
