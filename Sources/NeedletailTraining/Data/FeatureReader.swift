internal import NeedletailCSV
internal import NeedletailCore
internal import NeedletailEngine

/// Reads the features of a model from a file's records, by their names in its header: columns may stand in any order, and
/// others are left to the caller.
struct FeatureReader {
  private let path: String
  private let features: [Feature]
  let rules: ValueRules
  private let words: MissingWords
  /// Place of each feature in a record; empty before the header.
  private var places: [Int] = []
  private var rowCount = 0

  /// - Parameter path: the file, for messages.
  init(_ schema: FeatureSchema, path: String) {
    self.path = path
    features = schema.features
    rules = schema.rules ?? ValueRules()
    words = MissingWords(rules)
  }

  /// Rows of a file in the order of the features.
  ///
  /// - Parameter chunk: takes every byte of the file.
  /// - Throws: `TrainingError` that names the line and the column.
  static func rows(
    of file: DataFile, _ schema: FeatureSchema, chunk: (UnsafeBufferPointer<UInt8>) -> Void = { _ in }
  ) throws(TrainingError) -> [[Cell]] {
    var reader = FeatureReader(schema, path: file.name)
    var rows: [[Cell]] = []
    try file.read(chunk: chunk) { (header) throws(TrainingError) in
      try reader.take(header: header)
    } record: { (record) throws(TrainingError) in
      rows.append(try reader.cells(of: record))
    }
    return rows
  }

  /// Finds the features among the columns.
  ///
  /// - Throws: `TrainingError` that names the feature which is absent.
  mutating func take(header: [String]) throws(TrainingError) {
    let names = header.map { ValueText.normalised($0) }
    var places: [Int] = []
    for feature in features { places.append(try place(of: feature.name, in: names)) }
    self.places = places
  }

  /// Place of a column in a record.
  ///
  /// - Parameter names: of all columns, normalised.
  /// - Throws: `TrainingError` where there is none of that name.
  func place(of name: String, in names: [String]) throws(TrainingError) -> Int {
    guard let place = names.firstIndex(of: name) else {
      throw .data(
        file: path, line: 1, column: name,
        "expected a column of that name, found none\(Suggestion.clause(for: name, among: names))")
    }
    return place
  }

  /// True for a field that is missing whatever its column holds.
  func isMissing(_ record: CSVRecord, _ place: Int) -> Bool {
    words.isMissing(record.field(place), isQuoted: record.isQuoted(place))
  }

  /// Cells of a record, one a feature.
  ///
  /// - Throws: `TrainingError` that names the line and the column, also beyond ``Limits/sampleRowsMax`` records.
  mutating func cells(of record: CSVRecord) throws(TrainingError) -> [Cell] {
    guard rowCount < Limits.sampleRowsMax else {
      throw .data(file: path, line: record.line, "expected at most \(Limits.sampleRowsMax) rows, found more")
    }
    rowCount += 1
    var cells: [Cell] = []
    cells.reserveCapacity(features.count)
    for (feature, place) in zip(features, places) {
      // Any word is a text.
      let isMissing = feature.kind != .text && isMissing(record, place)
      do throws(TrainingError) {
        cells.append(isMissing ? .missing : try Self.cell(record.text(place), feature, rules))
      } catch {
        throw .data(file: path, line: record.line, column: feature.name, error.message)
      }
    }
    return cells
  }

  /// Value of a field that is no missing word without quotes.
  ///
  /// - Parameter text: nil for a field that is not UTF-8.
  static func cell(_ text: String?, _ feature: Feature, _ rules: ValueRules) throws(TrainingError) -> Cell {
    guard let text else { throw .importing("expected text in UTF-8, found other bytes") }
    guard feature.kind == .numeric else { return .text(text) }
    switch rules.number(text) {
    case .number(let number): return .number(number)
    case .missing: return .missing
    case .tooLarge: throw .importing("expected a number within ±3.4e38, found \(text.quotedForMessage)")
    case .notANumber: throw .importing("expected a number, found \(text.quotedForMessage)")
    }
  }
}
