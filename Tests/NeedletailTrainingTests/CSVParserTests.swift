import Testing

@testable import NeedletailTraining

@Suite struct CSVParserTests {
  /// Parses with chunks of a size, so that every state meets the end of a chunk.
  private func records(_ bytes: [UInt8], chunk: Int = 1000) throws -> [[String]] {
    var parser = CSVParser(file: "f.csv")
    var records: [[String]] = []
    func take(_ record: CSVRecord) throws(TrainingError) {
      records.append((0..<record.count).map { String(decoding: record.field($0), as: UTF8.self) })
    }
    var start = 0
    while start < bytes.count {
      let piece = Array(bytes[start..<min(start + chunk, bytes.count)])
      try piece.withUnsafeBufferPointer { (piece) throws(TrainingError) in try parser.push(piece, take) }
      start += chunk
    }
    try parser.finish(take)
    return records
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
      message: "f.csv:3: expected a closing quote for the field that opens here, found the end of the file"),
    Fault(
      name: "a quote inside a bare field", bytes: Array("a\n5\" disk\n".utf8),
      message: "f.csv:2: field 1: expected a quote only around the whole field, found one inside it"),
    Fault(
      name: "text after a closing quote", bytes: Array("a,b\n1,\"x\"y\n".utf8),
      message: "f.csv:2: field 2: expected a comma or a line end after the closing quote, found \"y\""),
    Fault(
      name: "UTF-16 with a byte order mark", bytes: [0xFF, 0xFE, 0x61, 0x00, 0x0A, 0x00],
      message: "f.csv:1: expected UTF-8, found UTF-16 (byte order mark); convert it with iconv"),
    Fault(
      name: "UTF-16 without one", bytes: [0x61, 0x00, 0x0A, 0x00],
      message: "f.csv:1: expected text in UTF-8, found a NUL byte (is this UTF-16, or no text at all?)"),
  ]

  @Test(arguments: faults, [1, 1000])
  func refuses(_ fault: Fault, chunk: Int) throws {
    let error = #expect(throws: TrainingError.self) { try records(fault.bytes, chunk: chunk) }
    #expect(error?.message == fault.message)
    #expect(error?.kind == .data)
  }

  @Test func bytesThatAreNoTextNeverTrap() throws {
    var random = RandomSource(seed: 5)
    let alphabet: [UInt8] = [0x22, 0x2C, 0x0A, 0x0D, 0x61, 0xEF, 0xBB, 0xBF, 0xFF, 0x20]
    for _ in 0..<3000 {
      let bytes = (0..<random.index(below: 24)).map { _ in alphabet[random.index(below: alphabet.count)] }
      let whole = Result { try records(bytes) }
      let pieces = Result { try records(bytes, chunk: 1) }
      // However the bytes arrive, the outcome is the same.
      #expect((try? whole.get()) == (try? pieces.get()))
    }
  }
}

@Suite struct NumberTextTests {
  private func parse(_ text: String) -> Double? {
    Array(text.utf8).withUnsafeBufferPointer { NumberText.parse($0) }
  }

  @Test(arguments: [
    "0", "-0", "1", "+7", "3.25", ".5", "5.", "1e3", "1E-7", "-2.5e+10", "123456789012345678901234567890",
    "0.1", "2.2250738585072014e-308", "1.7976931348623157e308", "4.9e-324", "9007199254740993", "  42\t",
    "0.000000000000000000000000000000123456789123456789", "1e400", "1e-400",
  ])
  func agreesWithTheStandardLibrary(text: String) throws {
    let expected = try #require(Double(text.trimmingASCIISpaces.hasSuffix(".") ? text + "0" : text.trimmingASCIISpaces))
    #expect(parse(text)?.bitPattern == expected.bitPattern)
  }

  @Test func roundTripsRandomDoubles() {
    var random = RandomSource(seed: 3)
    for _ in 0..<20_000 {
      let value = Double(bitPattern: random.next())
      guard value.isFinite else { continue }
      #expect(parse("\(value)")?.bitPattern == value.bitPattern)
    }
  }

  @Test(arguments: [
    "", " ", "-", "+", ".", "e5", "1e", "1e+", "0x10", "inf", "nan", "1,5", "1 2", "1.2.3", "--1", "1f",
  ])
  func refusesWhatIsNoDecimalNumber(text: String) {
    #expect(parse(text) == nil)
  }
}
