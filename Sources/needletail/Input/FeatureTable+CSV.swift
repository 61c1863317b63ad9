internal import NeedletailClient

extension FeatureTable {
  /// Reads CSV with a header (RFC 4180: quotes, doubled quotes, line breaks within quotes; LF or CRLF).
  /// - Throws: naming the file and the line.
  init(csv text: String, source: String) throws(Failure) {
    var reader = CSVReader(text)
    var header: [String]?
    var rows: [[String]] = []
    var lines: [Int] = []
    while let (record, line) = try Self.record(&reader, source: source) {
      guard let header else {
        header = record
        continue
      }
      guard record.count == header.count else {
        throw Failure("\(source): line \(line): expected \(header.count) cells as in the header, found \(record.count)")
      }
      rows.append(record)
      lines.append(line)
    }
    guard let header else { throw Failure("\(source): expected a header line, found nothing") }
    guard !rows.isEmpty else { throw Failure("\(source): expected rows after the header, found none") }
    let lineNumbers = lines
    self.init(source: source, columns: header, rows: rows) { "line \(lineNumbers[$0])" }
  }

  private static func record(
    _ reader: inout CSVReader, source: String
  ) throws(Failure) -> (cells: [String], line: Int)? {
    do {
      return try reader.next()
    } catch {
      throw Failure("\(source): line \(error.line): \(error.fault)")
    }
  }
}

/// Cuts CSV text into records.
private struct CSVReader {
  struct Malformed: Error {
    var line: Int
    var fault: String
  }

  private let bytes: [UInt8]
  private var position = 0
  private var line = 1

  init(_ text: String) {
    bytes = Array(text.utf8)
    if bytes.starts(with: [0xef, 0xbb, 0xbf]) { position = 3 }
  }

  /// The next record and the line it begins on; blank lines are skipped.
  mutating func next() throws(Malformed) -> (cells: [String], line: Int)? {
    while position < bytes.count, bytes[position] == newline || bytes[position] == carriageReturn {
      if bytes[position] == newline { line += 1 }
      position += 1
    }
    guard position < bytes.count else { return nil }
    let start = line
    var cells = [try cell()]
    while position < bytes.count, bytes[position] == comma {
      position += 1
      cells.append(try cell())
    }
    return (cells, start)
  }

  private mutating func cell() throws(Malformed) -> String {
    guard position < bytes.count, bytes[position] == quote else {
      let start = position
      while position < bytes.count, bytes[position] != comma, bytes[position] != newline { position += 1 }
      var end = position
      if end > start, bytes[end - 1] == carriageReturn { end -= 1 }
      return String(decoding: bytes[start..<end], as: UTF8.self)
    }
    let opened = line
    var content: [UInt8] = []
    position += 1
    while position < bytes.count {
      let byte = bytes[position]
      position += 1
      guard byte == quote else {
        if byte == newline { line += 1 }
        content.append(byte)
        continue
      }
      guard position < bytes.count, bytes[position] == quote else { return try closed(content) }
      content.append(quote)
      position += 1
    }
    throw Malformed(line: opened, fault: "a quote is opened and never closed")
  }

  /// What may follow a closing quote: a comma, the end of the line, the end of the text.
  private mutating func closed(_ content: [UInt8]) throws(Malformed) -> String {
    if position < bytes.count, bytes[position] == carriageReturn { position += 1 }
    guard position == bytes.count || bytes[position] == comma || bytes[position] == newline else {
      throw Malformed(line: line, fault: "expected a comma after a closing quote")
    }
    return String(decoding: content, as: UTF8.self)
  }
}

private let comma = UInt8(ascii: ",")
private let quote = UInt8(ascii: "\"")
private let newline = UInt8(ascii: "\n")
private let carriageReturn = UInt8(ascii: "\r")
