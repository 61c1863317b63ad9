/// Size of a call or of a batch: its rows, and the units of work that they hold.
///
/// A unit is what a model's cost grows with. For models of tables it is the row, so that both numbers are equal;
/// for models of text it is the token, so that a batch of mixed lengths costs what its tokens cost. Queues, cost
/// estimates, scratch and limits count units; answers are divided among callers by rows.
public struct BatchExtent: Equatable, Hashable, Sendable, BitwiseCopyable {
  public var rows: Int
  public var units: Int

  public static let zero = BatchExtent(rows: 0, units: 0)

  @inlinable
  public init(rows: Int, units: Int) {
    self.rows = rows
    self.units = units
  }

  /// Extent of rows that are one unit each, as in models of tables.
  @inlinable
  public init(rows: Int) { self.init(rows: rows, units: rows) }

  /// Sum of two extents. Both parts are bounded by `Limits`, so that the sum fits.
  @inlinable
  public static func + (a: BatchExtent, b: BatchExtent) -> BatchExtent {
    BatchExtent(rows: a.rows + b.rows, units: a.units + b.units)
  }

  @inlinable
  public static func += (a: inout BatchExtent, b: BatchExtent) { a = a + b }

  /// Whether this extent has no more rows and no more units than `other`.
  @inlinable
  public func fits(in other: BatchExtent) -> Bool { rows <= other.rows && units <= other.units }
}
