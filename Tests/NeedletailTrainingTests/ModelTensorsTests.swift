import Foundation
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

/// Models whose tensors lie in several files.
@Suite("Files of safetensors with an index")
struct ModelTensorsTests {
  /// A file with fp32 tensors of two numbers each.
  private static func shard(_ tensors: [(name: String, numbers: [Float])]) -> [UInt8] {
    let header = tensors.enumerated().map { index, tensor in
      "\"\(tensor.name)\": \(SafeTensorsFixtures.tensor("F32", [2], 8 * index, 8 * index + 8))"
    }
    let data = tensors.flatMap { $0.numbers.withUnsafeBytes { Array($0) } }
    return SafeTensorsFixtures.file("{\(header.joined(separator: ", "))}", data: data)
  }

  private static func folder(_ index: String) throws -> TemporaryDirectory {
    let directory = try TemporaryDirectory()
    try directory.write(Array(index.utf8), to: ModelTensors.indexName)
    try directory.write(shard([("a", [1, 2]), ("b", [3, 4])]), to: "model-00001-of-00002.safetensors")
    try directory.write(shard([("c", [5, 6])]), to: "model-00002-of-00002.safetensors")
    return directory
  }

  private static let index = """
    {"metadata": {"total_size": 24}, "weight_map": {"a": "model-00001-of-00002.safetensors", \
    "b": "model-00001-of-00002.safetensors", "c": "model-00002-of-00002.safetensors"}}
    """

  @Test func tensorsAreReadFromTheFilesThatTheIndexNames() throws {
    let directory = try Self.folder(Self.index)
    let tensors = try ModelTensors.read(ForeignFolder(directory.path))
    #expect(tensors.names == ["a", "b", "c"] && tensors.has("c") && !tensors.has("d"))
    #expect(try tensors.floats("b", shape: [2]).floats == [3, 4])
    #expect(try tensors.floats("c", shape: [nil]).floats == [5, 6])
    #expect(tensors.shape(of: "a") == [2] && tensors.shape(of: "d") == nil)
    let error = #expect(throws: TrainingError.self) { try tensors.floats("d", shape: [2]) }
    #expect(error?.message.hasSuffix("tensor \"d\": expected shape [2], found no tensor of that name") == true)
  }

  @Test func oneFileComesBeforeAnIndex() throws {
    let directory = try Self.folder("not even JSON")
    try directory.write(Self.shard([("only", [7, 8])]), to: ModelTensors.fileName)
    #expect(try ModelTensors.read(ForeignFolder(directory.path)).names == ["only"])
  }

  private static let many = (0..<257).map { "\"t\($0)\": \"\($0).safetensors\"" }.joined(separator: ", ")

  @Test(arguments: [
    ("{}", "the document: expected an object with \"weight_map\", found none of that name"),
    ("[1]", "the document: expected an object, found a list of numbers"),
    ("{\"weight_map\": {}}", "weight_map: expected 1 to 65536 tensors, found 0"),
    ("{\"weight_map\": {\"a\": 1}}", "weight_map.a: expected text, found a number"),
    (
      "{\"weight_map\": {\"a\": \"../model.safetensors\"}}",
      "weight_map.a: expected the name of a file NAME.safetensors beside it, found \"../model.safetensors\""
    ),
    (
      "{\"weight_map\": {\"a\": \"/etc/passwd\"}}",
      "weight_map.a: expected the name of a file NAME.safetensors beside it, found \"/etc/passwd\""
    ),
    (
      "{\"weight_map\": {\"a\": \"model-00001-of-00002.safetensors\\u0000.safetensors\"}}",
      "expected the name of a file NAME.safetensors beside it, found \"model-00001-of-00002.safetensors\\u{0}.safetensors\""
    ),
    ("{\"weight_map\": {\"a\": \"none.safetensors\"}}", "none.safetensors: expected a readable file, found none"),
    ("{\"weight_map\": {\(many)}}", "weight_map: expected at most 256 files, found 257"),
    (
      index.replacingOccurrences(of: "\"b\":", with: "\"x\":"),
      "weight_map.b: expected \"model-00001-of-00002.safetensors\", which has it, found no such entry"
    ),
    (
      index.replacingOccurrences(
        of: "\"b\": \"model-00001-of-00002.safetensors\"", with: "\"b\": \"model-00002-of-00002.safetensors\""),
      "weight_map.b: expected \"model-00001-of-00002.safetensors\", which has it, found it in model-00002-of-00002.safetensors"
    ),
    (
      index.replacingOccurrences(
        of: "\"weight_map\": {", with: "\"weight_map\": {\"d\": \"model-00002-of-00002.safetensors\", "),
      "model-00002-of-00002.safetensors: expected tensor \"d\", which model.safetensors.index.json names, found none"
    ),
    (
      index.replacingOccurrences(of: "\"weight_map\": {", with: "\"weight_map\": {\"a\": \"x.safetensors\", "),
      "expected each key once in an object, found \"a\" twice"
    ),
  ])
  func indexesAtFaultAreRefused(index: String, message: String) throws {
    let directory = try Self.folder(index)
    let error = #expect(throws: TrainingError.self) { try ModelTensors.read(ForeignFolder(directory.path)) }
    #expect(error?.message.hasSuffix(message) == true, "\(error?.message ?? "")")
  }

  @Test func aFolderWithoutTensorsIsRefused() throws {
    let directory = try TemporaryDirectory()
    let error = #expect(throws: TrainingError.self) { try ModelTensors.read(ForeignFolder(directory.path)) }
    #expect(error?.message.hasSuffix("expected a Hugging Face folder with model.safetensors, found none") == true)
  }
}
