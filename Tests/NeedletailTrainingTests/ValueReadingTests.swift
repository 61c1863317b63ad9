import NeedletailBundle
import NeedletailCSV
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

/// `proto/README.md`, Values, as the trainer reads a file, and as its own evaluation then binds a row.
@Suite("The trainer reads values as the server does") struct ValueReadingTests {
  private let directory: TemporaryDirectory
  private let golden = ValueCells.golden

  init() throws { directory = try TemporaryDirectory() }

  private func read(
    _ csv: String, rules: ValueRules = ValueRules(), types: [(column: String, type: TableRequest.ColumnType)] = [],
    use: TableRequest.TargetUse = .automatic
  ) throws -> Dataset {
    let path = try directory.write(csv, to: "data.csv")
    return try TableReader(
      TableRequest(files: [("data.csv", path)], target: "t", types: types, targetUse: use, rules: rules)
    ).read()
  }

  private func configuration(_ extra: String = "features: { missing: most_frequent, unknown: zeros }") throws
    -> RunConfiguration
  {
    try RunConfiguration(
      yaml: "data: { files: [data.csv] }\ntarget: { column: t }\nmodel: { family: mlp }\n"
        + extra, file: "run.yaml", directory: directory.path)
  }

  @Test func everyNumericCellOfTheGoldenTableIsReadAsItSays() throws {
    for cell in golden.cells {
      guard let csv = cell.csv else { continue }
      let dataset = try? read("x,t\n0,1\n\(csv),2\n", rules: golden.rules, types: [("x", .numeric)], use: .regression)
      guard case .numbers(let numbers)? = dataset?.features.columns[0].values else {
        #expect(cell.numeric == .refused, "\(cell.name)")
        continue
      }
      switch cell.numeric {
      case .number(let number): #expect(numbers[1] == number, "\(cell.name)")
      case .missing: #expect(numbers[1].isNaN, "\(cell.name)")
      case .refused: Issue.record("\(cell.name): expected a refusal, found \(numbers[1])")
      }
    }
  }

  @Test func everyCategoricalCellOfTheGoldenTableIsReadAsItSays() throws {
    let cells = golden.cells.filter { $0.csv != nil }
    // The categories come first and train; the cells come after and are only judged.
    let quoted = golden.categories.map { "\"\($0)\",1\n" }
    let csv = "c,t\n" + (quoted + cells.map { "\($0.csv ?? ""),2\n" }).joined()
    let features = try read(csv, rules: golden.rules, types: [("c", .categorical)], use: .regression).features
    let words = golden.missing.map { "\"\($0)\"" }.joined(separator: ", ")
    let run = try RunConfiguration(
      yaml: "data: { files: [data.csv], missing: [\(words)] }\ntarget: { column: t }\nmodel: { family: mlp }\n"
        + "features: { missing: most_frequent, unknown: zeros }", file: "run.yaml", directory: directory.path)
    let fitted = try Preprocessing(
      features: features, rows: Array(golden.categories.indices), target: "t", configuration: run)
    guard case .categorical(let categories, _) = fitted.schema.features[0].kind else {
      Issue.record("expected categories")
      return
    }
    #expect(Set(categories) == Set(golden.categories) && fitted.schema.rules == golden.rules)
    let binder = try FeatureBinder(fitted.schema)
    for (index, cell) in cells.enumerated() {
      let row = golden.categories.count + index
      var bound: [Float] = [-99]
      try bound.withUnsafeMutableBytes { try binder.bind(fitted.cells(of: features, row: row), into: $0.baseAddress!) }
      // What a family learns from holds the same, with a gap filled by the category of code `fill`.
      let learned = fitted.columnFits[0].bound(features.columns[0], row: row)
      #expect(fitted.accepts(features, row: row))
      switch cell.category {
      case .category(let name):
        let code = categories.firstIndex(of: name).map { Float($0) }
        #expect(bound[0] == code && Float(learned) == code, "\(cell.name)")
      case .missing: #expect(bound[0].isNaN && Float(learned) == fitted.columnFits[0].fill, "\(cell.name)")
      case .unknown: #expect(bound[0] == -1 && learned == -1, "\(cell.name)")
      }
    }
  }

  @Test func quotedWordsAreCategoriesInTextAndGapsInNumbers() throws {
    let data = try read("country,size,t\n\"NA\",1,2\nNA,\"NA\",3\nDE,4,1\n", use: .regression)
    #expect(data.features.columns[0].values == .categories(codes: [0, -1, 1], categories: ["NA", "DE"]))
    guard case .numbers(let sizes) = data.features.columns[1].values else {
      Issue.record("expected numbers")
      return
    }
    #expect(sizes[0] == 1 && sizes[1].isNaN && sizes[2] == 4)
  }

  @Test func labelsThatReadAlikeAreOneClassAndTheUserIsTold() throws {
    let labels = ["yes", "yes ", "no", " no"]
    let spaced = try read("x,t\n" + labels.map { "1,\($0)\n" }.joined())
    #expect(spaced.target.values == .categories(codes: [0, 0, 1, 1], categories: ["yes", "no"]))
    #expect(spaced.warnings.isEmpty)
    let numbers = try read("x,t\n1,1\n1,1.0\n1,2.0\n1,2\n")
    #expect(numbers.target.values == .categories(codes: [0, 0, 1, 1], categories: ["1", "2.0"]))
    #expect(
      numbers.warnings == [
        "column \"t\": \"1\" and \"1.0\" are one value, and so are other spellings of 1 more; answers spell it \"1\""
      ])
    let truths = try read("x,t\n1,True\n1,true\n1,FALSE\n")
    #expect(truths.target.values == .categories(codes: [0, 0, 1], categories: ["True", "FALSE"]))
    #expect(truths.warnings == ["column \"t\": \"True\" and \"true\" are one value; answers spell it \"True\""])
    let mixed = try read("x,t\n1,True\n1,1\n1,False\n")
    #expect(
      mixed.warnings == [
        "column \"t\": \"True\" and \"1\" are two values here; write one of them if they mean the same"
      ])
  }

  @Test func truthValuesBesideZeroAndOneAreTruthValues() throws {
    let data = try read("x,y,t\nTrue,true,2\n0,false,3\n1,True,4\n", use: .regression)
    #expect(data.features.columns.map(\.values) == [.numbers([1, 0, 1]), .numbers([1, 0, 1])])
    #expect(data.types == [.bool, .bool, .numeric])
  }

  @Test func identifiersThatReadAsOneNumberAreToldTo() throws {
    let zeros = try read("zip,t\n01234,p\n1234,q\n99999,p\n")
    #expect(
      zeros.warnings == [
        "column \"zip\": 1 numbers begin with a zero, such as \"01234\", and are the same as without it (1234); if they "
          + "are names rather than quantities, declare it with type: categorical"
      ])
    let declared = try read("zip,t\n01234,p\n1234,q\n", types: [("zip", .categorical)])
    #expect(declared.warnings.isEmpty)
    #expect(declared.features.columns[0].values == .categories(codes: [0, 1], categories: ["01234", "1234"]))
    let long = try read("card,t\n12345678901234567,p\n12345678901234568,q\n")
    #expect(
      long.warnings == [
        "column \"card\": 2 whole numbers are beyond 2^53, such as 12345678901234567, and neighbours become one number; "
          + "if they are names rather than quantities, declare it with type: categorical"
      ])
  }

  @Test func numbersThatBecomeOneInFP32AreToldToUnlessTheyAreScaledFirst() throws {
    let seconds = Table(
      columns: [.init(name: "ts", values: .numbers((0..<60).map { 1_700_000_000 + Double($0) }))],
      rowNumbers: Array(1...60))
    func warnings(_ scale: String) throws -> [String] {
      try Preprocessing(
        features: seconds, rows: Array(0..<60), target: "t",
        configuration: configuration("preprocessing: { scale: \(scale) }")
      ).warnings
    }
    #expect(
      try warnings("none") == [
        "column \"ts\": 59 of 60 different numbers become another one in fp32; set preprocessing.scale: standardise, "
          + "which is done in fp64"
      ])
    #expect(try warnings("standardise").isEmpty && warnings("min_max").isEmpty)
  }

  @Test(arguments: ["standardise", "min_max"]) func aMinuteOfEpochSecondsIsLearned(scale: String) throws {
    let csv = "ts,y\n" + (0..<60).map { "\(1_700_000_000 + $0),\(3 * $0)\n" }.joined()
    try directory.write(csv, to: "data.csv")
    let run = try RunConfiguration(
      yaml: "data: { files: [data.csv] }\ntarget: { column: y, task: regression }\n"
        + "model: { family: linear_regression }\npreprocessing: { scale: \(scale) }",
      file: "run.yaml", directory: directory.path)
    #expect(try #require(try TrainingRun(run).run().contents.metrics["test.r2"]) > 0.999_99)
  }

  @Test func theStarterConfigurationKeepsTheDelimiterAndTruthValues() throws {
    try directory.write("size;flag;t\n1,5;True;a\n2,5;False;b\n", to: "data.csv")
    let starter = try StarterConfiguration(
      name: "data.csv", path: directory.file("data.csv"), delimiter: .semicolon, target: nil, family: nil)
    #expect(starter.yaml.contains("\n  delimiter: semicolon\n"))
    #expect(starter.yaml.contains("flag: { type: bool }"))
    let error = #expect(throws: TrainingError.self) {
      try StarterConfiguration(
        name: "data.csv", path: directory.file("data.csv"), delimiter: .comma, target: nil, family: nil)
    }
    #expect(
      error?.message
        == "data.csv:1: expected columns separated by a comma, found one column and a semicolon in its name; set the "
        + "delimiter: semicolon")
  }

  @Test func theRowsOfTheTestFileReadBackAsThemselves() throws {
    var csv = "country,x,y\n"
    for row in 0..<60 { csv += "\(["\"NA\"", "DE", "NA"][row % 3]),\(row),\(row % 3 * 10)\n" }
    try directory.write(csv, to: "data.csv")
    let run = try RunConfiguration(
      yaml: "data: { files: [data.csv] }\ntarget: { column: y, task: regression }\n"
        + "features: { missing: median }\nmodel: { family: linear_regression }",
      file: "run.yaml", directory: directory.path)
    let trained = try TrainingRun(run).run()
    let lines = trained.testCSV.split(separator: "\n")
    #expect(lines.contains { $0.hasPrefix("\"NA\",") } && lines.contains { $0.hasPrefix(",") })
  }

  @Test func theModelKeepsTheRunsMissingWords() throws {
    try directory.write("c,t\nred,p\n-,q\nblue,p\nred,q\n", to: "data.csv")
    let run = try configuration("features: { missing: most_frequent }")
    #expect(run.request.rules == ValueRules())
    let own = try RunConfiguration(
      yaml: "data: { files: [data.csv], missing: [\" - \", \"\", \"-\", \"cafe\u{301}\"] }\ntarget: { column: t }\n"
        + "model: { family: mlp }\n", file: "run.yaml", directory: directory.path)
    #expect(own.request.rules.missing.map { Array($0.utf8) } == [Array("-".utf8), Array("caf\u{E9}".utf8)])
  }
}
