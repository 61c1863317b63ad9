public import ArgumentParser
internal import Glibc
public import NeedletailCSV
internal import NeedletailClient
internal import NeedletailCore
internal import NeedletailSystem

/// A value to predict from, as its source writes it.
struct TextCell: Equatable {
  enum Form {
    /// A CSV field without quotes, a value of `--set`, a JSON truth value.
    case bare
    /// A quoted CSV field or a JSON string: text, even where it is a word for a missing value.
    case quoted
    case jsonNumber
  }

  var text: String
  var form: Form

  init(_ text: String, _ form: Form) {
    self.text = text
    self.form = form
  }

  static let missing = TextCell("", .bare)
}

/// Rows to predict, as text, before the model and its rules for values are known.
struct FeatureTable {
  /// Name of the source in messages.
  var source: String
  /// Normalised names.
  var columns: [String]
  var rows: [[TextCell]]
  /// Name of a row in messages: `line 3`, `row 2`.
  var rowName: @Sendable (Int) -> String

  /// The tensors of the model's inputs.
  /// - Throws: a sentence that names the row and the feature at fault.
  func tensors(for model: ModelDescription, rows range: Range<Int>) throws(Failure) -> [InputTensor] {
    let positions = try columnPositions()
    var tensors: [InputTensor] = []
    tensors.reserveCapacity(model.inputs.count)
    for input in model.inputs {
      // Models from before format 1.2 may have names with spaces around them.
      guard let position = positions[ValueText.normalised(input.name)] else {
        throw Failure(
          "\(source): no column \(input.name.quotedForMessage), which model \(model.model.quotedForMessage) expects"
            + Suggestion.clause(for: input.name, among: columns))
      }
      let cells = range.map { rows[$0][position] }
      tensors.append(try tensor(of: cells, for: input, model.valueRules, firstRow: range.lowerBound))
    }
    return tensors
  }

  private func columnPositions() throws(Failure) -> [String: Int] {
    var positions: [String: Int] = [:]
    for (position, column) in columns.enumerated() where !column.isEmpty {
      guard positions.updateValue(position, forKey: column) == nil else {
        throw Failure("\(source): column \(column.quotedForMessage) stands there twice")
      }
    }
    return positions
  }

  /// Columns that are no input of the model: the target, or a mistake.
  func extraColumns(for model: ModelDescription) -> [String] {
    let known = Set(model.inputs.map { ValueText.normalised($0.name) })
    return columns.filter { !known.contains($0) }
  }

  private func tensor(
    of cells: [TextCell], for input: TensorSpecReport, _ rules: ValueRules?, firstRow: Int
  ) throws(Failure) -> InputTensor {
    if input.isText { return .column(input.name, cells.map(\.text)) }
    if input.type == .string { return .column(input.name, cells.map { $0.category(rules) }) }
    var numbers: [Double] = []
    numbers.reserveCapacity(cells.count)
    for (offset, cell) in cells.enumerated() {
      numbers.append(try number(cell, input.name, rules, row: firstRow + offset) ?? .nan)
    }
    return .column(input.name, numbers)
  }

  /// The number of a cell; nil where it is missing.
  private func number(_ cell: TextCell, _ feature: String, _ rules: ValueRules?, row: Int) throws(Failure) -> Double? {
    let expected: String
    switch cell.number(rules) {
    case .number(let number): return number
    case .missing: return nil
    case .tooLarge: expected = "a number within ±3.4e38"
    case .notANumber: expected = "a number"
    }
    throw Failure(
      "\(source): \(rowName(row)): feature \(feature.quotedForMessage): expected \(expected), found "
        + cell.text.quotedForMessage)
  }
}

extension FeatureTable {
  /// Cells for a model at hand, one for each feature of its schema.
  /// - Throws: a sentence that names the row and the feature at fault.
  func cells(for schema: FeatureSchema, rows range: Range<Int>) throws(Failure) -> [[Cell]] {
    let positions = try positions(of: schema.features.map(\.name))
    var cells: [[Cell]] = []
    for row in range {
      var own: [Cell] = []
      for (feature, position) in zip(schema.features, positions) {
        let cell = rows[row][position]
        switch feature.kind {
        case .text: own.append(.text(cell.text))
        case .categorical, .datetime:
          let text = cell.category(schema.rules)
          own.append(text.isEmpty ? .missing : .text(text))
        case .numeric:
          own.append(try number(cell, feature.name, schema.rules, row: row).map { .number($0) } ?? .missing)
        }
      }
      cells.append(own)
    }
    return cells
  }

  /// Values of some features in one row, as the source writes them.
  func shownValues(of features: [String], row: Int) -> [String] {
    let positions = (try? positions(of: features)) ?? []
    return positions.map { rows[row][$0].text }
  }

  private func positions(of features: [String]) throws(Failure) -> [Int] {
    let known = try columnPositions()
    var positions: [Int] = []
    for feature in features {
      guard let position = known[ValueText.normalised(feature)] else {
        throw Failure(
          "\(source): no column \(feature.quotedForMessage), which the model expects"
            + Suggestion.clause(for: feature, among: columns))
      }
      positions.append(position)
    }
    return positions
  }
}

extension TextCell {
  /// Text of a categorical feature as the server takes it; empty where it is missing.
  fileprivate func category(_ rules: ValueRules?) -> String {
    guard let rules else { return olderCategory }
    let text = ValueText.normalised(text)
    return form != .quoted && rules.isMissing(text) ? "" : text
  }

  /// A number of JSON has a point and no other marks, however those of the training files were written.
  fileprivate func number(_ rules: ValueRules?) -> ValueText.Number {
    guard let rules else { return olderNumber }
    return form == .jsonNumber ? ValueRules(missing: rules.missing).number(text) : rules.number(text)
  }

  /// Reading for a model without rules: text stays as it is, and numbers are written as doubles.
  private var olderCategory: String {
    guard form == .jsonNumber, let value = NumberText.parse(text), value.isFinite else { return text }
    return value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
  }

  /// Reading for a model without rules, which does not say what its missing words are.
  private var olderNumber: ValueText.Number {
    let rules = ValueRules(missing: ["na", "nan", "null"])
    return rules.isMissing(ValueText.normalised(text).lowercased()) ? .missing : rules.number(text)
  }
}

extension FeatureTable {
  /// Reads `path`, or standard input for `-`: JSON if the name ends so or the text begins so, else CSV.
  init(path: String, delimiter: CSVDelimiter = .comma) throws(Failure) {
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
      try self.init(json: bytes, source: source)
    } else {
      try self.init(csv: bytes, delimiter: delimiter, source: source)
    }
  }

  /// One row from `feature=value` pairs.
  init(pairs: [String]) throws(Failure) {
    var columns: [String] = []
    var row: [TextCell] = []
    for pair in pairs {
      guard let equals = pair.firstIndex(of: "="), equals != pair.startIndex else {
        throw Failure("--set: expected FEATURE=VALUE, found \(pair.quotedForMessage)")
      }
      columns.append(ValueText.normalised(pair[..<equals]))
      row.append(TextCell(String(pair[pair.index(after: equals)...]), .bare))
    }
    self.init(source: "--set", columns: columns, rows: [row]) { _ in "the row" }
  }
}

extension FeatureTable {
  /// Reads CSV with a header, as the trainer does.
  /// - Throws: a sentence that names the file and the line.
  init(csv bytes: [UInt8], delimiter: CSVDelimiter, source: String) throws(Failure) {
    do throws(CSVError) {
      let (header, rows, lines) = try Self.records(bytes, delimiter)
      guard let header else { throw CSVError(line: 1, "expected a header, found nothing") }
      guard !rows.isEmpty else { throw CSVError(line: 2, "expected rows after the header, found none") }
      self.init(source: source, columns: header, rows: rows) { "line \(lines[$0])" }
    } catch {
      throw Failure("\(source): \(error)")
    }
  }

  private static func records(
    _ bytes: [UInt8], _ delimiter: CSVDelimiter
  ) throws(CSVError) -> (header: [String]?, rows: [[TextCell]], lines: [Int]) {
    var header: [String]?
    var rows: [[TextCell]] = []
    var lines: [Int] = []
    var parser = CSVParser(delimiter: delimiter.byte)
    func take(_ record: CSVRecord) throws(CSVError) {
      guard let header else {
        let names = try record.columnNames()
        if let other = delimiter.likelier(for: names) {
          throw CSVError(
            line: record.line,
            "expected columns separated by a \(delimiter.rawValue), found one column and a \(other.rawValue) in its "
              + "name; add --delimiter \(other.rawValue)")
        }
        header = names
        return
      }
      try record.check(against: header)
      rows.append(
        (0..<record.count).map { TextCell(record.text($0) ?? "", record.isQuoted($0) ? .quoted : .bare) })
      lines.append(record.line)
    }
    try bytes.withUnsafeBufferPointer { (bytes) throws(CSVError) in
      var position = 0
      while try parser.next(in: bytes, from: &position) { try parser.withRecord(take) }
    }
    if try parser.finish() { try parser.withRecord(take) }
    return (header, rows, lines)
  }
}

extension CSVDelimiter: ExpressibleByArgument {}

extension FeatureTable {
  /// Reads `{"feature": [cell, …], …}` (a column per feature), `{"feature": cell, …}` (one row) or
  /// `[{"feature": cell, …}, …]` (a row per object). `null` is a missing value.
  init(json bytes: [UInt8], source: String) throws(Failure) {
    let value = try JSONParser.parse(bytes, source: source)
    switch value {
    case .object(let columns): try self.init(columns: columns, source: source)
    case .array(let rows): try self.init(rows: rows, source: source)
    default:
      throw Failure("\(source): expected an object of columns or a list of row objects, found \(value.kind)")
    }
  }

  private init(columns: [(name: String, value: JSONValue)], source: String) throws(Failure) {
    guard !columns.isEmpty else { throw Failure("\(source): expected features, found an empty object") }
    var cells: [[TextCell]] = []
    for (name, value) in columns {
      let column: [JSONValue] = if case .array(let values) = value { values } else { [value] }
      var texts: [TextCell] = []
      for (row, value) in column.enumerated() {
        texts.append(try TextCell(value, at: "\(source): row \(row + 1)", feature: name))
      }
      cells.append(texts)
    }
    let count = cells[0].count
    for (column, cells) in zip(columns, cells) where cells.count != count {
      throw Failure(
        "\(source): feature \(column.name.quotedForMessage): expected \(count) cells like "
          + "\(columns[0].name.quotedForMessage), found \(cells.count)")
    }
    guard count > 0 else { throw Failure("\(source): expected rows, found none") }
    let rows = (0..<count).map { row in cells.map { $0[row] } }
    self.init(source: source, columns: columns.map { ValueText.normalised($0.name) }, rows: rows) { "row \($0 + 1)" }
  }

  private init(rows: [JSONValue], source: String) throws(Failure) {
    var positions: [[UInt8]: Int] = [:]
    var columns: [String] = []
    var cells: [[TextCell]] = []
    for (index, row) in rows.enumerated() {
      guard case .object(let object) = row else {
        throw Failure("\(source): row \(index + 1): expected an object of features, found \(row.kind)")
      }
      // A feature absent from one row is missing there.
      var texts = [TextCell](repeating: .missing, count: columns.count)
      for (name, value) in object {
        let normalised = ValueText.normalised(name)
        let position = positions[Array(normalised.utf8)] ?? columns.count
        if position == columns.count {
          positions[Array(normalised.utf8)] = position
          columns.append(normalised)
          texts.append(.missing)
        }
        texts[position] = try TextCell(value, at: "\(source): row \(index + 1)", feature: name)
      }
      cells.append(texts)
    }
    guard !cells.isEmpty else { throw Failure("\(source): expected rows, found none") }
    let width = columns.count
    cells = cells.map { $0 + [TextCell](repeating: .missing, count: width - $0.count) }
    self.init(source: source, columns: columns, rows: cells) { "row \($0 + 1)" }
  }
}

extension TextCell {
  init(_ value: JSONValue, at place: String, feature: String) throws(Failure) {
    switch value {
    case .null: self = .missing
    case .bool(let value): self.init(value ? "true" : "false", .bare)
    case .number(let text): self.init(text, .jsonNumber)
    case .string(let text): self.init(text, .quoted)
    case .array, .object:
      throw Failure("\(place): feature \(feature.quotedForMessage): expected a number or a string, found \(value.kind)")
    }
  }
}
