public import NeedletailCore

/// Reads the fields of one protobuf message, in the order in which they lie there.
///
/// It borrows the bytes, copies and allocates nothing, and does not recurse: a field that is a message is bytes, for
/// another cursor. Every length is checked. Groups, which proto3 does not have, are refused. Anyone may use it; it is
/// fast enough for a call's way through an event loop.
///
/// Source of the format: https://protobuf.dev/programming-guides/encoding/
@frozen
public struct MessageCursor {
  /// The content of a field by its wire type.
  @frozen
  public enum Value {
    case varint(UInt64)
    case fixed64(UInt64)
    /// A string, bytes, a message, or packed numbers.
    case bytes(UnsafeRawBufferPointer)
    case fixed32(UInt32)
  }

  /// One field: its number in the schema, from 1, and its content.
  @frozen
  public struct Field {
    public let number: UInt32
    public let value: Value

    @inlinable
    init(number: UInt32, value: Value) {
      self.number = number
      self.value = value
    }
  }

  @usableFromInline let message: UnsafeRawBufferPointer
  @usableFromInline let name: StaticString
  @usableFromInline var position = 0

  /// Offset of the next field in the message.
  @inlinable public var offset: Int { position }

  /// - Parameters:
  ///   - message: the bytes of one message; they must outlive the cursor and what it returns.
  ///   - name: name of the message in errors.
  @inlinable
  public init(_ message: UnsafeRawBufferPointer, of name: StaticString) {
    self.message = message
    self.name = name
  }

  /// Reads the next field.
  ///
  /// - Returns: nil at the end of the message.
  /// - Throws: `.invalidArgument` naming the message and the byte at which it is malformed.
  @inlinable
  @inline(__always)
  public mutating func next() throws(ServingError) -> Field? {
    guard position < message.count else { return nil }
    let start = position
    let key = try varint()
    guard key <= UInt64(UInt32.max), key >> 3 != 0 else {
      throw malformed(at: start, "field number out of range")
    }
    let number = UInt32(truncatingIfNeeded: key >> 3)
    switch key & 7 {
    case 0:
      return Field(number: number, value: .varint(try varint()))
    case 1:
      return Field(number: number, value: .fixed64(try fixed(UInt64.self)))
    case 2:
      let length = try varint()
      guard length <= UInt64(message.count - position) else {
        throw malformed(at: start, "length beyond the end of its message")
      }
      let bytes = UnsafeRawBufferPointer(rebasing: message[position..<(position + Int(length))])
      position += Int(length)
      return Field(number: number, value: .bytes(bytes))
    case 5:
      return Field(number: number, value: .fixed32(try fixed(UInt32.self)))
    default:
      throw malformed(at: start, "wire type that proto3 does not have")
    }
  }

  /// Reads one number of a packed field, whose bytes are the whole message of this cursor.
  ///
  /// - Returns: nil at the end of the field.
  /// - Throws: `.invalidArgument` for a number that does not end.
  @inlinable
  public mutating func nextPacked() throws(ServingError) -> UInt64? {
    position < message.count ? try varint() : nil
  }

  /// Bits beyond 64 are dropped, as Google's parsers do.
  @inlinable
  @inline(__always)
  mutating func varint() throws(ServingError) -> UInt64 {
    let start = position
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while position < message.count, shift < 70 {
      let byte = message[position]
      position += 1
      value |= UInt64(byte & 0x7f) &<< shift
      if byte < 0x80 { return value }
      shift += 7
    }
    throw malformed(
      at: start, shift < 70 ? "number cut off by the end of its message" : "number longer than 10 bytes")
  }

  @inlinable
  mutating func fixed<Integer: FixedWidthInteger & BitwiseCopyable>(
    _ type: Integer.Type
  ) throws(ServingError) -> Integer {
    let size = MemoryLayout<Integer>.size
    guard message.count - position >= size else {
      throw malformed(at: position, "number cut off by the end of its message")
    }
    let value = message.loadUnaligned(fromByteOffset: position, as: Integer.self)
    position += size
    return Integer(littleEndian: value)
  }

  /// Not inlined: it formats text, which happens once for a message that is refused.
  @inline(never)
  @usableFromInline
  func malformed(at offset: Int, _ fault: StaticString) -> ServingError {
    .invalidArgument("\(name): byte \(offset) of \(message.count): \(fault)")
  }
}
