internal import NeedletailCore

/// One record of a CSV file: borrowed bytes, valid inside the callback that got it.
struct CSVRecord {
  /// All fields, one after the other, unquoted.
  let bytes: UnsafeBufferPointer<UInt8>
  /// Where each field ends in `bytes`.
  let ends: UnsafeBufferPointer<Int>
  /// True where the field stood in quotes: its spaces are meant.
  let quoted: UnsafeBufferPointer<Bool>
  /// The line the record starts on, from 1.
  let line: Int
  /// False if every byte is ASCII.
  let hasHighBytes: Bool

  var count: Int { ends.count }

  func field(_ index: Int) -> UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(rebasing: bytes[(index == 0 ? 0 : ends[index - 1])..<ends[index]])
  }
}

/// Bytes in, records out: RFC 4180 as a pure state machine over chunks of any size.
///
/// Quoted fields with doubled quotes, commas and line ends inside; CRLF, LF or CR; a UTF-8 byte order
/// mark; blank lines skipped. What is not CSV is refused with file and line. Memory is bounded by one
/// record.
struct CSVParser {
  private enum State {
    case fieldStart
    case unquoted
    case quoted
    /// After a quote inside a quoted field: a second one is a literal quote, else the field has ended.
    case quoteInQuoted
  }

  private let file: String
  private let delimiter: UInt8
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
  /// Up to 3 bytes at the start of the file, until the byte order mark is told.
  private var head: [UInt8]? = []

  init(file: String, delimiter: UInt8 = UInt8(ascii: ",")) {
    self.file = file
    self.delimiter = delimiter
  }

  typealias Handler = (CSVRecord) throws(TrainingError) -> Void

  mutating func push(_ chunk: UnsafeBufferPointer<UInt8>, _ handler: Handler) throws(TrainingError) {
    if var start = head {
      let taken = min(3 - start.count, chunk.count)
      start.append(contentsOf: chunk[0..<taken])
      guard start.count == 3 else {
        head = start
        return
      }
      try pushHead(start, handler)
      try scan(UnsafeBufferPointer(rebasing: chunk[taken...]), handler)
    } else {
      try scan(chunk, handler)
    }
  }

  /// Ends the file: the last record needs no line end.
  mutating func finish(_ handler: Handler) throws(TrainingError) {
    if let start = head { try pushHead(start, handler) }
    if state == .quoted {
      throw .data(
        file: file, line: quoteLine, column: nil,
        "expected a closing quote for the field that opens here, found the end of the file")
    }
    if state != .fieldStart || !ends.isEmpty { try endRecord(handler) }
  }

  private mutating func pushHead(_ start: [UInt8], _ handler: Handler) throws(TrainingError) {
    head = nil
    if start.starts(with: [0xFF, 0xFE]) || start.starts(with: [0xFE, 0xFF]) {
      throw .data(file: file, line: 1, "expected UTF-8, found UTF-16 (byte order mark); convert it with iconv")
    }
    var rest = start
    if start == [0xEF, 0xBB, 0xBF] { rest = [] }
    try rest.withUnsafeBufferPointer { (bytes) throws(TrainingError) in try scan(bytes, handler) }
  }

  private mutating func scan(_ chunk: UnsafeBufferPointer<UInt8>, _ handler: Handler) throws(TrainingError) {
    let quote = UInt8(ascii: "\"")
    let lf = UInt8(ascii: "\n")
    let cr = UInt8(ascii: "\r")
    let delimiter = delimiter
    var index = 0
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
          endField()
          lastWasCR = false
          index += 1
        } else if byte == lf && lastWasCR {
          // The second half of CRLF: the record has ended already.
          lastWasCR = false
          recordLine = line
          index += 1
        } else if byte == lf || byte == cr {
          line += 1
          try endRecord(handler)
          lastWasCR = byte == cr
          index += 1
        } else if byte == quote {
          throw .data(
            file: file, line: line,
            "field \(ends.count + 1): expected a quote only around the whole field, found one inside it")
        } else {
          lastWasCR = false
          state = .unquoted
          index = try takeRun(chunk, from: index) { $0 == delimiter || $0 == lf || $0 == cr || $0 == quote }
        }
      case .quoted:
        if byte == quote {
          state = .quoteInQuoted
          index += 1
        } else {
          let start = bytes.count
          index = try takeRun(chunk, from: index) { $0 == quote }
          for position in start..<bytes.count where bytes[position] == lf { line += 1 }
        }
      case .quoteInQuoted:
        if byte == quote {
          bytes.append(quote)
          state = .quoted
          index += 1
        } else if byte == delimiter || byte == lf || byte == cr {
          state = .unquoted
        } else {
          throw .data(
            file: file, line: line,
            "field \(ends.count + 1): expected a comma or a line end after the closing quote, found \(String(decoding: [byte], as: UTF8.self).quotedForMessage)"
          )
        }
      }
    }
  }

  /// Copies bytes until one stops the run.
  private mutating func takeRun(
    _ chunk: UnsafeBufferPointer<UInt8>, from start: Int, until stops: (UInt8) -> Bool
  ) throws(TrainingError) -> Int {
    var end = start
    var high: UInt8 = 0
    var hasZero = false
    while end < chunk.count, !stops(chunk[end]) {
      high |= chunk[end]
      hasZero = hasZero || chunk[end] == 0
      end += 1
    }
    if hasZero {
      throw .data(
        file: file, line: line, "expected text in UTF-8, found a NUL byte (is this UTF-16, or no text at all?)")
    }
    if bytes.count + (end - start) > Limits.csvRecordBytesMax {
      throw .data(
        file: file, line: recordLine,
        "expected at most \(Limits.csvRecordBytesMax) bytes in one record, found more (a quote that never closes?)")
    }
    if high >= 0x80 { hasHighBytes = true }
    bytes.append(contentsOf: UnsafeBufferPointer(rebasing: chunk[start..<end]))
    return end
  }

  private mutating func endField() {
    ends.append(bytes.count)
    quoted.append(isQuoted)
    isQuoted = false
    state = .fieldStart
  }

  private mutating func endRecord(_ handler: Handler) throws(TrainingError) {
    endField()
    defer {
      bytes.removeAll(keepingCapacity: true)
      ends.removeAll(keepingCapacity: true)
      quoted.removeAll(keepingCapacity: true)
      hasHighBytes = false
      recordLine = line
    }
    if ends.count == 1, ends[0] == 0, !quoted[0] { return }
    if ends.count > Limits.featuresMax {
      throw .data(file: file, line: recordLine, "expected at most \(Limits.featuresMax) columns, found \(ends.count)")
    }
    try bytes.withUnsafeBufferPointer { (bytes) throws(TrainingError) in
      try ends.withUnsafeBufferPointer { (ends) throws(TrainingError) in
        try quoted.withUnsafeBufferPointer { (quoted) throws(TrainingError) in
          try handler(
            CSVRecord(bytes: bytes, ends: ends, quoted: quoted, line: recordLine, hasHighBytes: hasHighBytes))
        }
      }
    }
  }
}
