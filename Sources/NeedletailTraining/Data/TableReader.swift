internal import Crypto
internal import NeedletailCSV
internal import NeedletailCore

/// Reads the files of a run into one data set.
///
/// Two passes: the first infers what was not declared, the second keeps the values; a type guessed from
/// the first rows would be wrong for the last. Neither holds a file in memory.
public struct TableReader {
  private let request: TableRequest
  private let missing: [[UInt8]]

  public init(_ request: TableRequest) {
    self.request = request
    missing = request.missing.map { Array($0.utf8) }
  }

  /// - Throws: what is wrong with which line and column of which file.
  public func read() throws(TrainingError) -> Dataset {
    guard let first = request.files.first else {
      throw .configuration(request.location("data.files"), "data.files: expected at least one file, found none")
    }
    let header = try file(first).readHeader()
    let names = try chosenColumns(header, file: first.name) + [request.target]
    let types = try survey(names, header: header)
    return try load(names, types, header: header)
  }

  private func file(_ entry: (name: String, path: String)) -> CSVFile {
    CSVFile(name: entry.name, path: entry.path, delimiter: request.delimiter)
  }

  // MARK: - columns

  private func chosenColumns(_ header: [String], file: String) throws(TrainingError) -> [String] {
    func check(_ names: [String], _ setting: String) throws(TrainingError) {
      for name in names where !header.contains(name) {
        throw .configuration(
          request.location(setting),
          "\(setting): expected a column of \(file), found \(name.quotedForMessage)"
            + Suggestion.clause(for: name, among: header))
      }
    }
    try check([request.target], "target.column")
    try check(request.drop, "data.drop")
    try check(request.columns ?? [], "data.columns")
    try check(request.types.map(\.column), "features.columns")
    if let columns = request.columns, columns.contains(request.target) {
      throw .configuration(
        request.location("data.columns"),
        "data.columns: expected features only, found the target \(request.target.quotedForMessage)")
    }
    let dropped = Set(request.drop + [request.target])
    let chosen = (request.columns ?? header).filter { !dropped.contains($0) }
    guard !chosen.isEmpty else {
      throw .configuration(
        request.location("data"), "data: expected at least one feature column beside the target, found none")
    }
    return chosen
  }

  /// Where each of our columns stands in this file's header.
  private func positions(
    _ names: [String], in header: [String], first: [String], file: String
  ) throws(TrainingError) -> [Int] {
    var positionByName: [String: Int] = [:]
    for (position, name) in header.enumerated() { positionByName[name] = position }
    for name in first where positionByName[name] == nil {
      throw .data(
        file: file, line: 1,
        "expected the columns of \(request.files[0].name), found none named \(name.quotedForMessage)"
          + Suggestion.clause(for: name, among: header))
    }
    if let extra = header.first(where: { !first.contains($0) }) {
      throw .data(
        file: file, line: 1, column: extra,
        "expected the columns of \(request.files[0].name), found this one beside them")
    }
    return names.compactMap { positionByName[$0] }
  }

  // MARK: - passes

  private func survey(_ names: [String], header: [String]) throws(TrainingError) -> [TableRequest.ColumnType] {
    var types = names.map { name in request.types.first { $0.column == name }?.type ?? .automatic }
    let targetIndex = names.count - 1
    switch request.targetUse {
    case .automatic: types[targetIndex] = .automatic
    case .classification: types[targetIndex] = .categorical
    case .regression: types[targetIndex] = .numeric
    }
    let unknown = types.indices.filter { types[$0] == .automatic }
    guard !unknown.isEmpty else { return types }

    var surveys = unknown.map { ColumnSurvey(name: names[$0]) }
    var hash = SHA256()
    for entry in request.files {
      var places: [Int] = []
      try file(entry).read(hash: &hash) { (found) throws(TrainingError) in
        places = try positions(names, in: found, first: header, file: entry.name)
      } record: { (record) throws(TrainingError) in
        for (position, index) in unknown.enumerated() {
          let field = record.field(places[index])
          if !ColumnBuilder.isMissing(field, missing) {
            surveys[position].add(field, file: entry.name, line: record.line)
          }
        }
      }
    }
    for (position, index) in unknown.enumerated() {
      if index == targetIndex && surveys[position].looksLikeClasses {
        types[index] = .categorical
      } else {
        types[index] = try surveys[position].inferredType()
      }
    }
    return types
  }

  private func load(
    _ names: [String], _ types: [TableRequest.ColumnType], header: [String]
  ) throws(TrainingError) -> Dataset {
    let targetIndex = names.count - 1
    var builders = zip(names, types).enumerated().map { index, column in
      ColumnBuilder(
        name: column.0, type: column.1, missing: missing,
        categoriesMax: index == targetIndex ? Limits.labelsMax : Limits.trainingCategoriesMax)
    }
    var hash = SHA256()
    var rowsRead = 0
    for entry in request.files {
      var places: [Int] = []
      try file(entry).read(hash: &hash) { (found) throws(TrainingError) in
        places = try positions(names, in: found, first: header, file: entry.name)
      } record: { (record) throws(TrainingError) in
        guard rowsRead < Limits.trainingRowsMax else {
          throw .data(
            file: entry.name, line: record.line, "expected at most \(Limits.trainingRowsMax) rows, found more")
        }
        rowsRead += 1
        for index in builders.indices {
          try builders[index].add(record.field(places[index]), file: entry.name, line: record.line)
        }
      }
    }
    let columns = builders.map { $0.finish() }
    let digest = hash.finalize().map { byte in
      let text = String(byte, radix: 16)
      return text.count == 1 ? "0" + text : text
    }
    return try clean(Table(columns: columns, rowNumbers: Array(1...rowsRead)), sha256: digest.joined())
  }

  private func clean(_ table: Table, sha256: String) throws(TrainingError) -> Dataset {
    let rowsRead = table.rowCount
    let duplicates = request.dropsDuplicates ? table.duplicateRows() : []
    let targetColumn = table.columns[table.columns.count - 1]
    var kept: [Int] = []
    var unlabelled = 0
    for row in 0..<rowsRead where !duplicates.contains(row) {
      if targetColumn.isMissing(row) {
        unlabelled += 1
      } else {
        kept.append(row)
      }
    }
    guard !kept.isEmpty else {
      throw TrainingError(
        .data, "column \(request.target.quotedForMessage): expected target values, found only missing ones")
    }
    var rest = table.selecting(kept)
    let target = rest.columns.removeLast()
    return Dataset(
      features: rest, target: target, rowsRead: rowsRead, duplicatesDropped: duplicates.count,
      unlabelledDropped: unlabelled, sha256: sha256)
  }
}
