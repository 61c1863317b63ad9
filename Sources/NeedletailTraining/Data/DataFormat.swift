public import NeedletailCSV

/// How data files are written; nil: as the file itself tells.
public struct DataFormat: Equatable, Sendable {
  public enum Kind: String, Sendable, CaseIterable {
    case csv
    /// One JSON object a line.
    case jsonLines = "json_lines"
  }

  public var kind: Kind?
  public var delimiter: CSVDelimiter?
  public var quote: CSVQuote?
  public var encoding: TextEncoding?

  public init(
    kind: Kind? = nil, delimiter: CSVDelimiter? = nil, quote: CSVQuote? = nil, encoding: TextEncoding? = nil
  ) {
    self.kind = kind
    self.delimiter = delimiter
    self.quote = quote
    self.encoding = encoding
  }
}
