internal import NeedletailCore

/// Reads the fields of one protobuf message, in the order in which they lie there.
///
/// Borrows the bytes. Copies nothing, allocates nothing, and does not recurse: a field that is a
/// message is bytes, for another reader. Groups, which proto3 does not have, are refused.
/// Source: https://protobuf.dev/programming-guides/encoding/
struct FieldReader {
  enum Value {
    case varint(UInt64)
    case fixed64(UInt64)
    case bytes(UnsafeRawBufferPointer)
    case fixed32(UInt32)
  }

  struct Field {
    var number: UInt32
    var value: Value
  }

  private let message: UnsafeRawBufferPointer
  /// What the message is called in an error.
  private let name: StaticString
  private(set) var offset = 0

  init(_ message: UnsafeRawBufferPointer, of name: StaticString) {
    self.message = message
    self.name = name
  }

  /// - Returns: nil at the end of the message.
  @inline(__always)
  mutating func next() throws(ServingError) -> Field? {
    guard offset < message.count else { return nil }
    let start = offset
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
      guard length <= UInt64(message.count - offset) else {
        throw malformed(at: start, "length beyond the end of its message")
      }
      let bytes = UnsafeRawBufferPointer(rebasing: message[offset..<(offset + Int(length))])
      offset += Int(length)
      return Field(number: number, value: .bytes(bytes))
    case 5:
      return Field(number: number, value: .fixed32(try fixed(UInt32.self)))
    default:
      throw malformed(at: start, "wire type that proto3 does not have")
    }
  }

  /// One varint of a packed field; nil at the end.
  mutating func nextPacked() throws(ServingError) -> UInt64? {
    offset < message.count ? try varint() : nil
  }

  /// Bits beyond 64 are dropped, as Google's parsers do.
  @inline(__always)
  private mutating func varint() throws(ServingError) -> UInt64 {
    let start = offset
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while offset < message.count, shift < 70 {
      let byte = message[offset]
      offset += 1
      value |= UInt64(byte & 0x7f) &<< shift
      if byte < 0x80 { return value }
      shift += 7
    }
    throw malformed(
      at: start, shift < 70 ? "number cut off by the end of its message" : "number longer than 10 bytes")
  }

  private mutating func fixed<Integer: FixedWidthInteger & BitwiseCopyable>(
    _ type: Integer.Type
  ) throws(ServingError) -> Integer {
    let size = MemoryLayout<Integer>.size
    guard message.count - offset >= size else {
      throw malformed(at: offset, "number cut off by the end of its message")
    }
    let value = message.loadUnaligned(fromByteOffset: offset, as: Integer.self)
    offset += size
    return Integer(littleEndian: value)
  }

  private func malformed(at offset: Int, _ fault: StaticString) -> ServingError {
    .invalidArgument("\(name): byte \(offset) of \(message.count): \(fault)")
  }
}
