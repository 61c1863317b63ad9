import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

/// Chance of each class given the category in the last column, as counted in the training rows.
///
/// It wants codes, raw numbers and gaps, ends in probabilities, and brings the nodes that turn codes into them.
private struct CategoryFrequencies: ModelFamily {
  let name = "category_frequencies"
  let summary = "counts."
  let tasks: Set<ModelGraph.Task> = [.classification]

  func fit(_ context: FitContext<FeatureColumns>) throws(TrainingError) -> any FittedModel {
    #expect(context.validation.count == 0)
    let column = context.train.inputs.columns[context.train.inputs.columns.count - 1]
    guard case .categorical(let categories, _) = column.feature.kind else { throw .fit("expected a category") }
    var counts = [[Double]](
      repeating: [Double](repeating: 0, count: context.classCount), count: categories.count)
    for (code, target) in zip(column.values, context.train.targets) where !code.isNaN {
      counts[Int(code)][Int(target)] += 1
    }
    return Fitted(columns: context.train.inputs.columns.count, counts: counts, classCount: context.classCount)
  }

  struct Fitted: FittedModel {
    let columns: Int
    let counts: [[Double]]
    let classCount: Int
    let notes = ["counted"]

    func export(into graph: inout GraphBuilder, input: Int) throws(TrainingError) -> OutputHead {
      #expect(input == 0, "nothing stands between the raw row and a family that asks for columns")
      let fill = [Float](repeating: 0, count: columns - 1) + [-1]
      let filled = try graph.add(Impute(fill: fill), name: "no_gaps", from: input)
      let width = columns - 1 + counts.count
      let widths = [Int](repeating: 0, count: columns - 1) + [counts.count]
      let oneHot = try graph.add(OneHot(widths: widths), name: "indicators", from: filled)
      // Columns come in f64, and layers take f32.
      let rounded = try graph.addIdentity(name: "rounded", from: oneHot)
      // An unknown category, all zeros, gets equal chances.
      let even = 1 / Double(classCount)
      var weights = Matrix(rows: classCount, columns: width)
      for (category, counts) in counts.enumerated() {
        let sum = counts.reduce(0, +)
        for (index, count) in counts.enumerated() {
          weights[index, columns - 1 + category] = Float(count / sum - even)
        }
      }
      return .probabilities(
        graph.addDense(
          name: "chances", from: rounded, weights: weights, bias: [Float](repeating: Float(even), count: classCount),
          activation: .identity))
    }
  }
}

/// Fixed weights on the first column, ending in whichever head a test wants.
private struct FixedHead: ModelFamily {
  let name = "fixed"
  let summary = "fixed."
  let tasks: Set<ModelGraph.Task> = [.classification]
  let weights: [Float]
  let head: @Sendable (Int) -> OutputHead

  func fit(_ context: FitContext<Matrix>) throws(TrainingError) -> any FittedModel {
    Fitted(weights: weights, head: head, columns: context.train.inputs.columns)
  }

  struct Fitted: FittedModel {
    let weights: [Float]
    let head: @Sendable (Int) -> OutputHead
    let columns: Int
    let notes: [String] = []

    func export(into graph: inout GraphBuilder, input: Int) -> OutputHead {
      var matrix = Matrix(rows: weights.count, columns: columns)
      for (row, weight) in weights.enumerated() { matrix[row, 0] = weight }
      return head(
        graph.addDense(
          name: "fixed", from: input, weights: matrix, bias: [Float](repeating: 0, count: weights.count),
          activation: .identity))
    }
  }
}

@Suite struct ModelFamilyTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func configuration(_ family: any ModelFamily, _ extra: String = "") throws -> RunConfiguration {
    try RunConfiguration(
      yaml: "data: { files: data.csv }\ntarget: { column: kind }\nmodel: { family: \(family.name) }\n" + extra,
      file: "run.yaml", directory: directory.path, families: [family])
  }

  private func train(_ family: any ModelFamily, csv: String, _ extra: String = "") throws -> TrainedModel {
    try directory.write(csv, to: "data.csv")
    return try TrainingRun(try configuration(family, extra)).run()
  }

  /// Colours that nearly tell the kind, beside a number with gaps; some rows without a colour.
  private var colours: String {
    var csv = "size,colour,kind\n"
    for row in 0..<400 {
      let isLeft = row % 2 == 0
      let size = row % 5 == 0 ? "" : "\(row)"
      let colour = row % 20 == 7 ? "" : (isLeft == (row % 10 < 8) ? "red" : "blue")
      csv += "\(size),\(colour),\(isLeft ? "left" : "right")\n"
    }
    return csv
  }

  @Test func aFamilyThatAsksForColumnsGetsCodesAndGapsAndServesThem() throws {
    let trained = try train(CategoryFrequencies(), csv: colours, "features: { unknown: zeros }\n")
    let graph = trained.contents.definition.graph
    #expect(graph.nodes.map(\.name) == ["no_gaps", "indicators", "rounded", "chances", "class"])
    #expect(graph.values[0].type == ValueType(.float64, [2]))
    #expect(graph.outputs.map(\.name) == ["probabilities", "class", "label"])
    #expect(try #require(trained.contents.metrics["test.accuracy"]) > 0.7)
    #expect(trained.contents.metrics["test.log_loss"] != nil)
    // Gaps are answered, in golden samples too.
    let gap = try #require(trained.contents.golden.first { $0.name == "all missing" })
    guard case .answers(let answers) = gap.expectation else {
      Issue.record("expected answers")
      return
    }
    #expect(answers.first?.answer == .numbers([0.5, 0.5]))
    #expect(trained.predictionsCSV.hasPrefix("row,class,label,p_left,p_right,target\n"))
    #expect(trained.contents.drift?.prediction.categories.map(\.category).sorted() == ["left", "right"])
    _ = try trained.encode(version: .first, signing: [])
  }

  @Test func columnsHoldWhatTheGraphsInputRowHolds() throws {
    let table = Table(
      columns: [
        .init(name: "x", values: .numbers([0.1, .nan, 16_777_217])),
        .init(name: "c", values: .categories(codes: [1, -1, 2], categories: ["b", "a", "late"])),
      ], rowNumbers: [1, 2, 3])
    for (unknown, late) in [("zeros", -1.0), ("other", 1)] {
      let run = try configuration(CategoryFrequencies(), "features: { unknown: \(unknown) }\n")
      let preprocessing = try Preprocessing(features: table, rows: [0, 1], target: "kind", configuration: run)
      let columns = try FeatureColumns(preprocessing, table, rows: [0, 1, 2]).columns
      // All digits, which fp32 could not hold.
      #expect(columns[0].values[0] == 0.1 && columns[0].values[2] == 16_777_217)
      #expect(columns[0].values[1].isNaN && columns[1].values[1].isNaN)
      #expect(columns[1].values[0] == 0 && columns[1].values[2] == late)
    }
  }

  @Test func gapsAreFilledForColumnsToo() throws {
    let table = Table(columns: [.init(name: "x", values: .numbers([1, .nan, 5]))], rowNumbers: [1, 2, 3])
    let run = try configuration(CategoryFrequencies(), "features: { missing: mean }\n")
    let preprocessing = try Preprocessing(features: table, rows: [0, 1, 2], target: "kind", configuration: run)
    #expect(try FeatureColumns(preprocessing, table, rows: [0, 1, 2]).columns[0].values == [1, 3, 5])
    var builder = GraphBuilder(inputColumns: 1)
    _ = try preprocessing.export(into: &builder)
    #expect(builder.nodes.map(\.name) == ["impute"])
  }

  @Test func keptGapsAndFilledOnesDoNotMix() throws {
    let error = #expect(throws: TrainingError.self) {
      try train(CategoryFrequencies(), csv: colours, "features:\n  columns:\n    size: { missing: mean }\n")
    }
    #expect(
      error?.message
        == "run.yaml:6: features.columns.size.missing: expected keep or refuse, because \"colour\" keeps its missing "
        + "values, found mean")
  }

  @Test(arguments: [
    ("preprocessing: { scale: min_max }\n", "run.yaml:4: preprocessing.scale: expected none, found \"min_max\""),
    (
      "features: { missing: kep }\n",
      "run.yaml:4: features.missing: expected keep | refuse | mean | median | most_frequent | constant, "
        + "found \"kep\", did you mean \"keep\"?"
    ),
  ])
  func theFamilyDecidesWhichPreprocessingMayBeAskedFor(extra: String, message: String) {
    let error = #expect(throws: TrainingError.self) { try configuration(CategoryFrequencies(), extra) }
    #expect(error?.message == message)
  }

  @Test func onlyFamiliesThatUnderstandGapsMayKeepThem() {
    let error = #expect(throws: TrainingError.self) {
      try configuration(LogisticRegression(), "features: { missing: keep }\n")
    }
    #expect(
      error?.message
        == "run.yaml:4: features.missing: expected refuse | mean | median | most_frequent | constant, found \"keep\"")
  }

  @Test func scoresChooseAClassAndClaimNoProbabilities() throws {
    let family = FixedHead(weights: [-1, 1]) { .scores($0) }
    let trained = try train(
      family, csv: Synthetic.classesCSV(rows: 200, seed: 4), "features: { missing: mean, unknown: zeros }\n")
    #expect(trained.contents.definition.graph.outputs.map(\.name) == ["scores", "class", "label"])
    #expect(try #require(trained.contents.metrics["test.accuracy"]) > 0.95)
    #expect(trained.contents.metrics["test.log_loss"] == nil)
    #expect(trained.predictionsCSV.hasPrefix("row,class,label,score_left,score_right,target\n"))
    _ = try trained.encode(version: .first, signing: [])
  }

  @Test func logOddsBecomeTheLogisticFunction() throws {
    let family = FixedHead(weights: [3]) { .logOdds($0) }
    let trained = try train(
      family, csv: Synthetic.classesCSV(rows: 200, seed: 4),
      "features: { missing: mean, unknown: zeros }\npreprocessing: { scale: none }\n")
    let answers = try trained.chosen.compiled.answers(for: [[.number(0.5), .missing, .text("red")]])
    guard case .numbers(let probabilities) = answers[0].answer else {
      Issue.record("expected numbers")
      return
    }
    // 1 / (1 + e^−1.5) = 0.817574…
    #expect(abs(probabilities[1] - 0.817_574_476) < 1e-6)
    #expect(abs(probabilities[0] + probabilities[1] - 1) < 1e-6)
  }

  @Test func everyFamilyHasANameOfItsOwn() {
    let names = FamilyRegistry.all.names
    #expect(Set(names).count == names.count)
    #expect(names.allSatisfy { !$0.isEmpty })
  }
}
