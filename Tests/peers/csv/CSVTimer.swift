import Glibc
import NeedletailCSV
import NeedletailCore

/// Reads a CSV file that is in memory several times, and prints the seconds of the best: of splitting records into
/// fields, of reading columns whose types must be found, and of reading columns whose types are known. Columns are read by the
/// trainer's own types, which are compiled into this program.
@main
enum CSVTimer {
  static func main() {
    guard CommandLine.arguments.count == 2, let bytes = read(CommandLine.arguments[1]) else {
      print("usage: timer FILE.csv")
      exit(2)
    }
    var split = Double.infinity
    var types = Double.infinity
    var columns = Double.infinity
    for _ in 0..<5 {
      var found: (readings: [ColumnReading], rows: Int) = ([], 0)
      split = min(split, seconds { () throws(TrainingError) in try splitRecords(bytes) })
      types = min(
        types,
        seconds { () throws(TrainingError) in
          found = try findTypes(bytes)
          return found.rows
        })
      columns = min(
        columns,
        seconds { () throws(TrainingError) in
          let places = Array(found.readings.indices)
          return try readColumns(bytes, found.readings, places, rows: found.rows).reduce(0) { $0 + $1.count }
        })
    }
    print(split, types, columns)
  }

  private static func read(_ path: String) -> UnsafeBufferPointer<UInt8>? {
    let file = open(path, O_RDONLY)
    var status = stat()
    guard file >= 0, fstat(file, &status) == 0 else { return nil }
    let size = Int(status.st_size)
    guard let map = mmap(nil, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0), map != MAP_FAILED else {
      return nil
    }
    return UnsafeBufferPointer(start: map.assumingMemoryBound(to: UInt8.self), count: size)
  }

  private static func seconds(_ body: () throws(TrainingError) -> Int) -> Double {
    var (start, end) = (timespec(), timespec())
    clock_gettime(CLOCK_MONOTONIC, &start)
    guard let found = try? body(), found > 0 else {
      print("no rows")
      exit(1)
    }
    clock_gettime(CLOCK_MONOTONIC, &end)
    return Double(end.tv_sec - start.tv_sec) + Double(end.tv_nsec - start.tv_nsec) / 1e9
  }

  private static let chunkBytes = 1 << 20
  private static let file = "table.csv"
  private static let words = MissingWords(ValueRules())

  private static func forEachRecord(
    _ bytes: UnsafeBufferPointer<UInt8>, _ body: (CSVRecord) throws(TrainingError) -> Void
  ) throws(TrainingError) {
    var parser = CSVParser()
    func advance(_ step: (inout CSVParser) throws(CSVError) -> Bool) throws(TrainingError) -> Bool {
      do throws(CSVError) { return try step(&parser) } catch { throw failure(error) }
    }
    for start in stride(from: 0, to: bytes.count, by: chunkBytes) {
      let chunk = UnsafeBufferPointer(rebasing: bytes[start..<min(start + chunkBytes, bytes.count)])
      var position = 0
      while try advance({ (parser) throws(CSVError) in try parser.next(in: chunk, from: &position) }) {
        try parser.withRecord(body)
      }
    }
    if try advance({ (parser) throws(CSVError) in try parser.finish() }) { try parser.withRecord(body) }
  }

  private static func splitRecords(_ bytes: UnsafeBufferPointer<UInt8>) throws(TrainingError) -> Int {
    var total = 0
    try forEachRecord(bytes) { record in
      for index in 0..<record.count { total &+= record.field(index).count }
    }
    return total
  }

  /// Reads every column and finds its type, as `TableReader` does where a run file declares none.
  private static func findTypes(_ bytes: UnsafeBufferPointer<UInt8>) throws(TrainingError) -> (
    readings: [ColumnReading], rows: Int
  ) {
    var drafts: [ColumnDraft] = []
    var places: [Int] = []
    var rows = 0
    try forEachRow(bytes) { header in
      drafts = header.map {
        ColumnDraft(name: $0, words: words, style: .plain, categoriesMax: Limits.trainingCategoriesMax)
      }
      places = Array(header.indices)
    } row: { record in
      rows += 1
      drafts.add(record, places: places[...], file: file)
    }
    var readings: [ColumnReading] = []
    var again: [Int] = []
    var cells = 0
    for index in drafts.indices {
      let reading = try drafts[index].finishSurvey().inferredReading()
      readings.append(reading)
      if var builder = drafts[index].take(reading) { cells += builder.finish().count } else { again.append(index) }
    }
    if !again.isEmpty {
      cells += try readColumns(bytes, readings, again, rows: rows).reduce(0) { $0 + $1.count }
    }
    guard cells == rows * readings.count else {
      print("expected \(rows) rows of \(readings.count) columns, found \(cells) cells")
      exit(1)
    }
    return (readings, rows)
  }

  /// Reads the columns at these places, as `TableReader` does where their types are known.
  private static func readColumns(
    _ bytes: UnsafeBufferPointer<UInt8>, _ readings: [ColumnReading], _ places: [Int], rows: Int
  ) throws(TrainingError) -> [Table.Column] {
    var builders: [ColumnBuilder] = []
    try forEachRow(bytes) { header in
      builders = places.map { place in
        ColumnBuilder(
          name: header[place], reading: readings[place], words: words, style: .plain,
          categoriesMax: Limits.trainingCategoriesMax, rows: rows)
      }
    } row: { (record) throws(TrainingError) in
      try builders.add(record, places: places[...], file: file)
    }
    var columns: [Table.Column] = []
    for index in builders.indices { columns.append(builders[index].finish()) }
    return columns
  }

  private static func forEachRow(
    _ bytes: UnsafeBufferPointer<UInt8>, header: ([String]) -> Void,
    row: (CSVRecord) throws(TrainingError) -> Void
  ) throws(TrainingError) {
    var names: [String] = []
    try forEachRecord(bytes) { (record) throws(TrainingError) in
      do throws(CSVError) {
        if names.isEmpty {
          names = try record.columnNames()
          header(names)
          return
        }
        try record.check(against: names)
      } catch {
        throw failure(error)
      }
      try row(record)
    }
  }

  private static func failure(_ error: CSVError) -> TrainingError {
    .data(file: file, line: error.line, column: error.column, error.problem)
  }
}
