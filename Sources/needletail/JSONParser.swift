internal import NeedletailCore

/// A JSON value of any type. Numbers are kept as they are written, because a Double would make other texts of them.
indirect enum JSONValue: Equatable {
  case null
  case bool(Bool)
  case number(String)
  case string(String)
  case array([JSONValue])
  /// Names and values in their order; every name once.
  case object([(name: String, value: JSONValue)])

  static func == (a: JSONValue, b: JSONValue) -> Bool {
    switch (a, b) {
    case (.null, .null): true
    case (.bool(let x), .bool(let y)): x == y
    case (.number(let x), .number(let y)), (.string(let x), .string(let y)): x == y
    case (.array(let x), .array(let y)): x == y
    case (.object(let x), .object(let y)): x.elementsEqual(y) { $0.name == $1.name && $0.value == $1.value }
    default: false
    }
  }

  var kind: String {
    switch self {
    case .null: "null"
    case .bool: "a truth value"
    case .number: "a number"
    case .string: "a string"
    case .array: "a list"
    case .object: "an object"
    }
  }
}

/// Reads JSON (RFC 8259). Foundation's decoder gives numbers as Double, in which `12345678901234567` is another number
/// and `1e400` none, and describes faults in its own words.
struct JSONParser {
  private let bytes: [UInt8]
  private var index = 0
  private var depth = 0

  /// Lists and objects within one another; rows need two.
  private static let depthMax = 32

  private init(_ bytes: [UInt8]) { self.bytes = bytes }

  /// - Throws: a sentence that names the place.
  static func parse(_ bytes: [UInt8], source: String) throws(Failure) -> JSONValue {
    guard String(validating: bytes, as: UTF8.self) != nil else {
      throw Failure("\(source): expected UTF-8, found bytes that are not")
    }
    var parser = JSONParser(bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? Array(bytes.dropFirst(3)) : bytes)
    do throws(Fault) {
      let value = try parser.value()
      parser.skipSpaces()
      if parser.index < parser.bytes.count { throw parser.fault("the end of the file") }
      return value
    } catch {
      throw Failure("\(source): line \(error.line), column \(error.column): expected \(error.expected)")
    }
  }

  private struct Fault: Error {
    let line: Int
    /// In bytes, from 1.
    let column: Int
    let expected: String
  }

  private func fault(_ expected: String, found: String? = nil, at position: Int? = nil) -> Fault {
    let position = position ?? index
    let before = bytes[..<min(position, bytes.count)]
    let line = 1 + before.count { $0 == UInt8(ascii: "\n") }
    let start = before.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
    return Fault(
      line: line, column: position - start + 1, expected: "\(expected), found \(found ?? self.found(at: position))")
  }

  private func found(at position: Int) -> String {
    guard position < bytes.count else { return "the end of the file" }
    let word = bytes[position...].prefix(24).prefix { !" \t\r\n,:]}".utf8.contains($0) }
    return String(decoding: word.isEmpty ? bytes[position...position] : word, as: UTF8.self).quotedForMessage
  }

  private mutating func skipSpaces() {
    while index < bytes.count, " \t\r\n".utf8.contains(bytes[index]) { index += 1 }
  }

  private mutating func take(_ character: Unicode.Scalar) -> Bool {
    guard index < bytes.count, bytes[index] == UInt8(ascii: character) else { return false }
    index += 1
    return true
  }

  private mutating func value() throws(Fault) -> JSONValue {
    skipSpaces()
    guard index < bytes.count else { throw fault("a value") }
    switch bytes[index] {
    case UInt8(ascii: "{"): return .object(try object())
    case UInt8(ascii: "["): return .array(try array())
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number(try number())
    default: break
    }
    for (word, value) in [("null", JSONValue.null), ("true", .bool(true)), ("false", .bool(false))]
    where bytes[index...].starts(with: word.utf8) {
      index += word.utf8.count
      return value
    }
    for word in ["NaN", "Infinity"] where bytes[index...].starts(with: word.utf8) {
      throw fault("a value (JSON writes null for a missing one)")
    }
    throw fault("a value")
  }

  private mutating func enter() throws(Fault) {
    depth += 1
    guard depth <= Self.depthMax else { throw fault("at most \(Self.depthMax) lists and objects within one another") }
    index += 1
    skipSpaces()
  }

  private mutating func array() throws(Fault) -> [JSONValue] {
    try enter()
    defer { depth -= 1 }
    var values: [JSONValue] = []
    if take("]") { return values }
    while true {
      values.append(try value())
      skipSpaces()
      if take("]") { return values }
      guard take(",") else { throw fault("\",\" or \"]\"") }
    }
  }

  private mutating func object() throws(Fault) -> [(name: String, value: JSONValue)] {
    try enter()
    defer { depth -= 1 }
    var entries: [(name: String, value: JSONValue)] = []
    var names: Set<[UInt8]> = []
    if take("}") { return entries }
    while true {
      skipSpaces()
      let place = index
      guard index < bytes.count, bytes[index] == UInt8(ascii: "\"") else { throw fault("a name in double quotes") }
      let name = try string()
      guard names.insert(Array(ValueText.normalised(name).utf8)).inserted else {
        throw fault("every name once", found: "\(name.quotedForMessage) again", at: place)
      }
      skipSpaces()
      guard take(":") else { throw fault("\":\"") }
      entries.append((name, try value()))
      skipSpaces()
      if take("}") { return entries }
      guard take(",") else { throw fault("\",\" or \"}\"") }
    }
  }

  private mutating func number() throws(Fault) -> String {
    let start = index
    func digits() throws(Fault) {
      guard index < bytes.count, isDigit(index) else { throw fault("a digit") }
      while index < bytes.count, isDigit(index) { index += 1 }
    }
    _ = take("-")
    if take("0") {
      if index < bytes.count, isDigit(index) || bytes[index] | 0x20 == UInt8(ascii: "x") {
        throw fault("a decimal number without leading zeros", at: start)
      }
    } else {
      try digits()
    }
    if take(".") { try digits() }
    if take("e") || take("E") {
      if !take("+") { _ = take("-") }
      try digits()
    }
    return String(decoding: bytes[start..<index], as: UTF8.self)
  }

  private func isDigit(_ position: Int) -> Bool { bytes[position] &- UInt8(ascii: "0") < 10 }

  private mutating func string() throws(Fault) -> String {
    let start = index
    index += 1
    var text: [UInt8] = []
    while index < bytes.count {
      let byte = bytes[index]
      switch byte {
      case UInt8(ascii: "\""):
        index += 1
        return String(decoding: text, as: UTF8.self)
      case UInt8(ascii: "\\"):
        text.append(contentsOf: String(Character(try escape())).utf8)
      case 0..<0x20:
        throw fault("an escape such as \\n for a control character", found: "byte \(byte)")
      default:
        text.append(byte)
        index += 1
      }
    }
    throw fault("a closing quote for the text that opens here", found: "the end of the file", at: start)
  }

  private mutating func escape() throws(Fault) -> Unicode.Scalar {
    let start = index
    index += 2
    guard start + 1 < bytes.count else { throw fault("an escape", at: start) }
    switch bytes[start + 1] {
    case UInt8(ascii: "\""): return "\""
    case UInt8(ascii: "\\"): return "\\"
    case UInt8(ascii: "/"): return "/"
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"):
      var unit = try hexadecimal(at: start)
      if 0xD800..<0xDC00 ~= unit, bytes[index...].starts(with: "\\u".utf8) {
        index += 2
        let low = try hexadecimal(at: start)
        guard 0xDC00..<0xE000 ~= low else { throw fault("the second half of a surrogate pair", at: start) }
        unit = 0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(unit) else { throw fault("both halves of a surrogate pair", at: start) }
      return scalar
    default:
      throw fault("an escape", at: start)
    }
  }

  /// Four hexadecimal digits.
  private mutating func hexadecimal(at start: Int) throws(Fault) -> UInt32 {
    let digits = bytes[min(index, bytes.count)...].prefix(4)
    guard digits.count == 4, digits.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
      let unit = UInt32(String(decoding: digits, as: UTF8.self), radix: 16)
    else { throw fault("four hexadecimal digits after \\u", at: start) }
    index += 4
    return unit
  }
}
