/// Rows in memory, by column.
public struct Table: Equatable, Sendable {
  /// One column: numbers, or categories by code.
  public struct Column: Equatable, Sendable {
    public enum Values: Equatable, Sendable {
      /// Missing is NaN; nothing else is.
      case numbers([Double])
      /// Missing is −1; the others index `categories`, which stand in the order of their first row.
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

    /// The same column with only these rows, in their order.
    func selecting(_ rows: [Int]) -> Column {
      switch values {
      case .numbers(let numbers): Column(name: name, values: .numbers(rows.map { numbers[$0] }))
      case .categories(let codes, let categories):
        Column(name: name, values: .categories(codes: rows.map { codes[$0] }, categories: categories))
      }
    }
  }

  public var columns: [Column]
  /// Number of each row in the files as read, header lines not counted, from 1, all files in order.
  public var rowNumbers: [Int]

  public init(columns: [Column], rowNumbers: [Int]) {
    self.columns = columns
    self.rowNumbers = rowNumbers
  }

  public var rowCount: Int { rowNumbers.count }

  func selecting(_ rows: [Int]) -> Table {
    Table(columns: columns.map { $0.selecting(rows) }, rowNumbers: rows.map { rowNumbers[$0] })
  }
}

extension Table {
  /// Rows that equal an earlier one in every column.
  ///
  /// A duplicate that lands in training and in test at once makes the test too easy.
  /// - Complexity: O(rows × columns) expected.
  func duplicateRows() -> Set<Int> {
    var firstByHash: [Int: Int] = [:]
    var nextOfSameHash: [Int: Int] = [:]
    var duplicates: Set<Int> = []
    firstByHash.reserveCapacity(rowCount)
    for row in 0..<rowCount {
      let hash = hash(of: row)
      guard let first = firstByHash[hash] else {
        firstByHash[hash] = row
        continue
      }
      var candidate = first
      while true {
        if areEqual(candidate, row) {
          duplicates.insert(row)
          break
        }
        guard let next = nextOfSameHash[candidate] else {
          nextOfSameHash[candidate] = row
          break
        }
        candidate = next
      }
    }
    return duplicates
  }

  private func hash(of row: Int) -> Int {
    var hasher = Hasher()
    for column in columns {
      switch column.values {
      case .numbers(let numbers): hasher.combine(numbers[row].isNaN ? 0 : numbers[row])
      case .categories(let codes, _): hasher.combine(codes[row])
      }
    }
    return hasher.finalize()
  }

  private func areEqual(_ a: Int, _ b: Int) -> Bool {
    columns.allSatisfy { column in
      switch column.values {
      case .numbers(let numbers): numbers[a] == numbers[b] || (numbers[a].isNaN && numbers[b].isNaN)
      case .categories(let codes, _): codes[a] == codes[b]
      }
    }
  }
}
