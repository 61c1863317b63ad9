internal import Crypto
internal import NeedletailCore

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// A CSV file on disk, streamed in chunks.
struct CSVFile {
  /// As the user wrote it, for messages.
  let name: String
  let path: String
  let delimiter: UInt8

  private static let chunkBytes = 1 << 20

  /// Reads the header and every record after it.
  ///
  /// - Parameter hash: takes every byte of the file, in order.
  func read(
    hash: inout SHA256,
    header handleHeader: ([String]) throws(TrainingError) -> Void,
    record handleRecord: (CSVRecord) throws(TrainingError) -> Void
  ) throws(TrainingError) {
    var parser = CSVParser(file: name, delimiter: delimiter)
    var names: [String]?
    var recordCount = 0

    func take(_ record: CSVRecord) throws(TrainingError) {
      guard let names else {
        let found = try headerNames(record)
        names = found
        try handleHeader(found)
        return
      }
      try check(record, names)
      recordCount += 1
      try handleRecord(record)
    }

    try forEachChunk { (chunk) throws(TrainingError) in
      hash.update(bufferPointer: UnsafeRawBufferPointer(chunk))
      try parser.push(chunk, take)
      return true
    }
    try parser.finish(take)
    guard names != nil else { throw emptyFile }
    guard recordCount > 0 else {
      throw .data(file: name, line: 2, "expected at least one row after the header, found none")
    }
  }

  /// Reads no further than it must.
  func readHeader() throws(TrainingError) -> [String] {
    var parser = CSVParser(file: name, delimiter: delimiter)
    var names: [String]?
    func take(_ record: CSVRecord) throws(TrainingError) {
      if names == nil { names = try headerNames(record) }
    }
    try forEachChunk { (chunk) throws(TrainingError) in
      try parser.push(chunk, take)
      return names == nil
    }
    if names == nil { try parser.finish(take) }
    guard let names else { throw emptyFile }
    return names
  }

  private var emptyFile: TrainingError {
    .data(file: name, line: 1, "expected a header line with column names, found an empty file")
  }

  private func check(_ record: CSVRecord, _ names: [String]) throws(TrainingError) {
    guard record.count == names.count else {
      throw .data(
        file: name, line: record.line, column: record.count < names.count ? names[record.count] : nil,
        "expected \(names.count) fields as in the header, found \(record.count)")
    }
    guard record.hasHighBytes else { return }
    for index in 0..<record.count where String(validating: record.field(index), as: UTF8.self) == nil {
      throw .data(file: name, line: record.line, column: names[index], "expected UTF-8, found bytes that are not")
    }
  }

  /// - Parameter body: returns false to stop.
  private func forEachChunk(
    _ body: (UnsafeBufferPointer<UInt8>) throws(TrainingError) -> Bool
  ) throws(TrainingError) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw unreadable }
    defer { close(descriptor) }
    let buffer = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: Self.chunkBytes)
    defer { buffer.deallocate() }
    while true {
      let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw unreadable }
      guard count > 0, try body(UnsafeBufferPointer(rebasing: buffer[0..<count])) else { return }
    }
  }

  private var unreadable: TrainingError {
    TrainingError(.data, "\(name): expected a readable file, found: \(String(cString: strerror(errno)))")
  }

  private func headerNames(_ record: CSVRecord) throws(TrainingError) -> [String] {
    var names: [String] = []
    var seen: [String: Int] = [:]
    for index in 0..<record.count {
      guard let raw = String(validating: record.field(index), as: UTF8.self) else {
        throw .data(
          file: name, line: record.line, "header field \(index + 1): expected UTF-8, found bytes that are not")
      }
      let text = record.quoted[index] ? raw : raw.trimmingASCIISpaces
      guard !text.isEmpty else {
        throw .data(file: name, line: record.line, "header field \(index + 1): expected a column name, found nothing")
      }
      guard text.utf8.count <= Limits.featureNameBytesMax else {
        throw .data(
          file: name, line: record.line,
          "header field \(index + 1): expected a name of at most \(Limits.featureNameBytesMax) bytes, found \(text.utf8.count)"
        )
      }
      if let first = seen.updateValue(index + 1, forKey: text) {
        throw .data(
          file: name, line: record.line, column: text,
          "expected every column name once, found it as fields \(first) and \(index + 1)")
      }
      names.append(text)
    }
    return names
  }
}

extension String {
  var trimmingASCIISpaces: String {
    var text = self[...]
    while let first = text.first, first == " " || first == "\t" { text.removeFirst() }
    while let last = text.last, last == " " || last == "\t" { text.removeLast() }
    return String(text)
  }
}
