public import NeedletailCore

/// Parses CSV (RFC 4180) as a state machine without I/O: bytes in chunks of any size go in, records come out.
///
/// Quoted fields may contain doubled quotes, commas and line ends. Lines end with CRLF, LF or CR, a UTF-8 byte order
/// mark is skipped, and so are blank lines. Records are those that Python's `csv` module reads. Text that is not CSV is
/// refused with its line, and so is a quote inside an unquoted field, which Python accepts. Memory is bounded by one
/// record.
///
/// ```swift
/// var position = 0
/// while try parser.next(in: chunk, from: &position) { parser.withRecord { … } }
/// ```
public struct CSVParser {
  private enum State {
    case fieldStart
    case unquoted
    case quoted
    /// After a quote inside a quoted field: a second one is a literal quote, else the field has ended.
    case quoteInQuoted
  }

  private static let byteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]

  private let delimiter: UInt8
  private let recordBytesMax: Int
  private var state = State.fieldStart
  private var bytes: [UInt8] = []
  private var ends: [Int] = []
  private var quoted: [Bool] = []
  private var isQuoted = false
  private var hasHighBytes = false
  private var line = 1
  private var recordLine = 1
  private var quoteLine = 1
  private var lastWasCR = false
  /// Whether a record is complete and the next one was not requested yet.
  private var isComplete = false
  /// Number of bytes of a byte order mark read so far; nil after the first other byte.
  private var markBytes: Int? = 0

  /// - Parameter recordBytesMax: Bound on the bytes of all fields of one record.
  public init(delimiter: UInt8 = UInt8(ascii: ","), recordBytesMax: Int = Limits.csvRecordBytesMax) {
    self.delimiter = delimiter
    self.recordBytesMax = recordBytesMax
  }

  /// Continues in a chunk, up to the end of a record or of the chunk.
  /// - Returns: True if a record is complete, see ``withRecord(_:)``; false if the next chunk or ``finish()`` is due.
  public mutating func next(
    in chunk: UnsafeBufferPointer<UInt8>, from position: inout Int
  ) throws(CSVError) -> Bool {
    clearCompleteRecord()
    while markBytes != nil, position < chunk.count { try skipMark(chunk, &position) }
    return try scan(chunk, &position)
  }

  /// Ends the file. The last record needs no line end.
  /// - Returns: Whether a last record is complete.
  public mutating func finish() throws(CSVError) -> Bool {
    clearCompleteRecord()
    if markBytes != nil { endMark() }
    if state == .quoted {
      throw CSVError(
        line: quoteLine, "expected a closing quote for the field that opens here, found the end of the file")
    }
    guard state != .fieldStart || !ends.isEmpty else { return false }
    return try endRecord()
  }

  /// Lends the complete record to `body`.
  public func withRecord<Result, Failure: Error>(
    _ body: (CSVRecord) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try bytes.withUnsafeBufferPointer { (bytes) throws(Failure) in
      try ends.withUnsafeBufferPointer { (ends) throws(Failure) in
        try quoted.withUnsafeBufferPointer { (quoted) throws(Failure) in
          try body(CSVRecord(bytes: bytes, ends: ends, quoted: quoted, line: recordLine, hasHighBytes: hasHighBytes))
        }
      }
    }
  }

  private mutating func skipMark(_ chunk: UnsafeBufferPointer<UInt8>, _ position: inout Int) throws(CSVError) {
    let matched = markBytes ?? 0
    // Neither byte occurs in UTF-8, so both show that the file has another encoding.
    if matched == 0, chunk[position] >= 0xFE {
      throw CSVError(line: 1, "expected UTF-8, found UTF-16 (byte order mark); convert it with iconv")
    }
    guard chunk[position] == Self.byteOrderMark[matched] else { return endMark() }
    position += 1
    markBytes = matched == 2 ? nil : matched + 1
  }

  /// Treats bytes that looked like the beginning of a byte order mark as part of the first field.
  private mutating func endMark() {
    if let matched = markBytes, matched > 0 {
      bytes.append(contentsOf: Self.byteOrderMark[..<matched])
      hasHighBytes = true
      state = .unquoted
    }
    markBytes = nil
  }

  private mutating func scan(
    _ chunk: UnsafeBufferPointer<UInt8>, _ position: inout Int
  ) throws(CSVError) -> Bool {
    let quote = UInt8(ascii: "\"")
    let lf = UInt8(ascii: "\n")
    let cr = UInt8(ascii: "\r")
    let delimiter = delimiter
    var index = position
    defer { position = index }
    while index < chunk.count {
      let byte = chunk[index]
      switch state {
      case .fieldStart where byte == quote:
        state = .quoted
        isQuoted = true
        quoteLine = line
        lastWasCR = false
        index += 1
      case .fieldStart, .unquoted:
        if byte == delimiter {
          try endField()
          lastWasCR = false
          index += 1
        } else if byte == lf && lastWasCR {
          // The LF of a CRLF, after which the record has ended already.
          lastWasCR = false
          recordLine = line
          index += 1
        } else if byte == lf || byte == cr {
          line += 1
          lastWasCR = byte == cr
          index += 1
          if try endRecord() { return true }
        } else if byte == quote {
          throw CSVError(
            line: line,
            "field \(ends.count + 1): expected a quote only around the whole field, found one inside it")
        } else {
          lastWasCR = false
          state = .unquoted
          index = try takeRun(chunk, from: index) { $0 == delimiter || $0 == lf || $0 == cr || $0 == quote }
        }
      case .quoted:
        if byte == quote {
          state = .quoteInQuoted
          lastWasCR = false
          index += 1
        } else {
          let start = bytes.count
          index = try takeRun(chunk, from: index) { $0 == quote }
          for copied in start..<bytes.count {
            // CRLF is one line end inside quotes too.
            if bytes[copied] == cr || (bytes[copied] == lf && !lastWasCR) { line += 1 }
            lastWasCR = bytes[copied] == cr
          }
        }
      case .quoteInQuoted:
        if byte == quote {
          try checkRoom(for: 1)
          bytes.append(quote)
          state = .quoted
          index += 1
        } else if byte == delimiter || byte == lf || byte == cr {
          state = .unquoted
        } else {
          throw CSVError(
            line: line,
            "field \(ends.count + 1): expected a comma or a line end after the closing quote, found \(String(decoding: [byte], as: UTF8.self).quotedForMessage)"
          )
        }
      }
    }
    return false
  }

  /// Copies bytes up to the first that has a meaning.
  private mutating func takeRun(
    _ chunk: UnsafeBufferPointer<UInt8>, from start: Int, until stops: (UInt8) -> Bool
  ) throws(CSVError) -> Int {
    var end = start
    var high: UInt8 = 0
    var hasZero = false
    while end < chunk.count, !stops(chunk[end]) {
      high |= chunk[end]
      hasZero = hasZero || chunk[end] == 0
      end += 1
    }
    if hasZero {
      throw CSVError(
        line: line, "expected text in UTF-8, found a NUL byte (is this UTF-16, or no text at all?)")
    }
    try checkRoom(for: end - start)
    if high >= 0x80 { hasHighBytes = true }
    bytes.append(contentsOf: UnsafeBufferPointer(rebasing: chunk[start..<end]))
    return end
  }

  private func checkRoom(for count: Int) throws(CSVError) {
    guard bytes.count + count <= recordBytesMax else {
      throw CSVError(
        line: recordLine,
        "expected at most \(recordBytesMax) bytes in one record, found more (a quote that never closes?)")
    }
  }

  private mutating func endField() throws(CSVError) {
    guard ends.count < Limits.featuresMax else {
      throw CSVError(line: recordLine, "expected at most \(Limits.featuresMax) columns, found more")
    }
    ends.append(bytes.count)
    quoted.append(isQuoted)
    isQuoted = false
    state = .fieldStart
  }

  /// - Returns: False for a blank line, which is not a record.
  private mutating func endRecord() throws(CSVError) -> Bool {
    try endField()
    isComplete = true
    if ends.count == 1, ends[0] == 0, !quoted[0] {
      clearCompleteRecord()
      return false
    }
    return true
  }

  private mutating func clearCompleteRecord() {
    guard isComplete else { return }
    isComplete = false
    bytes.removeAll(keepingCapacity: true)
    ends.removeAll(keepingCapacity: true)
    quoted.removeAll(keepingCapacity: true)
    hasHighBytes = false
    recordLine = line
  }
}

/// One record of a CSV file: borrowed bytes, valid inside ``CSVParser/withRecord(_:)``.
public struct CSVRecord {
  /// Bytes of all fields, one after the other, without quotes.
  let bytes: UnsafeBufferPointer<UInt8>
  /// End of each field in `bytes`.
  let ends: UnsafeBufferPointer<Int>
  let quoted: UnsafeBufferPointer<Bool>
  /// Line on which the record begins, from 1.
  public let line: Int
  /// Whether some byte is not ASCII.
  public let hasHighBytes: Bool

  public var count: Int { ends.count }

  public func field(_ index: Int) -> UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(rebasing: bytes[(index == 0 ? 0 : ends[index - 1])..<ends[index]])
  }

  /// Whether the field was quoted, so that it is text even where it is a word for a missing value.
  public func isQuoted(_ index: Int) -> Bool { quoted[index] }

  /// - Returns: Text of the field; nil: the field is not UTF-8.
  public func text(_ index: Int) -> String? { String(validating: field(index), as: UTF8.self) }

  /// Column names of a header, normalised as `proto/README.md` says: [V2]. A column may have no name, as the index of a
  /// data frame has none.
  public func columnNames() throws(CSVError) -> [String] {
    var names: [String] = []
    var seen: [[UInt8]: Int] = [:]
    for index in 0..<count {
      guard let name = ValueText.normalised(field(index)) else {
        throw CSVError(line: line, "header field \(index + 1): expected UTF-8, found bytes that are not")
      }
      guard name.utf8.count <= Limits.featureNameBytesMax else {
        throw CSVError(
          line: line,
          "header field \(index + 1): expected a name of at most \(Limits.featureNameBytesMax) bytes, found \(name.utf8.count)"
        )
      }
      if !name.isEmpty, let first = seen.updateValue(index + 1, forKey: Array(name.utf8)) {
        throw CSVError(
          line: line, column: name, "expected every column name once, found it as fields \(first) and \(index + 1)")
      }
      names.append(name)
    }
    return names
  }

  /// Refuses a record with more or fewer fields than its header, or with bytes that are not UTF-8.
  public func check(against header: [String]) throws(CSVError) {
    guard count == header.count else {
      throw CSVError(
        line: line, column: count < header.count ? header[count] : nil,
        "expected \(header.count) fields as in the header, found \(count)")
    }
    guard hasHighBytes else { return }
    for index in 0..<count where text(index) == nil {
      throw CSVError(line: line, column: header[index], "expected UTF-8, found bytes that are not")
    }
  }
}

/// Character between the fields of a file.
public enum CSVDelimiter: String, CaseIterable, Sendable {
  case comma, semicolon, tab, pipe

  public var byte: UInt8 {
    switch self {
    case .comma: UInt8(ascii: ",")
    case .semicolon: UInt8(ascii: ";")
    case .tab: 0x09
    case .pipe: UInt8(ascii: "|")
    }
  }

  /// Delimiter that a header was probably written with, where this one leaves it in one piece.
  public func likelier(for names: [String]) -> CSVDelimiter? {
    guard names.count == 1 else { return nil }
    return Self.allCases.first { $0 != self && names[0].utf8.contains($0.byte) }
  }
}

/// A fault of a CSV file and its place.
public struct CSVError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Line of the fault, from 1.
  public let line: Int
  /// Name in the header of the faulty column; nil: the whole record is at fault.
  public let column: String?
  /// One sentence without the place: what was expected, what was found.
  public let problem: String

  public init(line: Int, column: String? = nil, _ problem: String) {
    self.line = line
    self.column = column
    self.problem = problem
  }

  public var description: String {
    "line \(line): \(column.map { "column \($0.quotedForMessage): " } ?? "")\(problem)"
  }
}
