import Foundation
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

/// Steps of preprocessing. The expected numbers were written by scikit-learn 1.9.
@Suite struct ColumnStepTests {
  private func configuration(_ extra: String, family: String = "mlp") throws -> RunConfiguration {
    try RunConfiguration(
      yaml: "data: { files: [a.csv] }\ntarget: { column: t }\nmodel: { family: \(family) }\n" + extra,
      file: "run.yaml", directory: ".")
  }

  private func fit(
    _ columns: [Table.Column], _ extra: String, family: String = "mlp", targets: EncodingTargets? = nil,
    rows: [Int]? = nil
  ) throws -> (fitted: Preprocessing, table: Table) {
    let table = Table(columns: columns, rowNumbers: Array(1...columns[0].count))
    let fitted = try Preprocessing(
      features: table, rows: rows ?? Array(0..<table.rowCount), target: "t", targets: targets,
      configuration: configuration(extra, family: family))
    return (fitted, table)
  }

  private func numbers(_ name: String, _ values: [Double]) -> Table.Column {
    .init(name: name, values: .numbers(values))
  }

  private func texts(_ name: String, _ values: [String]) -> Table.Column {
    var categories: [String] = []
    let codes = values.map { value -> Int32 in
      if value.isEmpty { return -1 }
      if !categories.contains(value) { categories.append(value) }
      return Int32(categories.firstIndex(of: value) ?? 0)
    }
    return .init(name: name, values: .categories(codes: codes, categories: categories))
  }

  private func expectNear(_ found: [Float], _ expected: [Double], _ tolerance: Double = 1e-6) {
    #expect(found.count == expected.count)
    for (number, wanted) in zip(found, expected) {
      #expect(abs(Double(number) - wanted) <= tolerance * max(1, abs(wanted)), "\(found), expected \(expected)")
    }
  }

  private let skewed: [Double] = [1, 2, 2, 3, 5, 8, 13, 40]

  // MARK: - numbers

  @Test func numbersAreScaledAsScikitLearnScalesThem() throws {
    let robust = [
      -0.41379310344827586, -0.27586206896551724, -0.27586206896551724, -0.13793103448275862, 0.13793103448275862,
      0.5517241379310345, 1.2413793103448276, 4.9655172413793105,
    ]
    let power = [
      -1.5329102039613383, -0.7973410556872201, -0.7973410556872201, -0.35422364760643926, 0.1768415129411415,
      0.6157660255029879, 1.0078218627709583, 1.6813865617271342,
    ]
    for (scale, expected) in [("robust", robust), ("power", power)] {
      let (fitted, table) = try fit([numbers("x", skewed)], "preprocessing: { scale: \(scale) }")
      expectNear(try fitted.transform(table, rows: Array(0..<8)).elements, expected)
    }
    let logarithms = skewed.map { log1p($0) }
    let (fitted, table) = try fit([numbers("x", skewed)], "preprocessing: { scale: log }")
    let mean = logarithms.reduce(0, +) / 8
    let deviation = (logarithms.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 8).squareRoot()
    expectNear(
      try fitted.transform(table, rows: Array(0..<8)).elements, logarithms.map { ($0 - mean) / deviation })
  }

  @Test func quantilesAreThoseOfScikitLearnAlsoBetweenAndBeyondTheTrainingRows() throws {
    let uniform = [0.0, 0.21428571428571427, 0.3571428571428571, 0.8571428571428571, 0.9947089947089947, 1.0, 1.0, 0.0]
    let normal = [
      -5.199337582605575, -0.7916386077433746, -0.3661063568005698, 1.0675705238781412, 2.5562071370773474,
      5.19933758270342, 5.19933758270342, -5.199337582605575,
    ]
    let others = [1, 2, 2.5, 13, 39, 40, 100, 0.0]
    for (scale, expected) in [("quantile_uniform", uniform), ("quantile_normal", normal)] {
      let (fitted, table) = try fit(
        [numbers("x", skewed + others)], "preprocessing: { scale: \(scale) }", rows: Array(0..<8))
      expectNear(try fitted.transform(table, rows: Array(8..<16)).elements, expected)
    }
  }

  @Test func oneColumnMayBeScaledInAnotherWayThanTheRest() throws {
    let (fitted, table) = try fit(
      [numbers("x", skewed), numbers("y", skewed), numbers("z", skewed)],
      "features: { columns: { y: { scale: none }, z: { scale: min_max } } }")
    let rows = try fitted.transform(table, rows: Array(0..<8))
    #expect((0..<8).map { rows[$0, 1] } == skewed.map { Float($0) })
    #expect(rows[0, 2] == 0 && rows[7, 2] == 1)
    #expect(abs((0..<8).reduce(0) { $0 + rows[$1, 0] }) < 1e-5)
    #expect(fitted.affine?.scaling == .robust, "offsets are no means")
  }

  @Test(arguments: ["robust", "power", "log", "quantile_uniform", "quantile_normal"])
  func aConstantColumnBecomesZero(scale: String) throws {
    let (fitted, table) = try fit(
      [numbers("flat", [5, 5, 5, 5]), numbers("x", [1, 2, 3, 4])], "preprocessing: { scale: \(scale) }")
    let rows = try fitted.transform(table, rows: [0, 1, 2, 3])
    #expect((0..<4).allSatisfy { rows[$0, 0] == 0 })
  }

  @Test func aFlagStandsBesideAColumnWithGapsInTrainingRows() throws {
    let (fitted, table) = try fit(
      [numbers("x", [1, .nan, 3, 5]), numbers("whole", [1, 2, 3, 4]), texts("c", ["a", "", "b", "a"])],
      "features: { missing: mean, missing_flags: true }\npreprocessing: { scale: none }")
    #expect(fitted.sources.map(\.name) == ["x", "whole", "c", "x.missing", "c.missing"])
    let rows = try fitted.transform(table, rows: [0, 1, 2])
    #expect(rows.elements == [1, 1, 1, 0, 0, 0, 3, 2, 1, 0, 1, 1, 3, 3, 0, 1, 0, 0])
  }

  // MARK: - categories

  @Test func targetEncodingIsThatOfScikitLearn() throws {
    let categories = texts("c", ["a", "a", "b", "b", "b", "c", "c", "a", "new"])
    let numbers: [Double] = [1, 3, 2, 2, 8, 4, 4, 5, 0]
    let classes: [Double] = [0, 1, 2, 1, 1, 0, 2, 0, 0]
    let cases: [(String, EncodingTargets, [[Double]])] = [
      (
        "", EncodingTargets(values: numbers, classCount: 0),
        [[3.1084378176889187], [3.8550943396226414], [4], [3.625]]
      ),
      (", smoothing: 2", EncodingTargets(values: numbers, classCount: 0), [[3.25], [3.85], [3.8125], [3.625]]),
      (
        "", EncodingTargets(values: classes, classCount: 3),
        [
          [0.5966228893058161, 0.34333958724202623, 0], [0, 0.5966228893058161, 0.30973451327433627],
          [0.4565217391304348, 0, 0.4], [0.375, 0.375, 0.25],
        ]
      ),
    ]
    for (extra, targets, expected) in cases {
      let (fitted, table) = try fit(
        [categories], "features: { encoding: target, unknown: zeros\(extra) }\npreprocessing: { scale: none }",
        targets: targets, rows: Array(0..<8))
      let found = try fitted.transform(table, rows: [0, 2, 5, 8])
      expectNear(found.elements, Array(expected.joined()))
    }
  }

  @Test(arguments: ["mlp", "gbdt"])
  func aTrainingRowIsEncodedWithoutItsOwnTarget(family: String) throws {
    let categories = texts("c", (0..<40).map { ["a", "b", "c"][$0 % 3] })
    func encodings(_ values: [Double]) throws -> (training: [Double], serving: [Double]) {
      let (fitted, table) = try fit(
        [categories], "features: { encoding: target }\npreprocessing: { scale: none }", family: family,
        targets: EncodingTargets(values: values, classCount: 0))
      let rows = Array(0..<40)
      if family == "gbdt" {
        return (
          try FeatureColumns(fitted.forTraining, table, rows: rows).columns[0].values,
          try FeatureColumns(fitted, table, rows: rows).columns[0].values
        )
      }
      return (
        try fitted.forTraining.transform(table, rows: rows).elements.map { Double($0) },
        try fitted.transform(table, rows: rows).elements.map { Double($0) }
      )
    }
    let values = (0..<40).map { Double($0 * $0 % 17) }
    let before = try encodings(values)
    for row in [0, 17, 39] {
      var changed = values
      changed[row] += 100
      let after = try encodings(changed)
      #expect(after.training[row] == before.training[row])
      #expect(after.serving[row] != before.serving[row])
      #expect(after.training != before.training, "other rows of the category see it")
    }
  }

  @Test func ordinalAndFrequencyAreOneColumnEach() throws {
    let (fitted, table) = try fit(
      [texts("o", ["m", "s", "m", "x"]), texts("f", ["u", "u", "v", "u"])],
      "features: { unknown: zeros, columns: { o: { encoding: ordinal }, f: { encoding: frequency } } }\n"
        + "preprocessing: { scale: none }", rows: [0, 1, 2])
    let third = Float(1) / 3
    let expected: [Float] = [0, 2 * third, 1, 2 * third, 0, third, -1, 2 * third]
    #expect(try fitted.transform(table, rows: [0, 1, 2, 3]).elements == expected)
  }

  @Test func manyCategoriesAreEncodedByTheTargetAndWithManyClassesByTheirHash() throws {
    let count = Limits.oneHotLevelsMax + 1
    let codes = (0..<2 * count).map { Int32($0 % count) }
    let categories = Table.Column(
      name: "agent", values: .categories(codes: codes, categories: (0..<count).map { "agent \($0)" }))
    for (classes, encoding, columns) in [(0, "target", 1), (3, "target", 3), (40, "hash", 1024)] {
      let targets = EncodingTargets(
        values: codes.map { Double(Int($0) % max(classes, 7)) }, classCount: classes)
      let (fitted, _) = try fit([categories], "", targets: targets)
      #expect(fitted.columns == columns)
      #expect(
        fitted.warnings == [
          "column \"agent\": 4,097 categories, more than the 4,096 that become a column each: encoding \(encoding)"
        ])
    }
    let (fewer, _) = try fit(
      [
        .init(
          name: "agent",
          values: .categories(codes: codes.map { max(0, $0 - 1) }, categories: (0..<count).map { "a\($0)" }))
      ], "")
    #expect(fewer.columns == Limits.oneHotLevelsMax)
  }

  @Test func hashedCategoriesTakeTextsThatNoTrainingRowHas() throws {
    let (fitted, table) = try fit(
      [texts("c", ["a", "b", "a", "never seen"])], "features: { encoding: hash, buckets: 16 }", rows: [0, 1, 2])
    #expect(fitted.schema.features[0].buckets == 16 && fitted.accepts(table, row: 3) && fitted.columns == 16)
    let rows = try fitted.transform(table, rows: [0, 3])
    for (row, text) in ["a", "never seen"].enumerated() {
      let bucket = TextBuckets.bucket(of: text, among: 16)
      #expect((0..<16).allSatisfy { rows[row, $0] == ($0 == bucket ? 1 : 0) })
    }
  }

  // MARK: - interactions

  @Test func productsAndCrossesStandBehindTheirColumns() throws {
    let (fitted, table) = try fit(
      [numbers("x", [2, 3]), numbers("y", [5, 7]), texts("c", ["a", "b"]), texts("d", ["u", "v"])],
      "features: { buckets: 8, interactions: [[x, y], [x, x, y], [c, d]] }\npreprocessing: { scale: none }")
    #expect(fitted.sources.map(\.name) == ["x", "y", "c", "d", "x*y", "x*x*y", "c*d"])
    let rows = try fitted.transform(table, rows: [0, 1])
    #expect(fitted.columns == 16)
    #expect((0..<2).map { rows[$0, 6] } == [10, 21] && (0..<2).map { rows[$0, 7] } == [20, 63])
    for (row, codes) in [[0.0, 0], [1, 1]].enumerated() {
      #expect(rows[row, 8 + DerivedColumns.bucket(of: codes, among: 8)] == 1)
      #expect((8..<16).count { rows[row, $0] == 1 } == 1)
    }
  }

  @Test(arguments: [
    (
      "[[x, z]]",
      "features.interactions: [x, z]: expected feature columns, or parts of a date such as ordered.month, found \"z\", did you mean \"x\"?"
    ),
    ("[[x]]", "features.interactions: [x]: expected 2 to 8 columns, found 1"),
    (
      "[[x, c]]",
      "features.interactions: [x, c]: expected numbers only, which are multiplied, or categories only, which are crossed, found both"
    ),
  ])
  func interactionsOfOtherColumnsAreRefused(interactions: String, message: String) throws {
    let error = #expect(throws: TrainingError.self) {
      try fit(
        [numbers("x", [2, 3]), texts("c", ["a", "b"])], "features: { interactions: \(interactions) }")
    }
    #expect(error?.message == "run.yaml:4: " + message)
  }

  @Test(arguments: [
    ("preprocessing: { scale: robst }", "expected standardise | min_max | robust", "did you mean \"robust\"?"),
    ("features: { encoding: targt }", "expected auto | one_hot | ordinal | target", "did you mean \"target\"?"),
    ("features: { columns: { x: { scale: powr } } }", "features.columns.x.scale", "did you mean \"power\"?"),
    ("features: { buckets: 1 }", "expected a whole number from 2 to 1048576", "found \"1\""),
  ])
  func unknownStepsAreRefusedWithASuggestion(extra: String, expected: String, found: String) {
    let error = #expect(throws: TrainingError.self) { try configuration(extra) }
    #expect(error?.message.contains(expected) == true && error?.message.contains(found) == true)
  }

  @Test func theRunFileOfTheHandbookTrains() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let page = try String(contentsOf: root.appending(path: "Sources/Handbook/Handbook.docc/Data.md"), encoding: .utf8)
    let section = try #require(page.components(separatedBy: "### Steps\n").last)
    let steps = try #require(section.firstMatch(of: /```yaml\n((?s:.*?))```/)).1
    let directory = try TemporaryDirectory()
    var csv = "width,height,income,grade,postcode,make,model,t\n"
    for row in 0..<300 {
      csv += "\(row % 17),\(row % 9 == 0 ? "" : String(row % 5)),\(row * row),\(["low", "high"][row % 2]),"
      csv += "p\(row % 40),m\(row % 3),x\(row % 7),\(row % 17 > 8 ? "a" : "b")\n"
    }
    try directory.write(csv, to: "data.csv")
    let run = try RunConfiguration(
      yaml: "data: { files: [data.csv] }\ntarget: { column: t }\nmodel: { family: logistic_regression }\n\(steps)",
      file: "run.yaml", directory: directory.path)
    #expect((try TrainingRun(run).run().testFigures.first { $0.name == "accuracy" }?.value ?? 0) > 0.9)
  }

  // MARK: - one row, three readers

  /// A table with everything: gaps, categories, a skewed number, a date.
  private func mixed(rows: Int) -> [Table.Column] {
    var random = RandomSource(seed: 5)
    func gap(_ value: Double) -> Double { random.index(below: 9) == 0 ? .nan : value }
    let size = (0..<rows).map { _ in gap(exp(random.normal())) }
    let width = (0..<rows).map { _ in gap(random.normal() * 10) }
    let colour = (0..<rows).map { _ in ["red", "green", "", "blue"][random.index(below: 4)] }
    let city = (0..<rows).map { _ in "city \(random.index(below: 90))" }
    let at = (0..<rows).map { _ in 1.7e9 + Double(random.index(below: 40_000_000)) }
    return [
      numbers("size", size), numbers("width", width), texts("colour", colour), texts("city", city),
      .init(name: "at", values: .numbers(at), dateOrder: .yearFirst),
    ]
  }

  private static let steps = """
    features:
      missing: FILL
      unknown: zeros
      missing_flags: true
      buckets: 32
      interactions: [[size, width], [size, at.month], [colour, city]]
      columns:
        at: { parts: [elapsed, month] }
        colour: { encoding: ENCODING, missing: most_frequent }
        city: { encoding: target }
    """

  @Test(arguments: ["frequency", "ordinal", "hash"])
  func columnsOfTreesAreWhatTheGraphComputes(encoding: String) throws {
    let steps = Self.steps.replacingOccurrences(of: "ENCODING", with: encoding)
      .replacingOccurrences(of: "FILL", with: "median")
    let targets = EncodingTargets(values: (0..<300).map { Double($0 % 11) }, classCount: 0)
    let (fitted, table) = try fit(mixed(rows: 300), steps, family: "gbdt", targets: targets, rows: Array(0..<200))
    let rows = Array(0..<300)
    let columns = try FeatureColumns(fitted, table, rows: rows).columns
    var graph = fitted.emptyGraph()
    let value = try fitted.export(into: &graph)
    #expect(graph.values[value].type.element == .float64)
    let narrowed = try graph.addIdentity(name: "narrow", from: value)
    let definition = ModelDefinition(
      schema: fitted.schema, graph: graph.finish(numbers: narrowed), labels: [])
    let found = try RowRunner(CompiledModel(definition)).run(count: 300) { fitted.cells(of: table, row: $0) }[0]
    for row in rows {
      for (index, column) in columns.enumerated() {
        #expect(
          Float(column.values[row]).bitPattern == found[row * columns.count + index].bitPattern,
          "\(fitted.sources[index].name), row \(row)")
      }
    }
  }

  @Test func indicatorsOfWideCategoriesAreTheSameRowsAsAMatrix() throws {
    let steps = Self.steps.replacingOccurrences(of: "ENCODING", with: "one_hot")
      .replacingOccurrences(of: "FILL", with: "median").replacingOccurrences(of: "encoding: target", with: "scale: log")
    let (fitted, table) = try fit(mixed(rows: 300), steps, rows: Array(0..<200))
    let matrix = try fitted.transform(table, rows: Array(0..<300))
    let rows = try IndicatorRows(fitted, table, rows: Array(0..<300))
    #expect(!rows.row.categories.isEmpty && rows.columns == matrix.columns)
    #expect(rows.row.categories.allSatisfy { $0.columns.count >= IndicatorRows.levelsMin })
    for coded in [rows.row, rows.row.keepingWidestCategory, try CodedRows(fitted, table, rows: Array(0..<300))] {
      for row in 0..<300 {
        var written = [Float](repeating: 0, count: rows.columns)
        for (column, place) in coded.places.enumerated() { written[place] = coded.numbers[row, column] }
        for category in coded.categories where category.codes[row] >= 0 {
          written[category.columns.lowerBound + Int(category.codes[row])] = 1
        }
        #expect(written == Array(matrix.elements[row * rows.columns..<(row + 1) * rows.columns]))
      }
    }
  }

  @Test(arguments: ["logistic_regression", "mlp", "gbdt"])
  func aModelWithEveryStepServesWhatItWasJudgedOn(family: String) throws {
    let directory = try TemporaryDirectory()
    var random = RandomSource(seed: 2)
    var csv = "size,width,colour,city,at,t\n"
    for row in 0..<400 {
      let size = row % 9 == 0 ? "" : "\(exp(random.normal()))"
      let city = random.index(below: 90)
      csv += "\(size),\(row % 7 == 0 ? "NA" : "\(random.normal())"),\(["red", "green", "", "blue"][row % 4]),"
      csv += "city \(city),2024-0\(1 + row % 9)-11,\((city + row) % 3 == 0 ? "yes" : "no")\n"
    }
    try directory.write(csv, to: "data.csv")
    let steps = Self.steps.replacingOccurrences(of: "ENCODING", with: "hash")
      .replacingOccurrences(of: "FILL", with: "median")
    let scale = family == "gbdt" ? "none" : "power"
    let training = family == "mlp" ? "training: { epochs: 3 }" : ""
    let run = try RunConfiguration(
      yaml: "data: { files: [data.csv] }\ntarget: { column: t }\nmodel: { family: \(family) }\n\(steps)\n"
        + "preprocessing: { scale: \(scale) }\n\(training)\n", file: "run.yaml", directory: directory.path)
    let model = try TrainingRun(run).run()
    // Reading back compares the golden samples, bit by bit.
    #expect(try !model.encode(version: #require(ModelVersion(1)), signing: []).isEmpty)
    #expect((model.testFigures.first { $0.name == "accuracy" }?.value ?? 0) > 0.5)
  }
}
