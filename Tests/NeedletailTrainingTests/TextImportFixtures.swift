import Foundation

/// The tokenizers of Tests/text/fixtures, and what Hugging Face's library makes of texts with them.
enum TextFixtures {
  static func bytes(_ name: String) throws -> [UInt8] {
    let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    return try Array(Data(contentsOf: tests.appendingPathComponent("text/fixtures/\(name)")))
  }

  /// One line of `expected.jsonl`.
  struct Expectation: Decodable {
    var tokenizer: String
    var texts: [String]
    var ids: [UInt32]
    var offsets: [[Int]]
    var words: [Int?]
    var types: [UInt8]
  }

  static func expectations() throws -> [Expectation] {
    let lines = try String(decoding: bytes("expected.jsonl"), as: UTF8.self).split(separator: "\n")
    return try lines.map { try JSONDecoder().decode(Expectation.self, from: Data($0.utf8)) }
  }
}
