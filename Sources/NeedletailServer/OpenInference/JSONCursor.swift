internal import NeedletailCore
internal import NeedletailProtobuf

/// Reads JSON (RFC 8259) from bytes, token by token, without a tree and without memory of its own. Borrows the bytes.
struct JSONCursor {
  let bytes: UnsafeRawBufferPointer
  private(set) var at = 0
  private var depth = 0

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  /// A string between its quotes, escapes and all.
  struct Text {
    var raw: UnsafeRawBufferPointer
    var hasEscapes: Bool
  }

  // MARK: errors

  /// - Parameter expected: what would have been right here.
  @inline(never)
  func fault(_ expected: String) -> ServingError {
    guard at < bytes.count else { return .invalidArgument("body: expected \(expected), found its end") }
    let found = String(decoding: bytes[at..<min(bytes.count, at + 12)], as: UTF8.self)
    return .invalidArgument("body, byte \(at): expected \(expected), found \(found.quotedForMessage)")
  }

  // MARK: tokens

  mutating func skipSpace() {
    while at < bytes.count {
      switch bytes[at] {
      case 0x20, 0x0a, 0x0d, 0x09: at += 1
      default: return
      }
    }
  }

  /// The next byte that is no space; nil at the end.
  mutating func peek() -> UInt8? {
    skipSpace()
    return at < bytes.count ? bytes[at] : nil
  }

  /// Takes a punctuation mark if it is next.
  mutating func take(_ mark: UInt8) -> Bool {
    guard peek() == mark else { return false }
    at += 1
    return true
  }

  mutating func expect(_ mark: UInt8, _ words: String) throws(ServingError) {
    guard take(mark) else { throw fault(words) }
  }

  /// Begins an object or an array.
  mutating func enter(_ mark: UInt8, _ words: String) throws(ServingError) {
    try expect(mark, words)
    depth += 1
    guard depth <= Limits.jsonDepthMax else { throw fault("at most \(Limits.jsonDepthMax) levels") }
  }

  /// Goes to the next element of an object or an array.
  /// - Parameter isFirst: whether none has been read; false afterwards.
  /// - Returns: false at its end, which is taken.
  mutating func next(until end: UInt8, _ isFirst: inout Bool) throws(ServingError) -> Bool {
    if take(end) {
      depth -= 1
      return false
    }
    if !isFirst { try expect(UInt8(ascii: ","), "a comma or the end") }
    isFirst = false
    return true
  }

  /// The key of an object's member and its colon.
  mutating func key() throws(ServingError) -> UnsafeRawBufferPointer {
    let key = try text("a name")
    try expect(UInt8(ascii: ":"), "a colon")
    return key.raw
  }

  mutating func text(_ words: String) throws(ServingError) -> Text {
    try expect(UInt8(ascii: "\""), words)
    let start = at
    var hasEscapes = false
    while at < bytes.count {
      switch bytes[at] {
      case UInt8(ascii: "\""):
        let raw = UnsafeRawBufferPointer(rebasing: bytes[start..<at])
        at += 1
        return Text(raw: raw, hasEscapes: hasEscapes)
      case UInt8(ascii: "\\"):
        hasEscapes = true
        at += 2
      case 0..<0x20: throw fault("a string without control characters")
      default: at += 1
      }
    }
    at = bytes.count
    throw fault("the end of a string")
  }

  /// A number, still as text.
  mutating func number(_ words: String) throws(ServingError) -> UnsafeRawBufferPointer {
    skipSpace()
    let start = at
    while at < bytes.count {
      switch bytes[at] {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."),
        UInt8(ascii: "e"), UInt8(ascii: "E"):
        at += 1
        continue
      default: break
      }
      break
    }
    let text = UnsafeRawBufferPointer(rebasing: bytes[start..<at])
    guard Self.isNumber(text) else {
      at = start
      throw fault(words)
    }
    return text
  }

  /// A whole number from 0.
  mutating func count(_ words: String) throws(ServingError) -> UInt64 {
    skipSpace()
    let start = at
    let text = try number(words)
    var value: UInt64 = 0
    for byte in text {
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(UInt64(byte &- UInt8(ascii: "0")))
      guard byte &- UInt8(ascii: "0") < 10, !overflow, !carry else {
        at = start
        throw fault(words)
      }
      value = sum
    }
    return value
  }

  mutating func flag(_ words: String) throws(ServingError) -> Bool {
    if takeWord("true") { return true }
    if takeWord("false") { return false }
    throw fault(words)
  }

  /// Takes `true`, `false` or `null` if it is next.
  mutating func takeWord(_ word: StaticString) -> Bool {
    skipSpace()
    let count = word.utf8CodeUnitCount
    guard bytes.count - at >= count else { return false }
    for index in 0..<count where bytes[at + index] != word.utf8Start[index] { return false }
    at += count
    return true
  }

  /// Skips a value of any kind.
  /// - Returns: its bytes.
  @discardableResult
  mutating func skipValue() throws(ServingError) -> UnsafeRawBufferPointer {
    skipSpace()
    let start = at
    switch peek() {
    case UInt8(ascii: "\""): _ = try text("a value")
    case UInt8(ascii: "{"), UInt8(ascii: "["): try skipNested()
    case UInt8(ascii: "t"), UInt8(ascii: "f"): _ = try flag("a value")
    case UInt8(ascii: "n"): guard takeWord("null") else { throw fault("a value") }
    default: _ = try number("a value")
    }
    return UnsafeRawBufferPointer(rebasing: bytes[start..<at])
  }

  /// Skips an object or an array by its brackets. What stands between them is read properly where it is needed.
  private mutating func skipNested() throws(ServingError) {
    var open = 0
    while at < bytes.count {
      switch bytes[at] {
      case UInt8(ascii: "\""):
        _ = try text("a string")
        continue
      case UInt8(ascii: "{"), UInt8(ascii: "["):
        open += 1
        guard depth + open <= Limits.jsonDepthMax else { throw fault("at most \(Limits.jsonDepthMax) levels") }
      case UInt8(ascii: "}"), UInt8(ascii: "]"):
        open -= 1
        if open == 0 {
          at += 1
          return
        }
      default: break
      }
      at += 1
    }
    throw fault("the end of a value")
  }

  // MARK: values

  /// The grammar of numbers.
  private static func isNumber(_ text: UnsafeRawBufferPointer) -> Bool {
    var at = 0
    func digits() -> Int {
      let start = at
      while at < text.count, text[at] &- UInt8(ascii: "0") < 10 { at += 1 }
      return at - start
    }
    if at < text.count, text[at] == UInt8(ascii: "-") { at += 1 }
    let whole = at
    let count = digits()
    guard count > 0, count == 1 || text[whole] != UInt8(ascii: "0") else { return false }
    if at < text.count, text[at] == UInt8(ascii: ".") {
      at += 1
      guard digits() > 0 else { return false }
    }
    if at < text.count, text[at] | 0x20 == UInt8(ascii: "e") {
      at += 1
      if at < text.count, text[at] == UInt8(ascii: "-") || text[at] == UInt8(ascii: "+") { at += 1 }
      guard digits() > 0 else { return false }
    }
    return at == text.count
  }

  /// Writes what a string means.
  /// - Parameter to: room for as many bytes as the string has between its quotes.
  /// - Returns: bytes written; nil for an escape that does not exist, or half of a surrogate pair.
  static func unescape(_ raw: UnsafeRawBufferPointer, to: UnsafeMutableRawPointer) -> Int? {
    var (at, written) = (0, 0)
    func put(_ byte: UInt8) {
      to.storeBytes(of: byte, toByteOffset: written, as: UInt8.self)
      written += 1
    }
    while at < raw.count {
      guard raw[at] == UInt8(ascii: "\\") else {
        put(raw[at])
        at += 1
        continue
      }
      guard at + 1 < raw.count else { return nil }
      at += 2
      switch raw[at - 1] {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): put(raw[at - 1])
      case UInt8(ascii: "b"): put(0x08)
      case UInt8(ascii: "f"): put(0x0c)
      case UInt8(ascii: "n"): put(0x0a)
      case UInt8(ascii: "r"): put(0x0d)
      case UInt8(ascii: "t"): put(0x09)
      case UInt8(ascii: "u"):
        guard var scalar = hexadecimal(raw, at) else { return nil }
        at += 4
        if 0xd800..<0xdc00 ~= scalar {
          guard at + 6 <= raw.count, raw[at] == UInt8(ascii: "\\"), raw[at + 1] == UInt8(ascii: "u"),
            let low = hexadecimal(raw, at + 2), 0xdc00..<0xe000 ~= low
          else { return nil }
          at += 6
          scalar = 0x10000 + (scalar - 0xd800) << 10 + (low - 0xdc00)
        }
        guard let unicode = Unicode.Scalar(UInt32(scalar)) else { return nil }
        guard let units = UTF8.encode(unicode) else { return nil }
        for unit in units { put(unit) }
      default: return nil
      }
    }
    return written
  }

  private static func hexadecimal(_ raw: UnsafeRawBufferPointer, _ at: Int) -> Int? {
    guard at + 4 <= raw.count else { return nil }
    var value = 0
    for index in at..<(at + 4) {
      guard let digit = Hexadecimal.digit(raw[index]) else { return nil }
      value = value * 16 + digit
    }
    return value
  }
}
