/// The order of calls that have to wait. Raw values are those of `needletail.v1.Priority`.
public enum CallPriority: UInt8, Sendable, CaseIterable {
  /// A person or a service waits for the answer.
  case interactive = 0
  /// Nobody waits: the call runs when no interactive call of its model waits, and is rejected first.
  case bulk = 1
}

/// Size of a call or of a batch: its rows, and the units of work that they hold.
///
/// A unit is what a model's cost grows with. For models of tables it is the row, so that both numbers are equal;
/// for models of text it is the token, so that a batch of mixed lengths costs what its tokens cost. Queues, cost
/// estimates, scratch and limits count units; answers are divided among callers by rows.
public struct BatchExtent: Equatable, Hashable, Sendable, BitwiseCopyable {
  /// Rows of input, each of which gets one row of answers.
  public var rows: Int
  /// Units of work, at least one a row.
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

/// A tensor as it lies in a received frame or in a caller's memory. It borrows that memory, must not outlive it, and is
/// read on the thread that owns it.
///
/// Nothing in it has been checked: shape and byte counts are what the sender says.
public struct TensorView: BitwiseCopyable {
  /// Name in UTF-8 as sent, unchecked.
  public var name: UnsafeRawBufferPointer
  /// Element type; nil where the sender named a type that does not exist.
  public var type: DataType?
  /// Dimensions as sent, unchecked; the first one is the batch.
  public var shape: UnsafeBufferPointer<UInt64>
  /// Elements of numeric types: row-major, little-endian, without alignment.
  public var data: UnsafeRawBufferPointer
  /// Elements of a `.string` tensor: UTF-8 as sent, unchecked.
  public var strings: UnsafeBufferPointer<UnsafeRawBufferPointer>

  @inlinable
  public init(
    name: UnsafeRawBufferPointer, type: DataType?, shape: UnsafeBufferPointer<UInt64>,
    data: UnsafeRawBufferPointer, strings: UnsafeBufferPointer<UnsafeRawBufferPointer>
  ) {
    self.name = name
    self.type = type
    self.shape = shape
    self.data = data
    self.strings = strings
  }
}
