/// Live values of one column, counted by cell.
public struct DriftCounts: Equatable, Sendable {
  /// Values in each cell of a ``DriftColumn``.
  public private(set) var cells: [Int]
  public private(set) var missing = 0
  /// Those of the values that lay outside of what training saw.
  public private(set) var outOfRange = 0
  /// Those of the values that were categories unknown to the model.
  public private(set) var unknown = 0

  public init(cells: Int) { self.cells = [Int](repeating: 0, count: cells) }

  /// Values that were not missing.
  public var present: Int { cells.reduce(0, +) }
  public var rows: Int { present + missing }

  public mutating func add(_ place: DriftColumn.Place) {
    switch place {
    case .cell(let cell): cells[cell] += 1
    case .outOfRange(let cell):
      cells[cell] += 1
      outOfRange += 1
    case .unknown(let cell):
      cells[cell] += 1
      unknown += 1
    case .missing: missing += 1
    }
  }

  static func += (a: inout DriftCounts, b: DriftCounts) {
    for cell in a.cells.indices { a.cells[cell] += b.cells[cell] }
    a.missing += b.missing
    a.outOfRange += b.outOfRange
    a.unknown += b.unknown
  }

  static func -= (a: inout DriftCounts, b: DriftCounts) {
    for cell in a.cells.indices { a.cells[cell] -= b.cells[cell] }
    a.missing -= b.missing
    a.outOfRange -= b.outOfRange
    a.unknown -= b.unknown
  }
}
