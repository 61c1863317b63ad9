import NeedletailCore
import NeedletailYAML
import Testing

@Suite("YAML values")
struct YAMLNodeTests {
  private enum State: String, CaseIterable { case active, retired }

  private func message(_ body: () throws(YAMLError) -> Void) -> String {
    do throws(YAMLError) {
      try body()
      return "accepted"
    } catch {
      return error.description
    }
  }

  private func parse(_ text: String) throws(YAMLError) -> YAMLNode { try .parse(text, file: "a.yaml") }

  @Test func everyValueKnowsItsLineAndItsPath() throws {
    let file = try parse("keys:\n  - name: x\n    models:\n      - wine\nlimits: {rows: 7}\n")
    let entries = try file.entries(known: ["keys", "limits"])
    #expect(entries.map(\.word) == ["keys", "limits"])
    let key = try #require(try entries[0].value.elements().first)
    #expect(key.path == "keys[0]" && key.place == YAMLPlace("a.yaml", line: 2))
    let models = try key.entries()[1]
    #expect(models.key.place.line == 3 && models.key.path == "keys[0]")
    let model = try models.value.elements()[0]
    #expect(try model.text() == "wine")
    #expect(model.path == "keys[0].models[0]" && "\(model.place)" == "a.yaml:4")
    #expect(try entries[1].value.entries()[0].value.path == "limits.rows")
  }

  @Test(arguments: ["", "# nothing\n", "---\n", "~", "null"])
  func anEmptyFileHasNoEntries(text: String) throws {
    let file = try parse(text)
    #expect(file.isNull)
    #expect(try file.entries(known: []).isEmpty && file.elements().isEmpty)
  }

  @Test(arguments: [("a:", true), ("a: ~", true), ("a: NULL", true), ("a: 'null'", false), ("a: \"\"", false)])
  func onlyUnquotedNothingIsNull(text: String, isNull: Bool) throws {
    #expect(try parse(text).entries()[0].value.isNull == isNull)
  }

  @Test(arguments: [
    ("kes: 1", "a.yaml:1: expected a known key, found \"kes\", did you mean \"keys\"?"),
    ("keys: 1\nzzzzzzzz: 1", "a.yaml:2: expected one of keys, state, found \"zzzzzzzz\""),
    ("- 1", "a.yaml:1: expected a mapping, found a list of 1"),
    ("secret", "a.yaml:1: expected a mapping, found one value"),
    ("keys: {a: 1}", "a.yaml:1: keys: expected a list, found a mapping"),
    ("keys:\n  - [1]", "a.yaml:2: keys[0]: expected one value, found a list of 1"),
    ("keys:\n  -", "a.yaml:2: keys[0]: expected one value, found nothing"),
    (
      "keys: []\nstate: activ",
      "a.yaml:2: state: expected one of active, retired, found \"activ\", did you mean \"active\"?"
    ),
    ("\nkeys: [", "a.yaml:3: expected YAML, found something else: did not find expected node content"),
    ("keys: *x", "a.yaml:1: expected YAML, found something else: found undefined alias"),
    ("keys: 1\nstate: 2\nkeys: 3\n", "a.yaml:1: expected every key once, found \"keys\" twice"),
    ("[1]: 2", "a.yaml:1: expected a word as key, found another shape"),
    (
      String(repeating: "[", count: 17) + String(repeating: "]", count: 17),
      "expected at most 16 levels, found more"
    ),
    (String(repeating: "[", count: 100_000), "expected YAML"),
  ])
  func aMistakeIsNamedWithItsPlace(text: String, expected: String) {
    let message = message { () throws(YAMLError) in
      for entry in try parse(text).entries(known: ["keys", "state"]) {
        if entry.word == "keys" {
          for item in try entry.value.elements() { _ = try item.text() }
        } else {
          let _: State = try entry.value.choice()
        }
      }
    }
    #expect(message.contains(expected), "\(message)")
    #expect(message.hasPrefix("a.yaml:"))
  }

  @Test func messagesQuoteAValueOrNameItsKind() throws {
    let entries = try parse("a: x\nb: [1, 2]\nc: {d: 1}\ne:\n").entries()
    let found = entries.map { $0.value.wrong(expected: "y").found }
    #expect(found == ["\"x\"", "a list of 2", "a mapping", "nothing"])
    #expect(entries[0].value.wrong(expected: "y").problem == "a: expected y, found \"x\"")
  }

  @Test func aValueFromTheCommandLineNamesItsFlag() throws {
    let place = YAMLPlace("--set a.b")
    let node = try YAMLNode.parse("[1, x]", at: place, path: "a.b")
    #expect(
      "\(try node.elements()[1].wrong(expected: "a number"))" == "--set a.b: a.b[1]: expected a number, found \"x\"")
    #expect(throws: YAMLError.self) { try YAMLNode.parse("[", at: place, path: "a.b") }
  }

  @Test func anAliasHasTheValueOfItsAnchor() throws {
    let entries = try parse("a: &one [x]\nb: *one\n").entries()
    #expect(try entries[1].value.elements()[0].text() == "x")
  }

  /// Nine levels of nine make 400 million values of 200 bytes.
  @Test(arguments: ["a9: *a8", "? *a8\n: 1", "{?*a8 : 1}"])
  func aliasesOfAliasesAreRefusedBeforeTheyAreExpanded(last: String) {
    var text = "a0: &a0 [x, x, x]\n"
    for level in 1..<9 {
      let alias = "*a\(level - 1)"
      text += "a\(level): &a\(level) [\(Array(repeating: alias, count: 9).joined(separator: ", "))]\n"
    }
    let message = message { () throws(YAMLError) in _ = try parse(text + last) }
    #expect(message == "a.yaml:1: expected at most 32 aliases, found more")
  }

  @Test func fewAliasesOfAliasesAreRefusedToo() {
    var text = "a0: &a0 [x, x, x]\n"
    for level in 1..<9 { text += "a\(level): &a\(level) [*a\(level - 1), *a\(level - 1), *a\(level - 1)]\n" }
    let message = message { () throws(YAMLError) in _ = try parse(text) }
    #expect(message.hasSuffix("found aliases of aliases"), "\(message)")
  }

  /// As they stand in key files and trust files.
  @Test func patternsAreNotCountedAsAliases() throws {
    let text = "models: [" + Array(repeating: "fraud-*, \"*\", 'a*b', w*e", count: 100).joined(separator: ", ") + "]"
    #expect(try parse(text).entries()[0].value.elements().count == 400)
  }
}
