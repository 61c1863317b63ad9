import NeedletailCore
import Testing

@Suite("Model names")
struct ModelIDTests {
  @Test(arguments: ["a", "Z", "9", "wine", "wine-2.1_b", String(repeating: "x", count: 128)])
  func acceptsNamesThatAreSafeAsDirectories(name: String) throws {
    #expect(try ModelID(name).name == name)
  }

  @Test(arguments: [
    ("", "expected 1 to 128 bytes, found 0"),
    (String(repeating: "x", count: 129), "expected 1 to 128 bytes, found 129"),
    (".", "found \".\""),
    ("..", "found \"..\""),
    (".hidden", "found \".hidden\""),
    ("-rf", "found \"-rf\""),
    ("_a", "found \"_a\""),
    ("a/b", "found \"a/b\""),
    ("a b", "found \"a b\""),
    ("a\nb", "found \"a\\nb\""),
    ("größe", "found \"größe\""),
    ("a\0", "found \"a\\u{0}\""),
  ])
  func refusesOthersAndSaysWhy(name: String, message: String) {
    let error = #expect(throws: ServingError.self) { try ModelID(name) }
    #expect(error?.code == .invalidArgument)
    #expect(error?.message.contains(message) == true, "\(error?.message ?? "")")
  }

  @Test func modelNamesAreOrderedAlphabetically() throws {
    #expect(try ModelID("a") < ModelID("b"))
    #expect(try ModelID("a") == ModelID("a"))
  }
}

@Suite("Model versions")
struct ModelVersionTests {
  @Test(arguments: [("1", 1), ("10", 10), ("18446744073709551615", UInt64.max)])
  func versionsAreReadInCanonicalDecimal(text: String, number: UInt64) {
    #expect(ModelVersion(decimal: text)?.number == number)
    #expect(ModelVersion(decimal: text)?.description == text)
  }

  @Test(arguments: ["", "0", "01", "+1", "-1", " 1", "1 ", "1.0", "1e3", "latest", "18446744073709551616", "١"])
  func versionsInAnyOtherSpellingAreRefused(text: String) {
    #expect(ModelVersion(decimal: text) == nil)
  }

  @Test func hasNoVersionZeroAndOrdersByNumber() throws {
    #expect(ModelVersion(0) == nil)
    #expect(try #require(ModelVersion(9)) < #require(ModelVersion(10)))
  }
}

@Suite("Suggestions")
struct SuggestionTests {
  @Test(arguments: [
    ("modle", "model"), ("mdel", "model"), ("models", "model"), ("MODEL", "model"), ("nodel", "model"),
    ("lerning_rate", "learning_rate"),
  ])
  func theNearestWordIsSuggested(typed: String, meant: String) {
    #expect(Suggestion.nearest(to: typed, among: ["seed", "model", "learning_rate"]) == meant)
  }

  @Test(arguments: ["", "x", "quite something else", "odelm_x"])
  func nothingIsSuggestedIfNoWordIsNear(typed: String) {
    #expect(Suggestion.nearest(to: typed, among: ["seed", "model"]) == nil)
    #expect(Suggestion.clause(for: typed, among: ["seed", "model"]) == "")
  }

  @Test func aSuggestionBecomesAClauseOfTheMessage() {
    #expect(Suggestion.clause(for: "sede", among: ["seed", "model"]) == ", did you mean \"seed\"?")
  }

  @Test func theNearerOfTwoWordsIsSuggested() {
    #expect(Suggestion.nearest(to: "wine_red2", among: ["wine_white", "wine_red"]) == "wine_red")
  }
}

@Suite("Quoting")
struct QuotingTests {
  @Test(arguments: [
    ("plain", "\"plain\""),
    ("a\"b\\c", "\"a\\\"b\\\\c\""),
    ("line\r\nbreak\t", "\"line\\r\\nbreak\\t\""),
    ("\u{1B}[31m", "\"\\u{1b}[31m\""),
    ("rtl\u{202E}", "\"rtl\\u{202e}\""),
    ("\u{2028}", "\"\\u{2028}\""),
    ("größe", "\"größe\""),
    ("", "\"\""),
  ])
  func neitherForgesLinesNorHidesCharacters(text: String, quoted: String) {
    #expect(text.quotedForMessage == quoted)
  }

  @Test func controlCharactersAreEscapedForTheTerminal() {
    #expect("a\"b\\c \u{1B}[2J\r\n\u{202E}".escapingControls == "a\"b\\c \\u{1b}[2J\\r\\n\\u{202e}")
    #expect(String(repeating: "x", count: 1000).escapingControls == String(repeating: "x", count: 1000))
  }

  @Test func longTextsAreCutInMessages() {
    #expect(String(repeating: "x", count: 64).quotedForMessage == "\"" + String(repeating: "x", count: 64) + "\"")
    #expect(String(repeating: "x", count: 65).quotedForMessage == "\"" + String(repeating: "x", count: 64) + "…\"")
    // One character of a million combining scalars floods a log as well.
    #expect(("e" + String(repeating: "\u{301}", count: 1_000)).quotedForMessage.unicodeScalars.count == 67)
  }
}

@Suite("Deadlines")
struct DeadlineTests {
  @Test func aDeadlinePassesWhenItsBudgetIsSpentAndNotBefore() {
    let arrival = Instant(nanoseconds: 5_000)
    let deadline = Deadline(arrival: arrival, timeoutMicroseconds: 3)
    #expect(!deadline.hasPassed(at: arrival))
    #expect(!deadline.hasPassed(at: Instant(nanoseconds: 7_999)))
    #expect(deadline.hasPassed(at: Instant(nanoseconds: 8_000)))
  }

  @Test func aDeadlineWithoutABudgetNeverPasses() {
    let deadline = Deadline(arrival: .now(), timeoutMicroseconds: 0)
    #expect(!deadline.hasPassed(at: Instant(nanoseconds: .max - 1)))
  }

  @Test func aDeadlineSaturatesInsteadOfWrapping() {
    let late = Instant(nanoseconds: .max - 10)
    #expect(late.advanced(byMicroseconds: 1) == Instant(nanoseconds: .max))
    #expect(late.advanced(byMicroseconds: .max) == Instant(nanoseconds: .max))
    #expect(!Deadline(arrival: late, timeoutMicroseconds: .max).hasPassed(at: late))
  }

  @Test func elapsedTimeIsInWholeMicrosecondsAndNeverNegative() {
    let start = Instant(nanoseconds: 1_000)
    #expect(Instant(nanoseconds: 3_999).microseconds(since: start) == 2)
    #expect(Instant(nanoseconds: 10).microseconds(since: start) == 0)
    #expect(Instant(nanoseconds: .max).microseconds(since: start) == .max)
  }

  @Test func theClockDoesNotGoBack() {
    let first = Instant.now()
    #expect(first <= Instant.now())
  }
}

@Suite("Codes")
struct CodeTests {
  @Test func statusCodesHaveTheirNamesAndNumbersOfTheWire() {
    let names = StatusCode.allCases.map(\.description)
    #expect(
      names == [
        "OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED", "DEADLINE_EXCEEDED",
        "OVERLOADED", "UNAVAILABLE", "INTERNAL", "UNIMPLEMENTED",
      ])
    #expect(StatusCode.allCases.map(\.rawValue) == Array(0...9))
    #expect(StatusCode.allCases.filter(\.isSafeToRetry) == [.overloaded, .unavailable])
  }

  @Test func versionStatesHaveTheirNumbersOfTheWire() {
    #expect(VersionState.allCases.map(\.rawValue) == Array(1...9))
    #expect(VersionState.allCases.map(\.description).last == "rejected")
  }

  @Test func dataTypesHaveTheSizesOfTheirElements() {
    #expect(DataType.allCases.map(\.elementBytes) == [4, 8, 1, 2, 4, 8, 1, 1, 0])
    #expect(DataType.allCases.map(\.description).prefix(2) == ["FLOAT32", "FLOAT64"])
  }

  @Test func errorsPrintTheirCodeAndSentence() {
    #expect(ServingError.notFound("model \"x\": not found").description == "NOT_FOUND: model \"x\": not found")
  }
}

@Suite("Name patterns")
struct NamePatternTests {
  @Test(arguments: [
    ("wine", "wine", true), ("wine", "wines", false), ("*", "", true), ("*", "anything", true), ("w*e", "wine", true),
    ("w*e", "we", true), ("w*e", "win", false), ("?ine", "wine", true), ("?ine", "ine", false), ("**", "a", true),
    ("a*b*c", "aXbXbXc", true), ("a*b*c", "aXbXbX", false), ("", "", true), ("", "a", false),
    ("*-eu", "fraud-eu", true),
  ])
  func starsAndQuestionMarksMatchAsInAShell(pattern: String, name: String, matches: Bool) {
    #expect(NamePattern(pattern).matches(name) == matches)
  }

  @Test func aHostilePatternAndNameStayCheap() {
    let pattern = NamePattern(String(repeating: "a*", count: 60) + "b")
    #expect(!pattern.matches(String(repeating: "a", count: 128)))
  }
}
