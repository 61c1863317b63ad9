internal import NeedletailCore

/// Collects the cells of one column in the second pass over the files.
struct ColumnBuilder {
  let name: String
  private let type: TableRequest.ColumnType
  private let dateOrder: DateOrder
  private let style: NumberStyle
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
    if type == .categorical || type == .text { codes.reserveCapacity(rows) } else { numbers.reserveCapacity(rows) }
  }

  /// - Throws: `TrainingError` where the cell does not fit the column's type.
  mutating func add(
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
      if let a = codeByKey[Array(word.utf8)], codeByKey[Array(digit.utf8)] != nil {
        warnings.append(
          "\(column): \(categories[Int(a)].quotedForMessage) and \(digit.quotedForMessage) are two values here; "
            + "write one of them if they mean the same")
      }
    }
    return warnings
  }
}
