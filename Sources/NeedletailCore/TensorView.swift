/// A tensor as it lies in a received frame or in a caller's memory. Borrows: it lives no longer than
/// the memory it points to, and is read on the thread that owns that memory.
///
/// Nothing in it has been checked: shape and byte counts are the sender's word.
public struct TensorView: BitwiseCopyable {
  /// UTF-8 as sent, unchecked.
  public var name: UnsafeRawBufferPointer
  /// Nil where the sender named a type that does not exist.
  public var type: DataType?
  public var shape: UnsafeBufferPointer<UInt64>
  /// Row-major, little-endian, without alignment.
  public var data: UnsafeRawBufferPointer
  /// Elements of a `.string` tensor, UTF-8 as sent, unchecked.
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
