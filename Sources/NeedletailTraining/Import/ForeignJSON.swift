internal import NeedletailCore

/// Reads JSON (RFC 8259) of foreign model files. `NaN`, `Infinity` and `-Infinity` are numbers too, as Python and
/// XGBoost write them; a key that stands twice in an object is refused.
///
/// Memory is bounded by some ten times the file, and depth by ``Limits/foreignDepthMax``.
struct ForeignJSON {
  private let bytes: UnsafeBufferPointer<UInt8>
  private var index = 0

  /// - Throws: `TrainingError` that names the line and what was expected there.
  static func read(_ bytes: [UInt8]) throws(TrainingError) -> ForeignValue {
    let result = bytes.withUnsafeBufferPointer { bytes -> Result<ForeignValue, TrainingError> in
      var reader = ForeignJSON(bytes: bytes)
      return Result { () throws(TrainingError) in try reader.document() }
    }
    return try result.get()
  }

  private init(bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

  private mutating func document() throws(TrainingError) -> ForeignValue {
    let value = try value(depth: 0)
    skipSpace()
    guard index == bytes.count else { throw fault("the end of the file") }
    return value
  }

  private mutating func value(depth: Int) throws(TrainingError) -> ForeignValue {
    guard depth < Limits.foreignDepthMax else {
      throw fault("at most \(Limits.foreignDepthMax) levels of lists and objects", found: "more")
    }
    skipSpace()
    guard index < bytes.count else { throw fault("a value") }
    switch bytes[index] {
    case UInt8(ascii: "{"): return try object(depth: depth)
    case UInt8(ascii: "["): return try list(depth: depth)
    case UInt8(ascii: "\""): return .text(try text())
    case UInt8(ascii: "t") where take("true"): return .boolean(true)
    case UInt8(ascii: "f") where take("false"): return .boolean(false)
    case UInt8(ascii: "n") where take("null"): return .null
    default: return .number(try number())
    }
  }

  private mutating func object(depth: Int) throws(TrainingError) -> ForeignValue {
    index += 1
    var fields: [ForeignKey: ForeignValue] = [:]
    skipSpace()
    if take("}") { return .object(fields) }
    while true {
      skipSpace()
      guard index < bytes.count, bytes[index] == UInt8(ascii: "\"") else { throw fault("a key in quotes") }
      let key = try text()
      skipSpace()
      guard take(":") else { throw fault("a colon") }
      guard fields.updateValue(try value(depth: depth + 1), forKey: ForeignKey(key)) == nil else {
        throw fault("each key once in an object", found: "\(key.quotedForMessage) twice")
      }
      skipSpace()
      if take("}") { return .object(fields) }
      guard take(",") else { throw fault("a comma or }") }
    }
  }

  private mutating func list(depth: Int) throws(TrainingError) -> ForeignValue {
    index += 1
    var elements = ForeignList()
    skipSpace()
    if take("]") { return elements.value }
    while true {
      elements.append(try value(depth: depth + 1))
      skipSpace()
      if take("]") { return elements.value }
      guard take(",") else { throw fault("a comma or ]") }
    }
  }

  private mutating func number() throws(TrainingError) -> Double {
    if take("NaN") { return .nan }
    if take("Infinity") { return .infinity }
    if take("-Infinity") { return -.infinity }
    // XGBoost before 1.1 and some exporters write these.
    if take("-NaN") || take("nan") || take("-nan") { return .nan }
    if take("inf") { return .infinity }
    if take("-inf") { return -.infinity }
    let start = index
    while index < bytes.count {
      switch bytes[index] {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."),
        UInt8(ascii: "e"), UInt8(ascii: "E"):
        index += 1
        continue
      default: break
      }
      break
    }
    guard let number = NumberText.parse(UnsafeBufferPointer(rebasing: bytes[start..<index])) else {
      index = start
      throw fault("a value")
    }
    return number
  }

  private mutating func text() throws(TrainingError) -> String {
    index += 1
    var content: [UInt8] = []
    while true {
      let start = index
      while index < bytes.count, bytes[index] != UInt8(ascii: "\""), bytes[index] != UInt8(ascii: "\\"),
        bytes[index] >= 0x20
      {
        index += 1
      }
      content.append(contentsOf: bytes[start..<index])
      guard index < bytes.count else { throw fault("a closing quote") }
      guard bytes[index] >= 0x20 else { throw fault("no control character in text") }
      index += 1
      if bytes[index - 1] == UInt8(ascii: "\"") { break }
      try escape(into: &content)
    }
    guard let text = String(validating: content, as: UTF8.self) else { throw fault("UTF-8", found: "other bytes") }
    return text
  }

  /// Reads what stands behind a backslash.
  private mutating func escape(into content: inout [UInt8]) throws(TrainingError) {
    guard index < bytes.count else { throw fault("an escaped character") }
    index += 1
    switch bytes[index - 1] {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): content.append(bytes[index - 1])
    case UInt8(ascii: "b"): content.append(0x08)
    case UInt8(ascii: "f"): content.append(0x0C)
    case UInt8(ascii: "n"): content.append(0x0A)
    case UInt8(ascii: "r"): content.append(0x0D)
    case UInt8(ascii: "t"): content.append(0x09)
    case UInt8(ascii: "u"):
      var code = try unit()
      if (0xD800..<0xDC00).contains(code) {
        guard take("\\u") else { throw fault("the second half of a surrogate pair") }
        let second = try unit()
        guard (0xDC00..<0xE000).contains(second) else { throw fault("the second half of a surrogate pair") }
        code = 0x10000 + (code - 0xD800) << 10 + (second - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(code) else { throw fault("the first half of a surrogate pair") }
      content.append(contentsOf: Array(String(scalar).utf8))
    default:
      index -= 1
      throw fault("an escaped character")
    }
  }

  /// Four hexadecimal digits.
  private mutating func unit() throws(TrainingError) -> UInt32 {
    guard bytes.count - index >= 4 else { throw fault("four hexadecimal digits") }
    var code: UInt32 = 0
    for _ in 0..<4 {
      guard let digit = Character(Unicode.Scalar(bytes[index])).hexDigitValue, bytes[index] < 0x80 else {
        throw fault("four hexadecimal digits")
      }
      code = code << 4 | UInt32(digit)
      index += 1
    }
    return code
  }

  private mutating func skipSpace() {
    while index < bytes.count, [0x20, 0x0A, 0x0D, 0x09].contains(bytes[index]) { index += 1 }
  }

  private mutating func take(_ word: StaticString) -> Bool {
    guard bytes.count - index >= word.utf8CodeUnitCount else { return false }
    for offset in 0..<word.utf8CodeUnitCount where bytes[index + offset] != word.utf8Start[offset] { return false }
    index += word.utf8CodeUnitCount
    return true
  }

  private func fault(_ expected: String, found: String? = nil) -> TrainingError {
    let line = 1 + bytes[..<index].count { $0 == UInt8(ascii: "\n") }
    let there = index < bytes.count ? "byte 0x\(String(bytes[index], radix: 16))" : "the end of the file"
    return .importing("line \(line), byte \(index): expected \(expected), found \(found ?? there)")
  }
}
