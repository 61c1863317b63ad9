/// Sizes in the protobuf wire format, for encoders that compute a message's size before they write it.
@frozen
public enum WireFormat {
  /// Bytes of `value` as a varint, 1 to 10.
  @inlinable
  public static func varintBytes(_ value: UInt64) -> Int {
    // Seven bits a byte, rounded up; 0 takes one byte as well.
    (70 - max(value | 1, 1).leadingZeroBitCount) / 7
  }

  /// Bytes of a length-delimited field of `count` bytes whose number is 1 to 15, so that its key is one byte.
  @inlinable
  public static func delimitedBytes(_ count: Int) -> Int {
    1 + varintBytes(UInt64(count)) + count
  }
}

/// Writes a message into memory whose size was computed beforehand. It allocates nothing and checks nothing: the caller
/// guarantees that the message fits, and that field numbers are 1 to 15.
@frozen
public struct PresizedWriter {
  @usableFromInline var next: UnsafeMutableRawPointer

  /// Address of the next byte.
  @inlinable public var at: UnsafeMutableRawPointer { next }

  @inlinable
  public init(_ start: UnsafeMutableRawPointer) { next = start }

  @inlinable
  @inline(__always)
  public mutating func byte(_ value: UInt8) {
    next.storeBytes(of: value, as: UInt8.self)
    next += 1
  }

  /// Four bytes, as a frame's length word.
  @inlinable
  public mutating func bigEndian(_ value: UInt32) {
    next.storeBytes(of: value.bigEndian, as: UInt32.self)
    next += 4
  }

  /// Eight bytes, as an element of an `INT64` tensor.
  @inlinable
  public mutating func littleEndian(_ value: Int64) {
    next.storeBytes(of: value.littleEndian, as: Int64.self)
    next += 8
  }

  @inlinable
  public mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      byte(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    byte(UInt8(truncatingIfNeeded: rest))
  }

  /// Key and length of a length-delimited field; its content follows.
  @inlinable
  public mutating func header(_ number: UInt8, bytes count: Int) {
    byte(number << 3 | 2)
    varint(UInt64(count))
  }

  /// Key and value of a whole number.
  @inlinable
  public mutating func number(_ number: UInt8, _ value: UInt64) {
    byte(number << 3)
    varint(value)
  }

  @inlinable
  public mutating func copy(_ bytes: UnsafeRawBufferPointer) {
    guard let base = bytes.baseAddress, bytes.count > 0 else { return }
    next.copyMemory(from: base, byteCount: bytes.count)
    next += bytes.count
  }
}

/// Builds one protobuf message in memory that grows, in the canonical form: fields by number, defaults left out,
/// lengths minimal. The methods are called in the order of the field numbers.
///
/// It allocates, so that it is for what is off an event loop's way of a call.
public struct MessageWriter: Sendable {
  /// The message so far.
  public private(set) var bytes: [UInt8] = []

  /// An empty message.
  public init() {}

  private mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: rest))
  }

  /// A whole number; 0 is the default.
  public mutating func uint(_ number: Int, _ value: UInt64) {
    if value != 0 { member(number, value) }
  }

  /// A whole number that is a member of a oneof: present even if 0.
  public mutating func member(_ number: Int, _ value: UInt64) {
    varint(UInt64(number) << 3)
    varint(value)
  }

  /// A truth value; false is the default.
  public mutating func bool(_ number: Int, _ value: Bool) { uint(number, value ? 1 : 0) }

  /// A floating-point number; plus zero is the default.
  public mutating func double(_ number: Int, _ value: Double) {
    if value.bitPattern != 0 { doubleMember(number, value) }
  }

  /// A floating-point number that is a member of a oneof: present even if 0.
  public mutating func doubleMember(_ number: Int, _ value: Double) {
    varint(UInt64(number) << 3 | 1)
    withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes.append(contentsOf: $0) }
  }

  /// A number of eight bytes, present even if 0.
  public mutating func fixed64(_ number: Int, _ value: UInt64) {
    varint(UInt64(number) << 3 | 1)
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  /// A number of four bytes, present even if 0.
  public mutating func fixed32(_ number: Int, _ value: UInt32) {
    varint(UInt64(number) << 3 | 5)
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  /// Text; the empty text is the default.
  public mutating func string(_ number: Int, _ text: String) {
    guard !text.isEmpty else { return }
    element(number, text)
  }

  /// Bytes; no bytes are the default.
  public mutating func data(_ number: Int, _ content: [UInt8]) {
    if !content.isEmpty { delimited(number, content) }
  }

  /// Text that is an element of a repeated field or a member of a oneof: present even if empty.
  public mutating func element(_ number: Int, _ text: String) {
    delimited(number, Array(text.utf8))
  }

  /// All elements of a repeated text.
  public mutating func strings(_ number: Int, _ texts: [String]) {
    for text in texts { element(number, text) }
  }

  /// All elements of a repeated whole number.
  public mutating func packed(_ number: Int, _ values: [UInt64]) {
    guard !values.isEmpty else { return }
    var content = MessageWriter()
    for value in values { content.varint(value) }
    delimited(number, content.bytes)
  }

  /// A message, present even if empty.
  public mutating func message(_ number: Int, _ build: (inout MessageWriter) -> Void) {
    var content = MessageWriter()
    build(&content)
    delimited(number, content.bytes)
  }

  /// `map<string, double>`, keys in byte order; an entry always holds both its fields.
  public mutating func map(_ number: Int, _ entries: [String: Double]) {
    for (key, value) in entries.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
      message(number) { entry in
        entry.element(1, key)
        entry.varint(2 << 3 | 1)
        withUnsafeBytes(of: value.bitPattern.littleEndian) { entry.bytes.append(contentsOf: $0) }
      }
    }
  }

  /// `map<string, string>`, keys in byte order.
  public mutating func map(_ number: Int, _ entries: [String: String]) {
    for (key, value) in entries.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
      message(number) { entry in
        entry.element(1, key)
        entry.element(2, value)
      }
    }
  }

  private mutating func delimited(_ number: Int, _ content: [UInt8]) {
    varint(UInt64(number) << 3 | 2)
    varint(UInt64(content.count))
    bytes.append(contentsOf: content)
  }
}
