internal import Foundation
internal import NeedletailCSV
internal import NeedletailClient

extension FeatureTable {
  /// Reads CSV with a header, as the trainer does.
  /// - Throws: naming the file and the line.
  init(csv data: Data, source: String) throws(Failure) {
    do throws(CSVError) {
      let (header, rows, lines) = try Self.records(Array(data))
      guard let header else { throw CSVError(line: 1, "expected a header, found nothing") }
      guard !rows.isEmpty else { throw CSVError(line: 2, "expected rows after the header, found none") }
      self.init(source: source, columns: header, rows: rows) { "line \(lines[$0])" }
    } catch {
      throw Failure("\(source): \(error)")
    }
  }

  private static func records(
    _ bytes: [UInt8]
  ) throws(CSVError) -> (header: [String]?, rows: [[String]], lines: [Int]) {
    var header: [String]?
    var rows: [[String]] = []
    var lines: [Int] = []
    var parser = CSVParser()
    func take(_ record: CSVRecord) throws(CSVError) {
      if let header { try record.check(against: header) }
      var cells: [String] = []
      for index in 0..<record.count {
        guard let text = record.text(index) else {
          throw CSVError(line: record.line, "field \(index + 1): expected UTF-8, found bytes that are not")
        }
        cells.append(text)
      }
      if header == nil {
        header = cells
      } else {
        rows.append(cells)
        lines.append(record.line)
      }
    }
    try bytes.withUnsafeBufferPointer { (bytes) throws(CSVError) in
      var position = 0
      while try parser.next(in: bytes, from: &position) { try parser.withRecord(take) }
    }
    if try parser.finish() { try parser.withRecord(take) }
    return (header, rows, lines)
  }
}
