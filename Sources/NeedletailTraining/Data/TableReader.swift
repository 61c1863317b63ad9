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
/// It takes two passes: the first infers the types that were not declared, the second keeps the values. A type guessed
/// from the first rows could be wrong for the last. Neither pass holds a file in memory.
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
    let (readings, rows, warnings) = try survey(names, header: header)
    let found = firstFile.findings.isEmpty ? [] : ["\(first.name): \(firstFile.findings.joined(separator: ", "))"]
    return try load(names, readings, rows: rows, header: header, warnings: found + warnings)
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

  /// Reading of every column, the target last, and how many rows there are; 0 where no pass was needed.
  private func survey(
    _ names: [String], header: [String]
  ) throws(TrainingError) -> (readings: [ColumnReading], rows: Int, warnings: [String]) {
    var readings = names.map { name in
      ColumnReading(
        type: request.types.first { $0.column == name }?.type ?? .automatic,
        dateOrder: request.dateOrders[name] ?? .yearFirst)
    }
    let targetIndex = names.count - 1
    let roles = request.roles
    for (index, role) in roles.enumerated() { readings[names.count - roles.count + index].type = role.type }
    let unknown = readings.indices.filter { index in
      switch readings[index].type {
      case .automatic: true
      case .datetime: request.dateOrders[names[index]] == nil
      case .numeric, .categorical, .bool, .text: false
      }
    }
    guard !unknown.isEmpty else { return (readings, 0, []) }
    var rows = 0

    var surveys = unknown.map { ColumnSurvey(name: names[$0], style: request.rules.numbers) }
    for entry in request.files {
      var places: [Int] = []
      try file(entry).read(
        header: { (found) throws(TrainingError) in
          places = try positions(names, in: found, first: header, file: entry.name)
        },
        record: { record in
          rows += 1
          for (position, index) in unknown.enumerated() {
            let place = places[index]
            surveys[position].add(
              record.field(place), isQuoted: record.isQuoted(place), words, file: entry.name, line: record.line)
          }
        })
    }
    var warnings: [String] = []
    for (position, index) in unknown.enumerated() {
      let survey = surveys[position]
      let declared = request.dateOrders[names[index]]
      if readings[index].type == .datetime {
        readings[index].dateOrder = survey.dateOrder
      } else if index == targetIndex && survey.looksLikeClasses {
        readings[index] = ColumnReading(type: .categorical)
      } else {
        readings[index] = try survey.inferredReading()
        let isFeature = index < names.count - roles.count
        if request.infersText, isFeature, readings[index].type == .categorical, survey.looksLikeText {
          readings[index] = ColumnReading(type: .text)
        }
        if let declared { readings[index].dateOrder = declared }
      }
      if readings[index].type == .datetime, declared == nil,
        let warning = survey.orderWarning(readings[index].dateOrder)
      {
        warnings.append(warning)
      }
    }
    return (readings, rows, warnings)
  }

  /// - Parameter rows: as the first pass counted them.
  private func load(
    _ names: [String], _ readings: [ColumnReading], rows: Int, header: [String], warnings surveyWarnings: [String]
  ) throws(TrainingError) -> Dataset {
    let featureCount = names.count - request.roles.count
    var builders = zip(names, readings).enumerated().map { index, column in
      let categoriesMax =
        switch index {
        case names.count - 1: Limits.labelsMax
        case ..<featureCount: Limits.trainingCategoriesMax
        // Groups may be as many as rows.
        default: Limits.trainingRowsMax
        }
      return ColumnBuilder(
        name: column.0, reading: column.1, words: words, style: request.rules.numbers, categoriesMax: categoriesMax,
        rows: min(rows, Limits.trainingRowsMax))
    }
    var hash = SHA256()
    var rowsRead = 0
    var duplicates = DuplicateRows()
    for entry in request.files {
      var places: [Int] = []
      var allPlaces: [Int] = []
      try file(entry).read {
        hash.update(UnsafeRawBufferPointer($0))
      } header: { (found) throws(TrainingError) in
        places = try positions(names, in: found, first: header, file: entry.name)
        allPlaces = try positions(header, in: found, first: header, file: entry.name)
      } record: { (record) throws(TrainingError) in
        guard rowsRead < Limits.trainingRowsMax else {
          throw .data(
            file: entry.name, line: record.line, "expected at most \(Limits.trainingRowsMax) rows, found more")
        }
        rowsRead += 1
        duplicates.add(record, fields: allPlaces)
        try builders.add(record, places: places, file: entry.name)
      }
    }
    let unnamed = header.count { $0.isEmpty }
    var warnings = surveyWarnings + builders.flatMap(\.warnings)
    if unnamed > 0 {
      warnings.insert(
        "\(unnamed == 1 ? "a column without a name is" : "\(unnamed) columns without a name are") left out", at: 0)
    }
    var columns: [Table.Column] = []
    for index in builders.indices { columns.append(builders[index].finish()) }
    let (kept, unlabelled) = try clean(
      Table(columns: columns, rowNumbers: Array(1...rowsRead)), duplicates: duplicates.rows)
    return Dataset(
      features: kept.features, target: kept.target, weights: try weights(kept.roles), groups: try groups(kept.roles),
      times: try times(kept.roles), parts: try parts(kept.roles),
      rowsRead: rowsRead, duplicates: duplicates.rows.count,
      duplicatesDropped: request.dropsDuplicates ? duplicates.rows.count : 0, unlabelledDropped: unlabelled,
      rules: request.rules, types: (readings[..<featureCount] + readings.suffix(1)).map(\.type), warnings: warnings,
      sha256: Hex.text(hash.finalize()))
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
