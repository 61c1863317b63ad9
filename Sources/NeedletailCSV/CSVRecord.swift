/// One record of a CSV file: borrowed bytes, valid inside ``CSVParser/withRecord(_:)``.
public struct CSVRecord {
  /// All fields, one after the other, unquoted.
  let bytes: UnsafeBufferPointer<UInt8>
  /// Where each field ends in `bytes`.
  let ends: UnsafeBufferPointer<Int>
  let quoted: UnsafeBufferPointer<Bool>
  /// The line the record starts on, from 1.
  public let line: Int
  /// False if every byte is ASCII.
  public let hasHighBytes: Bool

  public var count: Int { ends.count }

  public func field(_ index: Int) -> UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(rebasing: bytes[(index == 0 ? 0 : ends[index - 1])..<ends[index]])
  }

  /// True where the field stood in quotes: its spaces are meant.
  public func isQuoted(_ index: Int) -> Bool { quoted[index] }

  /// - Returns: nil if the field is no UTF-8.
  public func text(_ index: Int) -> String? { String(validating: field(index), as: UTF8.self) }

  /// Refuses a record with more or fewer fields than its header, or with bytes that are no UTF-8.
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
