import NeedletailCore
import NeedletailYAML
import Testing

@testable import NeedletailEngine
@testable import NeedletailModels

/// Predictions and outcomes go into a book, figures come out: with a clock that the test moves.
@Suite("Book of predictions and outcomes")
struct FeedbackBookTests {
  private static let outputs = [
    PlanOutput(name: "label", kind: .classLabel, columns: 1),
    PlanOutput(name: "probabilities", kind: .number, columns: 2),
  ]
  private static let names = CallKeyHasher()
  private static let second: UInt64 = 1_000_000_000

  private static func time(_ seconds: Double) -> Instant { Instant(nanoseconds: UInt64(seconds * 1e9)) }

  private static func source(
    version: UInt64 = 1, groups: FeedbackGroups = .none, expected: Double? = nil
  ) throws -> FeedbackBook.Source {
    FeedbackBook.Source(
      version: try #require(ModelVersion(version)),
      shape: try #require(PredictionShape(outputs: outputs, labels: ["no", "yes"])), groups: groups,
      expected: expected)
  }

  private static func book(_ rule: FeedbackRule = FeedbackRule(windowSeconds: 120)) throws -> FeedbackBook {
    var book = FeedbackBook(rule)
    #expect(book.add(try source(), number: 0, now: time(0)) == nil)
    return book
  }

  /// A remembered call whose rows were answered with a probability of `yes`.
  private static func remember(
    _ book: inout FeedbackBook, _ key: String, _ yes: [Float], at seconds: Double = 0, source: Int = 0,
    isNamed: Bool = false, groups: [Float] = []
  ) {
    book.remember(
      .init(
        key: names.key(of: key), source: source, isNamed: isNamed, time: time(seconds), rows: yes.count,
        floats: groups + yes.flatMap { [$0 > 0.5 ? 1 : 0, 1 - $0, $0] }))
  }

  private static func take(
    _ book: inout FeedbackBook, _ key: String, _ truth: Outcome.Truth, row: Int = 0, at seconds: Double = 1
  ) -> OutcomeResult {
    book.take(Outcome(key: names.key(of: key), row: row, truth: truth), now: time(seconds)).result
  }

  private static func report(
    _ book: inout FeedbackBook, of source: Int = 0, at seconds: Double = 1
  ) throws -> FeedbackBook.Report {
    let report = book.report(of: source, now: time(seconds))
    return try #require(report)
  }

  @Test func outcomesAreJoinedByNameAndRow() throws {
    var book = try Self.book()
    Self.remember(&book, "a", [0.75, 0.25])
    #expect(Self.take(&book, "a", .label("yes")) == .joined)
    #expect(Self.take(&book, "a", .label("yes"), row: 1) == .joined)
    let report = try Self.report(&book, of: 0, at: 2)
    #expect(report.all?.rows == 2)
    #expect(report.all?.accuracy == 0.5)
    #expect(abs((report.all?.brier ?? 0) - (0.0625 + 0.5625) / 2) < 1e-12)
    #expect(report.byRole[0]?.rows == 2)
    #expect(report.byRole[1] == nil)
  }

  @Test func everyFaultHasAResultOfItsOwn() throws {
    var book = try Self.book()
    Self.remember(&book, "a", [0.75, 0.25])
    #expect(Self.take(&book, "b", .label("yes")) == .unknown)
    #expect(Self.take(&book, "a", .label("maybe")) == .class)
    #expect(Self.take(&book, "a", .number(1)) == .value, "classes have labels")
    #expect(Self.take(&book, "a", .number(.nan)) == .value)
    #expect(Self.take(&book, "a", .label("yes"), row: 2) == .row)
    #expect(Self.take(&book, "a", .label("yes"), row: -1) == .row)
    #expect(Self.take(&book, "a", .label("no"), at: 121) == .late)
    #expect(try Self.report(&book, of: 0, at: 2).all == nil, "none of them counts")
    #expect(Self.take(&book, "a", .label("yes"), at: 120) == .joined)
    #expect(Self.take(&book, "a", .label("yes"), at: 500) == .duplicate)
    #expect(Self.take(&book, "a", .label("no"), at: 500) == .contradictory)
    #expect(try Self.report(&book, of: 0, at: 120).all?.accuracy == 1, "the first one stands")
  }

  @Test func aRegressionTakesFiniteNumbers() throws {
    let shape = try #require(
      PredictionShape(outputs: [PlanOutput(name: "prediction", kind: .number, columns: 1)], labels: []))
    var book = FeedbackBook(FeedbackRule())
    _ = book.add(
      .init(version: try #require(ModelVersion(1)), shape: shape, groups: .none, expected: 1), number: 0,
      now: Self.time(0))
    book.remember(
      .init(key: Self.names.key(of: "a"), source: 0, isNamed: false, time: Self.time(0), rows: 1, floats: [2]))
    for wrong in [Double.nan, .infinity, -.infinity] { #expect(Self.take(&book, "a", .number(wrong)) == .value) }
    #expect(Self.take(&book, "a", .label("2")) == .value)
    #expect(Self.take(&book, "a", .number(3.5)) == .joined)
    #expect(try Self.report(&book, of: 0, at: 1).all?.meanAbsoluteError == 1.5)
  }

  @Test func classesWithoutLabelsAreIndices() throws {
    let shape = try #require(
      PredictionShape(
        outputs: [
          PlanOutput(name: "class", kind: .classIndex, columns: 1),
          PlanOutput(name: "scores", kind: .number, columns: 3),
        ], labels: []))
    #expect(try shape.truth(.number(2), [:]) == 2)
    for wrong in [3, -1, 0.5] {
      #expect(throws: OutcomeFault(result: .class)) { _ = try shape.truth(.number(wrong), [:]) }
    }
    #expect(throws: OutcomeFault(result: .value)) { _ = try shape.truth(.label("2"), [:]) }
  }

  @Test func modelsThatAnswerNeitherAClassNorANumberAreNotRemembered() {
    #expect(
      PredictionShape(outputs: [PlanOutput(name: "embedding", kind: .number, columns: 384)], labels: []) == nil)
  }

  @Test func theNewestCallOfANameIsMeant() throws {
    var book = try Self.book()
    Self.remember(&book, "user", [0.25])
    Self.remember(&book, "user", [0.75], at: 1)
    #expect(book.predictions == 2)
    #expect(Self.take(&book, "user", .label("yes")) == .joined)
    #expect(try Self.report(&book, of: 0, at: 2).all?.accuracy == 1)
  }

  @Test func theOldestAreForgotten() throws {
    var book = try Self.book(FeedbackRule(windowSeconds: 120, predictionsMax: 100))
    for number in 0..<1000 { Self.remember(&book, "call \(number)", [0.75]) }
    #expect(book.predictions == 100)
    #expect(Self.take(&book, "call 899", .label("yes")) == .unknown)
    for number in 900..<1000 { #expect(Self.take(&book, "call \(number)", .label("yes")) == .joined) }
    #expect(try Self.report(&book, of: 0, at: 2).all?.rows == 100)
  }

  /// A name that came again must not be lost when its older call is forgotten.
  @Test func forgettingAnOldCallKeepsTheNewOneOfItsName() throws {
    var book = try Self.book(FeedbackRule(windowSeconds: 120, predictionsMax: 2))
    Self.remember(&book, "a", [0.25])
    Self.remember(&book, "a", [0.75])
    Self.remember(&book, "b", [0.75])
    #expect(Self.take(&book, "a", .label("yes")) == .joined)
    #expect(try Self.report(&book, of: 0, at: 2).all?.accuracy == 1)
  }

  @Test func bytesAreBoundedWhateverTheirNumberMayBe() {
    var table = PredictionTable(countMax: .max, bytesMax: 10_000)
    for number in 0..<1000 {
      table.remember(
        .init(
          key: CallKey(low: UInt64(number) + 1, high: 0), source: 0, isNamed: false, time: Self.time(0), rows: 1,
          floats: [Float](repeating: 0, count: 100)))
      #expect(table.bytes <= 10_000)
    }
    #expect(table.count == 10_000 / (PredictionTable.Entry.fixedBytes + 400 + 8))
    table.limit(bytes: 5_000)
    #expect(table.count == 5_000 / (PredictionTable.Entry.fixedBytes + 400 + 8))
    let oldest = UInt64(1000 - table.count + 1)
    for number in oldest...1000 {
      let key = CallKey(low: number, high: 0)
      #expect(table.place(of: key).map { table[$0].key } == key, "the newest are kept")
    }
    #expect(table.place(of: CallKey(low: oldest - 1, high: 0)) == nil)
  }

  @Test func allModelsTogetherAreBounded() {
    #expect(FeedbackBook.bytesMax(models: 16) == Limits.feedbackTableBytesMax)
    for models in 1...Limits.feedbackModelsMax {
      #expect(models * FeedbackBook.bytesMax(models: models) <= Limits.feedbackBytesOfAllMax)
    }
  }

  @Test func callsOfTwiceTheWindowAgoAreForgotten() throws {
    var book = try Self.book()
    Self.remember(&book, "a", [0.75], at: 0)
    Self.remember(&book, "b", [0.75], at: 239)
    #expect(Self.take(&book, "a", .label("yes"), at: 239) == .late)
    Self.remember(&book, "c", [0.75], at: 241)
    #expect(Self.take(&book, "a", .label("yes"), at: 241) == .unknown)
    #expect(book.predictions == 2)
  }

  @Test func figuresForgetWhatIsOlderThanTheWindow() throws {
    var book = try Self.book()
    Self.remember(&book, "a", [0.25, 0.75])
    #expect(Self.take(&book, "a", .label("yes"), at: 5) == .joined)
    #expect(Self.take(&book, "a", .label("yes"), row: 1, at: 95) == .joined)
    #expect(try Self.report(&book, of: 0, at: 100).all?.accuracy == 0.5)
    #expect(try Self.report(&book, of: 0, at: 125).all?.accuracy == 1)
    #expect(try Self.report(&book, of: 0, at: 900).all == nil)
  }

  @Test func armsAndGroupsHaveFiguresOfTheirOwn() throws {
    let schema = FeatureSchema(
      features: [
        Feature(name: "age", kind: .numeric, missing: .impute),
        Feature(name: "plan", kind: .categorical(categories: ["basic", "plus"], unknown: .other), missing: .impute),
      ], target: "churn")
    let groups = try FeedbackGroups(
      [.init(feature: "age", edges: [30, 50]), .init(feature: "plan")], schema)
    #expect(
      groups.names.map { "\($0.feature) \($0.group)" } == [
        "age below 30", "age 30 to 50", "age from 50", "age missing", "plan basic", "plan plus", "plan other",
        "plan missing",
      ])
    var book = FeedbackBook(FeedbackRule())
    _ = book.add(try Self.source(groups: groups), number: 0, now: Self.time(0))
    _ = book.add(try Self.source(version: 2, groups: groups), number: 1, now: Self.time(0))
    // Age and plan of three rows, then their answers.
    Self.remember(&book, "a", [0.75, 0.75, 0.25], groups: [29.5, 0, 30, 1, .nan, 7])
    Self.remember(&book, "b", [0.25], source: 1, isNamed: true, groups: [50, .nan])
    for row in 0..<3 { #expect(Self.take(&book, "a", .label("yes"), row: row) == .joined) }
    #expect(Self.take(&book, "b", .label("no")) == .joined)
    let first = try Self.report(&book, of: 0, at: 1)
    #expect(first.byRole.map { $0?.rows } == [3, nil])
    #expect(first.byGroup.map { $0?.rows } == [1, 1, nil, 1, 1, 1, 1, nil])
    #expect(first.byGroup.map { $0?.accuracy } == [1, 1, nil, 0, 1, 1, 0, nil])
    let second = try Self.report(&book, of: 1, at: 1)
    #expect(second.byRole.map { $0?.rows } == [nil, 1])
    #expect(second.byGroup.map { $0?.rows } == [nil, nil, 1, nil, nil, nil, nil, 1])
  }

  @Test func groupsThatDoNotFitTheModelAreRefused() {
    let schema = FeatureSchema(
      features: [
        Feature(name: "age", kind: .numeric, missing: .refuse), Feature(name: "note", kind: .text, missing: .refuse),
      ], target: "churn")
    for group in [
      FeedbackRule.Group(feature: "agee"), .init(feature: "age"), .init(feature: "note"),
      .init(feature: "note", edges: [1]),
    ] {
      #expect(throws: FeedbackFault.self) { _ = try FeedbackGroups([group], schema) }
    }
  }

  @Test func versionsAreBoundedAndThoseThatAnswerNoMoreGo() throws {
    var book = try Self.book()
    Self.remember(&book, "a", [0.75])
    for number in 1..<Limits.feedbackVersionsMax {
      #expect(book.add(try Self.source(version: UInt64(number + 1)), number: number, now: Self.time(0)) == nil)
    }
    Self.remember(&book, "b", [0.75], source: 1)
    #expect(book.add(try Self.source(version: 99), number: 99, now: Self.time(0)) == 0)
    #expect(Self.take(&book, "a", .label("yes")) == .unknown)
    #expect(Self.take(&book, "b", .label("yes")) == .joined)
    let gone = book.report(of: 0, now: Self.time(1))
    #expect(gone == nil)
    Self.remember(&book, "c", [0.75], source: 0)
    #expect(book.predictions == 1, "a version that is not known is not remembered")
  }

  /// A version may serve while many newer ones are tried and taken back.
  @Test func theVersionThatStillAnswersIsKept() throws {
    var book = try Self.book()
    for number in 1..<Limits.feedbackVersionsMax {
      _ = book.add(try Self.source(version: UInt64(number + 1)), number: number, now: Self.time(0))
    }
    Self.remember(&book, "a", [0.75], at: 1)
    #expect(book.add(try Self.source(version: 99), number: 99, now: Self.time(2)) == 1)
    #expect(book.add(try Self.source(version: 100), number: 100, now: Self.time(3)) == 2)
    #expect(Self.take(&book, "a", .label("yes"), at: 4) == .joined)
  }

  @Test func aVersionThatIsWorseThanExpectedIsSaidToBe() throws {
    var book = FeedbackBook(FeedbackRule())
    _ = book.add(try Self.source(expected: 0.95), number: 0, now: Self.time(0))
    for number in 0..<200 {
      Self.remember(&book, "\(number)", [0.75])
      #expect(Self.take(&book, "\(number)", .label(number % 4 == 0 ? "no" : "yes")) == .joined)
      if number == 50 { #expect(try Self.report(&book, of: 0, at: 1).isWorse == nil) }
    }
    #expect(try Self.report(&book, of: 0, at: 1).isWorse == true)
  }

  // MARK: rules

  @Test func rulesAreReadAsTheHandbookWritesThem() throws {
    let rules = try FeedbackRules(
      yaml: """
        models:
          churn:
            rate: 0.5
            window_seconds: 3600
            predictions_max: 1000
            groups: {contract: categories, age: [30, 50]}
            expected: 0.9
          "*": {}
        """, file: "feedback.yaml")
    #expect(
      rules["churn"]
        == FeedbackRule(
          rate: 0.5, windowSeconds: 3600, predictionsMax: 1000,
          groups: [.init(feature: "contract"), .init(feature: "age", edges: [30, 50])], expected: 0.9))
    #expect(rules["other"] == FeedbackRule())
    #expect(rules.isOwn("churn") && !rules.isOwn("other"))
  }

  @Test(arguments: [
    "models: {}", "model: {}", "models: {churn: {rates: 1}}", "models: {churn: {rate: 2}}",
    "models: {churn: {rate: nan}}", "models: {churn: {window_seconds: 0}}", "models: {churn: {window_seconds: 1.5}}",
    "models: {churn: {predictions_max: 0}}", "models: {churn: {groups: {age: [50, 30]}}}",
    "models: {churn: {groups: {age: []}}}", "models: {churn: {groups: {age: yes}}}",
    "models: {churn: {groups: {a: categories, b: categories, c: categories, d: categories, e: categories}}}",
    "models: {churn: {expected: -1}}", "models: {churn: [1]}", "models: {churn: {rate: }}",
  ])
  func rulesThatAreNotUnderstoodAreRefused(_ text: String) {
    #expect(throws: YAMLError.self) { _ = try FeedbackRules(yaml: text, file: "feedback.yaml") }
  }
}
