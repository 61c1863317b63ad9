internal import NeedletailClient
internal import NeedletailLoad

extension ExpectedAnswers {
  /// Reads `[VERSION=]FILE.csv` with columns `class`, `label` and `p_0 …`, or `prediction`; others are
  /// ignored.
  /// - Parameters:
  ///   - rows: of the input as it is sent.
  ///   - period: of the input's file; further rows are the same again.
  init(argument: String, rows: Int, period: Int) throws {
    var path = argument
    var version: UInt64?
    if let equals = argument.firstIndex(of: "="), let number = UInt64(argument[..<equals]) {
      version = number
      path = String(argument[argument.index(after: equals)...])
    }
    let table = try FeatureTable(path: path)
    guard table.rows.count == period else {
      throw Failure(
        "--expect \(path): expected a line for each of the \(period) rows of --input, found \(table.rows.count)")
    }
    func cells(_ column: Int) -> [String] { (0..<rows).map { table.rows[$0 % period][column] } }
    let known = table.columns.enumerated().filter {
      $0.element == "prediction" || ($0.element.hasPrefix("p_") && Int($0.element.dropFirst(2)) != nil)
    }.map(\.offset)
    let columns = try known.map { try Self.numbers(cells($0), Float.init, path, table.columns[$0]) }
    let classes = try table.columns.firstIndex(of: "class").map {
      try Self.numbers(cells($0), { Int64($0) }, path, "class")
    }
    let labels = table.columns.firstIndex(of: "label").map(cells)
    guard !columns.isEmpty || classes != nil || labels != nil else {
      throw Failure("--expect \(path): expected a column class, label, p_0 or prediction, found none")
    }
    self.init(
      version: version, rows: rows, numbers: (0..<rows).flatMap { row in columns.map { $0[row] } },
      classes: classes ?? [], labels: labels ?? [])
  }

  private static func numbers<Number>(
    _ cells: [String], _ parse: (String) -> Number?, _ path: String, _ column: String
  ) throws -> [Number] {
    try cells.enumerated().map { row, cell in
      guard let number = parse(cell) else {
        throw Failure("--expect \(path): row \(row + 1), \(column): expected a number, found \(cell.quotedForMessage)")
      }
      return number
    }
  }
}
