internal import NeedletailCore

/// Character around fields that hold delimiters and line ends.
public enum CSVQuote: String, CaseIterable, Sendable {
  case double
  case single
  /// No field is quoted: a quote is a character like any other.
  case none

  public var byte: UInt8? {
    switch self {
    case .double: UInt8(ascii: "\"")
    case .single: UInt8(ascii: "'")
    case .none: nil
    }
  }
}

/// How a CSV file is written.
public struct CSVDialect: Equatable, Sendable {
  public var delimiter: CSVDelimiter
  public var quote: CSVQuote

  public init(delimiter: CSVDelimiter = .comma, quote: CSVQuote = .double) {
    self.delimiter = delimiter
    self.quote = quote
  }

  /// Records that a guess rests on.
  private static let recordsMax = 200

  /// Finds how a file is written by its first bytes: the delimiter that cuts all records into as many fields as the
  /// header, the most fields first.
  ///
  /// - Parameter prefix: UTF-8; its last record may be cut.
  public static func detect(_ prefix: UnsafeBufferPointer<UInt8>) -> CSVDialect {
    var best = (dialect: CSVDialect(), score: 0.0)
    for delimiter in CSVDelimiter.allCases {
      for quote in [CSVQuote.double, .none] {
        let dialect = CSVDialect(delimiter: delimiter, quote: quote)
        let score = dialect.score(prefix)
        if score > best.score { best = (dialect, score) }
      }
    }
    if best.dialect.usesSingleQuotes(prefix) { best.dialect.quote = .single }
    return best.dialect
  }

  /// Share of the records that fit the header, times its fields; 0 for one that cuts nothing.
  private func score(_ prefix: UnsafeBufferPointer<UInt8>) -> Double {
    var counts: [Int] = []
    // A fault ends the sample: the records before it still say something.
    let isWhole = forEachRecord(prefix) { counts.append($0.count) }
    guard let header = counts.first, header > 1 else { return 0 }
    let fitting = counts.dropFirst().count { $0 == header }
    let share = counts.count > 1 ? Double(fitting) / Double(counts.count - 1) : 1
    return (share == 1 ? 1000 : share) * Double(header) * (isWhole ? 1 : 0.001)
  }

  /// True where fields are written 'so', which double quotes leave as part of the text.
  private func usesSingleQuotes(_ prefix: UnsafeBufferPointer<UInt8>) -> Bool {
    let mark = UInt8(ascii: "'")
    var (enclosed, apart, double) = (0, 0, 0)
    _ = forEachRecord(prefix) { record in
      for index in 0..<record.count {
        let field = record.field(index)
        if record.isQuoted(index) { double += 1 }
        guard let first = field.first, let last = field.last, first == mark || last == mark else { continue }
        if field.count > 1, first == mark, last == mark { enclosed += 1 } else { apart += 1 }
      }
    }
    return double == 0 && enclosed > 1 && apart == 0
  }

  /// - Returns: false where the text has a fault.
  private func forEachRecord(_ prefix: UnsafeBufferPointer<UInt8>, _ body: (CSVRecord) -> Void) -> Bool {
    var parser = CSVParser(delimiter: delimiter.byte, quote: quote.byte)
    var position = 0
    var records = 0
    do throws(CSVError) {
      while records < Self.recordsMax, try parser.next(in: prefix, from: &position) {
        parser.withRecord(body)
        records += 1
      }
      // A file of one line, or of a few, may lack its last line end.
      if records < 2, try parser.finish() { parser.withRecord(body) }
      return true
    } catch {
      return false
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
