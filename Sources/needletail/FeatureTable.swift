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

extension FeatureTable {
  /// Reads `{"feature": [cell, …], …}` (a column per feature), `{"feature": cell, …}` (one row) or
  /// `[{"feature": cell, …}, …]` (a row per object). `null` is a missing value.
  init(json data: Data, source: String) throws(Failure) {
    let value: JSONValue
    do {
      value = try JSONDecoder().decode(JSONValue.self, from: data)
    } catch {
      throw Failure("\(source): not JSON: \(Self.reason(of: error))")
    }
    switch value {
    case .object(let columns): try self.init(columns: columns, source: source)
    case .array(let rows): try self.init(rows: rows, source: source)
    default:
      throw Failure("\(source): expected an object of columns or a list of row objects, found \(value.kind)")
    }
  }

  private static func reason(of error: any Error) -> String {
    guard case DecodingError.dataCorrupted(let context) = error else { return "\(error)" }
    let detail = (context.underlyingError as NSError?)?.userInfo["NSDebugDescription"] as? String
    return detail ?? context.debugDescription
  }

  private init(columns: [String: JSONValue], source: String) throws(Failure) {
    let names = columns.keys.sorted()
    guard !names.isEmpty else { throw Failure("\(source): expected features, found an empty object") }
    var cells: [[String]] = []
    for name in names {
      let column: [JSONValue] =
        if case .array(let values)? = columns[name] { values } else { columns[name].map { [$0] } ?? [] }
      var texts: [String] = []
      for (row, value) in column.enumerated() {
        texts.append(try value.cell(at: "\(source): row \(row + 1)", feature: name))
      }
      cells.append(texts)
    }
    let count = cells[0].count
    for (name, column) in zip(names, cells) where column.count != count {
      throw Failure(
        "\(source): feature \(name.quotedForMessage): expected \(count) cells like \(names[0].quotedForMessage), "
          + "found \(column.count)")
    }
    guard count > 0 else { throw Failure("\(source): expected rows, found none") }
    let rows = (0..<count).map { row in cells.map { $0[row] } }
    self.init(source: source, columns: names, rows: rows) { "row \($0 + 1)" }
  }

  private init(rows: [JSONValue], source: String) throws(Failure) {
    var names: Set<String> = []
    var objects: [[String: JSONValue]] = []
    for (index, row) in rows.enumerated() {
      guard case .object(let object) = row else {
        throw Failure("\(source): row \(index + 1): expected an object of features, found \(row.kind)")
      }
      names.formUnion(object.keys)
      objects.append(object)
    }
    guard !objects.isEmpty else { throw Failure("\(source): expected rows, found none") }
    let columns = names.sorted()
    var cells: [[String]] = []
    for (index, object) in objects.enumerated() {
      var row: [String] = []
      for name in columns {
        // A feature absent from one row is missing there.
        row.append(try object[name]?.cell(at: "\(source): row \(index + 1)", feature: name) ?? "")
      }
      cells.append(row)
    }
    self.init(source: source, columns: columns, rows: cells) { "row \($0 + 1)" }
  }
}

/// A JSON value of any type.
enum JSONValue: Decodable {
  case null
  case bool(Bool)
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object([String: JSONValue])

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if container.decodeNil() {
      self = .null
    } else if let value = try? container.decode(Bool.self) {
      self = .bool(value)
    } else if let value = try? container.decode(Double.self) {
      self = .number(value)
    } else if let value = try? container.decode(String.self) {
      self = .string(value)
    } else if let value = try? container.decode([JSONValue].self) {
      self = .array(value)
    } else {
      self = .object(try container.decode([String: JSONValue].self))
    }
  }

  var kind: String {
    switch self {
    case .null: "null"
    case .bool: "a truth value"
    case .number: "a number"
    case .string: "a string"
    case .array: "a list"
    case .object: "an object"
    }
  }

  func cell(at place: String, feature: String) throws(Failure) -> String {
    switch self {
    case .null: ""
    case .bool(let value): value ? "true" : "false"
    case .number(let value): value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
    case .string(let value): value
    case .array, .object:
      throw Failure("\(place): feature \(feature.quotedForMessage): expected a number or a string, found \(kind)")
    }
  }
}
