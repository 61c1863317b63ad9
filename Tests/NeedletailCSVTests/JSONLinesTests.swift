import Foundation
import NeedletailCSV
import NeedletailCore
import NeedletailTestSupport
import Testing

@Suite struct JSONLinesTests {
  private func records(
    _ text: String, keys: [String]? = nil, piece: Int = 1000
  ) throws -> (keys: [String], rows: [[String]], quoted: [[Bool]]) {
    var parser = JSONLines(keys: keys)
    var rows: [[String]] = []
    var quoted: [[Bool]] = []
    func take(_ record: CSVRecord) {
      rows.append((0..<record.count).map { record.text($0) ?? "?" })
      quoted.append((0..<record.count).map { record.isQuoted($0) })
    }
    let bytes = Array(text.utf8)
    for start in stride(from: 0, to: bytes.count, by: piece) {
      let part = Array(bytes[start..<min(start + piece, bytes.count)])
      try part.withUnsafeBufferPointer { part in
        var position = 0
        while try parser.next(in: part, from: &position) { parser.withRecord(take) }
      }
    }
    if try parser.finish() { parser.withRecord(take) }
    return (parser.keys, rows, quoted)
  }

  @Test(arguments: [1, 3, 1000])
  func aLineIsARecordWhoseColumnsAreTheKeys(piece: Int) throws {
    let text = "{\"a\": 1, \"b\": \"x\"}\r\n\n {\"b\":null , \"c\" : true}\n{\"a\":-1.5e3,\"c\":\"\"}"
    let keys = try records(text, piece: piece).keys
    #expect(keys == ["a", "b", "c"])
    let found = try records(text, keys: keys, piece: piece)
    #expect(found.rows == [["1", "x", ""], ["", "", "true"], ["-1.5e3", "", ""]])
    #expect(found.quoted == [[false, true, false], [false, false, false], [false, false, true]])
  }

  @Test func escapesAreThoseOfJSON() throws {
    let found = try records(#"{"t": "\"\\\/\b\f\n\r\t\u00e9\ud834\udd1e"}"#)
    #expect(found.rows == [["\"\\/\u{8}\u{c}\n\r\t\u{e9}\u{1D11E}"]])
  }

  @Test(arguments: [
    ("[1]", "line 1: expected an object: {\"column\": value}, found \"[1]\""),
    ("{\"a\": [1]}", "line 1: column \"a\": expected a number, a text, a truth value or null, found a list"),
    ("{\"a\": {}}", "line 1: column \"a\": expected a number, a text, a truth value or null, found an object"),
    ("{\"a\": NaN}", "line 1: column \"a\": expected a number, a text, a truth value or null, found \"NaN\""),
    ("{\"a\": 01}", "line 1: column \"a\": expected a number, a text, a truth value or null, found \"01\""),
    ("{\"a\": 1, \"a\": 2}", "line 1: column \"a\": expected every key once, found it twice"),
    ("{\"a\": 1}\n{\"a\" 1}", "line 2: expected a colon after a key, found \"1}\""),
    ("{\"a\": 1} x", "line 1: expected the end of the line after its object, found \"x\""),
    ("{\"a\": \"x", "line 1: expected a closing quote, found the end of the line"),
    ("{\"a\": \"\\ud834\"}", "line 1: expected a whole surrogate pair, found \"\\\"}\""),
    ("{\"\": 1}", "line 1: expected a key of 1 to 256 bytes, found one of 0"),
  ])
  func malformedLinesAreRefusedWithTheirPlace(text: String, message: String) {
    let error = #expect(throws: CSVError.self) { try records(text) }
    #expect(error?.description == message)
  }

  @Test func aLineIsReadWherePythonReadsIt() throws {
    var random = SplitMix64(seed: 4)
    let pieces = [
      "{", "}", "\"a\"", "\"b\"", ":", ",", "1", "-", "0", ".5", "e2", "true", "null", " ", "\"\\u0041\"", "[", "]",
    ]
    let texts = (0..<4000).map { _ in
      "{\"a\":"
        + (0..<Int.random(in: 0..<8, using: &random)).map { _ in pieces.randomElement(using: &random)! }.joined()
    }
    let directory = try TemporaryDirectory()
    let input = try directory.write(Array(JSONEncoder().encode(texts)), to: "texts.json")
    let program = """
      import json, sys
      def flat(text):
          try:
              found = json.loads(text, object_pairs_hook=list)
              keys = [k for k, _ in found]
              return len(set(keys)) == len(keys) and not any(isinstance(v, list) for _, v in found)
          except (ValueError, TypeError):
              return False
      print(json.dumps([flat(t) for t in json.load(open(sys.argv[1]))]))
      """
    let (_, answers) = try ChildProcess.run(["python3", "-c", program, input])
    let expected = try JSONDecoder().decode([Bool].self, from: Data(answers))
    for (text, isLine) in zip(texts, expected) { #expect(((try? records(text)) != nil) == isLine, "\(text)") }
    #expect(expected.count { $0 } > 8)
  }
}
