internal import NeedletailCore

/// One record of a CSV file: borrowed bytes, valid inside ``CSVParser/withRecord(_:)``.
public struct CSVRecord {
  /// Bytes of all fields, one after the other, without quotes.
  @usableFromInline let bytes: UnsafeBufferPointer<UInt8>
  /// End of each field in `bytes`.
  @usableFromInline let ends: UnsafeBufferPointer<UInt32>
  /// Bytes between two fields: a delimiter, or none.
  @usableFromInline let gap: Int
  /// Nil: no field was quoted.
  @usableFromInline let quoted: UnsafeBufferPointer<Bool>?
  /// Line on which the record begins, from 1.
  public let line: Int
  /// Whether some byte is not ASCII.
  public let hasHighBytes: Bool

  public var count: Int { ends.count }

  @inlinable
  public func field(_ index: Int) -> UnsafeBufferPointer<UInt8> {
    let start = index == 0 ? 0 : Int(ends[index - 1]) + gap
    return UnsafeBufferPointer(rebasing: bytes[start..<Int(ends[index])])
  }

  /// Whether the field was quoted, so that it is text even where it is a word for a missing value.
  @inlinable
  public func isQuoted(_ index: Int) -> Bool { quoted?[index] ?? false }

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
