internal import NeedletailCSV
internal import NeedletailCore

/// Collects the cells of one column whose type is known.
struct ColumnBuilder {
  let name: String
  private let type: TableRequest.ColumnType
  private let dateOrder: DateOrder
  private let style: NumberStyle
  private let words: MissingWords
  private let categoriesMax: Int
  /// True for a column of numbers whose cells may be read as plain ones before anything else is tried.
  private let isPlainNumeric: Bool
  private var numbers: [Double] = []
  private var codes: [Int32] = []
  /// Categories as they are spelled in their first row, normalised.
  private var categories: [String] = []
  private var codeByKey = ByteDictionary()
  /// Codes by the bytes of fields seen that are no words for a missing value, so that a field need not be normalised
  /// again.
  private var codeByField = ByteDictionary()
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
  ///   - style: marks that numbers may have.
  ///   - categoriesMax: more categories than this are refused.
  ///   - rows: how many cells are expected, as far as that is known: an array that grows by doubling may hold twice its
  ///     values, and leaves what it outgrew behind as holes of the heap.
  init(
    name: String, reading: ColumnReading, words: MissingWords, style: NumberStyle, categoriesMax: Int, rows: Int = 0
  ) {
    self.name = name
    type = reading.type
    dateOrder = reading.dateOrder
    self.words = words
    self.style = style
    self.categoriesMax = categoriesMax
    isPlainNumeric = (type == .numeric || type == .automatic) && words.allowNumbersFirst(style)
    if type == .categorical || type == .text { codes.reserveCapacity(rows) } else { numbers.reserveCapacity(rows) }
  }

  /// - Throws: `TrainingError` where the cell does not fit the column's type.
  @inline(__always)
  mutating func add(
    _ field: UnsafeBufferPointer<UInt8>, isQuoted: Bool, file: String, line: Int
  ) throws(TrainingError) {
    if addNumber(field) != nil { return }
    if type == .categorical, let code = codeByField.code(of: UnsafeRawBufferPointer(field)) {
      codes.append(code)
    } else {
      try addAny(field, isQuoted: isQuoted, file: file, line: line)
    }
  }

  /// Adds a cell of a column of numbers that holds a plain one.
  ///
  /// - Returns: nil for any other, which is not added.
  @inline(__always)
  mutating func addNumber(_ field: UnsafeBufferPointer<UInt8>) -> Double? {
    guard isPlainNumeric, let value = NumberText.parse(field), abs(value) <= 0x1p53, !mayBeginWithZeros(field) else {
      return nil
    }
    numbers.append(value)
    return value
  }

  /// Code of the last cell of a column of categories.
  var lastCode: Int32? { codes.last }

  /// Adds a cell of a column of categories that is like one before, whose code it was.
  @inline(__always)
  mutating func add(code: Int32) { codes.append(code) }

  /// Adds so many cells without a value.
  mutating func addMissing(_ count: Int) {
    if type == .categorical || type == .text {
      codes.append(contentsOf: repeatElement(-1, count: count))
    } else {
      numbers.append(contentsOf: repeatElement(.nan, count: count))
    }
  }

  @inline(never)
  private mutating func addAny(
    _ field: UnsafeBufferPointer<UInt8>, isQuoted: Bool, file: String, line: Int
  ) throws(TrainingError) {
    switch type {
    case .categorical:
      let isMissing = words.isMissing(field, isQuoted: isQuoted)
      codes.append(isMissing ? -1 : try code(of: field, file: file, line: line))
    case .text:
      guard field.count <= Limits.textBytesMaxDefault else {
        throw .data(
          file: file, line: line, column: name,
          "expected at most \(Limits.textBytesMaxDefault) bytes of text, found \(field.count)")
      }
      codes.append(Int32(categories.count))
      categories.append(String(decoding: field, as: UTF8.self))
    case .numeric, .automatic:
      numbers.append(try number(field, "a number", file: file, line: line))
    case .datetime:
      let text = UnsafeRawBufferPointer(field)
      switch ValueText.moment(text, order: dateOrder, isMissingWord: words.contain) {
      case .missing: numbers.append(.nan)
      case .seconds(let seconds): numbers.append(seconds)
      case .notADate: throw expected(dateOrder.words, field, file: file, line: line)
      }
    case .bool:
      let value = try number(field, "true, false, 1 or 0", file: file, line: line)
      guard value.isNaN || value == 0 || value == 1 else {
        throw expected("true, false, 1 or 0", field, file: file, line: line)
      }
      numbers.append(value)
    }
  }

  /// Code of a field that is not in `codeByField`.
  private mutating func code(
    of field: UnsafeBufferPointer<UInt8>, file: String, line: Int
  ) throws(TrainingError) -> Int32 {
    let bytes = UnsafeRawBufferPointer(field)
    let key = ValueText.withCategoryKey(of: bytes) { Array($0) } ?? Array(field)
    let spelling = ValueText.normalised(field) ?? ""
    let code: Int32
    if let known = key.withUnsafeBytes({ codeByKey.code(of: $0) }) {
      code = known
      if !categories[Int(known)].utf8.elementsEqual(spelling.utf8) { findings.otherSpellings[known] = spelling }
    } else {
      guard categories.count < categoriesMax else {
        throw .data(
          file: file, line: line, column: name,
          "expected at most \(categoriesMax) categories, found more; if it is an identifier, add it to data.drop")
      }
      code = Int32(categories.count)
      key.withUnsafeBytes { codeByKey.insert($0, code: code) }
      categories.append(spelling)
    }
    // Bounded, for the same text may come with any number of spaces. A word in quotes is text, and missing without.
    if codeByField.count < 4 * categoriesMax, !words.isMissing(field, isQuoted: false) {
      codeByField.insert(bytes, code: code)
    }
    return code
  }

  /// - Returns: NaN for a missing value.
  private mutating func number(
    _ field: UnsafeBufferPointer<UInt8>, _ what: String, file: String, line: Int
  ) throws(TrainingError) -> Double {
    switch ValueText.number(UnsafeRawBufferPointer(field), style: style, isMissingWord: words.contain) {
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

  /// False for most numbers, which begin with another digit, a sign, or a zero and a point.
  private func mayBeginWithZeros(_ field: UnsafeBufferPointer<UInt8>) -> Bool {
    guard field.count > 1 else { return false }
    return switch field[0] {
    case UInt8(ascii: "0"): field[1] != UInt8(ascii: ".")
    case UInt8(ascii: " "), UInt8(ascii: "\t"): true
    default: false
    }
  }

  private func expected(
    _ what: String, _ field: UnsafeBufferPointer<UInt8>, file: String, line: Int
  ) -> TrainingError {
    .data(
      file: file, line: line, column: name,
      "expected \(what), found \(String(decoding: field, as: UTF8.self).quotedForMessage)")
  }

  /// Hands the column over, in hardly more memory than it needs.
  mutating func finish() -> Table.Column {
    func exact<Value>(_ values: inout [Value]) -> [Value] {
      defer { values = [] }
      guard values.capacity > values.count + values.count / 8 else { return values }
      return [Value](unsafeUninitializedCapacity: values.count) { memory, count in
        count = values.count
        _ = memory.initialize(fromContentsOf: values)
      }
    }
    if type == .categorical || type == .text {
      return Table.Column(
        name: name, values: .categories(codes: exact(&codes), categories: categories), isText: type == .text)
    }
    return Table.Column(
      name: name, values: .numbers(exact(&numbers)), dateOrder: type == .datetime ? dateOrder : nil)
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
      if let a = codeByKey.code(of: word), codeByKey.code(of: digit) != nil {
        warnings.append(
          "\(column): \(categories[Int(a)].quotedForMessage) and \(digit.quotedForMessage) are two values here; "
            + "write one of them if they mean the same")
      }
    }
    return warnings
  }
}

extension [ColumnBuilder] {
  /// Adds a record, of which each builder takes the field at its place.
  ///
  /// - Throws: `TrainingError` where a cell does not fit its column's type.
  mutating func add(_ record: CSVRecord, places: ArraySlice<Int>, file: String) throws(TrainingError) {
    // Once for all cells it is checked that nobody else holds the builders.
    try withUnsafeMutableBufferPointer { (builders) throws(TrainingError) in
      for index in builders.indices {
        let place = places[places.startIndex + index]
        try builders[index].add(
          record.field(place), isQuoted: record.isQuoted(place), file: file, line: record.line)
      }
    }
  }
}
