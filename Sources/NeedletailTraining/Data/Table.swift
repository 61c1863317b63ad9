public import NeedletailCore

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
    /// How dates of the files were read, where the numbers are seconds since 1970-01-01 00:00 UTC; else nil.
    public var dateOrder: DateOrder?
    /// True where the categories are free texts, which count as they are: mostly one a row.
    public var isText: Bool

    public init(name: String, values: Values, dateOrder: DateOrder? = nil, isText: Bool = false) {
      self.isText = isText
      self.name = name
      self.values = values
      self.dateOrder = dateOrder
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

    /// Text of a row; empty where it is missing.
    ///
    /// - Precondition: the column holds texts, or categories.
    func text(_ row: Int) -> String {
      guard case .categories(let codes, let categories) = values else { preconditionFailure("numbers are no text") }
      return codes[row] < 0 ? "" : categories[Int(codes[row])]
    }

    /// A column of these rows only, in their order.
    func selecting(_ rows: [Int]) -> Column {
      var column = self
      switch values {
      case .numbers(let numbers): column.values = .numbers(rows.map { numbers[$0] })
      case .categories(let codes, let categories):
        column.values = .categories(codes: rows.map { codes[$0] }, categories: categories)
      }
      return column
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
  /// True where a word is a number without marks, such as -999.
  private let hasNumbers: Bool

  init(_ rules: ValueRules) {
    words = rules.missing.map { Array($0.utf8) }
    hasNumbers = rules.missing.contains { NumberText.parse($0) != nil }
    for word in words { isFirst[Int(word[0])] = true }
  }

  /// True where a cell that is a plain number is never missing and means the same in this style, so that it need not be
  /// compared with the words first.
  func allowNumbersFirst(_ style: NumberStyle) -> Bool { !hasNumbers && style.thousands != .point }

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
