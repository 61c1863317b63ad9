internal import CNeedletailCSV
public import NeedletailCore

/// Parses CSV (RFC 4180) as a state machine without I/O: bytes in chunks of any size go in, records come out.
///
/// Quoted fields may contain doubled quotes, commas and line ends. Lines end with CRLF, LF or CR, a UTF-8 byte order
/// mark is skipped, and so are blank lines. Records are those that Python's `csv` module reads. Text that is not CSV is
/// refused with its line, and so is a quote inside an unquoted field, which Python accepts. Memory is bounded by one
/// record.
///
/// A record without quotes that lies in one chunk is lent as it lies there; only what is quoted or cut in two is copied.
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

  /// Room for the ends of the widest record, and for those of a block of 64 bytes beyond.
  private static let endsMax = Limits.featuresMax + 128
  private static let byteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]

  private let delimiter: UInt8
  private let quote: UInt8
  private let recordBytesMax: Int
  private var state = State.fieldStart
  private var bytes: [UInt8] = []
  private var ends: [UInt32] = []
  /// Record that lies whole in the chunk, with its ends in `directEnds`; nil: it was copied.
  private var direct: UnsafeBufferPointer<UInt8>?
  private var directEnds = [UInt32](repeating: 0, count: 256)
  private var directCount = 0
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

  /// - Parameters:
  ///   - quote: byte around a field that may hold delimiters and line ends; nil: none is quoted.
  ///   - recordBytesMax: Bound on the bytes of all fields of one record.
  public init(
    delimiter: UInt8 = UInt8(ascii: ","), quote: UInt8? = UInt8(ascii: "\""),
    recordBytesMax: Int = Limits.csvRecordBytesMax
  ) {
    self.delimiter = delimiter
    // A NUL byte is refused before it could be taken for a quote.
    self.quote = quote ?? 0
    self.recordBytesMax = min(recordBytesMax, Int(UInt32.max))
  }

  /// Continues in a chunk, up to the end of a record or of the chunk.
  /// - Returns: True if a record is complete, see ``withRecord(_:)``, which lends bytes of the chunk; false if the next
  ///   chunk or ``finish()`` is due.
  public mutating func next(
    in chunk: UnsafeBufferPointer<UInt8>, from position: inout Int
  ) throws(CSVError) -> Bool {
    clearCompleteRecord()
    while markBytes != nil, position < chunk.count { try skipMark(chunk, &position) }
    if state == .fieldStart, ends.isEmpty {
      while position < chunk.count, let isRecord = try splitDirectly(chunk, &position) {
        if isRecord { return true }
      }
    }
    return try scan(chunk, &position)
  }

  /// Takes one line of the chunk that has no quotes and ends in it.
  ///
  /// - Returns: true for a record, false for a blank line; nil: the state machine has to read it.
  private mutating func splitDirectly(
    _ chunk: UnsafeBufferPointer<UInt8>, _ position: inout Int
  ) throws(CSVError) -> Bool? {
    if lastWasCR {
      lastWasCR = false
      if chunk[position] == UInt8(ascii: "\n") {
        position += 1
        return false
      }
    }
    guard let start = chunk.baseAddress?.advanced(by: position) else { return nil }
    let (left, delimiter, quote) = (chunk.count - position, delimiter, quote)
    var found: nt_csv_scan
    while true {
      found = directEnds.withUnsafeMutableBufferPointer {
        nt_csv_split(start, left, delimiter, quote, $0.baseAddress, $0.count)
      }
      guard found.stop == NT_CSV_FULL, directEnds.count < Self.endsMax else { break }
      directEnds = [UInt32](repeating: 0, count: min(directEnds.count * 4, Self.endsMax))
    }
    guard found.stop == NT_CSV_LINE, found.fields <= Limits.featuresMax, found.length <= recordBytesMax else {
      return nil
    }
    position += found.length + 1
    recordLine = line
    line += 1
    lastWasCR = start[found.length] == UInt8(ascii: "\r")
    guard found.length > 0 else {
      recordLine = line
      return false
    }
    direct = UnsafeBufferPointer(start: start, count: found.length)
    directCount = Int(found.fields)
    hasHighBytes = found.has_high_bytes
    isComplete = true
    return true
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
    if let direct {
      return try directEnds.withUnsafeBufferPointer { (ends) throws(Failure) in
        try body(
          CSVRecord(
            bytes: direct, ends: UnsafeBufferPointer(rebasing: ends[..<directCount]), gap: 1, quoted: nil,
            line: recordLine, hasHighBytes: hasHighBytes))
      }
    }
    return try bytes.withUnsafeBufferPointer { (bytes) throws(Failure) in
      try ends.withUnsafeBufferPointer { (ends) throws(Failure) in
        try quoted.withUnsafeBufferPointer { (quoted) throws(Failure) in
          try body(
            CSVRecord(
              bytes: bytes, ends: ends, gap: 0, quoted: quoted, line: recordLine, hasHighBytes: hasHighBytes))
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
    let quote = quote
    let lf = UInt8(ascii: "\n")
    let cr = UInt8(ascii: "\r")
    let delimiter = delimiter
    var index = position
    defer { position = index }
    while index < chunk.count {
      let byte = chunk[index]
      switch state {
      case .fieldStart where byte == quote && quote != 0:
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
        } else if byte == quote, quote != 0 {
          throw CSVError(
            line: line,
            "field \(ends.count + 1): expected a quote only around the whole field, found one inside it")
        } else {
          lastWasCR = false
          state = .unquoted
          index = try takeRun(chunk, from: index, until: delimiter, lf, cr)
        }
      case .quoted:
        if byte == quote {
          state = .quoteInQuoted
          lastWasCR = false
          index += 1
        } else {
          let start = bytes.count
          index = try takeRun(chunk, from: index, until: quote, quote, quote)
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

  /// Copies bytes up to the first that is a quote or one of these.
  private mutating func takeRun(
    _ chunk: UnsafeBufferPointer<UInt8>, from start: Int, until a: UInt8, _ b: UInt8, _ c: UInt8
  ) throws(CSVError) -> Int {
    let run = UnsafeBufferPointer(rebasing: chunk[start...])
    let count = nt_csv_find(run.baseAddress, run.count, a, b, c, quote, &hasHighBytes)
    if count < run.count, run[count] == 0 {
      throw CSVError(
        line: line, "expected text in UTF-8, found a NUL byte (is this UTF-16, or no text at all?)")
    }
    try checkRoom(for: count)
    bytes.append(contentsOf: run[..<count])
    return start + count
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
    ends.append(UInt32(bytes.count))
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
    if direct != nil {
      direct = nil
      hasHighBytes = false
      recordLine = line
      return
    }
    bytes.removeAll(keepingCapacity: true)
    ends.removeAll(keepingCapacity: true)
    quoted.removeAll(keepingCapacity: true)
    hasHighBytes = false
    recordLine = line
  }
}
