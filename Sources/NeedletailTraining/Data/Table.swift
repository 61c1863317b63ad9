internal import NeedletailCore

/// Rows in memory, by column.
public struct Table: Equatable, Sendable {
  /// One column: numbers, or categories by code.
  public struct Column: Equatable, Sendable {
    public enum Values: Equatable, Sendable {
      /// Finite numbers, and NaN for a missing one.
      case numbers([Double])
      /// Indices into `categories`, which stand in the order of their first row; −1 for a missing one.
      case categories(codes: [Int32], categories: [String])
    }

    public var name: String
    public var values: Values

    public init(name: String, values: Values) {
      self.name = name
      self.values = values
    }

    public var count: Int {
      switch values {
      case .numbers(let numbers): numbers.count
      case .categories(let codes, _): codes.count
      }
    }

    public func isMissing(_ row: Int) -> Bool {
      switch values {
      case .numbers(let numbers): numbers[row].isNaN
      case .categories(let codes, _): codes[row] < 0
      }
    }

    /// A column of these rows only, in their order.
    func selecting(_ rows: [Int]) -> Column {
      switch values {
      case .numbers(let numbers): Column(name: name, values: .numbers(rows.map { numbers[$0] }))
      case .categories(let codes, let categories):
        Column(name: name, values: .categories(codes: rows.map { codes[$0] }, categories: categories))
      }
    }
  }

  public var columns: [Column]
  /// Number of each row in the files, from 1, counted through all files in order without their header lines.
  public var rowNumbers: [Int]

  public init(columns: [Column], rowNumbers: [Int]) {
    self.columns = columns
    self.rowNumbers = rowNumbers
  }

  public var rowCount: Int { rowNumbers.count }

  /// A table of these rows only, in their order.
  func selecting(_ rows: [Int]) -> Table {
    Table(columns: columns.map { $0.selecting(rows) }, rowNumbers: rows.map { rowNumbers[$0] })
  }
}

/// Texts that mean a missing value, as bytes.
struct MissingWords {
  private let words: [[UInt8]]
  /// Whether some word begins with a byte: most cells are told from all words by their first one.
  private var isFirst = [Bool](repeating: false, count: 256)

  init(_ rules: ValueRules) {
    words = rules.missing.map { Array($0.utf8) }
    for word in words { isFirst[Int(word[0])] = true }
  }

  /// True for a normalised text that is one of the words.
  func contain(_ text: UnsafeRawBufferPointer) -> Bool {
    guard let first = text.first, isFirst[Int(first)] else { return false }
    return words.contains { $0.elementsEqual(text) }
  }

  /// True for a field that is missing whatever its column holds: nothing but spaces, or a word without quotes.
  func isMissing(_ field: UnsafeBufferPointer<UInt8>, isQuoted: Bool) -> Bool {
    ValueText.withNormalised(of: UnsafeRawBufferPointer(field)) { $0.isEmpty || (!isQuoted && contain($0)) } ?? false
  }
}

/// Findings of the first pass over the files in one column.
struct ColumnSurvey {
  let name: String
  private var numbers = 0
  private var bools = 0
  private var texts = 0
  /// Words for a missing value in quotes: text in a column of text, missing in one of numbers.
  private var quotedWords = 0
  /// True while every number is 0 or 1, which beside truth values are truth values too.
  private var hasOnlyBits = true
  private var firstText: (file: String, line: Int, text: String)?
  /// Distinct whole numbers, counted until there are too many to be classes.
  private var wholeNumbers: Set<Int> = []
  private var isWhole = true

  /// Most distinct whole numbers that are taken for classes.
  static let classesMax = 20

  init(name: String) { self.name = name }

  mutating func add(
    _ field: UnsafeBufferPointer<UInt8>, isQuoted: Bool, _ words: MissingWords, file: String, line: Int
  ) {
    if words.isMissing(field, isQuoted: isQuoted) { return }
    if let number = NumberText.parse(field) {
      numbers += 1
      hasOnlyBits = hasOnlyBits && (number == 0 || number == 1)
      guard isWhole else { return }
      if number == number.rounded(), abs(number) < 1e9, wholeNumbers.count <= Self.classesMax {
        wholeNumbers.insert(Int(number))
      } else {
        isWhole = false
      }
    } else if NumberText.parseBool(field) != nil {
      bools += 1
    } else if isQuoted, words.isMissing(field, isQuoted: false) {
      quotedWords += 1
    } else {
      texts += 1
      if firstText == nil { firstText = (file, line, String(decoding: field, as: UTF8.self)) }
    }
  }

  /// - Throws: `TrainingError` where the column is neither clearly numbers nor clearly text, or has no value at all.
  func inferredType() throws(TrainingError) -> TableRequest.ColumnType {
    let count = numbers + bools + texts
    guard count > 0 else {
      if quotedWords > 0 { return .categorical }
      throw TrainingError(
        .data,
        "column \(name.quotedForMessage): expected at least one value, found only missing ones; add it to data.drop")
    }
    if numbers == count { return .numeric }
    if bools > 0, texts == 0, hasOnlyBits { return .bool }
    if let firstText, numbers * 10 >= count * 9 {
      throw .data(
        file: firstText.file, line: firstText.line, column: name,
        "expected a number as in \(numbers) of \(count) values, found \(firstText.text.quotedForMessage); "
          + "correct it, add it to data.missing, or declare the column categorical")
    }
    return .categorical
  }

  /// True where the values read like class labels rather than quantities.
  var looksLikeClasses: Bool {
    numbers == 0 || texts > 0 || bools > 0 || (isWhole && wholeNumbers.count <= Self.classesMax)
  }
}

/// Collects the cells of one column in the second pass over the files.
struct ColumnBuilder {
  let name: String
  private let type: TableRequest.ColumnType
  private let words: MissingWords
  private let categoriesMax: Int
  private var numbers: [Double] = []
  private var codes: [Int32] = []
  /// Categories as they are spelled in their first row, normalised.
  private var categories: [String] = []
  private var codeByKey: [[UInt8]: Int32] = [:]
  /// Codes by the bytes of fields seen, so that a field need not be normalised again.
  private var codeByField: [[UInt8]: Int32] = [:]
  private var findings = Findings()

  /// Values that were read in a way that the user may not expect.
  private struct Findings {
    var leadingZeros = 0
    var leadingZero = ""
    var beyondDoubles = 0
    var beyondDouble = ""
    /// By category, another spelling that reads as it.
    var otherSpellings: [Int32: String] = [:]
  }

  /// - Parameters:
  ///   - words: cells that mean a missing value, beside empty ones.
  ///   - categoriesMax: more categories than this are refused.
  init(name: String, type: TableRequest.ColumnType, words: MissingWords, categoriesMax: Int) {
    self.name = name
    self.type = type
    self.words = words
    self.categoriesMax = categoriesMax
  }

  /// - Throws: `TrainingError` where the cell does not fit the column's type.
  mutating func add(
    _ field: UnsafeBufferPointer<UInt8>, isQuoted: Bool, file: String, line: Int
  ) throws(TrainingError) {
    switch type {
    case .categorical:
      let isMissing = words.isMissing(field, isQuoted: isQuoted)
      codes.append(isMissing ? -1 : try code(of: field, file: file, line: line))
    case .numeric, .automatic:
      numbers.append(try number(field, "a number", file: file, line: line))
    case .bool:
      let value = try number(field, "true, false, 1 or 0", file: file, line: line)
      guard value.isNaN || value == 0 || value == 1 else {
        throw expected("true, false, 1 or 0", field, file: file, line: line)
      }
      numbers.append(value)
    }
  }

  private mutating func code(
    of field: UnsafeBufferPointer<UInt8>, file: String, line: Int
  ) throws(TrainingError) -> Int32 {
    let bytes = Array(field)
    if let code = codeByField[bytes] { return code }
    let key = ValueText.withCategoryKey(of: UnsafeRawBufferPointer(field)) { Array($0) } ?? bytes
    let spelling = ValueText.normalised(field) ?? ""
    let code: Int32
    if let known = codeByKey[key] {
      code = known
      if !categories[Int(known)].utf8.elementsEqual(spelling.utf8) { findings.otherSpellings[known] = spelling }
    } else {
      guard categories.count < categoriesMax else {
        throw .data(
          file: file, line: line, column: name,
          "expected at most \(categoriesMax) categories, found more; if it is an identifier, add it to data.drop")
      }
      code = Int32(categories.count)
      codeByKey[key] = code
      categories.append(spelling)
    }
    // Bounded, for the same text may come with any number of spaces.
    if codeByField.count < 4 * categoriesMax { codeByField[bytes] = code }
    return code
  }

  /// - Returns: NaN for a missing value.
  private mutating func number(
    _ field: UnsafeBufferPointer<UInt8>, _ what: String, file: String, line: Int
  ) throws(TrainingError) -> Double {
    switch ValueText.number(UnsafeRawBufferPointer(field), isMissingWord: words.contain) {
    case .missing: return .nan
    case .notANumber: throw expected(what, field, file: file, line: line)
    // The engine computes in fp32.
    case .tooLarge: throw expected("a number within ±3.4e38", field, file: file, line: line)
    case .number(let value):
      note(value, field)
      return value
    }
  }

  /// Counts numbers whose digits say more than their value: an identifier, probably.
  private mutating func note(_ value: Double, _ field: UnsafeBufferPointer<UInt8>) {
    let text = NumberText.trimmed(field)
    if text.count > 1, text[0] == UInt8(ascii: "0"), text[1] &- UInt8(ascii: "0") < 10 {
      if findings.leadingZeros == 0 { findings.leadingZero = String(decoding: text, as: UTF8.self) }
      findings.leadingZeros += 1
    }
    if text.count > 15, abs(value) > 0x1p53, text.allSatisfy({ $0 &- UInt8(ascii: "0") < 10 }) {
      if findings.beyondDoubles == 0 { findings.beyondDouble = String(decoding: text, as: UTF8.self) }
      findings.beyondDoubles += 1
    }
  }

  private func expected(
    _ what: String, _ field: UnsafeBufferPointer<UInt8>, file: String, line: Int
  ) -> TrainingError {
    .data(
      file: file, line: line, column: name,
      "expected \(what), found \(String(decoding: field, as: UTF8.self).quotedForMessage)")
  }

  /// Hands the column over, in no more memory than it needs: an array that grew by doubling may hold twice its values.
  mutating func finish() -> Table.Column {
    func exact<Value>(_ values: inout [Value]) -> [Value] {
      defer { values = [] }
      return [Value](unsafeUninitializedCapacity: values.count) { memory, count in
        count = values.count
        _ = memory.initialize(fromContentsOf: values)
      }
    }
    return type == .categorical
      ? Table.Column(name: name, values: .categories(codes: exact(&codes), categories: categories))
      : Table.Column(name: name, values: .numbers(exact(&numbers)))
  }

  /// Sentences about values that were read in a way that the user may not expect.
  var warnings: [String] {
    var warnings: [String] = []
    let column = "column \(name.quotedForMessage)"
    let advice = "if they are names rather than quantities, declare it with type: categorical"
    if findings.leadingZeros > 0 {
      let plain = findings.leadingZero.drop { $0 == "0" }
      warnings.append(
        "\(column): \(Figures.count(findings.leadingZeros)) numbers begin with a zero, such as "
          + "\(findings.leadingZero.quotedForMessage), and are the same as without it (\(plain.isEmpty ? "0" : plain)); "
          + advice)
    }
    if findings.beyondDoubles > 0 {
      warnings.append(
        "\(column): \(Figures.count(findings.beyondDoubles)) whole numbers are beyond 2^53, such as "
          + "\(findings.beyondDouble), and neighbours become one number; \(advice)")
    }
    if let (code, other) = findings.otherSpellings.min(by: { $0.key < $1.key }) {
      let count = findings.otherSpellings.count
      warnings.append(
        "\(column): \(categories[Int(code)].quotedForMessage) and \(other.quotedForMessage) are one value"
          + (count > 1 ? ", and so are other spellings of \(Figures.count(count - 1)) more" : "")
          + "; answers spell it \(categories[Int(code)].quotedForMessage)")
    }
    for (word, digit) in [("true", "1"), ("false", "0")] {
      if let a = codeByKey[Array(word.utf8)], codeByKey[Array(digit.utf8)] != nil {
        warnings.append(
          "\(column): \(categories[Int(a)].quotedForMessage) and \(digit.quotedForMessage) are two values here; "
            + "write one of them if they mean the same")
      }
    }
    return warnings
  }
}
