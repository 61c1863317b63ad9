import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

/// Tables as people export them: `init` writes a run file for each, and the run trains and serves what it evaluated.
@Suite struct AnyTableTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func starter(_ csv: String, target: String? = nil, family: String? = nil) throws -> StarterConfiguration {
    let path = try directory.write(csv, to: "data.csv")
    return try StarterConfiguration(name: "data.csv", path: path, target: target, family: family)
  }

  private func run(_ yaml: String, sets: [String] = []) throws -> RunConfiguration {
    try RunConfiguration(yaml: yaml, file: "run.yaml", directory: directory.path, sets: sets)
  }

  /// Trains from the starter's run file as it is; the bundle, read back, gives the trainer's answers bit by bit.
  @discardableResult
  private func train(_ starter: StarterConfiguration, sets: [String] = []) throws -> TrainedModel {
    let trained = try TrainingRun(try run(starter.yaml, sets: sets)).run()
    let bytes = try trained.encode(version: .first, signing: [])
    let bundle = try VerifiedBundle(
      BundleFile(bytes: bytes), trust: TrustPolicy(keys: [], allowUnsigned: true), expecting: nil, nowMilliseconds: 0)
    let served = try CompiledModel(try bundle.decode().definition)
    let cells = trained.data.cells(trained.data.split.test)
    let answers = try served.answers(for: cells)
    let numbers = try #require(answers.first { ["prediction", "probabilities"].contains($0.name) })
    guard case .numbers(let found) = numbers.answer else {
      Issue.record("no numbers")
      return trained
    }
    #expect(found.map { Float($0).bitPattern } == trained.chosen.test.numbers.map(\.bitPattern))
    return trained
  }

  // MARK: - booleans, dates, numbers as people write them

  @Test(arguments: ["logistic_regression", "gbdt", "mlp"])
  func truthValuesTrain(family: String) throws {
    let rows = (0..<120).map { "\($0 % 3 == 0 ? "True" : "False"),\($0 % 7),\($0 % 3 == 0 ? "yes" : "no")\n" }
    let starter = try starter("flag,x,t\n" + rows.joined(), family: family)
    #expect(starter.yaml.contains("    flag: { type: bool }\n"))
    #expect(try #require(try train(starter).contents.metrics["test.accuracy"]) > 0.9)
  }

  /// Rows of an hour each, whose target follows the hour of the day and the day of the week.
  private func hourly(_ text: (Int) -> String) -> String {
    "at,y\n"
      + (0..<1200).map { row in
        let seconds = 1_704_067_200 + row * 5 * 3600
        let part = { DatePart.value($0)(of: Double(seconds)) }
        return "\(text(seconds)),\(10 * part(.daySin) + 5 * part(.weekCos) + Double(row) / 100)\n"
      }.joined()
  }

  @Test(arguments: ["linear_regression", "gbdt", "mlp"])
  func datesTrainByTheirPartsAndCycles(family: String) throws {
    let starter = try starter(hourly { DateText.text(Double($0)) }, family: family)
    #expect(starter.yaml.contains("    at: { type: datetime }\n"))
    let trained = try train(starter)
    #expect(try #require(trained.contents.metrics["test.r2"]) > (family == "linear_regression" ? 0.9999 : 0.5))
    let feature = try #require(trained.contents.definition.schema.features.first)
    #expect(feature.kind == .datetime(order: .yearFirst))
    if family == "gbdt" { #expect(trained.importance.map(\.name) == ["at"]) }
  }

  @Test(arguments: [
    ("day_first", "15.03.2024", "05.03.2024"), ("month_first", "03/15/2024", "03/05/2024"),
    ("day_first", "15-Mar-2024 10:00", "5.3.2024 11:00"),
  ])
  func theOrderOfDayAndMonthIsFoundAndKept(order: String, first: String, second: String) throws {
    let rows = (0..<60).map { "\($0 % 2 == 0 ? first : second),\($0 % 5),\($0)\n" }
    let starter = try starter("at,x,y\n" + rows.joined())
    #expect(starter.yaml.contains("    at: { type: datetime, order: \(order) }"))
    let kind = try train(starter).contents.definition.schema.features[0].kind
    #expect(kind == .datetime(order: order == "day_first" ? .dayFirst : .monthFirst))
  }

  @Test func datesThatReadTwoWaysAreSaid() throws {
    let rows = (0..<30).map { "\($0 % 12 + 1)/\($0 % 11 + 1)/2024,\($0)\n" }
    let data = try directory.dataset("at,y\n" + rows.joined(), target: "y")
    #expect(
      data.warnings == [
        "column \"at\": every date reads with the day first and with the month first, such as \"2/2/2024\"; the month "
          + "is taken first, and order: day_first says otherwise"
      ] || data.warnings.first?.contains("the month is taken first, and order: day_first says otherwise") == true)
    #expect(data.features.columns[0].dateOrder == .monthFirst)
  }

  @Test func timesWithoutADateAndDatesWithoutSeparatorsAreDates() throws {
    let rows = (0..<60).map { row in
      "\(row % 24):\(row % 2 == 0 ? "30" : "05"),\(20_240_101 + row % 28),\(row % 24)\n"
    }
    let starter = try starter("at,day,y\n" + rows.joined())
    #expect(starter.yaml.contains("    at: { type: datetime }\n"))
    #expect(starter.yaml.contains("    day: { type: datetime }\n"))
    try train(starter, sets: ["target.task=regression", "model.family=linear_regression"])
  }

  @Test func aDateThatIsNoneIsNamedWithItsPlace() throws {
    let rows = (0..<30).map { "2024-01-\($0 % 28 + 1),\($0)\n" }.joined()
    let mixed = #expect(throws: TrainingError.self) {
      try directory.dataset("at,y\n\(rows)soon,3\n", target: "y")
    }
    #expect(
      mixed?.message
        == "data.csv:32: column \"at\": expected a date as in 30 of 31 values, found \"soon\"; correct it, add it to "
        + "data.missing, or declare the column categorical")
    let declared = #expect(throws: TrainingError.self) {
      try directory.dataset("at,y\n\(rows)2024-02-30,3\n", target: "y", types: [("at", .datetime)])
    }
    #expect(
      declared?.message
        == "data.csv:32: column \"at\": expected a date or time, such as 2024-03-31T12:30:00, found \"2024-02-30\"")
  }

  @Test(arguments: [
    ("1,234", "$5.50", "3%", "thousands: comma"), ("1.234,5", "5,50 €", "3 %", "decimal: comma"),
    ("1 234,5", "12", "3%", "thousands: space"), ("1'234.5", "12", "3%", "thousands: apostrophe"),
  ])
  func numbersWithMarksAreNumbersInTrainingAndInServing(
    first: String, second: String, third: String, setting: String
  ) throws {
    let rows = (0..<60).map { row in
      let cell = [first, second, third, "\(row)"][row % 4]
      return "\"\(cell)\",\(row % 4 * 10 + row % 2)\n"
    }
    let starter = try starter("price,y\n" + rows.joined())
    #expect(starter.yaml.contains("\n  \(setting)\n") && starter.yaml.contains("\n  units: ignore\n"))
    #expect(starter.yaml.contains("    price: { type: numeric }\n"))
    let trained = try train(starter, sets: ["target.task=regression", "model.family=gbdt"])
    let rules = try #require(trained.contents.definition.schema.rules)
    #expect(rules.number(first) != .notANumber && rules.number("$7") == .number(7))
    // A server takes the same text.
    let served = try CompiledModel(trained.contents.definition)
    let asText = try served.answers(for: [[.text(second)]])
    guard case .number(let number) = rules.number(second) else {
      Issue.record("no number")
      return
    }
    let asNumber = try served.answers(for: [[.number(number)]])
    #expect(asText.map(\.answer) == asNumber.map(\.answer))
  }

  @Test(arguments: ["nan", "N/A", "None", "-", "unknown", "#DIV/0!", "n.a."])
  func wordsAmongNumbersAreProposedAsMissing(word: String) throws {
    let rows = (0..<100).map { "\($0 % 6 == 0 ? word : "\($0).5"),\($0)\n" }
    let starter = try starter("x,y\n" + rows.joined())
    #expect(starter.yaml.contains("    x: { type: numeric }  # 17 missing\n"))
    #expect(starter.yaml.contains("\n  missing: median\n"))
    try train(starter)
  }

  // MARK: - identifiers, free text, data frames

  @Test func identifiersFreeTextAndConstantsAreProposedForDropping() throws {
    let rows = (0..<200).map { row in
      "\(row),\(row + 5000),c\(row * 7919 % 100_003),note \(row) of a customer,same,\(9_007_199_254_740_992 + row),"
        + "\(row % 5),\(row % 2 == 0 ? "a" : "b")\n"
    }
    let starter = try starter(",row,customer,note,unit,order_id,x,t\n" + rows.joined())
    #expect(
      starter.yaml.contains(
        """
          drop:
            - row  # counts the rows
            - customer  # every value is different: an identifier or free text
            - unit  # the same in every row
            - order_id  # an identifier by its name: 200 different numbers

        """))
    #expect(starter.yaml.contains("    note: { type: text }"), "the family takes text")
    #expect(starter.warnings.first == "a column without a name is left out")
    try train(starter)
  }

  @Test func manyCategoriesAreNoReasonToLeaveAColumnOut() throws {
    let rows = (0..<12_000).map { "w\($0 / 2),\($0 % 9),\($0 % 2 == 0 ? "a" : "b")\n" }
    let starter = try starter("word,x,t\n" + rows.joined())
    #expect(starter.yaml.contains("    word: { type: categorical }  # 6,000 categories\n"))
    let configuration = try run(starter.yaml)
    #expect(configuration.family.name == "gbdt" && configuration.request.drop.isEmpty)
    let linear = try StarterConfiguration(
      name: "data.csv", path: directory.file("data.csv"), target: "t", family: "logistic_regression")
    let trained = try train(linear)
    #expect(trained.warnings.contains { $0.contains("encoding target") }, "more than a column each")
  }

  @Test func categoriesThatOnlyTestRowsHaveAreJudgedAllTheSame() throws {
    let rows = (0..<400).map { "c\($0 / 3),\($0 % 5),\($0 % 2 == 0 ? "a" : "b")\n" }
    let starter = try starter("c,x,t\n" + rows.joined())
    #expect(starter.yaml.contains("\n  unknown: zeros\n"))
    let trained = try train(starter)
    #expect(trained.data.split.test.count == 60)
  }

  @Test func figuresOnFewOfTheRowsAreRefusedWithAdvice() throws {
    let rows = (0..<200).map { "c\($0 / 2),\($0 % 5),\($0 % 2 == 0 ? "a" : "b")\n" }
    try directory.write("c,x,t\n" + rows.joined(), to: "data.csv")
    let run = try run("data: { files: [data.csv] }\ntarget: { column: t }\nmodel: { family: logistic_regression }")
    let error = #expect(throws: TrainingError.self) { try TrainingRun(run).run() }
    #expect(error?.message.contains("validation and test rows hold a category that no training row has") == true)
    #expect(error?.message.contains("in column \"c\"") == true)
    #expect(
      error?.message.hasSuffix("set features.unknown: zeros to accept them, or add an identifier to data.drop") == true)
  }

  // MARK: - dialects

  @Test(arguments: [
    (";", "\n  delimiter: semicolon\n", "fields separated by a semicolon"),
    ("\t", "\n  delimiter: tab\n", "fields separated by a tab"),
    ("|", "\n  delimiter: pipe\n", "fields separated by a pipe"),
  ])
  func separatorsAreFoundAndSaid(separator: String, setting: String, said: String) throws {
    let rows = (0..<60).map { "\($0)\(separator)\($0 % 7)\(separator)\($0 * 2)\n" }
    let starter = try starter("a\(separator)x\(separator)y\n" + rows.joined())
    #expect(starter.yaml.contains(setting))
    #expect(starter.warnings.first == "data.csv: \(said)")
    try train(starter)
    // A run file without the setting reads the same.
    let data = try TableReader(TableRequest(files: [("data.csv", directory.file("data.csv"))], target: "y")).read()
    #expect(data.features.columns.map(\.name) == ["a", "x"] && data.warnings.first == "data.csv: \(said)")
  }

  @Test(arguments: ["gzip", "zstd"])
  func packedFilesAreReadAsTheyAre(program: String) throws {
    let plain = "x,kind\n" + (0..<5000).map { "\($0 * 7919 % 1009),\($0 % 3)\n" }.joined()
    let path = try directory.write(plain, to: "plain.csv")
    let (_, packed) = try ChildProcess.run([program, "-c", path])
    let packedPath = try directory.write(packed, to: "data.csv.packed")
    func read(_ path: String) throws -> Dataset {
      try TableReader(TableRequest(files: [("data", path)], target: "kind")).read()
    }
    #expect(try read(path).features == read(packedPath).features)
    #expect(try read(packedPath).warnings.first == "data: packed with \(program)")
  }

  @Test func linesOfJSONTrain() throws {
    let rows = (0..<120).map { row in
      "{\"x\": \(row % 10), \"ok\": \(row % 2 == 0), \"word\": \(row % 3 == 0 ? "null" : "\"w\(row % 3)\""), \"y\": \(row)}\n"
    }
    let starter = try starter(rows.joined())
    #expect(starter.yaml.contains("\n  format: json_lines\n") && starter.yaml.contains("    ok: { type: bool }\n"))
    try train(starter)
  }

  @Test func olderEncodingsAreFoundByInitAndHintedAtByTrain() throws {
    let rows = (0..<60).map { "caf\u{E9}\($0 % 3),\($0)\n" }.joined()
    let bytes = Array("name,y\n\(rows)".unicodeScalars.map { UInt8($0.value) })
    let path = try directory.write(bytes, to: "data.csv")
    let error = #expect(throws: TrainingError.self) {
      try TableReader(TableRequest(files: [("data.csv", path)], target: "y")).read()
    }
    #expect(
      error?.message
        == "data.csv:2: column \"name\": expected UTF-8, found bytes that are not; data.encoding: windows-1252 reads "
        + "files of older programs")
    let starter = try StarterConfiguration(name: "data.csv", path: path, target: nil, family: nil)
    #expect(starter.yaml.contains("\n  encoding: windows-1252\n"))
    try train(starter)
  }

  // MARK: - small things

  @Test func aTargetAmongTheDroppedIsRefused() throws {
    try directory.write("x,y\n1,2\n3,4\n", to: "data.csv")
    let run = try run(
      "data: { files: [data.csv], drop: [y] }\ntarget: { column: y }\nmodel: { family: linear_regression }")
    let error = #expect(throws: TrainingError.self) { try TrainingRun(run).run() }
    #expect(
      error?.message
        == "run.yaml:1: data.drop: expected columns that nothing else needs, found \"y\", which is target.column")
  }

  @Test func aColumnWithAnEqualsSignCanBeAddressed() throws {
    try directory.write("a=b,y\n1,2\n3,4\n", to: "data.csv")
    let run = try run(
      "data: { files: [data.csv] }\ntarget: { column: y }\nmodel: { family: linear_regression }",
      sets: ["features.columns.\"a=b\".type=categorical"])
    #expect(run.request.types.map(\.column) == ["a=b"] && run.request.types.first?.type == .categorical)
  }

  @Test func aTargetThatDiffersInEveryRowIsNamedInsteadOfTheSplit() throws {
    let rows = (0..<60).map { "\($0 % 7),name\($0)\n" }.joined()
    try directory.write("x,t\n" + rows, to: "data.csv")
    let run = try run(
      "data: { files: [data.csv] }\ntarget: { column: t }\nmodel: { family: logistic_regression }\n"
        + "split: { stratified: false }")
    let error = #expect(throws: TrainingError.self) { try TrainingRun(run).run() }
    #expect(
      error?.message
        == "target.column: expected classes of several rows each, found 60 classes in 60 rows; choose another column, or "
        + "set target.task: regression for numbers")
  }
}
