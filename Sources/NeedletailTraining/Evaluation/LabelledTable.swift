internal import NeedletailCSV
internal import NeedletailCore
internal import NeedletailCrypto
internal import NeedletailEngine

/// Rows in the order of a model's features, with their truth.
struct LabelledTable {
  private(set) var rows: [[Cell]] = []
  /// Class indices, or values.
  private(set) var targets: [Double] = []
  /// Weight of each row; empty where no column has them.
  private(set) var weights: [Double] = []
  /// Values of the other columns that were asked for, one list a column.
  private(set) var columns: [[Cell]] = []
  /// Rows left out because they have no truth.
  private(set) var unlabelled = 0
  private(set) var sha256 = ""

  init(rows: [[Cell]], targets: [Double]) {
    self.rows = rows
    self.targets = targets
  }

  /// Reads a CSV file.
  ///
  /// - Parameters:
  ///   - columns: others whose values are wanted, features or not.
  ///   - weight: column of the rows' weights; nil: none.
  /// - Throws: `TrainingError` that names the line and the column.
  init(
    path: String, delimiter: CSVDelimiter, _ definition: ModelDefinition, target: String, columns names: [String] = [],
    weight: String? = nil
  ) throws(TrainingError) {
    var found: (target: Int, columns: [Int], weight: Int?) = (0, [], nil)
    var reader = FeatureReader(definition.schema, path: path)
    var classByKey: [[UInt8]: Double] = [:]
    for (index, label) in definition.labels.enumerated() { classByKey[ValueText.categoryKey(label)] = Double(index) }
    var hash = SHA256()
    var values = [[Cell]](repeating: [], count: names.count)
    let format = DataFormat(kind: .csv, delimiter: delimiter, quote: .double)
    try DataFile(name: path, path: path, format: format).read {
      hash.update(UnsafeRawBufferPointer($0))
    } header: { (header) throws(TrainingError) in
      let header = header.map { ValueText.normalised($0) }
      found.target = try reader.place(of: target, in: header)
      try reader.take(header: header)
      for name in names { found.columns.append(try reader.place(of: name, in: header)) }
      if let weight { found.weight = try reader.place(of: weight, in: header) }
    } record: { (record) throws(TrainingError) in
      guard !reader.isMissing(record, found.target) else {
        unlabelled += 1
        return
      }
      targets.append(
        try Self.truth(record.text(found.target) ?? "", definition.labels, classByKey, reader.rules) {
          .data(file: path, line: record.line, column: target, $0)
        })
      rows.append(try reader.cells(of: record))
      for (index, place) in found.columns.enumerated() {
        values[index].append(reader.isMissing(record, place) ? .missing : Self.value(record.text(place), reader.rules))
      }
      if let weight, let place = found.weight {
        let text = record.text(place) ?? ""
        guard case .number(let number) = reader.rules.number(text), number >= 0, number.isFinite else {
          throw .data(
            file: path, line: record.line, column: weight, "expected a weight from 0, found \(text.quotedForMessage)")
        }
        weights.append(number)
      }
    }
    guard !rows.isEmpty else {
      throw TrainingError(
        .data, "\(path): column \(target.quotedForMessage): expected truths, found only missing values")
    }
    // A column with text among its numbers is one of categories.
    columns = values.map { column in
      let hasText = column.contains { if case .text = $0 { true } else { false } }
      guard hasText else { return column }
      return column.map { cell in if case .number(let number) = cell { .text(Figures.short(number)) } else { cell } }
    }
    sha256 = Hex.text(hash.finalize())
  }

  /// Class index, or number, that a text stands for.
  private static func truth(
    _ text: String, _ labels: [String], _ classByKey: [[UInt8]: Double], _ rules: ValueRules,
    fault: (String) -> TrainingError
  ) throws(TrainingError) -> Double {
    if labels.isEmpty {
      guard case .number(let number) = rules.number(text) else {
        throw fault("expected a number, found \(text.quotedForMessage)")
      }
      return number
    }
    guard let index = classByKey[ValueText.categoryKey(text)] else {
      let known = labels.prefix(5).map(\.quotedForMessage).joined(separator: ", ")
      throw fault("expected a class of the model, such as \(known), found \(text.quotedForMessage)")
    }
    return index
  }

  private static func value(_ text: String?, _ rules: ValueRules) -> Cell {
    let text = text ?? ""
    if case .number(let number) = rules.number(text) { return .number(number) }
    return .text(ValueText.normalised(text))
  }
}
