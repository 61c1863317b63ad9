internal import Foundation
public import NeedletailCSV
internal import NeedletailCore

/// Recent rows with their outcomes, the oldest first: the earlier ones are learned from, and the last ones, the window, judge the new model beside the one that serves. Neither of the two has
/// seen the window, for the one that serves is older than it.
public struct FreshRows {
  /// Files of rows.
  public let paths: [String]
  public let delimiter: CSVDelimiter?
  /// Column of the outcomes; nil: it has the name of the run's target.
  public let outcome: String?
  /// Part of the rows, the last ones, that judge.
  public let windowShare: Double

  /// Fewer rows than this tell nothing of a difference.
  static let windowRowsMin = 30

  public init(paths: [String], delimiter: CSVDelimiter? = nil, outcome: String? = nil, windowShare: Double) {
    self.paths = paths
    self.delimiter = delimiter
    self.outcome = outcome.map { ValueText.normalised($0) }
    self.windowShare = windowShare
  }

  /// Files that were made of the rows.
  public struct Parts {
    /// Rows to learn from; nil where all of them judge.
    public let learned: String?
    public let window: String
    public let learnedRows: Int
    public let windowRows: Int
    /// Rows left out because nobody knows their outcome yet.
    public let unlabelled: Int

    /// What became of the rows, for people.
    public var sentence: String {
      "recent rows: \(Figures.count(learnedRows)) to learn from, \(Figures.count(windowRows)) to judge"
        + (unlabelled > 0 ? ", \(Figures.count(unlabelled)) without outcome" : "")
    }
  }

  /// Cuts the rows at the begin of the window, and writes both parts with the columns of the run's own files.
  ///
  /// - Parameters:
  ///   - configuration: the run that the model was trained by; its first file says which columns there are.
  ///   - directory: gets `fresh.csv` and `window.csv`.
  /// - Throws: `TrainingError` that names a file and a column that is missing in it, or says that there are too few rows.
  public func cut(for configuration: RunConfiguration, into directory: String) throws(TrainingError) -> Parts {
    let request = configuration.request
    let columns = try Self.columns(of: request)
    var rows: [[String]] = []
    var unlabelled = 0
    let target = columns.firstIndex(of: request.target)
    // Their names among the fresh rows.
    let named = columns.map { $0 == request.target ? outcome ?? $0 : $0 }
    for path in paths {
      let file = try DataFile(name: path, path: path, format: DataFormat(delimiter: delimiter))
      var places: [Int] = []
      try file.read { (header) throws(TrainingError) in
        places = try Self.places(of: named, in: header, file: path)
      } record: { (record) throws(TrainingError) in
        let row = places.map { record.text($0) ?? "" }
        if let target, Self.isMissing(row[target], request) { unlabelled += 1 } else { rows.append(row) }
      }
    }
    let windowRows = Int((Double(rows.count) * windowShare).rounded())
    guard windowRows >= Self.windowRowsMin else {
      throw TrainingError(
        .data,
        "--fresh: expected at least \(Self.windowRowsMin) rows with \(request.target.quotedForMessage) in the window, found "
          + "\(windowRows): \(Figures.short(windowShare)) of \(Figures.count(rows.count))"
          + (unlabelled > 0 ? ", and \(Figures.count(unlabelled)) rows without it" : ""))
    }
    let learnedRows = rows.count - windowRows
    let (learned, window) = (directory + "/fresh.csv", directory + "/window.csv")
    let separator = request.format.delimiter ?? .comma
    if learnedRows > 0 { try Self.write(columns, rows[..<learnedRows], separator, to: learned) }
    try Self.write(columns, rows[learnedRows...], .comma, to: window)
    return Parts(
      learned: learnedRows > 0 ? learned : nil, window: window, learnedRows: learnedRows, windowRows: windowRows,
      unlabelled: unlabelled)
  }

  /// Columns of the run's first file.
  private static func columns(of request: TableRequest) throws(TrainingError) -> [String] {
    guard let first = request.files.first else {
      throw .configuration(request.location("data.files"), "data.files: expected at least one file, found none")
    }
    let file = try DataFile(name: first.name, path: first.path, format: request.format)
    guard request.format.kind != .jsonLines else {
      throw .configuration(
        request.location("data.format"), "data.format: expected none, or csv, for fresh rows are CSV; found json_lines")
    }
    guard request.format.quote == nil || request.format.quote == .double else {
      throw .configuration(
        request.location("data.quote"), "data.quote: expected none, or double, for fresh rows are written so")
    }
    return try file.readHeader()
  }

  private static func places(
    of columns: [String], in header: [String], file: String
  ) throws(TrainingError) -> [Int] {
    var places: [Int] = []
    for column in columns {
      guard let place = header.firstIndex(of: column) else {
        throw .data(
          file: file, line: 1,
          "expected the columns that the model was trained on, found none named \(column.quotedForMessage)"
            + Suggestion.clause(for: column, among: header))
      }
      places.append(place)
    }
    return places
  }

  private static func isMissing(_ text: String, _ request: TableRequest) -> Bool {
    let word = ValueText.normalised(text)
    return word.isEmpty || request.rules.missing.contains(word)
  }

  private static func write(
    _ columns: [String], _ rows: ArraySlice<[String]>, _ delimiter: CSVDelimiter, to path: String
  ) throws(TrainingError) {
    var csv = CSVWriter(delimiter: delimiter)
    for column in columns { csv.add(column) }
    csv.endRow()
    for row in rows {
      for field in row { csv.add(field) }
      csv.endRow()
    }
    try SelectedRows.write(csv.text, to: path)
  }
}

extension RunConfiguration {
  /// The same run on fresh rows too.
  ///
  /// - Parameters:
  ///   - path: file of a run.
  ///   - fresh: file of rows to learn from; nil: there are none.
  ///   - only: whether the run's own files are left out.
  public static func load(
    path: String, sets: [String], fresh: String?, only: Bool
  ) throws(TrainingError) -> RunConfiguration {
    let configuration = try load(path: path, sets: sets)
    guard let fresh else { return configuration }
    let own = only ? [] : configuration.request.files.map(\.path)
    let files = (own + [fresh]).map { URL(fileURLWithPath: $0).standardizedFileURL.path }
    // Names in quotes, as YAML has them: a path may hold commas and brackets.
    let list = files.map {
      "'" + $0.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "''") + "'"
    }
    return try load(
      path: path,
      sets: sets + ["data.files=[\(list.joined(separator: ", "))]", "publish.model=\(configuration.model)"])
  }
}
