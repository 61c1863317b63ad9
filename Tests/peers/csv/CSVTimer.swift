import Glibc
import NeedletailCSV
import NeedletailCore

/// Reads a CSV file that is in memory several times, and prints the seconds of the best: of splitting records into
/// fields, and of reading columns of numbers and of text on top of that.
@main
enum CSVTimer {
  static func main() {
    guard CommandLine.arguments.count == 2, let bytes = read(CommandLine.arguments[1]) else {
      print("usage: timer FILE.csv")
      exit(2)
    }
    var split = Double.infinity
    var columns = Double.infinity
    for _ in 0..<5 {
      split = min(split, seconds { () throws(CSVError) in try splitRecords(bytes) })
      columns = min(columns, seconds { () throws(CSVError) in try readColumns(bytes) })
    }
    print(split, columns)
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

  private static func seconds(_ body: () throws(CSVError) -> Int) -> Double {
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

  private static func forEachRecord(
    _ bytes: UnsafeBufferPointer<UInt8>, _ body: (CSVRecord) throws(CSVError) -> Void
  ) throws(CSVError) {
    var parser = CSVParser()
    for start in stride(from: 0, to: bytes.count, by: chunkBytes) {
      let chunk = UnsafeBufferPointer(rebasing: bytes[start..<min(start + chunkBytes, bytes.count)])
      var position = 0
      while try parser.next(in: chunk, from: &position) { try parser.withRecord(body) }
    }
    if try parser.finish() { try parser.withRecord(body) }
  }

  private static func splitRecords(_ bytes: UnsafeBufferPointer<UInt8>) throws(CSVError) -> Int {
    var total = 0
    try forEachRecord(bytes) { record in
      for index in 0..<record.count { total &+= record.field(index).count }
    }
    return total
  }

  private static func readColumns(_ bytes: UnsafeBufferPointer<UInt8>) throws(CSVError) -> Int {
    var numbers: [[Double]] = []
    var texts: [[UInt32]] = []
    var codes: [[[UInt8]: UInt32]] = []
    var isText: [Bool] = []
    try forEachRecord(bytes) { record in
      if numbers.isEmpty {
        for index in 0..<record.count { isText.append(record.field(index).first == UInt8(ascii: "w")) }
        numbers = [[Double]](repeating: [], count: record.count)
        texts = [[UInt32]](repeating: [], count: record.count)
        codes = [[[UInt8]: UInt32]](repeating: [:], count: record.count)
        return
      }
      for index in 0..<record.count {
        let field = record.field(index)
        if isText[index] {
          let key = Array(field)
          let code = codes[index][key] ?? UInt32(codes[index].count)
          codes[index][key] = code
          texts[index].append(code)
        } else {
          numbers[index].append(NumberText.parse(field) ?? .nan)
        }
      }
    }
    return numbers.reduce(0) { $0 + $1.count } + texts.reduce(0) { $0 + $1.count }
  }
}
