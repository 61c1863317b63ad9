internal import NeedletailCSV
internal import NeedletailCore

/// Settings under which a table trains, decided by all of its values.
struct TableProposal {
  struct Column {
    var name: String
    var reading: ColumnReading
    /// Why it should be left out; nil: it is a feature.
    var dropReason: String?
    /// True for free text, which is left out unless the family takes it.
    var isText = false
    /// Facts for a comment: `12 categories, 40 missing`.
    var note: String
    var missing: Int
  }

  let file: DataFile
  private(set) var style = NumberStyle.plain
  /// Words for a missing value, those that always are among them.
  private(set) var missingWords = ValueRules.missingDefault
  private(set) var columns: [Column] = []
  private(set) var warnings: [String] = []
  let rows: Int

  /// Fewest rows in which values that all differ look like an identifier.
  static let identifierRowsMin = 20
  /// Texts that people write for a missing value, in lower case, beside those that always are words for it.
  static let likelyMissing: Set<String> = [
    "na", "n/a", "n.a.", "none", "null", "nil", "nan", "missing", "unknown", "undefined", "not available",
    "not applicable", "unspecified", "inf", "-inf", "#ref!", "#div/0!", "#value!", "#n/a", "#name?", "#null!", "#num!",
    "tbd", "void", "blank", "empty", "<null>", "(null)", "(none)",
  ]

  /// - Parameter target: a column that is never left out.
  init(_ findings: [ColumnFindings], file: DataFile, target: String?) {
    self.file = file
    rows = findings.first?.rows ?? 0
    if !file.findings.isEmpty { warnings.append("\(file.name): \(file.findings.joined(separator: ", "))") }
    let unnamed = findings.count { $0.name.isEmpty }
    if unnamed > 0 {
      let columns = unnamed == 1 ? "a column without a name is" : "\(unnamed) columns without a name are"
      warnings.append("\(columns) left out")
    }
    chooseStyle(findings)
    let named = findings.filter { !$0.name.isEmpty }
    // Words are found column by column, and then count in all of them.
    for column in named { _ = proposal(for: column) }
    for column in named {
      let own = proposal(for: column)
      columns.append(own)
      if column.name == target { columns[columns.count - 1].dropReason = nil }
    }
    let features = columns.filter { $0.name != target }
    if let index = columns.firstIndex(where: { $0.name != target }), features.allSatisfy({ $0.dropReason != nil }) {
      // A run needs a feature: the first that is more than a gap.
      let kept = columns.firstIndex { $0.name != target && $0.missing < rows } ?? index
      columns[kept].dropReason = nil
    }
    if !addedWords.isEmpty {
      warnings.append("read as missing: " + addedWords.map(\.quotedForMessage).joined(separator: ", "))
    }
    if !style.isPlain { warnings.append("numbers have \(style.words)") }
  }

  /// Words for a missing value that these files have beside those that always are.
  private var addedWords: ArraySlice<String> { missingWords.dropFirst(ValueRules.missingDefault.count) }

  func column(_ name: String) -> Column? { columns.first { $0.name == name } }

  /// True where all that a model could learn from is free text.
  func hasOnlyTexts(beside target: String) -> Bool {
    let features = columns.filter { $0.name != target && ($0.dropReason == nil || $0.isText) }
    return !features.isEmpty && features.allSatisfy(\.isText)
  }

  /// Makes features of columns of free text.
  mutating func keepTexts(beside target: String) {
    for index in columns.indices where columns[index].isText && columns[index].name != target {
      columns[index].dropReason = nil
      columns[index].reading = ColumnReading(type: .text)
      columns[index].note = "free text"
    }
  }

  // MARK: - reading

  /// Reads the whole table. Text that is no UTF-8 is read again as that of older programs.
  static func findings(
    name: String, path: String, delimiter: CSVDelimiter?
  ) throws(TrainingError) -> (columns: [ColumnFindings], file: DataFile) {
    let missing = ValueRules.missingDefault
    do {
      return try ColumnFindings.read([(name, path)], format: DataFormat(delimiter: delimiter), missing: missing)
    } catch {
      guard error.message.contains("windows-1252") else { throw error }
      let format = DataFormat(delimiter: delimiter, encoding: .windows1252)
      return try ColumnFindings.read([(name, path)], format: format, missing: missing)
    }
  }

  /// Columns of the file, read as proposed. Rows stand as in the file.
  func table(_ names: [String]) throws(TrainingError) -> Table {
    let words = MissingWords(ValueRules(missing: missingWords))
    var builders: [ColumnBuilder] = []
    var places: [Int] = []
    var count = 0
    try file.read(header: { (header) throws(TrainingError) in
      for name in names {
        guard let place = header.firstIndex(of: name), let column = column(name) else { continue }
        places.append(place)
        builders.append(
          ColumnBuilder(
            name: name, reading: column.reading, words: words, style: style, categoriesMax: Limits.trainingRowsMax))
      }
    }) { (record) throws(TrainingError) in
      count += 1
      try builders.add(record, places: places[...], file: file.name)
    }
    var columns: [Table.Column] = []
    for index in builders.indices { columns.append(builders[index].finish()) }
    return Table(columns: columns, rowNumbers: Array(1...max(count, 1)))
  }

  // MARK: - numbers

  /// Takes the marks that make numbers of the most texts.
  private mutating func chooseStyle(_ findings: [ColumnFindings]) {
    var best: (style: NumberStyle, numbers: Int) = (.plain, 0)
    for (index, style) in ColumnFindings.styles.enumerated() {
      // Files with semicolons are mostly European, so there the comma stands before decimals first.
      let fitting = findings.filter { $0.styled[index] > 0 && $0.isNumeric(index) }
      // Where a point stands between thousands, it cannot stand before decimals elsewhere.
      if style.thousands == .point, findings.contains(where: { $0.hasPoint && $0.styled[index] == 0 }) { continue }
      let numbers = fitting.reduce(0) { $0 + $1.styled[index] }
      let isBetter =
        numbers > best.numbers
        || (numbers == best.numbers && style.hasDecimalComma && file.format.delimiter == .semicolon
          && !best.style.hasDecimalComma)
      guard !fitting.isEmpty, isBetter else { continue }
      var marks = NumberStyle.plain
      for column in fitting {
        let own = column.marks[index]
        if own.thousands != .none { marks.thousands = own.thousands }
        marks.hasDecimalComma = marks.hasDecimalComma || own.hasDecimalComma
        marks.allowsUnits = marks.allowsUnits || own.allowsUnits
      }
      // A point between thousands says where the comma stands, also if no number has decimals.
      if marks.thousands == .point { marks.hasDecimalComma = true }
      best = (marks, numbers)
      styleIndex = index
    }
    style = best.style
  }

  private var styleIndex: Int?

  // MARK: - columns

  private mutating func proposal(for column: ColumnFindings) -> Column {
    var proposed = Column(
      name: column.name, reading: ColumnReading(type: .categorical), dropReason: nil, note: "",
      missing: column.missing + addedWords.reduce(0) { $0 + (column.words[$1] ?? 0) })
    guard column.present > 0 else {
      proposed.dropReason = "no value in any row"
      return proposed
    }
    let numbers = column.numbers + (styleIndex.map { column.styled[$0] } ?? 0)
    let dates = column.dates.most
    if column.bools > 0, column.bools + column.numbers == column.present, column.hasOnlyBits {
      proposed.reading.type = .bool
    } else if let words = otherWords(column, fitting: numbers, isWord: { [style] in style.parse($0) == nil }) {
      propose(words, &proposed)
      proposed.reading.type = .numeric
      readAsNumbers(column, &proposed)
    } else if let words = otherWords(
      column, fitting: dates, isWord: { DateText.parse($0, order: column.dates.order) == nil })
    {
      propose(words, &proposed)
      proposed.reading = ColumnReading(type: .datetime, dateOrder: column.dates.order)
    } else {
      readAsText(column, &proposed)
    }
    if column.isConstant, proposed.missing == 0 { proposed.dropReason = "the same in every row" }
    proposed.note = note(column, proposed)
    return proposed
  }

  private mutating func propose(_ words: [String], _ proposed: inout Column) {
    for word in words where !missingWords.contains(word) && missingWords.count < Limits.missingWordsMax {
      missingWords.append(word)
    }
  }

  /// Words among values of another type that may stand for missing ones.
  ///
  /// - Parameter fitting: values of the type.
  /// - Returns: nil: the column is of another type.
  private func otherWords(
    _ column: ColumnFindings, fitting: Int, isWord: (String) -> Bool
  ) -> [String]? {
    if fitting == column.present { return [] }
    guard column.hasFewWords, column.bools == 0, fitting * 2 >= column.present else { return nil }
    let words = column.words.keys.filter(isWord).sorted()
    let areLikely = words.allSatisfy { Self.isLikelyMissing($0) }
    return areLikely || (fitting * 10 >= column.present * 9 && words.count <= 12) ? words : nil
  }

  static func isLikelyMissing(_ word: String) -> Bool {
    likelyMissing.contains(word.lowercased()) || word.allSatisfy { $0.isPunctuation || $0.isSymbol }
  }

  private func readAsNumbers(_ column: ColumnFindings, _ proposed: inout Column) {
    let isLong = column.present >= Self.identifierRowsMin
    let allDiffer = column.distinct == column.present && column.isWhole
    if !Float(max(abs(column.minimum), abs(column.maximum))).isFinite, column.numbers > 0 {
      proposed.dropReason = "numbers beyond ±3.4e38"
    } else if isLong, column.compactDates == column.present {
      proposed.reading = ColumnReading(type: .datetime)
    } else if isLong, allDiffer, column.isSequence, column.missing == 0 {
      proposed.dropReason = "counts the rows"
    } else if isLong, column.isWhole, column.isNamedLikeIdentifier, column.distinct * 2 > column.present {
      proposed.dropReason = "an identifier by its name: \(Figures.count(column.distinct)) different numbers"
    } else if column.leadingZeros > 0 || column.beyondDoubles > 0 {
      // Digits that a number would lose are names.
      readAsText(column, &proposed)
    }
  }

  private func readAsText(_ column: ColumnFindings, _ proposed: inout Column) {
    proposed.reading = ColumnReading(type: .categorical)
    let isLong = column.present >= Self.identifierRowsMin
    let differ = "\(Figures.count(column.distinct)) different values"
    if isLong, column.distinct == column.present {
      proposed.dropReason = "every value is different: an identifier or free text"
      proposed.isText = column.looksLikeText
    } else if column.distinct > Limits.trainingCategoriesMax {
      proposed.dropReason = "\(differ), more than \(Limits.trainingCategoriesMax)"
    } else if isLong, column.distinct * 2 > column.present {
      proposed.dropReason = "\(differ): an identifier or free text"
      proposed.isText = column.looksLikeText
    }
  }

  private func note(_ column: ColumnFindings, _ proposed: Column) -> String {
    var facts: [String] = []
    if proposed.reading.type == .categorical {
      facts.append("\(Figures.count(column.distinct)) \(column.distinct == 1 ? "category" : "categories")")
    }
    if proposed.missing > 0 { facts.append("\(Figures.count(proposed.missing)) missing") }
    if proposed.reading.type == .datetime, let text = column.dates.ambiguous {
      facts.append("\(text) may have the day or the month first")
    }
    return facts.joined(separator: ", ")
  }
}

extension ColumnFindings {
  /// True where nearly all values are numbers in a style.
  fileprivate func isNumeric(_ style: Int) -> Bool {
    (numbers + styled[style]) * 10 >= present * 9 || (hasFewWords && (numbers + styled[style]) * 2 >= present)
  }

  fileprivate var isConstant: Bool {
    numbers == present ? minimum == maximum : numbers == 0 && distinct == 1
  }

  /// `id`, `customer_id`, `CustomerID`, `order no`.
  fileprivate var isNamedLikeIdentifier: Bool {
    let words = name.lowercased().split { !$0.isLetter && !$0.isNumber }.map(String.init)
    if words.contains(where: { ["id", "ids", "uuid", "guid", "key", "index", "no", "nr", "number"].contains($0) }) {
      return true
    }
    return name.hasSuffix("ID") || name.hasSuffix("Id")
  }
}

extension NumberStyle {
  fileprivate func parse(_ text: String) -> Double? {
    var text = text
    return text.withUTF8 { parse($0) }
  }
}
