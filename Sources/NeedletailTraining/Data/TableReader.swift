internal import NeedletailCSV
public import NeedletailCore
internal import NeedletailCrypto

/// Rows that a run works on, and counts of those that it does not.
public struct Dataset: Sendable {
  /// Features only, in the order of the request.
  public var features: Table
  public var target: Table.Column
  /// Weight of each row; empty: all count alike.
  public var weights: [Float]
  /// Number of the group of each row; empty without groups.
  public var groups: [Int]
  /// Time of each row by which they are split; empty where they are split otherwise.
  public var times: [Double]
  /// Part of each row, 0 to train, 1 to validate, 2 to test; empty where the table does not say.
  public var parts: [Int]
  public var rowsRead: Int
  /// Rows read whose text equals that of an earlier row in every column of the files, used or not.
  public var duplicates: Int
  /// Number of them left out: all or none.
  public var duplicatesDropped: Int
  /// Rows left out because they have no target value to learn from.
  public var unlabelledDropped: Int
  /// How the text was read, which a model that learns from it keeps.
  public var rules: ValueRules
  /// Type that each feature column was read as, and the target's behind them.
  public var types: [TableRequest.ColumnType]
  /// Sentences for people about values that were read in a way they may not expect.
  public var warnings: [String]
  /// SHA-256 over all files in their order, lower-case hexadecimal.
  public var sha256: String

  public var rowCount: Int { features.rowCount }
}

/// Reads the files of a run into one data set.
///
/// A type that was not declared is found from all rows, for one guessed from the first could be wrong for the last. The
/// same pass keeps the values as the first of a column has them (``ColumnDraft``), and only columns whose type turned out
/// to be another are read in a second one. Neither pass holds a file in memory.
public struct TableReader {
  private let request: TableRequest
  private let words: MissingWords

  public init(_ request: TableRequest) {
    self.request = request
    words = MissingWords(request.rules)
  }

  /// - Throws: `TrainingError` that says what is wrong with which line and column of which file.
  public func read() throws(TrainingError) -> Dataset {
    guard let first = request.files.first else {
      throw .configuration(request.location("data.files"), "data.files: expected at least one file, found none")
    }
    let firstFile = try file(first)
    let header = try firstFile.readHeader()
    let names = try chosenColumns(header, file: first.name) + request.roles.map(\.column)
    let found = firstFile.findings.isEmpty ? [] : ["\(first.name): \(firstFile.findings.joined(separator: ", "))"]
    return try load(names, header: header, warnings: found)
  }

  private func file(_ entry: (name: String, path: String)) throws(TrainingError) -> DataFile {
    try DataFile(name: entry.name, path: entry.path, format: request.format)
  }

  // MARK: - columns

  /// Feature columns in the order that the model gets them.
  private func chosenColumns(_ header: [String], file: String) throws(TrainingError) -> [String] {
    func check(_ names: [String], _ setting: String) throws(TrainingError) {
      for name in names where name.isEmpty || !header.contains(name) {
        throw .configuration(
          request.location(setting),
          "\(setting): expected a column of \(file), found \(name.quotedForMessage)"
            + Suggestion.clause(for: name, among: header))
      }
    }
    let roles = request.roles
    for role in roles.reversed() { try check([role.column], role.setting) }
    try check(request.drop, "data.drop")
    try check(request.columns ?? [], "data.columns")
    try check(request.types.map(\.column), "features.columns")
    for role in roles.reversed() where role.setting != TableRequest.timeSetting {
      let word = role.setting == "target.column" ? "the target" : role.setting
      if let columns = request.columns, columns.contains(role.column) {
        throw .configuration(
          request.location("data.columns"),
          "data.columns: expected features only, found \(word) \(role.column.quotedForMessage)")
      }
      if roles.count(where: { $0.column == role.column && $0.setting != TableRequest.timeSetting }) > 1 {
        throw .configuration(
          request.location(role.setting),
          "\(role.setting): expected a column of its own, found \(role.column.quotedForMessage) twice")
      }
    }
    let exclusive = roles.filter { $0.setting != TableRequest.timeSetting }
    for role in exclusive where request.drop.contains(role.column) {
      throw .configuration(
        request.location("data.drop"),
        "data.drop: expected columns that nothing else needs, found \(role.column.quotedForMessage), which is "
          + role.setting)
    }
    let dropped = Set(request.drop + exclusive.map(\.column))
    // The header's spelling of a name is the one that clients send; a run file may compose its accents otherwise.
    let chosen = (request.columns ?? header).filter { !$0.isEmpty && !dropped.contains($0) }.compactMap { name in
      header.first { $0 == name }
    }
    guard !chosen.isEmpty else {
      throw .configuration(
        request.location("data"), "data: expected at least one feature column beside the target, found none")
    }
    return chosen
  }

  /// Position of each of our columns in this file's header.
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

  /// What a pass over all files finds beside the cells.
  private struct Contents {
    var rows = 0
    var duplicates = DuplicateRows()
    var sha256 = ""
  }

  /// Reads all files, and gives each record to the handler with the places of the columns in it.
  ///
  /// - Parameter countsDuplicates: false for a second pass.
  private func pass(
    _ names: [String], header: [String], countsDuplicates: Bool,
    record handle: (CSVRecord, [Int], String) throws(TrainingError) -> Void
  ) throws(TrainingError) -> Contents {
    var contents = Contents()
    var hash = SHA256()
    for entry in request.files {
      var places: [Int] = []
      var allPlaces: [Int] = []
      try file(entry).read {
        hash.update(UnsafeRawBufferPointer($0))
      } header: { (found) throws(TrainingError) in
        places = try positions(names, in: found, first: header, file: entry.name)
        allPlaces = try positions(header, in: found, first: header, file: entry.name)
      } record: { (record) throws(TrainingError) in
        guard contents.rows < Limits.trainingRowsMax else {
          throw .data(
            file: entry.name, line: record.line, "expected at most \(Limits.trainingRowsMax) rows, found more")
        }
        contents.rows += 1
        if countsDuplicates { contents.duplicates.add(record, fields: allPlaces) }
        try handle(record, places, entry.name)
      }
    }
    contents.sha256 = Hex.text(hash.finalize())
    return contents
  }

  /// Reading of a column that was not declared in full, from what all its values look like.
  ///
  /// - Parameter index: of the column; the target is last.
  private func reading(
    _ declared: ColumnReading, _ survey: ColumnSurvey, index: Int, of count: Int, warnings: inout [String]
  ) throws(TrainingError) -> ColumnReading {
    let order = request.dateOrders[survey.name]
    var reading = declared
    if declared.type == .datetime {
      reading.dateOrder = survey.dateOrder
    } else if index == count - 1 && survey.looksLikeClasses {
      reading = ColumnReading(type: .categorical)
    } else {
      reading = try survey.inferredReading()
      let isFeature = index < count - request.roles.count
      if request.infersText, isFeature, reading.type == .categorical, survey.looksLikeText {
        reading = ColumnReading(type: .text)
      }
      if let order { reading.dateOrder = order }
    }
    if reading.type == .datetime, order == nil, let warning = survey.orderWarning(reading.dateOrder) {
      warnings.append(warning)
    }
    return reading
  }

  /// Cells of all columns.
  private func cells(
    _ names: [String], header: [String], warnings: inout [String]
  ) throws(TrainingError) -> (builders: [ColumnBuilder], readings: [ColumnReading], contents: Contents) {
    var readings = request.declaredReadings(names)
    func builder(_ index: Int, rows: Int) -> ColumnBuilder {
      ColumnBuilder(
        name: names[index], reading: readings[index], words: words, style: request.rules.numbers,
        categoriesMax: request.categoriesMax(index, of: names.count), rows: rows)
    }
    let unknown = names.indices.filter { request.isUnknown(readings[$0], names[$0]) }
    let known = names.indices.filter { !unknown.contains($0) }
    var drafts = unknown.map { index in
      ColumnDraft(
        name: names[index], words: words, style: request.rules.numbers,
        categoriesMax: request.categoriesMax(index, of: names.count), keepsCells: readings[index].type == .automatic)
    }
    var first = known.map { builder($0, rows: 0) }
    let contents = try pass((unknown + known).map { names[$0] }, header: header, countsDuplicates: true) {
      (record, places, file) throws(TrainingError) in
      drafts.add(record, places: places[..<unknown.count], file: file)
      try first.add(record, places: places[unknown.count...], file: file)
    }
    var builders = [ColumnBuilder?](repeating: nil, count: names.count)
    for (index, builder) in zip(known, first) { builders[index] = builder }
    first = []
    for (place, index) in unknown.enumerated() {
      readings[index] = try reading(
        readings[index], drafts[place].finishSurvey(), index: index, of: names.count, warnings: &warnings)
      builders[index] = drafts[place].take(readings[index])
    }
    let rest = names.indices.filter { builders[$0] == nil }
    if !rest.isEmpty {
      var second = rest.map { builder($0, rows: contents.rows) }
      let again = try pass(rest.map { names[$0] }, header: header, countsDuplicates: false) {
        (record, places, file) throws(TrainingError) in
        try second.add(record, places: places[...], file: file)
      }
      guard again.sha256 == contents.sha256 else {
        throw TrainingError(.data, "expected files that stay as they are while they are read, found that they changed")
      }
      for (index, builder) in zip(rest, second) { builders[index] = builder }
    }
    return (builders.compactMap { $0 }, readings, contents)
  }

  private func load(
    _ names: [String], header: [String], warnings fileWarnings: [String]
  ) throws(TrainingError) -> Dataset {
    let featureCount = names.count - request.roles.count
    var warnings = fileWarnings
    var cells = try self.cells(names, header: header, warnings: &warnings)
    let unnamed = header.count { $0.isEmpty }
    warnings += cells.builders.flatMap(\.warnings)
    if unnamed > 0 {
      warnings.insert(
        "\(unnamed == 1 ? "a column without a name is" : "\(unnamed) columns without a name are") left out", at: 0)
    }
    var columns: [Table.Column] = []
    for index in cells.builders.indices { columns.append(cells.builders[index].finish()) }
    cells.builders = []
    let duplicates = cells.contents.duplicates.rows
    let (kept, unlabelled) = try clean(
      Table(columns: columns, rowNumbers: Array(1...cells.contents.rows)), duplicates: duplicates)
    return Dataset(
      features: kept.features, target: kept.target, weights: try weights(kept.roles), groups: try groups(kept.roles),
      times: try times(kept.roles), parts: try parts(kept.roles),
      rowsRead: cells.contents.rows, duplicates: duplicates.count,
      duplicatesDropped: request.dropsDuplicates ? duplicates.count : 0, unlabelledDropped: unlabelled,
      rules: request.rules, types: (cells.readings[..<featureCount] + cells.readings.suffix(1)).map(\.type),
      warnings: warnings, sha256: cells.contents.sha256)
  }

  /// - Parameter roles: the columns of the request's roles but the target, rows numbered as in the files.
  private func weights(_ roles: Table) throws(TrainingError) -> [Float] {
    guard case .numbers(let numbers)? = role("target.weight", roles)?.values else { return [] }
    for (row, weight) in numbers.enumerated() where !(weight >= 0) {
      throw TrainingError(
        .data,
        "target.weight: expected numbers from 0, found \(weight.isNaN ? "nothing" : "\(weight)") in row "
          + "\(roles.rowNumbers[row])")
    }
    return numbers.map { Float($0) }
  }

  private func groups(_ roles: Table) throws(TrainingError) -> [Int] {
    guard case .categories(let codes, _)? = role("target.group", roles)?.values else { return [] }
    if let row = codes.firstIndex(where: { $0 < 0 }) {
      throw TrainingError(
        .data, "target.group: expected the name of a group, found nothing in row \(roles.rowNumbers[row])")
    }
    return codes.map { Int($0) }
  }

  private func times(_ roles: Table) throws(TrainingError) -> [Double] {
    guard let column = role(TableRequest.timeSetting, roles) else { return [] }
    guard case .numbers(let times) = column.values else {
      throw .configuration(
        request.location(TableRequest.timeSetting),
        "split.time: expected a column of dates or numbers, found categories in \(column.name.quotedForMessage)")
    }
    if let row = times.firstIndex(where: \.isNaN) {
      throw TrainingError(
        .data, "split.time: expected a time in every row, found nothing in row \(roles.rowNumbers[row])")
    }
    return times
  }

  /// Names of parts, in lower case.
  private static let partNames = [["train", "training"], ["validation", "valid", "val", "dev"], ["test", "testing"]]

  private func parts(_ roles: Table) throws(TrainingError) -> [Int] {
    guard case .categories(let codes, let names)? = role("split.column", roles)?.values else { return [] }
    let partOfCode = names.map { name in Self.partNames.firstIndex { $0.contains(name.lowercased()) } }
    var parts: [Int] = []
    for (row, code) in codes.enumerated() {
      guard code >= 0, let part = partOfCode[Int(code)] else {
        throw TrainingError(
          .data,
          "split.column: expected train, validation or test, found "
            + "\(code < 0 ? "nothing" : names[Int(code)].quotedForMessage) in row \(roles.rowNumbers[row])")
      }
      parts.append(part)
    }
    return parts
  }

  private func role(_ setting: String, _ roles: Table) -> Table.Column? {
    request.roles.firstIndex { $0.setting == setting }.map { roles.columns[$0] }
  }

  /// Leaves out rows without a target, which it counts, and duplicates if the run asks for it.
  private func clean(
    _ table: consuming Table, duplicates: Set<Int>
  ) throws(TrainingError) -> (kept: (features: Table, roles: Table, target: Table.Column), unlabelled: Int) {
    let rowsRead = table.rowCount
    let targetColumn = table.columns[table.columns.count - 1]
    var kept: [Int] = []
    var unlabelled = 0
    for row in 0..<rowsRead where !(request.dropsDuplicates && duplicates.contains(row)) {
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
    var rest = kept.count == rowsRead ? table : table.selecting(kept)
    let target = rest.columns.removeLast()
    let roleCount = request.roles.count - 1
    let roles = Table(columns: rest.columns.suffix(roleCount), rowNumbers: rest.rowNumbers)
    rest.columns.removeLast(roleCount)
    return ((rest, roles, target), unlabelled)
  }
}

/// Rows that repeat an earlier one, by the text of all their fields.
///
/// Numbers are not compared, for two identifiers beyond 2⁵³ may be one Double. Only half of each row's SHA-256 is kept:
/// 16 bytes a row, with less than one chance in 10¹⁹ that two of a billion rows collide.
private struct DuplicateRows {
  private var seen: Set<Digest> = []
  private var count = 0
  private var text: [UInt8] = []
  /// Indices of the rows that repeat an earlier one.
  private(set) var rows: Set<Int> = []

  private struct Digest: Hashable {
    let high: UInt64
    let low: UInt64
  }

  /// Takes the next row.
  ///
  /// - Parameter fields: positions of the fields, in an order that all files share.
  mutating func add(_ record: CSVRecord, fields: [Int]) {
    text.removeAll(keepingCapacity: true)
    for field in fields {
      let bytes = record.field(field)
      // The length keeps fields apart: "ab" and "c" are not "a" and "bc".
      withUnsafeBytes(of: bytes.count) { text.append(contentsOf: $0) }
      text.append(contentsOf: bytes)
    }
    let digest = SHA256.hash(text).withUnsafeBytes {
      Digest(high: $0.loadUnaligned(as: UInt64.self), low: $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }
    if !seen.insert(digest).inserted { rows.insert(count) }
    count += 1
  }
}
