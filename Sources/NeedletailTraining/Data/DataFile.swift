internal import Glibc
internal import NeedletailCSV
internal import NeedletailCore
internal import NeedletailSystem

/// A file of rows on disk, streamed in chunks: CSV or JSON Lines, plain or packed with gzip or zstd.
struct DataFile {
  /// Path as the user wrote it, for messages.
  let name: String
  let path: String
  /// The format asked for, with what the file itself tells filled in.
  let format: DataFormat
  /// What was found out beside plain UTF-8 with commas, for people: `gzip`, `fields separated by a semicolon`.
  let findings: [String]

  private static let chunkBytes = 1 << 20
  private static let prefixBytes = 1 << 18

  /// Looks at the first bytes of the file for what the format leaves open.
  ///
  /// - Parameter name: `-` is standard input, whatever the path.
  /// - Throws: `TrainingError` where it cannot be read.
  init(name: String, path: String, format: DataFormat = DataFormat()) throws(TrainingError) {
    let isInput = name == StandardInput.name
    let (name, path) = isInput ? ("standard input", try StandardInput.path()) : (name, path)
    self.name = name
    self.path = path
    var prefix: [UInt8] = []
    let input = TextInput(format.encoding)
    try Self.readText(name, path, input) { (text) throws(TrainingError) in
      prefix += text.prefix(Self.prefixBytes - prefix.count)
      return prefix.count < Self.prefixBytes
    } raw: { _ in
    }
    var found = format
    var findings: [String] = input.packing.map { ["packed with \($0)"] } ?? []
    found.encoding = input.encoding ?? .utf8
    if let encoding = input.encoding, encoding != .utf8 { findings.append("encoded in \(encoding.rawValue)") }
    let isObject = prefix.first { ![0x20, 0x09, 0x0D, 0x0A, 0xEF, 0xBB, 0xBF].contains($0) } == UInt8(ascii: "{")
    let kind = format.kind ?? (isObject ? .jsonLines : .csv)
    found.kind = kind
    if kind == .jsonLines {
      if format.kind == nil { findings.append("JSON Lines") }
    } else if format.delimiter == nil || format.quote == nil {
      let dialect = prefix.withUnsafeBufferPointer { CSVDialect.detect($0) }
      found.delimiter = format.delimiter ?? dialect.delimiter
      found.quote = format.quote ?? dialect.quote
      if format.delimiter == nil, dialect.delimiter != .comma {
        findings.append("fields separated by a \(dialect.delimiter.rawValue)")
      }
      if format.quote == nil, dialect.quote != .double {
        findings.append(dialect.quote == .single ? "single quotes" : "quotes that are plain characters")
      }
    }
    self.format = found
    self.findings = findings
  }

  /// Reads the header and every record after it.
  ///
  /// - Parameters:
  ///   - handleChunk: takes every byte of the file, in order, as it stands on the disk.
  ///   - handleHeader: takes the column names, before any record.
  ///   - handleRecord: takes a record with as many fields as the header, all of them UTF-8.
  /// - Throws: `TrainingError` that names the line, or what the handlers throw.
  func read(
    chunk handleChunk: (UnsafeBufferPointer<UInt8>) -> Void = { _ in },
    header handleHeader: ([String]) throws(TrainingError) -> Void,
    record handleRecord: (CSVRecord) throws(TrainingError) -> Void
  ) throws(TrainingError) {
    var names: [String]?
    var recordCount = 0
    if format.kind == .jsonLines {
      let keys = try readHeader()
      names = keys
      try handleHeader(keys)
    }
    try forEachRecord(keys: names) { (record) throws(TrainingError) in
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
      handleChunk($0)
    }
    guard names != nil else { throw emptyFile }
    guard recordCount > 0 else {
      throw .data(file: name, line: 2, "expected at least one row after the header, found none")
    }
  }

  /// Column names: the first line of CSV, read without the rest of the file, or all keys of JSON Lines.
  func readHeader() throws(TrainingError) -> [String] {
    if format.kind == .jsonLines {
      let keys = try forEachRecord(keys: nil) { _ in
        true
      } chunk: { _ in
      }
      guard !keys.isEmpty else { throw emptyFile }
      return keys
    }
    var names: [String]?
    try forEachRecord(keys: nil) { (record) throws(TrainingError) in
      names = try headerNames(record)
      return false
    } chunk: { _ in
    }
    guard let names else { throw emptyFile }
    return names
  }

  private var emptyFile: TrainingError {
    .data(
      file: name, line: 1,
      format.kind == .jsonLines
        ? "expected a line with an object, found an empty file"
        : "expected a header line with column names, found an empty file")
  }

  private func failure(_ error: CSVError) -> TrainingError {
    let advice =
      error.problem.contains("expected UTF-8") && format.encoding == .utf8
      ? "; data.encoding: windows-1252 reads files of older programs" : ""
    return .data(file: name, line: error.line, column: error.column, error.problem + advice)
  }

  /// - Parameters:
  ///   - keys: of JSON Lines; nil collects them.
  ///   - body: takes the header and then the records; returns false to stop.
  ///   - handleChunk: takes the bytes of the file before they are read as records.
  /// - Returns: the keys of JSON Lines.
  @discardableResult
  private func forEachRecord(
    keys: [String]?, _ body: (CSVRecord) throws(TrainingError) -> Bool,
    chunk handleChunk: (UnsafeBufferPointer<UInt8>) -> Void
  ) throws(TrainingError) -> [String] {
    var records = Records(format, keys: keys)
    var goesOn = true
    try Self.readText(name, path, TextInput(format.encoding)) { (text) throws(TrainingError) in
      var position = 0
      while goesOn, try advance({ (records) throws(CSVError) in try records.next(in: text, from: &position) }, &records)
      {
        goesOn = try records.withRecord(body)
      }
      return goesOn
    } raw: {
      handleChunk($0)
    }
    if goesOn, try advance({ (records) throws(CSVError) in try records.finish() }, &records) {
      _ = try records.withRecord(body)
    }
    return records.keys
  }

  private func advance(
    _ step: (inout Records) throws(CSVError) -> Bool, _ records: inout Records
  ) throws(TrainingError) -> Bool {
    do throws(CSVError) { return try step(&records) } catch { throw failure(error) }
  }

  /// Calls the handler of text for the whole file, until it returns false.
  private static func readText(
    _ name: String, _ path: String, _ input: TextInput,
    text handleText: (UnsafeBufferPointer<UInt8>) throws(TrainingError) -> Bool,
    raw handleRaw: (UnsafeBufferPointer<UInt8>) -> Void
  ) throws(TrainingError) {
    func readable<Result: ~Copyable>(_ body: () throws(SystemError) -> Result) throws(TrainingError) -> Result {
      do throws(SystemError) {
        return try body()
      } catch {
        throw TrainingError(.data, "\(name): expected a readable file, found: \(error.reason)")
      }
    }
    let file = try readable { () throws(SystemError) in try FileDescriptor(opening: path, O_RDONLY) }
    let buffer = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: chunkBytes)
    defer { buffer.deallocate() }
    while true {
      let count = try readable { () throws(SystemError) in try file.read(into: UnsafeMutableRawBufferPointer(buffer)) }
      let chunk = UnsafeBufferPointer(rebasing: buffer[0..<count])
      handleRaw(chunk)
      let goesOn = try input.decode(chunk, failure: { TrainingError(.data, "\(name): \($0.message)") }, handleText)
      if !goesOn || count == 0 { return }
    }
  }

  private func headerNames(_ record: CSVRecord) throws(TrainingError) -> [String] {
    let names: [String]
    do throws(CSVError) { names = try record.columnNames() } catch { throw failure(error) }
    let delimiter = format.delimiter ?? .comma
    if let other = delimiter.likelier(for: names) {
      throw .data(
        file: name, line: record.line,
        "expected columns separated by a \(delimiter.rawValue), found one column and a \(other.rawValue) in its name; "
          + "set the delimiter: \(other.rawValue)")
    }
    return names
  }
}

/// The parser of a format.
private struct Records {
  private let isCSV: Bool
  private var csv: CSVParser
  private var lines: JSONLines

  init(_ format: DataFormat, keys: [String]?) {
    isCSV = format.kind != .jsonLines
    csv = CSVParser(delimiter: (format.delimiter ?? .comma).byte, quote: (format.quote ?? .double).byte)
    lines = JSONLines(keys: keys)
  }

  var keys: [String] { lines.keys }

  mutating func next(
    in chunk: UnsafeBufferPointer<UInt8>, from position: inout Int
  ) throws(CSVError) -> Bool {
    isCSV ? try csv.next(in: chunk, from: &position) : try lines.next(in: chunk, from: &position)
  }

  mutating func finish() throws(CSVError) -> Bool { isCSV ? try csv.finish() : try lines.finish() }

  func withRecord<Result, Failure: Error>(
    _ body: (CSVRecord) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    isCSV ? try csv.withRecord(body) : try lines.withRecord(body)
  }
}

/// Standard input, kept on disk without a name: a run reads its rows twice, and input comes once.
enum StandardInput {
  /// Name of it among files.
  static let name = "-"

  /// Path under which its bytes can be opened any number of times.
  ///
  /// - Throws: `TrainingError` where it cannot be read, or the disk is full.
  static func path() throws(TrainingError) -> String {
    switch spooled {
    case .success(let path): return path
    case .failure(let error): throw error
    }
  }

  private static let spooled: Result<String, TrainingError> = {
    let directory = getenv("TMPDIR").map { String(cString: $0) } ?? "/var/tmp"
    func failure(_ what: String) -> Result<String, TrainingError> {
      .failure(TrainingError(.data, "standard input: \(what): \(String(cString: strerror(errno)))"))
    }
    var template = Array("\(directory)/needletail.XXXXXX".utf8CString)
    let file = mkstemp(&template)
    guard file >= 0, fcntl(file, F_SETFD, FD_CLOEXEC) == 0 else {
      return failure("expected a temporary file in \(directory)")
    }
    // Open until the process ends; without a name, the file vanishes with it.
    unlink(template)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
    defer { buffer.deallocate() }
    while true {
      let count = read(0, buffer.baseAddress, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { return failure("expected bytes") }
      guard count > 0 else { return .success("/proc/self/fd/\(file)") }
      var written = 0
      while written < count {
        let step = write(file, buffer.baseAddress.map { $0 + written }, count - written)
        if step < 0, errno == EINTR { continue }
        guard step > 0 else { return failure("expected room in \(directory)") }
        written += step
      }
    }
  }()
}
