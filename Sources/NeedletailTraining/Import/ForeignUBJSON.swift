internal import NeedletailCore

/// Reads Universal Binary JSON (draft 12, big-endian), as XGBoost writes it by default.
///
/// Lengths are believed only as far as the bytes that are left could hold what they promise.
struct ForeignUBJSON {
  private let bytes: [UInt8]
  private var index = 0

  /// - Throws: `TrainingError` that names the byte and what was expected there.
  static func read(_ bytes: [UInt8]) throws(TrainingError) -> ForeignValue {
    var reader = ForeignUBJSON(bytes: bytes)
    let value = try reader.value(of: try reader.marker(), depth: 0)
    guard reader.index == bytes.count else { throw reader.fault("the end of the file") }
    return value
  }

  private init(bytes: [UInt8]) { self.bytes = bytes }

  private mutating func value(of marker: UInt8, depth: Int) throws(TrainingError) -> ForeignValue {
    guard depth < Limits.foreignDepthMax else {
      throw fault("at most \(Limits.foreignDepthMax) levels of lists and objects", found: "more")
    }
    switch Character(Unicode.Scalar(marker)) {
    case "Z": return .null
    case "T": return .boolean(true)
    case "F": return .boolean(false)
    case "S", "H": return .text(try text())
    case "C": return .text(String(Unicode.Scalar(try byte())))
    case "[": return try list(depth: depth)
    case "{": return try object(depth: depth)
    default: return .number(try number(of: marker))
    }
  }

  private mutating func list(depth: Int) throws(TrainingError) -> ForeignValue {
    let (type, count) = try header()
    if let type, let width = Self.width(of: type), let count {
      guard count <= (bytes.count - index) / width else {
        throw fault("\(count) numbers of \(width) bytes", found: "\(bytes.count - index) bytes")
      }
      var numbers: [Double] = []
      numbers.reserveCapacity(count)
      for _ in 0..<count { numbers.append(try number(of: type)) }
      return .numbers(numbers)
    }
    var elements = ForeignList()
    if let count {
      try checkCount(count)
      for _ in 0..<count { elements.append(try value(of: elementType(type), depth: depth + 1)) }
    } else {
      while true {
        let marker = try marker()
        if marker == UInt8(ascii: "]") { break }
        elements.append(try value(of: marker, depth: depth + 1))
      }
    }
    return elements.value
  }

  private mutating func object(depth: Int) throws(TrainingError) -> ForeignValue {
    let (type, count) = try header()
    if let count { try checkCount(count) }
    var fields: [ForeignKey: ForeignValue] = [:]
    while count.map({ fields.count < $0 }) ?? true {
      if count == nil, index < bytes.count, bytes[index] == UInt8(ascii: "}") {
        index += 1
        break
      }
      let key = try text()
      let field = try value(of: elementType(type), depth: depth + 1)
      guard fields.updateValue(field, forKey: ForeignKey(key)) == nil else {
        throw fault("each key once in an object", found: "\(key.quotedForMessage) twice")
      }
    }
    return .object(fields)
  }

  /// Reads the optional type and count of a list or an object.
  private mutating func header() throws(TrainingError) -> (type: UInt8?, count: Int?) {
    var type: UInt8?
    if index < bytes.count, bytes[index] == UInt8(ascii: "$") {
      index += 1
      type = try byte()
    }
    guard index < bytes.count, bytes[index] == UInt8(ascii: "#") else {
      guard type == nil else { throw fault("a count behind the type of elements") }
      return (nil, nil)
    }
    index += 1
    return (type, try length())
  }

  /// Refuses a count that the bytes left cannot hold: each element takes a byte, except those of types without bytes,
  /// which model files have no lists of.
  private func checkCount(_ count: Int) throws(TrainingError) {
    guard count <= bytes.count - index else {
      throw fault("\(count) elements", found: "\(bytes.count - index) bytes")
    }
  }

  private mutating func text() throws(TrainingError) -> String {
    let count = try length()
    guard count <= bytes.count - index else {
      throw fault("text of \(count) bytes", found: "\(bytes.count - index) bytes")
    }
    guard let text = String(validating: bytes[index..<(index + count)], as: UTF8.self) else {
      throw fault("UTF-8", found: "other bytes")
    }
    index += count
    return text
  }

  private mutating func length() throws(TrainingError) -> Int {
    let number = try number(of: marker())
    guard let length = Int(exactly: number), length >= 0 else { throw fault("a length from 0", found: "\(number)") }
    return length
  }

  /// Bytes of a number's type; nil for other types.
  private static func width(of type: UInt8) -> Int? {
    switch Character(Unicode.Scalar(type)) {
    case "i", "U": 1
    case "I": 2
    case "l", "d": 4
    case "L", "D": 8
    default: nil
    }
  }

  private mutating func number(of type: UInt8) throws(TrainingError) -> Double {
    guard let width = Self.width(of: type) else {
      throw fault("a type of numbers", found: "byte 0x\(String(type, radix: 16))")
    }
    var bits: UInt64 = 0
    for _ in 0..<width { bits = bits << 8 | UInt64(try byte()) }
    switch Character(Unicode.Scalar(type)) {
    case "i": return Double(Int8(truncatingIfNeeded: bits))
    case "U": return Double(bits)
    case "I": return Double(Int16(truncatingIfNeeded: bits))
    case "l": return Double(Int32(truncatingIfNeeded: bits))
    case "d": return Double(Float(bitPattern: UInt32(truncatingIfNeeded: bits)))
    case "L": return Double(Int64(bitPattern: bits))
    default: return Double(bitPattern: bits)
    }
  }

  /// The type that all elements have, else the one that stands before the next.
  private mutating func elementType(_ type: UInt8?) throws(TrainingError) -> UInt8 {
    if let type { return type }
    return try marker()
  }

  /// The next type, behind what stands for nothing.
  private mutating func marker() throws(TrainingError) -> UInt8 {
    while true {
      let marker = try byte()
      if marker != UInt8(ascii: "N") { return marker }
    }
  }

  private mutating func byte() throws(TrainingError) -> UInt8 {
    guard index < bytes.count else { throw fault("more bytes", found: "the end of the file") }
    index += 1
    return bytes[index - 1]
  }

  private func fault(_ expected: String, found: String? = nil) -> TrainingError {
    let there = index < bytes.count ? "byte 0x\(String(bytes[index], radix: 16))" : "the end of the file"
    return .importing("byte \(index): expected \(expected), found \(found ?? there)")
  }
}
