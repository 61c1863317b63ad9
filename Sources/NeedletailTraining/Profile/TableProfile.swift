public import NeedletailCSV
internal import NeedletailCore

/// What a table holds, column by column and as a whole, before anything is trained on it.
public struct TableProfile {
  /// Something that a person should know before training.
  struct Alert: Equatable {
    enum Kind: String {
      case empty, constant, identifier, missing, imbalanced, skewed, spellings, correlated, leakage, duplicates, text
      case nearDuplicates = "near_duplicates"
      case unlabelled
    }

    var kind: Kind
    var columns: [String]
    /// One sentence: what is so, and what may be done.
    var text: String
  }

  struct Correlation: Equatable {
    var first: String
    var second: String
    /// Pearson's r of two columns of numbers, Cramér's V of two of categories.
    var value: Double
  }

  struct Power: Equatable {
    var column: String
    var power: Double
  }

  let name: String
  let rows: Int
  let notes: [String]
  let columns: [ColumnProfile]
  let target: String?
  /// The strongest first.
  let correlations: [Correlation]
  /// What each column alone says of the target, the most first; empty without a target.
  let powers: [Power]
  let duplicates: DuplicateSearch
  let alerts: [Alert]
  let annotators: (first: String, second: String, agreement: Association.Agreement)?

  /// Rows on which correlations rest at most: beyond them the third digit no longer moves.
  static let associationRowsMax = 100_000
  /// Columns of each kind that are compared in pairs.
  static let associationColumnsMax = 100
  /// Different texts beyond which a column's values are not kept.
  static let textsMax = 65_536

  static let missingShareMax = 0.2
  static let correlationMax = 0.95
  static let leakageMin = 0.98
  static let frequentShareMax = 0.95
  static let skewMax = 3.0
  static let duplicateShareMax = 0.01

  /// - Parameters:
  ///   - name: the file's name in messages; `-` is standard input.
  ///   - delimiter: between fields; nil: as the file tells.
  ///   - target: the column to predict; nil: nobody asked yet.
  ///   - annotators: two columns of labels for the same rows.
  /// - Throws: `TrainingError` that says what is wrong with the file or names of columns.
  public init(
    name: String, path: String, delimiter: CSVDelimiter? = nil, target: String? = nil,
    annotators: (String, String)? = nil
  ) throws(TrainingError) {
    let (findings, file) = try TableProposal.findings(name: name, path: path, delimiter: delimiter)
    let names = findings.map(\.name)
    let target = target.map { ValueText.normalised($0) }
    for (option, wanted) in [("--target", target), ("--annotators", annotators?.0), ("--annotators", annotators?.1)] {
      guard let wanted, !names.contains(wanted) else { continue }
      throw .configuration(
        option,
        "expected a column of \(file.name), found \(wanted.quotedForMessage)"
          + Suggestion.clause(for: wanted, among: names))
    }
    let proposal = TableProposal(findings, file: file, target: target)
    let kept = proposal.columns.filter { column in
      column.reading.type != .categorical || (findings.first { $0.name == column.name }?.distinct ?? 0) <= Self.textsMax
    }
    let table = try proposal.table(kept.map(\.name))
    self.name = file.name
    rows = proposal.rows
    notes = proposal.warnings
    self.target = target
    let qualities = try Self.textQualities(proposal)
    let profiles = proposal.columns.compactMap { proposed in
      findings.first { $0.name == proposed.name }.map {
        var profile = ColumnProfile(proposed, $0, table.columns.first { $0.name == proposed.name })
        profile.quality = qualities[proposed.name]
        return profile
      }
    }
    columns = profiles
    correlations = Self.correlations(table.columns, rows: rows)
    let targetColumn = table.columns.first { $0.name == target }
    powers =
      targetColumn.map { targetColumn in
        table.columns.filter { $0.name != target }
          .map { Power(column: $0.name, power: Association.power($0, of: Self.classes(targetColumn, profiles))) }
          .sorted { ($0.power, $1.column) > ($1.power, $0.column) }
      } ?? []
    let identifiers = Set(columns.filter { $0.dropReason != nil && $0.distinct == $0.rows }.map(\.name))
    duplicates = DuplicateSearch(table.columns.filter { !identifiers.contains($0.name) }, rows: rows)
    self.annotators = annotators.flatMap { first, second in
      Association.agreement(Self.labels(table, first), Self.labels(table, second)).map { (first, second, $0) }
    }
    alerts = Self.findAlerts(
      columns, rows: rows, target: target, correlations: correlations, powers: powers, duplicates: duplicates)
  }

  /// Quality of the table from 0 to 100: the product of three shares.
  public var quality: Double { 100 * completeness * uniqueness * usability }
  /// Share of the cells that hold a value.
  var completeness: Double {
    columns.isEmpty ? 1 : 1 - columns.reduce(0) { $0 + $1.missingShare } / Double(columns.count)
  }
  /// Share of the rows that repeat no earlier one.
  var uniqueness: Double { rows > 0 ? 1 - Double(duplicates.exact) / Double(rows) : 1 }
  /// Share of the columns that a model can learn from.
  var usability: Double {
    columns.isEmpty ? 1 : Double(columns.count { $0.dropReason == nil }) / Double(columns.count)
  }

  // MARK: - parts

  /// Quality of each column of free text, which takes a pass over the file of its own where there is one.
  private static func textQualities(_ proposal: TableProposal) throws(TrainingError) -> [String: TextQuality] {
    let names = proposal.columns.filter(\.isText).map(\.name)
    guard !names.isEmpty else { return [:] }
    let words = MissingWords(ValueRules(missing: proposal.missingWords))
    var qualities = names.map { _ in TextQuality() }
    var places: [Int] = []
    try proposal.file.read(header: { header in
      places = names.compactMap { header.firstIndex(of: $0) }
    }) { record in
      for (index, place) in places.enumerated() {
        let field = record.field(place)
        if !words.isMissing(field, isQuoted: record.isQuoted(place)) { qualities[index].add(field) }
      }
    }
    return Dictionary(uniqueKeysWithValues: zip(names, qualities))
  }

  /// The target as classes where its few whole numbers read so.
  private static func classes(_ target: Table.Column, _ profiles: [ColumnProfile]) -> Table.Column {
    guard case .numbers(let numbers) = target.values, target.dateOrder == nil,
      let distinct = profiles.first(where: { $0.name == target.name })?.distinct, distinct <= ColumnSurvey.classesMax,
      numbers.allSatisfy({ $0.isNaN || $0 == $0.rounded() })
    else { return target }
    let values = Set(numbers.filter { !$0.isNaN }).sorted()
    let codes = numbers.map { number in Int32(values.firstIndex(of: number) ?? -1) }
    return Table.Column(name: target.name, values: .categories(codes: codes, categories: values.map { "\($0)" }))
  }

  private static func labels(_ table: Table, _ name: String) -> [String?] {
    guard let column = table.columns.first(where: { $0.name == name }) else { return [] }
    switch column.values {
    case .numbers(let numbers): return numbers.map { $0.isNaN ? nil : "\($0)" }
    case .categories(let codes, let names): return codes.map { $0 < 0 ? nil : names[Int($0)] }
    }
  }

  private static func correlations(_ columns: [Table.Column], rows: Int) -> [Correlation] {
    let step = max(1, rows / associationRowsMax)
    var numbers: [(name: String, values: [Double])] = []
    var categories: [(name: String, codes: [Int32])] = []
    for column in columns {
      switch column.values {
      case .numbers(let values):
        numbers.append((column.name, stride(from: 0, to: rows, by: step).map { values[$0] }))
      case .categories(let codes, let names):
        // A name a row goes with everything.
        guard names.count * 2 <= rows else { continue }
        categories.append((column.name, stride(from: 0, to: rows, by: step).map { codes[$0] }))
      }
    }
    var found: [Correlation] = []
    func pairs<Column>(_ columns: [Column], _ body: (Column, Column) -> Correlation?) {
      let columns = columns.prefix(associationColumnsMax)
      for (index, first) in columns.enumerated() {
        found += columns.dropFirst(index + 1).compactMap { body(first, $0) }
      }
    }
    pairs(numbers) { a, b in
      Association.pearson(a.values, b.values).map { Correlation(first: a.name, second: b.name, value: $0) }
    }
    pairs(categories) { a, b in
      Association.cramer(a.codes, b.codes).map { Correlation(first: a.name, second: b.name, value: $0) }
    }
    return found.sorted { abs($0.value) > abs($1.value) }
  }
}
