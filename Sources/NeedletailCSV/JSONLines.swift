public import NeedletailCore

/// Parses JSON Lines as a state machine without I/O: bytes in chunks of any size go in, records come out, as of a CSV
/// file whose columns are the keys.
///
/// Each line is one object of numbers, texts, truth values and nulls. A key that a line lacks is empty, as null is. Text
/// counts as quoted. The grammar is RFC 8259; what is not is refused with line and key.
public struct JSONLines {
  /// Keys in the order in which they first came; the columns of each record.
  public private(set) var keys: [String]
  private let knowsKeys: Bool
  private let recordBytesMax: Int
  private var keyIndex: [[UInt8]: Int] = [:]
  /// Line that is cut by the end of a chunk.
  private var partial: [UInt8] = []
  private var line = 0
  private var bytes: [UInt8] = []
  private var ends: [UInt32] = []
  private var quoted: [Bool] = []
  private var cells: [Cell] = []
  private var hasHighBytes = false

  private struct Cell {
    var start = 0
    var end = 0
    var isQuoted = false
    /// Line that set it, so that a key that comes twice in one object is found.
    var line = 0
  }

  /// - Parameter keys: the columns, normalised; nil collects them, and records have those found so far.
  public init(keys: [String]? = nil, recordBytesMax: Int = Limits.csvRecordBytesMax) {
    self.keys = keys ?? []
    knowsKeys = keys != nil
    self.recordBytesMax = recordBytesMax
    for (index, key) in (keys ?? []).enumerated() { keyIndex[Array(key.utf8)] = index }
    cells = [Cell](repeating: Cell(), count: self.keys.count)
  }

  /// Continues in a chunk, up to the end of a record or of the chunk.
  ///
  /// - Returns: true if a record is complete, see ``withRecord(_:)``; false if the next chunk or ``finish()`` is due.
  public mutating func next(
    in chunk: UnsafeBufferPointer<UInt8>, from position: inout Int
  ) throws(CSVError) -> Bool {
    while position < chunk.count {
      let rest = UnsafeBufferPointer(rebasing: chunk[position...])
      guard let end = rest.firstIndex(of: UInt8(ascii: "\n")) else {
        try checkRoom(partial.count + rest.count)
        partial += rest
        position = chunk.count
        return false
      }
      position += end + 1
      let isRecord: Bool
      if partial.isEmpty {
        isRecord = try read(UnsafeBufferPointer(rebasing: rest[..<end]))
      } else {
        partial += rest[..<end]
        isRecord = try readPartial()
      }
      if isRecord { return true }
    }
    return false
  }

  /// Ends the file. The last line needs no line end.
  public mutating func finish() throws(CSVError) -> Bool { partial.isEmpty ? false : try readPartial() }

  /// Lends the complete record to `body`.
  public func withRecord<Result, Failure: Error>(
    _ body: (CSVRecord) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try bytes.withUnsafeBufferPointer { (bytes) throws(Failure) in
      try ends.withUnsafeBufferPointer { (ends) throws(Failure) in
        try quoted.withUnsafeBufferPointer { (quoted) throws(Failure) in
          try body(
            CSVRecord(bytes: bytes, ends: ends, gap: 0, quoted: quoted, line: line, hasHighBytes: hasHighBytes))
        }
      }
    }
  }

  private mutating func readPartial() throws(CSVError) -> Bool {
    let text = partial
    partial = []
    var failure: CSVError?
    let isRecord = text.withUnsafeBufferPointer { text in
      do throws(CSVError) { return try read(text) } catch { failure = error }
      return false
    }
    if let failure { throw failure }
    return isRecord
  }

  private func checkRoom(_ count: Int) throws(CSVError) {
    guard count <= recordBytesMax else {
      throw CSVError(line: line + 1, "expected at most \(recordBytesMax) bytes in one line, found more")
    }
  }

  /// - Returns: false for a blank line.
  private mutating func read(_ text: UnsafeBufferPointer<UInt8>) throws(CSVError) -> Bool {
    line += 1
    try checkRoom(text.count)
    var reader = JSONLineReader(text, line: line, isFirst: line == 1)
    guard !reader.isBlank else { return false }
    var values: [UInt8] = []
    var high = false
    try reader.readObject { (key, value, isQuoted) throws(CSVError) in
      let index = try self.index(of: key)
      guard cells[index].line != line else {
        throw CSVError(line: line, column: keys[index], "expected every key once, found it twice")
      }
      cells[index] = Cell(start: values.count, end: values.count + value.count, isQuoted: isQuoted, line: line)
      values += value
      high = high || value.contains { $0 >= 0x80 }
    }
    bytes.removeAll(keepingCapacity: true)
    ends.removeAll(keepingCapacity: true)
    quoted.removeAll(keepingCapacity: true)
    hasHighBytes = high
    for cell in cells {
      if cell.line == line { bytes += values[cell.start..<cell.end] }
      ends.append(UInt32(bytes.count))
      quoted.append(cell.line == line && cell.isQuoted)
    }
    return true
  }

  private mutating func index(of key: [UInt8]) throws(CSVError) -> Int {
    if let index = keyIndex[key] { return index }
    guard let name = key.withUnsafeBufferPointer({ ValueText.normalised($0) }), !name.isEmpty,
      name.utf8.count <= Limits.featureNameBytesMax
    else {
      throw CSVError(
        line: line, "expected a key of 1 to \(Limits.featureNameBytesMax) bytes, found one of \(key.count)")
    }
    let spelled = Array(name.utf8)
    if let index = keyIndex[spelled] {
      keyIndex[key] = index
      return index
    }
    guard !knowsKeys else {
      throw CSVError(line: line, column: name, "expected the keys of the lines before, found this one beside them")
    }
    guard keys.count < Limits.featuresMax else {
      throw CSVError(line: line, "expected at most \(Limits.featuresMax) keys, found more")
    }
    keys.append(name)
    cells.append(Cell())
    keyIndex[spelled] = keys.count - 1
    keyIndex[key] = keys.count - 1
    return keys.count - 1
  }
}

/// Reads the object of one line.
private struct JSONLineReader {
  private let text: UnsafeBufferPointer<UInt8>
  private let line: Int
  private var index = 0

  init(_ text: UnsafeBufferPointer<UInt8>, line: Int, isFirst: Bool) {
    self.text = text
    self.line = line
    if isFirst, text.starts(with: [0xEF, 0xBB, 0xBF]) { index = 3 }
    skipSpaces()
  }

  var isBlank: Bool { index == text.count }

  mutating func readObject(
    _ body: (_ key: [UInt8], _ value: [UInt8], _ isQuoted: Bool) throws(CSVError) -> Void
  ) throws(CSVError) {
    guard take(UInt8(ascii: "{")) else { throw fault("an object: {\"column\": value}") }
    skipSpaces()
    if !take(UInt8(ascii: "}")) {
      while true {
        skipSpaces()
        guard index < text.count, text[index] == UInt8(ascii: "\"") else { throw fault("a key in quotes") }
        let key = try string()
        skipSpaces()
        guard take(UInt8(ascii: ":")) else { throw fault("a colon after a key") }
        skipSpaces()
        let (value, isQuoted) = try value(of: key)
        try body(key, value, isQuoted)
        skipSpaces()
        if take(UInt8(ascii: "}")) { break }
        guard take(UInt8(ascii: ",")) else { throw fault("a comma or the end of the object") }
      }
    }
    skipSpaces()
    guard index == text.count else { throw fault("the end of the line after its object") }
  }

  private mutating func value(of key: [UInt8]) throws(CSVError) -> ([UInt8], Bool) {
    guard index < text.count else { throw fault("a value") }
    switch text[index] {
    case UInt8(ascii: "\""): return (try string(), true)
    case UInt8(ascii: "["), UInt8(ascii: "{"):
      throw CSVError(
        line: line, column: String(decoding: key, as: UTF8.self),
        "expected a number, a text, a truth value or null, found \(text[index] == 0x5B ? "a list" : "an object")")
    default: break
    }
    let start = index
    while index < text.count, ![0x2C, 0x7D, 0x20, 0x09, 0x0D].contains(text[index]) { index += 1 }
    let word = Array(text[start..<index])
    if word == Array("null".utf8) { return ([], false) }
    if word == Array("true".utf8) || word == Array("false".utf8) || Self.isNumber(word) { return (word, false) }
    index = start
    throw CSVError(
      line: line, column: String(decoding: key, as: UTF8.self),
      "expected a number, a text, a truth value or null, found \(String(decoding: word.prefix(40), as: UTF8.self).quotedForMessage)"
    )
  }

  /// `-? (0 | [1-9] digits) (. digits)? ([eE] [+-]? digits)?`
  private static func isNumber(_ word: [UInt8]) -> Bool {
    var index = 0
    func digits() -> Int {
      let start = index
      while index < word.count, word[index] &- 0x30 < 10 { index += 1 }
      return index - start
    }
    if word.first == 0x2D { index = 1 }
    let first = index
    let whole = digits()
    guard whole > 0, whole == 1 || word[first] != 0x30 else { return false }
    if index < word.count, word[index] == 0x2E {
      index += 1
      guard digits() > 0 else { return false }
    }
    if index < word.count, word[index] | 0x20 == 0x65 {
      index += 1
      if index < word.count, word[index] == 0x2B || word[index] == 0x2D { index += 1 }
      guard digits() > 0 else { return false }
    }
    return index == word.count
  }

  private mutating func string() throws(CSVError) -> [UInt8] {
    index += 1
    var bytes: [UInt8] = []
    while index < text.count {
      let byte = text[index]
      index += 1
      switch byte {
      case UInt8(ascii: "\""): return bytes
      case UInt8(ascii: "\\"): try escape(&bytes)
      case ..<0x20: throw CSVError(line: line, "expected no control character in a text, found one")
      default: bytes.append(byte)
      }
    }
    throw fault("a closing quote")
  }

  private mutating func escape(_ bytes: inout [UInt8]) throws(CSVError) {
    guard index < text.count else { throw fault("a character after a backslash") }
    let letter = text[index]
    index += 1
    switch letter {
    case UInt8(ascii: "n"): bytes.append(0x0A)
    case UInt8(ascii: "t"): bytes.append(0x09)
    case UInt8(ascii: "r"): bytes.append(0x0D)
    case UInt8(ascii: "b"): bytes.append(0x08)
    case UInt8(ascii: "f"): bytes.append(0x0C)
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): bytes.append(letter)
    case UInt8(ascii: "u"):
      var unit = try hexadecimal()
      if (0xD800..<0xDC00).contains(unit), index + 1 < text.count, text[index] == 0x5C, text[index + 1] == 0x75 {
        index += 2
        let low = try hexadecimal()
        guard (0xDC00..<0xE000).contains(low) else { throw fault("the other half of a surrogate pair") }
        unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(unit) else { throw fault("a whole surrogate pair") }
      bytes += Array(String(Character(scalar)).utf8)
    default: throw fault("one of \" \\ / b f n r t u after a backslash")
    }
  }

  private mutating func hexadecimal() throws(CSVError) -> UInt32 {
    guard index + 4 <= text.count,
      let value = UInt32(String(decoding: text[index..<index + 4], as: UTF8.self), radix: 16)
    else { throw fault("four hexadecimal digits after \\u") }
    index += 4
    return value
  }

  private mutating func skipSpaces() {
    while index < text.count, text[index] == 0x20 || text[index] == 0x09 || text[index] == 0x0D { index += 1 }
  }

  private mutating func take(_ byte: UInt8) -> Bool {
    guard index < text.count, text[index] == byte else { return false }
    index += 1
    return true
  }

  private func fault(_ expected: String) -> CSVError {
    let rest = String(decoding: text[index...].prefix(20), as: UTF8.self)
    let found = index < text.count ? rest.quotedForMessage : "the end of the line"
    return CSVError(line: line, "expected \(expected), found \(found)")
  }
}
