import Foundation
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

/// Builds safetensors files by hand.
enum SafeTensorsFixtures {
  /// - Parameter header: the JSON as it stands in the file.
  static func file(_ header: String, data: [UInt8] = []) -> [UInt8] {
    let json = Array(header.utf8)
    return withUnsafeBytes(of: UInt64(json.count).littleEndian) { Array($0) } + json + data
  }

  static func tensor(_ type: String, _ shape: [Int], _ begin: Int, _ end: Int) -> String {
    "{\"dtype\": \"\(type)\", \"shape\": \(shape), \"data_offsets\": [\(begin), \(end)]}"
  }
}

@Suite("Files of safetensors")
struct SafeTensorsTests {
  private typealias Fixtures = SafeTensorsFixtures

  private func open(_ bytes: [UInt8]) throws -> (TensorFile, TemporaryDirectory) {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/model.safetensors"
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    return (try TensorFile(path), directory)
  }

  @Test func numbersOfEveryTypeAreRead() throws {
    // 1, -2.5 as fp32; 1, -2.5, 65504, 2⁻²⁴ as binary16; 1, -2.5 as bfloat16; behind them two int64.
    let data: [UInt8] =
      [0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0] + [0x00, 0x3c, 0x00, 0xc1, 0xff, 0x7b, 0x01, 0x00]
      + [0x80, 0x3f, 0x20, 0xc0] + [UInt8](repeating: 0, count: 16)
    let header =
      "{\"__metadata__\": {\"format\": \"pt\"}, \"c\": \(Fixtures.tensor("BF16", [2], 16, 20)), \"a\": \(Fixtures.tensor("F32", [1, 2], 0, 8)), \"b\": \(Fixtures.tensor("F16", [4], 8, 16)), \"d\": \(Fixtures.tensor("I64", [1, 2], 20, 36))}   "
    let (file, directory) = try open(Fixtures.file(header, data: data))
    defer { withExtendedLifetime(directory) {} }
    #expect(file.names == ["a", "b", "c", "d"])
    #expect(try file.floats("a", shape: [1, 2]).floats == [1, -2.5])
    #expect(try file.floats("b", shape: [nil]).floats == [1, -2.5, 65504, 0x1p-24])
    #expect(try file.floats("c", shape: [2]).floats == [1, -2.5])
    #expect(throws: TrainingError.self) { try file.floats("d", shape: [1, 2]) }
    #expect(file.shape(of: "d") == [1, 2] && file.shape(of: "e") == nil)
  }

  @Test func tensorsThatDoNotFitAreNamed() throws {
    let header = "{\"a\": \(Fixtures.tensor("F32", [1, 2], 0, 8)), \"b\": \(Fixtures.tensor("F32", [0, 2], 8, 8))}"
    let (file, directory) = try open(Fixtures.file(header, data: [0, 0, 0x80, 0x7f, 0, 0, 0, 0]))
    defer { withExtendedLifetime(directory) {} }
    func message(_ name: String, _ shape: [Int?]) -> String {
      do {
        _ = try file.floats(name, shape: shape)
        return ""
      } catch {
        return "\(error)"
      }
    }
    #expect(message("x", [3, nil]).hasSuffix("tensor \"x\": expected shape [3, any], found no tensor of that name"))
    #expect(message("a", [2, 1]).hasSuffix("tensor \"a\": expected shape [2, 1], found shape [1, 2]"))
    #expect(message("a", [2]).hasSuffix("tensor \"a\": expected shape [2], found shape [1, 2]"))
    #expect(message("a", [1, 2]).hasSuffix("tensor \"a\": expected finite numbers, found inf at 0"))
    #expect(message("b", [nil, 2]).hasSuffix("tensor \"b\": expected shape [any, 2], found shape [0, 2]"))
  }

  // MARK: - hostile files

  /// A file, and how its refusal ends.
  struct BadFile: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let bytes: [UInt8]
    let message: String

    init(_ name: String, _ bytes: [UInt8], _ message: String) {
      (testDescription, self.bytes, self.message) = (name, bytes, message)
    }
  }

  private static func one(_ tensor: String, data: Int = 8) -> [UInt8] {
    Fixtures.file("{\"a\": \(tensor)}", data: [UInt8](repeating: 0, count: data))
  }

  private static func two(_ a: (Int, Int), _ b: (Int, Int), data: Int = 8) -> [UInt8] {
    let tensors = [a, b].map { Fixtures.tensor("F32", [($0.1 - $0.0) / 4], $0.0, $0.1) }
    return Fixtures.file(
      "{\"a\": \(tensors[0]), \"b\": \(tensors[1])}", data: [UInt8](repeating: 0, count: data))
  }

  private static let bad = [
    BadFile("empty", [], "expected 8 bytes with the length of a header, found 0"),
    BadFile("short length", [1, 0, 0], "expected 8 bytes with the length of a header, found 3"),
    BadFile(
      "header of 2⁶⁴ − 1 bytes", [UInt8](repeating: 0xff, count: 8) + [0x7b, 0x7d],
      "found a length of 18446744073709551615"),
    BadFile(
      "header beyond the file", [9, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d], "expected 2 to 2 bytes, found a length of 9"),
    BadFile("no header", [0, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d], "found a length of 0"),
    BadFile("a list", Fixtures.file("[]"), "header: expected a JSON object, found another byte"),
    BadFile("a space in front", Fixtures.file(" {}"), "header: expected a JSON object, found another byte"),
    BadFile("text behind the header", Fixtures.file("{} x"), "expected the end of the file, found byte 0x78"),
    BadFile("no UTF-8", Fixtures.file("{}").dropLast(2) + [0x7b, 0xff], "expected a key in quotes, found byte 0xff"),
    BadFile(
      "a tensor twice",
      Fixtures.file("{\"a\": \(Fixtures.tensor("F32", [0], 0, 0)), \"a\": \(Fixtures.tensor("F32", [0], 0, 0))}"),
      "expected each key once in an object, found \"a\" twice"),
    BadFile(
      "an unknown type", one(Fixtures.tensor("F4", [2], 0, 8)),
      "header.a.dtype: expected F32, F16, BF16 or another type of whole bytes, found \"F4\""),
    BadFile(
      "no type", one("{\"shape\": [2], \"data_offsets\": [0, 8]}"),
      "header.a: expected an object with \"dtype\", found none of that name"),
    BadFile(
      "a negative size", one(Fixtures.tensor("F32", [-2], 0, 8)),
      "header.a.shape[0]: expected a whole number from 0 to 2147483647, found -2.0"),
    BadFile(
      "half a size", one("{\"dtype\": \"F32\", \"shape\": [2.5], \"data_offsets\": [0, 8]}"),
      "header.a.shape[0]: expected a whole number from 0 to 2147483647, found 2.5"),
    BadFile(
      "sizes that overflow", one(Fixtures.tensor("F32", [2_147_483_647, 2_147_483_647, 2_147_483_647], 0, 8)),
      "header.a.shape: expected a shape of less than 2⁶³ bytes, found [2147483647, 2147483647, 2147483647]"),
    BadFile(
      "many dimensions", one(Fixtures.tensor("F32", [Int](repeating: 1, count: 17), 0, 4), data: 4),
      "header.a.shape: expected at most 16 dimensions, found 17"),
    BadFile(
      "bytes that do not fit the shape", one(Fixtures.tensor("F32", [3], 0, 8)),
      "header.a.data_offsets: expected 12 bytes for shape [3] of F32, found 0 to 8"),
    BadFile(
      "the end before the begin", one(Fixtures.tensor("F32", [0], 8, 0)),
      "header.a.data_offsets: expected 0 bytes for shape [0] of F32, found 8 to 0"),
    BadFile(
      "an end beyond the file", one(Fixtures.tensor("F32", [3], 0, 12)),
      "header.a.data_offsets[1]: expected a whole number from 0 to 8, found 12.0"),
    BadFile(
      "one offset", one("{\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0]}"),
      "header.a.data_offsets: expected 2 numbers, found 1"),
    BadFile(
      "bytes in front", one(Fixtures.tensor("F32", [1], 4, 8)),
      "tensor \"a\": expected its bytes from 0, behind those of the others, found 4"),
    BadFile("bytes behind", one(Fixtures.tensor("F32", [1], 0, 4)), "expected 73 bytes for all tensors, found 77"),
    BadFile(
      "an overlap", two((0, 8), (4, 8)), "tensor \"b\": expected its bytes from 8, behind those of the others, found 4"),
    BadFile(
      "the same bytes", two((0, 8), (0, 8)),
      "tensor \"b\": expected its bytes from 8, behind those of the others, found 0"),
    BadFile(
      "a hole", two((0, 4), (8, 12), data: 12),
      "tensor \"b\": expected its bytes from 4, behind those of the others, found 8"),
  ]

  @Test(arguments: bad) func badFilesAreRefused(bad: BadFile) throws {
    let error = #expect(throws: TrainingError.self) { _ = try open(bad.bytes) }
    #expect(error?.message.hasSuffix(bad.message) == true, "\(error?.message ?? "")")
  }

  @Test func aFileThatIsNoneIsRefused() throws {
    let directory = try TemporaryDirectory()
    let message = { (path: String) -> String in
      do {
        _ = try TensorFile(path)
        return ""
      } catch {
        return "\(error)"
      }
    }
    #expect(message(directory.path).hasSuffix("expected a readable file, found something else"))
    #expect(message(directory.path + "/x").hasSuffix("expected a readable file, found none"))
  }
}
