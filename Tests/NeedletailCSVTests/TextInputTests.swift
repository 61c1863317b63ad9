import Foundation
import NeedletailCSV
import NeedletailCore
import NeedletailTestSupport
import Testing

@Suite struct TextInputTests {
  /// Decodes with pieces of a size, so that every state meets the end of a piece.
  private func text(_ bytes: [UInt8], _ encoding: TextEncoding? = nil, piece: Int = 1000) throws -> String {
    let input = TextInput(encoding)
    var text: [UInt8] = []
    func take(_ bytes: UnsafeBufferPointer<UInt8>) throws(TextInput.Failure) -> Bool {
      text += bytes
      return true
    }
    for start in stride(from: 0, to: bytes.count, by: piece) {
      let part = Array(bytes[start..<min(start + piece, bytes.count)])
      _ = try part.withUnsafeBufferPointer { try input.decode($0, failure: { $0 }, take) }
    }
    _ = try input.decode(UnsafeBufferPointer(start: nil, count: 0), failure: { $0 }, take)
    return String(decoding: text, as: UTF8.self)
  }

  private func bytes(_ hex: String) -> [UInt8] {
    stride(from: 0, to: hex.count, by: 2).map { offset in
      let start = hex.index(hex.startIndex, offsetBy: offset)
      return UInt8(hex[start..<hex.index(start, offsetBy: 2)], radix: 16)!
    }
  }

  // What gzip and zstd make of "a,b\n1,2\n".
  private var gzip: [UInt8] { bytes("1f8b08000000000002034bd449e232d431e202007b07970a08000000") }
  private var zstd: [UInt8] { bytes("28b52ffd2408410000612c620a312c320a35e7cace") }

  @Test(arguments: [1, 2, 3, 7, 1000])
  func unpacksGzipAndZstdAlsoInSeveralStreams(piece: Int) throws {
    #expect(try text(gzip, piece: piece) == "a,b\n1,2\n")
    #expect(try text(zstd, piece: piece) == "a,b\n1,2\n")
    #expect(try text(gzip + gzip, piece: piece) == "a,b\n1,2\na,b\n1,2\n")
    #expect(try text(zstd + zstd, piece: piece) == "a,b\n1,2\na,b\n1,2\n")
  }

  @Test func aLongFileUnpacksWhole() throws {
    let directory = try TemporaryDirectory()
    let plain = (0..<200_000).map { "\($0),\($0 &* 2_654_435_761 % 977)\n" }.joined()
    for program in ["gzip", "zstd"] {
      let path = try directory.write(Array(plain.utf8), to: "long.csv")
      let (_, packed) = try ChildProcess.run([program, "-c", path])
      #expect(try text(packed, piece: 4096) == plain)
    }
  }

  @Test(arguments: [1, 2, 3, 1000])
  func readsUTF16InBothOrders(piece: Int) throws {
    let plain = "naïve,€,𝄞\n"
    let units = Array(plain.utf16)
    let little = units.flatMap { [UInt8($0 & 0xFF), UInt8($0 >> 8)] }
    let big = units.flatMap { [UInt8($0 >> 8), UInt8($0 & 0xFF)] }
    #expect(try text([0xFF, 0xFE] + little, piece: piece) == "\u{FEFF}" + plain)
    #expect(try text([0xFE, 0xFF] + big, piece: piece) == "\u{FEFF}" + plain)
    if piece > 1 {
      #expect(try text(little, piece: piece) == plain)
      #expect(try text(big, piece: piece) == plain)
    }
  }

  @Test func readsWindows1252AsPythonDoes() throws {
    let all = (UInt8(0x20)...0xFF).filter { ![0x81, 0x8D, 0x8F, 0x90, 0x9D].contains($0) }
    let directory = try TemporaryDirectory()
    let path = try directory.write(all, to: "bytes")
    let program = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read().decode('cp1252').encode())"
    let (_, expected) = try ChildProcess.run(["python3", "-c", program, path])
    #expect(try text(all, .windows1252) == String(decoding: expected, as: UTF8.self))
  }

  @Test func streamsThatAreCutOrDamagedAreRefused() throws {
    func message(_ bytes: [UInt8]) -> String? {
      #expect(throws: TextInput.Failure.self) { try text(bytes) }?.message
    }
    #expect(message(Array(gzip.dropLast(9))) == "expected the rest of its gzip stream, found the end of the file")
    #expect(message(Array(zstd.dropLast(6))) == "expected the rest of its zstd stream, found the end of the file")
    var broken = gzip
    broken[12] ^= 0xFF
    #expect(message(broken) == "expected a whole gzip stream, found damaged bytes in it")
    broken = zstd
    broken[15] ^= 0x40
    #expect(message(broken) == "expected a whole zstd stream, found damaged bytes in it")
    #expect(
      message([0xFF, 0xFE, 0x61]) == "expected whole characters of UTF-16, found half of one at the end of the file")
    #expect(message([0xFF, 0xFE, 0x00, 0xDC, 0x61, 0x00]) == "expected UTF-16, found half of a surrogate pair")
  }

  @Test func damagedBytesNeverTrap() {
    var random = SplitMix64(seed: 3)
    for whole in [gzip, zstd, [0xFF, 0xFE, 0x3D, 0xD8, 0x00, 0xDE]] {
      for _ in 0..<2000 {
        var bytes = whole
        for _ in 0..<Int.random(in: 1...3, using: &random) {
          bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
        }
        _ = try? text(bytes, piece: Int.random(in: 1...9, using: &random))
      }
    }
  }

  @Test(arguments: [
    ("a,b\n1,2\n", CSVDelimiter.comma, CSVQuote.double), ("a;b\n1,5;2,5\n3,5;4\n", .semicolon, .double),
    ("a\tb\n1\t2\n", .tab, .double), ("a|b|c\n1|2|3\n", .pipe, .double),
    ("name;text\nx;\"a, b; c\"\ny;\"d\"\n", .semicolon, .double),
    ("a,b,c\n1,'x, y',2\n3,'z',4\n5,'u',6\n", .comma, .single), ("size\tnote\n5\" disk\tx\n3\" disk\ty\n", .tab, .none),
    ("only\n1\n2\n", .comma, .double), ("a,b;c\n1,2\n3,4\n", .comma, .double), ("a;b", .semicolon, .double),
    ("x,y\n\"a;b;c\",1\n\"d;e;f\",2\n", .comma, .double),
  ])
  func theDialectIsFoundInTheFirstRecords(text: String, delimiter: CSVDelimiter, quote: CSVQuote) {
    let found = Array(text.utf8).withUnsafeBufferPointer { CSVDialect.detect($0) }
    if quote == .single {
      // Commas inside quotes hide behind them only once they are known for what they are.
      #expect(found.delimiter == delimiter)
    } else {
      #expect(found == CSVDialect(delimiter: delimiter, quote: quote))
    }
  }

  @Test func fieldsInSingleQuotesAreFound() {
    let found = Array("a,b\n'x','1'\n'y','2'\n".utf8).withUnsafeBufferPointer { CSVDialect.detect($0) }
    #expect(found == CSVDialect(delimiter: .comma, quote: .single))
  }
}
