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

/// Findings of the first pass over the files in one column.
struct ColumnSurvey {
  let name: String
  private var numbers = 0
  private var bools = 0
  private var texts = 0
  private var firstText: (file: String, line: Int, text: String)?
  /// Distinct whole numbers, counted until there are too many to be classes.
  private var wholeNumbers: Set<Int> = []
  private var isWhole = true

  /// Most distinct whole numbers that are taken for classes.
  static let classesMax = 20

  init(name: String) { self.name = name }

  /// - Parameter field: a cell that is not missing.
  mutating func add(_ field: UnsafeBufferPointer<UInt8>, file: String, line: Int) {
    if let number = NumberText.parse(field) {
      numbers += 1
      guard isWhole else { return }
      if number == number.rounded(), abs(number) < 1e9, wholeNumbers.count <= Self.classesMax {
        wholeNumbers.insert(Int(number))
      } else {
        isWhole = false
      }
    } else if NumberText.parseBool(field) != nil {
      bools += 1
    } else {
      texts += 1
      if firstText == nil { firstText = (file, line, String(decoding: field, as: UTF8.self)) }
    }
  }

  /// - Throws: `TrainingError` where the column is neither clearly numbers nor clearly text, or has no value at all.
  func inferredType() throws(TrainingError) -> TableRequest.ColumnType {
    let count = numbers + bools + texts
    guard count > 0 else {
      throw TrainingError(
        .data,
        "column \(name.quotedForMessage): expected at least one value, found only missing ones; add it to data.drop")
    }
    if numbers == count { return .numeric }
    if bools == count { return .bool }
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
    numbers == 0 || texts > 0 || (isWhole && bools == 0 && wholeNumbers.count <= Self.classesMax)
  }
}

/// Collects the cells of one column in the second pass over the files.
struct ColumnBuilder {
  let name: String
  private let type: TableRequest.ColumnType
  private let missing: [[UInt8]]
  private let categoriesMax: Int
  private var numbers: [Double] = []
  private var codes: [Int32] = []
  private var categories: [String] = []
  /// Codes by the category's bytes. Two spellings that look alike (é as one scalar or as two) are two categories, as
  /// they are to the server; strings would compare equal.
  private var codeByCategory: [[UInt8]: Int32] = [:]

  /// - Parameters:
  ///   - missing: cells that mean a missing value, beside empty ones.
  ///   - categoriesMax: more categories than this are refused.
  init(name: String, type: TableRequest.ColumnType, missing: [[UInt8]], categoriesMax: Int) {
    self.name = name
    self.type = type
    self.missing = missing
    self.categoriesMax = categoriesMax
  }

  /// - Throws: `TrainingError` where the cell does not fit the column's type.
  mutating func add(_ field: UnsafeBufferPointer<UInt8>, file: String, line: Int) throws(TrainingError) {
    let isMissing = Self.isMissing(field, missing)
    switch type {
    case .categorical:
      guard !isMissing else {
        codes.append(-1)
        return
      }
      let bytes = Array(field)
      if let code = codeByCategory[bytes] {
        codes.append(code)
        return
      }
      guard categories.count < categoriesMax else {
        throw .data(
          file: file, line: line, column: name,
          "expected at most \(categoriesMax) categories, found more; if it is an identifier, add it to data.drop")
      }
      let code = Int32(categories.count)
      codeByCategory[bytes] = code
      categories.append(String(decoding: field, as: UTF8.self))
      codes.append(code)
    case .numeric, .automatic:
      numbers.append(isMissing ? .nan : try number(field, "a number", file: file, line: line))
    case .bool:
      if isMissing {
        numbers.append(.nan)
      } else if let flag = NumberText.parseBool(field) {
        numbers.append(flag ? 1 : 0)
      } else {
        let value = try number(field, "true, false, 1 or 0", file: file, line: line)
        guard value == 0 || value == 1 else { throw expected("true, false, 1 or 0", field, file: file, line: line) }
        numbers.append(value)
      }
    }
  }

  private func number(
    _ field: UnsafeBufferPointer<UInt8>, _ what: String, file: String, line: Int
  ) throws(TrainingError) -> Double {
    guard let value = NumberText.parse(field) else { throw expected(what, field, file: file, line: line) }
    // The engine computes in fp32.
    guard abs(value) <= Double(Float.greatestFiniteMagnitude) else {
      throw expected("a number within ±3.4e38", field, file: file, line: line)
    }
    return value
  }

  private func expected(
    _ what: String, _ field: UnsafeBufferPointer<UInt8>, file: String, line: Int
  ) -> TrainingError {
    .data(
      file: file, line: line, column: name,
      "expected \(what), found \(String(decoding: field, as: UTF8.self).quotedForMessage)")
  }

  /// The column read so far.
  func finish() -> Table.Column {
    type == .categorical
      ? Table.Column(name: name, values: .categories(codes: codes, categories: categories))
      : Table.Column(name: name, values: .numbers(numbers))
  }

  /// True for an empty cell, which is how a client sends a missing value, and for the words configured.
  static func isMissing(_ field: UnsafeBufferPointer<UInt8>, _ tokens: [[UInt8]]) -> Bool {
    let text = NumberText.trimmed(field)
    return text.isEmpty || tokens.contains { $0.count == text.count && $0.elementsEqual(text) }
  }
}
