/// Sizes and bytes of the protobuf wire format that more than one encoder needs.
enum WireFormat {
  /// Bytes of `value` as a varint, 1 to 10.
  static func varintBytes(_ value: UInt64) -> Int {
    // ceil(significant bits / 7), and 1 for 0.
    (70 - max(value | 1, 1).leadingZeroBitCount) / 7
  }

  /// Bytes of a length-delimited field with a one-byte key: numbers 1 to 15.
  static func delimitedBytes(_ count: Int) -> Int {
    1 + varintBytes(UInt64(count)) + count
  }

  static func key(_ number: UInt8, delimited: Bool) -> UInt8 { number << 3 | (delimited ? 2 : 0) }
}

/// Writes into memory whose size was computed beforehand. The caller vouches for the room.
struct WireCursor {
  private(set) var at: UnsafeMutableRawPointer

  init(_ start: UnsafeMutableRawPointer) { at = start }

  @inline(__always)
  mutating func byte(_ value: UInt8) {
    at.storeBytes(of: value, as: UInt8.self)
    at += 1
  }

  mutating func bigEndian(_ value: UInt32) {
    at.storeBytes(of: value.bigEndian, as: UInt32.self)
    at += 4
  }

  mutating func littleEndian(_ value: Int64) {
    at.storeBytes(of: value.littleEndian, as: Int64.self)
    at += 8
  }

  mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      byte(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    byte(UInt8(truncatingIfNeeded: rest))
  }

  /// Key and length; the content follows.
  mutating func header(_ number: UInt8, bytes count: Int) {
    byte(WireFormat.key(number, delimited: true))
    varint(UInt64(count))
  }

  mutating func number(_ number: UInt8, _ value: UInt64) {
    byte(WireFormat.key(number, delimited: false))
    varint(value)
  }

  mutating func copy(_ bytes: UnsafeRawBufferPointer) {
    guard let base = bytes.baseAddress, bytes.count > 0 else { return }
    at.copyMemory(from: base, byteCount: bytes.count)
    at += bytes.count
  }
}
