internal import NeedletailCore

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

  /// Whether the field was quoted, so that its spaces belong to it.
  public func isQuoted(_ index: Int) -> Bool { quoted[index] }

  /// - Returns: Text of the field; nil: the field is not UTF-8.
  public func text(_ index: Int) -> String? { String(validating: field(index), as: UTF8.self) }

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
