/// Walks over the fields of a protobuf message without copying, throwing or allocating.
///
/// Bounds are checked on every byte; a malformed message ends the walk with ``isMalformed``.
struct FieldScanner {
  private var at: UnsafeRawPointer?
  private var left: Int
  private(set) var isMalformed = false

  /// Of the field that ``next()`` found.
  private(set) var number: UInt64 = 0
  /// Of a varint.
  private(set) var value: UInt64 = 0
  /// Of a length-delimited field; empty otherwise.
  private(set) var bytes = UnsafeRawBufferPointer(start: nil, count: 0)
  private(set) var isDelimited = false

  init(_ message: UnsafeRawBufferPointer) {
    at = message.baseAddress
    left = message.count
  }

  /// - Returns: false at the end, and where the message is malformed.
  @inline(__always)
  mutating func next() -> Bool {
    guard left > 0 else { return false }
    let key = varint()
    number = key >> 3
    isDelimited = false
    switch key & 7 {
    case 0: value = varint()
    case 1: skip(8)
    case 2:
      let length = varint()
      guard !isMalformed, length <= UInt64(left) else { return fail() }
      bytes = UnsafeRawBufferPointer(start: at, count: Int(length))
      isDelimited = true
      skip(Int(length))
    case 5: skip(4)
    default: return fail()
    }
    return !isMalformed && (number != 0 || fail())
  }

  @inline(__always)
  private mutating func varint() -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while left > 0, shift < 70, let start = at {
      let byte = start.load(as: UInt8.self)
      skip(1)
      value |= UInt64(byte & 0x7f) &<< shift
      if byte < 0x80 { return value }
      shift += 7
    }
    _ = fail()
    return 0
  }

  @inline(__always)
  private mutating func skip(_ count: Int) {
    guard count <= left else {
      _ = fail()
      return
    }
    at = at.map { $0 + count }
    left -= count
  }

  private mutating func fail() -> Bool {
    isMalformed = true
    left = 0
    return false
  }
}
