internal import NeedletailCore

extension Document {
  /// Reads JSON (RFC 8259) with the entries of its objects in their order. Whole numbers without a point or an exponent
  /// are integers.
  ///
  /// - Parameter name: the file, for messages.
  /// - Throws: `TrainingError` of kind `output` that names the line, what was expected there and what was found.
  public init(json bytes: [UInt8], name: String) throws(TrainingError) {
    var reader = DocumentReader(bytes: bytes, name: name)
    self = try reader.document()
  }
}

/// Reads one JSON text from its beginning to its end.
private struct DocumentReader {
  let bytes: [UInt8]
  let name: String
  private var index = 0

  init(bytes: [UInt8], name: String) {
    self.bytes = bytes
    self.name = name
  }

  mutating func document() throws(TrainingError) -> Document {
    let value = try value(depth: 0)
    skipSpace()
    guard index == bytes.count else { throw fault("the end of the file") }
    return value
  }

  private func fault(_ expected: String, found: String? = nil) -> TrainingError {
    let line = 1 + bytes[..<min(index, bytes.count)].count { $0 == 0x0A }
    let here = index < bytes.count ? String(decoding: bytes[index...].prefix(12), as: UTF8.self) : nil
    let words = found ?? here.map { $0.quotedForMessage } ?? "the end of the file"
    return .output("\(name):\(line): expected \(expected), found \(words)")
  }

  private mutating func skipSpace() {
    while index < bytes.count, [0x20, 0x0A, 0x0D, 0x09].contains(bytes[index]) { index += 1 }
  }

  private mutating func take(_ word: StaticString) -> Bool {
    let matches = word.withUTF8Buffer { word in
      index + word.count <= bytes.count && bytes[index..<(index + word.count)].elementsEqual(word)
    }
    if matches { index += word.utf8CodeUnitCount }
    return matches
  }

  private mutating func value(depth: Int) throws(TrainingError) -> Document {
    guard depth < Limits.foreignDepthMax else {
      throw fault("at most \(Limits.foreignDepthMax) levels of lists and objects", found: "more")
    }
    skipSpace()
    guard index < bytes.count else { throw fault("a value") }
    switch bytes[index] {
    case UInt8(ascii: "{"): return try object(depth: depth)
    case UInt8(ascii: "["): return try list(depth: depth)
    case UInt8(ascii: "\""): return .text(try text())
    case UInt8(ascii: "t") where take("true"): return .flag(true)
    case UInt8(ascii: "f") where take("false"): return .flag(false)
    case UInt8(ascii: "n") where take("null"): return .null
    default: return try number()
    }
  }

  private mutating func number() throws(TrainingError) -> Document {
    let start = index
    while index < bytes.count, "+-.eE0123456789".utf8.contains(bytes[index]) { index += 1 }
    let text = String(decoding: bytes[start..<index], as: UTF8.self)
    if let first = text.utf8.first, first == UInt8(ascii: "-") || first &- UInt8(ascii: "0") < 10 {
      if let whole = Int(text) { return .integer(whole) }
      if let number = Double(text), number.isFinite { return .number(number) }
    }
    index = start
    throw fault("a value")
  }

  private mutating func list(depth: Int) throws(TrainingError) -> Document {
    index += 1
    var elements: [Document] = []
    skipSpace()
    if take("]") { return .list([]) }
    while true {
      elements.append(try value(depth: depth + 1))
      skipSpace()
      if take("]") { return .list(elements) }
      guard take(",") else { throw fault("a comma or the end of the list") }
    }
  }

  private mutating func object(depth: Int) throws(TrainingError) -> Document {
    index += 1
    var entries: [Document.Entry] = []
    var keys: Set<String> = []
    skipSpace()
    if take("}") { return .section([]) }
    while true {
      skipSpace()
      guard index < bytes.count, bytes[index] == UInt8(ascii: "\"") else { throw fault("a key in quotes") }
      let key = try text()
      guard keys.insert(key).inserted else { throw fault("each key once", found: key.quotedForMessage + " twice") }
      skipSpace()
      guard take(":") else { throw fault("a colon") }
      entries.append(.init(key, try value(depth: depth + 1)))
      skipSpace()
      if take("}") { return .section(entries) }
      guard take(",") else { throw fault("a comma or the end of the object") }
    }
  }

  private mutating func text() throws(TrainingError) -> String {
    index += 1
    var result: [UInt8] = []
    while index < bytes.count {
      let byte = bytes[index]
      switch byte {
      case UInt8(ascii: "\""):
        index += 1
        guard let text = String(validating: result, as: UTF8.self) else {
          throw fault("text in UTF-8", found: "other bytes")
        }
        return text
      case UInt8(ascii: "\\"): result += Array(String(try escaped()).utf8)
      case ..<0x20: throw fault("text without control characters")
      default:
        result.append(byte)
        index += 1
      }
    }
    throw fault("the end of the text")
  }

  /// A character after a backslash.
  private mutating func escaped() throws(TrainingError) -> Character {
    index += 1
    guard index < bytes.count else { throw fault("a character after the backslash") }
    let plain: [UInt8: Character] = [
      0x22: "\"", 0x5C: "\\", 0x2F: "/", 0x62: "\u{8}", 0x66: "\u{C}", 0x6E: "\n", 0x72: "\r", 0x74: "\t",
    ]
    if let character = plain[bytes[index]] {
      index += 1
      return character
    }
    guard take("u") else { throw fault("a character after the backslash") }
    let unit = try codeUnit()
    if let scalar = Unicode.Scalar(unit) { return Character(scalar) }
    // The other half of a character beyond 16 bits.
    guard unit < 0xDC00, take("\\u") else { throw fault("the second half of a character") }
    let low = try codeUnit()
    guard (0xDC00..<0xE000).contains(low),
      let scalar = Unicode.Scalar(0x10000 + ((UInt32(unit) - 0xD800) << 10) + (UInt32(low) - 0xDC00))
    else { throw fault("the second half of a character") }
    return Character(scalar)
  }

  private mutating func codeUnit() throws(TrainingError) -> UInt16 {
    guard index + 4 <= bytes.count else { throw fault("four hexadecimal digits") }
    let digits = String(decoding: bytes[index..<(index + 4)], as: UTF8.self)
    guard digits.utf8.allSatisfy({ $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "-") }),
      let unit = UInt16(digits, radix: 16)
    else { throw fault("four hexadecimal digits") }
    index += 4
    return unit
  }
}
