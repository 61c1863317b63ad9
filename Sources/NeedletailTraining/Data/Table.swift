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
