import Foundation
import NeedletailCSV
import NeedletailCore
import NeedletailTestSupport
import Testing

@Suite("CSV")
struct CSVParserTests {
  /// Parses with chunks of a size, so that every state meets the end of a chunk.
  private func lines(_ bytes: [UInt8], chunk: Int = 1000) throws(CSVError) -> [(line: Int, fields: [String])] {
    var parser = CSVParser()
    var lines: [(line: Int, fields: [String])] = []
    func take(_ record: CSVRecord) {
      lines.append((record.line, (0..<record.count).map { String(decoding: record.field($0), as: UTF8.self) }))
    }
    for start in stride(from: 0, to: bytes.count, by: chunk) {
      let piece = Array(bytes[start..<min(start + chunk, bytes.count)])
      try piece.withUnsafeBufferPointer { (piece) throws(CSVError) in
        var position = 0
        while try parser.next(in: piece, from: &position) { parser.withRecord(take) }
      }
    }
    if try parser.finish() { parser.withRecord(take) }
    return lines
  }

  private func records(_ bytes: [UInt8], chunk: Int = 1000) throws(CSVError) -> [[String]] {
    try lines(bytes, chunk: chunk).map(\.fields)
  }

  @Test(arguments: [1, 2, 3, 5, 1000])
  func readsQuotesLineEndsAndTheByteOrderMark(chunk: Int) throws {
    let text = "a,b,c\r\n1,\"x, \"\"y\"\"\nz\",3\r\n\r\n,,\n\"\",4,\"5\"\rlast,6,7"
    let expected = [
      ["a", "b", "c"], ["1", "x, \"y\"\nz", "3"], ["", "", ""], ["", "4", "5"], ["last", "6", "7"],
    ]
    #expect(try records(Array(text.utf8), chunk: chunk) == expected)
    #expect(try records([0xEF, 0xBB, 0xBF] + Array(text.utf8), chunk: chunk) == expected)
  }

  @Test func readsAFileShorterThanAByteOrderMark() throws {
    #expect(try records(Array("a".utf8)) == [["a"]])
    #expect(try records([]) == [])
  }

  struct Fault: CustomTestStringConvertible {
    let name: String
    let bytes: [UInt8]
    let message: String
    var testDescription: String { name }
  }

  static let faults = [
    Fault(
      name: "a quote that never closes", bytes: Array("a,b\n1,2\n3,\"x\n\n".utf8),
      message: "line 3: expected a closing quote for the field that opens here, found the end of the file"),
    Fault(
      name: "a quote inside a bare field", bytes: Array("a\n5\" disk\n".utf8),
      message: "line 2: field 1: expected a quote only around the whole field, found one inside it"),
    Fault(
      name: "text after a closing quote", bytes: Array("a,b\n1,\"x\"y\n".utf8),
      message: "line 2: field 2: expected a comma or a line end after the closing quote, found \"y\""),
    Fault(
      name: "UTF-16 with a byte order mark", bytes: [0xFF, 0xFE, 0x61, 0x00, 0x0A, 0x00],
      message: "line 1: expected UTF-8, found UTF-16 (byte order mark); convert it with iconv"),
    Fault(
      name: "UTF-16 without one", bytes: [0x61, 0x00, 0x0A, 0x00],
      message: "line 1: expected text in UTF-8, found a NUL byte (is this UTF-16, or no text at all?)"),
  ]

  @Test(arguments: faults, [1, 1000])
  func malformedTextIsRefusedWithItsLine(_ fault: Fault, chunk: Int) throws {
    let error = #expect(throws: CSVError.self) { try records(fault.bytes, chunk: chunk) }
    #expect(error?.description == fault.message)
  }

  @Test func bytesThatAreNotTextNeverTrap() throws {
    var random = SplitMix64(seed: 5)
    let alphabet: [UInt8] = [0x22, 0x2C, 0x0A, 0x0D, 0x61, 0xEF, 0xBB, 0xBF, 0xFF, 0x20]
    for _ in 0..<3000 {
      let bytes = (0..<Int.random(in: 0..<24, using: &random)).map { _ in alphabet.randomElement(using: &random)! }
      let whole = Result { try records(bytes) }
      let pieces = Result { try records(bytes, chunk: 1) }
      // However the bytes arrive, the outcome is the same.
      #expect((try? whole.get()) == (try? pieces.get()))
    }
  }

  @Test(arguments: ["", "1", "1,2,3", "1,2,3,4"])
  func aRaggedRowIsNamedByItsLine(row: String) throws {
    let header = ["a", "b"]
    var parser = CSVParser()
    let text = Array("a,b\r\n1,\"x\r\ny\"\r\n\n\(row)\n".utf8)
    var faults: [String] = []
    try text.withUnsafeBufferPointer { (text) throws(CSVError) in
      var position = 0
      while try parser.next(in: text, from: &position) {
        do throws(CSVError) {
          try parser.withRecord { (record) throws(CSVError) in try record.check(against: header) }
        } catch {
          faults.append(error.description)
        }
      }
    }
    let count = row.isEmpty ? 0 : row.split(separator: ",").count
    switch count {
    case 0: #expect(faults == [])
    case 1: #expect(faults == ["line 5: column \"b\": expected 2 fields as in the header, found 1"])
    default: #expect(faults == ["line 5: expected 2 fields as in the header, found \(count)"])
    }
  }

  @Test(arguments: ["aaaaaaaaa", "\"aaaaaaaaa\"", String(repeating: "\"", count: 20), "aaa,aaa,aaa"])
  func bytesAreBoundedBeforeTheRecordEnds(text: String) {
    var parser = CSVParser(recordBytesMax: 8)
    let error = #expect(throws: CSVError.self) {
      try Array(text.utf8).withUnsafeBufferPointer { text in
        var position = 0
        while try parser.next(in: text, from: &position) {}
      }
    }
    #expect(error?.problem.hasPrefix("expected at most 8 bytes in one record") == true)
  }

  @Test func columnsAreBoundedBeforeTheRecordEnds() {
    let commas = [UInt8](repeating: UInt8(ascii: ","), count: Limits.featuresMax + 1)
    #expect(throws: CSVError.self) { try records(commas) }
    #expect(throws: Never.self) { try records(Array(commas[1...].dropLast())) }
  }

  /// Python's `csv.reader(strict=True)` is asked about the same texts: where both take a text, they find the
  /// same fields on the same lines, and we refuse what Python takes only for a quote inside a bare field.
  @Test func recordsAreThoseThatPythonsReaderReads() throws {
    var random = SplitMix64(seed: 11)
    let pieces = ["a", "bc", "é", " ", ",", ",", "\"", "\"\"", "\n", "\r\n", ",\"", "\",", "\"\n"]
    let texts = (0..<4000).map { _ in
      (0..<Int.random(in: 1..<16, using: &random)).map { _ in pieces.randomElement(using: &random)! }.joined()
    }
    var read = 0
    for (text, python) in zip(texts, try Python.records(of: texts)) {
      let ours = try? lines(Array(text.utf8), chunk: 3)
      if let ours {
        read += 1
        #expect(ours.map(\.fields) == python?.map(\.fields), "\(text.debugDescription)")
        #expect(ours.map(\.line) == python?.map(\.line), "\(text.debugDescription)")
      } else if python != nil {
        #expect(#"[^,\n\r"]""#.isFound(in: text), "\(text.debugDescription)")
      }
    }
    #expect(read > 1000)
  }
}

extension String {
  fileprivate func isFound(in text: String) -> Bool { text.range(of: self, options: .regularExpression) != nil }
}

private enum Python {
  struct Record: Decodable {
    var line: Int
    var fields: [String]
  }

  /// - Returns: for each text its records without the blank ones; nil where Python refuses it.
  static func records(of texts: [String]) throws -> [[Record]?] {
    let directory = try TemporaryDirectory()
    let input = try directory.write(Array(JSONEncoder().encode(texts)), to: "texts.json")
    let (_, answers) = try ChildProcess.run(["python3", "-c", program, input])
    return try JSONDecoder().decode([[Record]?].self, from: Data(answers))
  }

  private static let program = """
    import csv, io, json, sys

    def records(text):
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        found, line = [], 1
        try:
            for fields in reader:
                if fields:
                    found.append({"line": line, "fields": fields})
                line = reader.line_num + 1
        except csv.Error:
            return None
        return found

    with open(sys.argv[1]) as file:
        print(json.dumps([records(text) for text in json.load(file)]))
    """
}
