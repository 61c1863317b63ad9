internal import Glibc
internal import NeedletailCSV
internal import NeedletailCore
internal import NeedletailCrypto
internal import NeedletailSystem

/// A CSV file on disk, streamed in chunks.
struct CSVFile {
  /// Path as the user wrote it, for messages.
  let name: String
  let path: String
  let delimiter: CSVDelimiter

  private static let chunkBytes = 1 << 20

  /// Reads the header and every record after it.
  ///
  /// - Parameters:
  ///   - hash: takes every byte of the file, in order.
  ///   - handleHeader: takes the column names, before any record.
  ///   - handleRecord: takes a record with as many fields as the header, all of them UTF-8.
  /// - Throws: `TrainingError` that names the line, or what the handlers throw.
  func read(
    hash: inout SHA256,
    header handleHeader: ([String]) throws(TrainingError) -> Void,
    record handleRecord: (CSVRecord) throws(TrainingError) -> Void
  ) throws(TrainingError) {
    var names: [String]?
    var recordCount = 0
    try forEachRecord { (record) throws(TrainingError) in
      guard let names else {
        let found = try headerNames(record)
        names = found
        try handleHeader(found)
        return true
      }
      do throws(CSVError) { try record.check(against: names) } catch { throw failure(error) }
      recordCount += 1
      try handleRecord(record)
      return true
    } chunk: {
      hash.update(UnsafeRawBufferPointer($0))
    }
    guard names != nil else { throw emptyFile }
    guard recordCount > 0 else {
      throw .data(file: name, line: 2, "expected at least one row after the header, found none")
    }
  }

  /// Column names, read without the rest of the file.
  func readHeader() throws(TrainingError) -> [String] {
    var names: [String]?
    try forEachRecord { (record) throws(TrainingError) in
      names = try headerNames(record)
      return false
    } chunk: { _ in
    }
    guard let names else { throw emptyFile }
    return names
  }

  private var emptyFile: TrainingError {
    .data(file: name, line: 1, "expected a header line with column names, found an empty file")
  }

  private func failure(_ error: CSVError) -> TrainingError {
    .data(file: name, line: error.line, column: error.column, error.problem)
  }

  /// - Parameters:
  ///   - body: takes the header and then the records; returns false to stop.
  ///   - handleChunk: takes the bytes before they are read as records.
  private func forEachRecord(
    _ body: (CSVRecord) throws(TrainingError) -> Bool, chunk handleChunk: (UnsafeBufferPointer<UInt8>) -> Void
  ) throws(TrainingError) {
    let file = try readable { () throws(SystemError) in try FileDescriptor(opening: path, O_RDONLY) }
    let buffer = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: Self.chunkBytes)
    defer { buffer.deallocate() }
    var parser = CSVParser(delimiter: delimiter.byte)
    while true {
      let count = try readable { () throws(SystemError) in try file.read(into: UnsafeMutableRawBufferPointer(buffer)) }
      let chunk = UnsafeBufferPointer(rebasing: buffer[0..<count])
      handleChunk(chunk)
      var position = 0
      while try advance(&parser, chunk, &position) {
        guard try parser.withRecord(body) else { return }
      }
      if count == 0 { return }
    }
  }

  /// Reads up to the end of a record or of the chunk.
  ///
  /// - Parameter chunk: empty at the end of the file.
  /// - Returns: true where a record is complete.
  private func advance(
    _ parser: inout CSVParser, _ chunk: UnsafeBufferPointer<UInt8>, _ position: inout Int
  ) throws(TrainingError) -> Bool {
    do throws(CSVError) {
      return try chunk.isEmpty ? parser.finish() : parser.next(in: chunk, from: &position)
    } catch {
      throw failure(error)
    }
  }

  private func readable<Result: ~Copyable>(
    _ body: () throws(SystemError) -> Result
  ) throws(TrainingError) -> Result {
    do throws(SystemError) {
      return try body()
    } catch {
      throw TrainingError(.data, "\(name): expected a readable file, found: \(error.reason)")
    }
  }

  private func headerNames(_ record: CSVRecord) throws(TrainingError) -> [String] {
    let names: [String]
    do throws(CSVError) { names = try record.columnNames() } catch { throw failure(error) }
    if let other = delimiter.likelier(for: names) {
      throw .data(
        file: name, line: record.line,
        "expected columns separated by a \(delimiter.rawValue), found one column and a \(other.rawValue) in its name; "
          + "set the delimiter: \(other.rawValue)")
    }
    return names
  }
}
