import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

/// Expected values: scikit-learn 1.9.1 on the same rows.
@Suite struct EvaluationTests {
  private let truth = [false, false, true, true, false, true, true, false, true, false]
  private let scores: [Float] = [0.1, 0.4, 0.35, 0.8, 0.35, 0.9, 0.65, 0.2, 0.4, 0.7]
  private var ranked: RankedScores { RankedScores(zip(scores, truth).map { ($0, $1) }) }

  @Test func figuresOfClassesAgreeWithScikitLearn() {
    let figures = ClassFigures(
      predicted: [0, 1, 1, 2, 0, 0, 2, 2], truth: [0, 1, 2, 2, 1, 0, 0, 2], classCount: 4)
    #expect(figures.confusion == [[2, 0, 1, 0], [1, 1, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]])
    let expectations: [(Double, Double)] = [(2.0 / 3, 3.0), (0.5, 2.0), (2.0 / 3, 3.0), (0, 0)]
    for (scores, expected) in zip(figures.classes, expectations) {
      #expect(abs(scores.precision - expected.0) < 1e-12)
      #expect(abs(scores.recall - expected.0) < 1e-12)
      #expect(abs(scores.f1 - expected.0) < 1e-12)
      #expect(scores.support == expected.1)
    }
    #expect(abs(figures.weighted.f1 - 0.625) < 1e-12)
    // The class that neither truth nor answers have does not count.
    #expect(abs(figures.macro.f1 - 11.0 / 18) < 1e-12)
    #expect(abs(figures.balancedAccuracy - 11.0 / 18) < 1e-12)
    #expect(abs(figures.matthews - 3.0 / 7) < 1e-12)
  }

  @Test func theRocCurveLeavesOutPointsOnALine() {
    let points = ranked.rocPoints.map { [$0.x, $0.y] }
    #expect(points == [[0, 0], [0, 0.2], [0, 0.4], [0.2, 0.4], [0.2, 0.6], [0.6, 1], [1, 1]])
    #expect(abs((ranked.rocArea ?? 0) - 0.8) < 1e-12)
  }

  @Test func averagePrecisionAndItsCurveAgreeWithScikitLearn() {
    #expect(abs((ranked.averagePrecision ?? 0) - 0.8083333333333333) < 1e-12)
    let points = ranked.precisionRecallPoints
    #expect(points.map(\.x) == [0, 0.2, 0.4, 0.4, 0.6, 0.8, 1, 1, 1])
    let precisions = [1, 1, 1, 2.0 / 3, 0.75, 2.0 / 3, 0.625, 5.0 / 9, 0.5]
    for (point, precision) in zip(points, precisions) { #expect(abs(point.y - precision) < 1e-12) }
  }

  @Test func curvesOfOneKindOfRowsAreNotDefined() {
    let ranked = RankedScores([(0.5, true), (0.7, true)])
    #expect(ranked.rocArea == nil)
    #expect(ranked.rocPoints.isEmpty)
    #expect(ChosenThreshold(.f1, ranked) == nil)
  }

  /// The best values of `f1_score`, `balanced_accuracy_score` and `matthews_corrcoef` over all thresholds.
  @Test func theThresholdIsTheBestOfAll() throws {
    let f1 = try #require(ChosenThreshold(.f1, ranked))
    #expect(abs(f1.value - 0.769230769231) < 1e-9)
    // Between 0.35, which counts, and 0.2, which does not.
    #expect(abs(f1.threshold - 0.275) < 1e-6)
    // Accuracy is 0.7 at four thresholds; that between 0.65 and 0.4 is the nearest to a half.
    let accuracy = try #require(ChosenThreshold(.accuracy, ranked))
    #expect(abs(accuracy.value - 0.7) < 1e-12)
    #expect(abs(accuracy.threshold - 0.525) < 1e-6)
    #expect(abs(try #require(ChosenThreshold(.balancedAccuracy, ranked)).value - 0.7) < 1e-12)
    #expect(abs(try #require(ChosenThreshold(.matthews, ranked)).value - 0.5) < 1e-12)
  }

  @Test func costsMoveTheThreshold() throws {
    let youden = try #require(ChosenThreshold(.youden, ranked))
    #expect(abs(youden.value - 0.4) < 1e-12, "twice the balanced accuracy, less 1")
    // By hand: at each threshold, missed rows times 5 and false alarms, or the other way round.
    for (costs, isLow) in [
      (ChosenThreshold.Costs(falseAlarm: 1, miss: 5), true), (.init(falseAlarm: 5, miss: 1), false),
    ] {
      let found = try #require(ChosenThreshold(.cost, ranked, costs: costs))
      func cost(_ threshold: Double) -> Double {
        zip(scores, truth).reduce(0) { sum, row in
          let isSecond = Double(row.0) >= threshold
          return sum + (isSecond == row.1 ? 0 : isSecond ? costs.falseAlarm : costs.miss)
        } / Double(scores.count)
      }
      let best = try #require((0...100).map { cost(Double($0) / 100) }.min())
      #expect(abs(cost(found.threshold) - best) < 1e-12 && abs(found.value + best) < 1e-12)
      #expect((found.threshold < 0.5) == isLow)
    }
  }

  @Test func theThresholdItselfBelongsToTheSecondClass() throws {
    var builder = GraphBuilder(inputColumns: 2)
    let input = try builder.addIdentity(name: "probabilities", from: 0)
    let graph = try builder.finish(.probabilities(input), classCount: 2)
    // The first is no fp32 number: the next above it counts, the one below does not.
    for threshold in [0.3, 0.25, 1e-12, 0.999_999_99] {
      let at = Float(threshold)
      let first = Double(at) >= threshold ? at : at.nextUp
      let schema = FeatureSchema(
        features: ["a", "b"].map { Feature(name: $0, kind: .numeric, missing: .refuse) }, target: "y")
      let model = try CompiledModel(
        ModelDefinition(schema: schema, graph: graph.deciding(at: threshold), labels: ["no", "yes"]))
      let rows = [first, first.nextDown].map { p in [Cell.number(Double(1 - p)), .number(Double(p))] }
      #expect(try Evaluation(model, rows: rows, targets: [1, 0]).classes == [1, 0], "threshold \(threshold)")
    }
  }

  @Test func calibrationAgreesWithScikitLearn() {
    let found = Calibration(zip(scores, truth).map { (Double($0), $1) })
    let filled = found.bins.filter { $0.weight > 0 }
    // 0.1 and 0.2 as Float lie a little above the bounds of their bins.
    #expect(filled.map(\.weight) == [1, 1, 2, 2, 2, 2])
    for (bin, share) in zip(filled, [0, 0, 0.5, 0.5, 0.5, 1]) { #expect(abs(bin.share - share) < 1e-12) }
    for (bin, mean) in zip(filled, [0.1, 0.2, 0.35, 0.4, 0.675, 0.85]) {
      #expect(abs(bin.meanProbability - mean) < 1e-6)
    }
    #expect(abs(found.expectedError - 0.145) < 1e-6)
  }

  /// `roc_curve`, `precision_recall_curve` and their areas with `sample_weight`.
  @Test func weightedCurvesAgreeWithScikitLearn() {
    let weights: [Double] = [1, 0.5, 2, 0, 1.5, 1, 3, 2, 0.5, 1]
    let ranked = RankedScores(zip(scores, truth).map { ($0, $1) }, weights: weights)
    #expect(abs((ranked.rocArea ?? 0) - 0.7916666666666666) < 1e-12)
    #expect(abs((ranked.averagePrecision ?? 0) - 0.7912955465587044) < 1e-12)
    // Weights of the rows above each threshold, of 6 and 6.5.
    let roc: [(Double, Double)] = [
      (0, 0), (0, 1), (1, 1), (1, 4), (1.5, 4.5), (3, 6.5), (5, 6.5), (6, 6.5),
    ].map { ($0 / 6, $1 / 6.5) }
    #expect(ranked.rocPoints.count == roc.count)
    for (point, expected) in zip(ranked.rocPoints, roc) {
      #expect(abs(point.x - expected.0) < 1e-12 && abs(point.y - expected.1) < 1e-12)
    }
  }

  /// `quantile` of NumPy with the method `inverted_cdf` and weights.
  @Test func weightedQuantilesAgreeWithNumPy() {
    let values: [Double] = [-2, -1, 0.5, 1, 4]
    let weights: [Double] = [1, 0.5, 2, 0.25, 1.25]
    let found = [0.01, 0.2, 0.25, 0.5, 0.75, 0.99].map { Quantiles.of(values, weights: weights, $0) }
    #expect(found == [-2, -2, -1, 0.5, 1, 4])
  }

  @Test func groupsOfNumbersAreQuartersAndOfTextsTheMostFrequent() {
    let numbers = (1...8).map { Cell.number(Double($0)) } + [.missing]
    let quarters = EvaluationDocument.groups(numbers)
    #expect(quarters.map(\.name) == ["≤ 2.75", "2.75 – 4.5", "4.5 – 6.25", "> 6.25", "missing"])
    #expect(quarters.map(\.rows) == [[0, 1], [2, 3], [4, 5], [6, 7], [8]])
    let texts = EvaluationDocument.groups((0..<20).map { Cell.text("t\($0)") } + [.text("t3")])
    #expect(texts.count == EvaluationDocument.groupsMax)
    #expect(texts[0].name == "t3")
    #expect(texts.last?.name == "9 others")
    #expect(texts.flatMap(\.rows).sorted() == Array(0..<21))
  }

  @Test func longCurvesKeepTheirEnds() {
    let points = (0...10_000).map { (x: Double($0), y: 1.0) }
    let kept = QualityDocument.points(points).elements
    #expect(kept.count == QualityDocument.pointsMax)
    #expect(kept.first?.elements.first?.number == 0)
    #expect(kept.last?.elements.first?.number == 10_000)
  }
}

@Suite struct RunReportTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func train(_ yaml: String, csv: String, sets: [String] = []) throws -> TrainedModel {
    try directory.write(csv, to: "data.csv")
    let run = try RunConfiguration(yaml: yaml, file: "run.yaml", directory: directory.path, sets: sets)
    return try TrainingRun(run).run()
  }

  private func report(_ trained: TrainedModel) throws -> Document {
    try trained.report(metrics: trained.metrics(version: .first, bundleBytes: 1))
  }

  @Test func theServedClassKeepsToTheThreshold() throws {
    // Every tenth row is of the second class, and nothing tells them well apart.
    var random = RandomSource(seed: 3)
    let csv =
      "x,kind\n"
      + (0..<600).map { row in
        "\(random.normal() + (row % 10 == 0 ? 1.2 : 0)),\(row % 10 == 0 ? "yes" : "no")\n"
      }.joined()
    for family in ["logistic_regression", "gbdt", "mlp"] {
      let trained = try train(
        "data: { files: data.csv }\ntarget: { column: kind }\nmodel: { family: \(family) }\n", csv: csv,
        sets: ["evaluation.threshold_for=balanced_accuracy"])
      let threshold = try #require(trained.threshold).threshold
      #expect(threshold < 0.4, "\(family)")
      let evaluation = trained.chosen.test
      #expect(evaluation.areProbabilities)
      var changed = 0
      for (row, found) in evaluation.classes.enumerated() {
        let probability = evaluation.numbers[2 * row + 1]
        #expect((found == 1) == (Double(probability) >= threshold))
        if found == 1, probability < 0.5 { changed += 1 }
      }
      #expect(changed > 0)
      _ = try trained.encode(version: .first, signing: [])
    }
  }

  @Test func aReportOfClassesHasEverySection() throws {
    let trained = try train(
      Synthetic.classesRun, csv: Synthetic.classesCSV(rows: 300, seed: 1),
      sets: ["evaluation.threshold_for=f1", "evaluation.subgroups=[colour, y]"])
    let report = try report(trained)
    let threshold = try #require(report["threshold"]["threshold"].number)
    #expect(trained.contents.metrics["threshold.f1"] == threshold)
    #expect(report["classes"].elements.map { $0["label"].text } == ["left", "right"])
    #expect(report["subgroups"].elements.map { $0["column"].text } == ["colour", "y"])
    let colours = report["subgroups"].elements[0]["groups"].elements
    #expect(colours.compactMap { $0["rows"].integer }.reduce(0, +) == report["rows"]["test"].integer)
    #expect(report["learning"].elements.count == trained.history.count)
    #expect(report["importance"].elements.first { $0["feature"].text == "x" }?["permutation"].number ?? 0 > 0.1)
    let dependence = report["partial_dependence"].elements
    // The feature that decides comes first, and the probability of "right" rises with it.
    #expect(dependence[0]["feature"].text == "x")
    let values = dependence[0]["series"].elements[0]["values"].elements.compactMap(\.number)
    #expect(values.count == ModelProbe.gridPoints && values[0] < 0.2 && values[values.count - 1] > 0.8)
    let noise = report["robustness"].elements.filter { $0["kind"].text == "noise" }
    #expect(noise.map { $0["level"].number } == [0] + ModelProbe.noiseLevels)
    #expect(noise[0]["figures"]["accuracy"] == report["test"]["accuracy"])
    #expect(report["latency"].elements.map { $0["batch"].integer } == ModelProbe.batches)
    for section in ["classes", "curves", "threshold", "importance", "robustness", "speed", "data", "settings"] {
      #expect(ReportPage(report).html.contains("<section id=\"\(section)\">"), "section \(section)")
    }
  }

  @Test func aRunWithWeightsHasFiguresByWeight() throws {
    let lines = Synthetic.classesCSV(rows: 300, seed: 1).split(separator: "\n")
    let csv = "\(lines[0]),w\n" + lines.dropFirst().enumerated().map { "\($1),\($0 % 4)\n" }.joined()
    for (sets, words) in [
      (["target.weight=w"], "Rows count by the column w, as by"),
      (["data.drop=[w]", "training.class_weights={left: 3}"], "Rows count by the weights of their classes in"),
      (["target.weight=w", "training.class_weights=balanced"], "the column w times the weights of their classes"),
    ] {
      let trained = try train(Synthetic.classesRun, csv: csv, sets: sets)
      let report = try report(trained)
      let figures = report["test_weighted"]
      #expect(figures.entries.map(\.key) == report["test"].entries.map(\.key))
      #expect(trained.contents.metrics["test_weighted.log_loss"] == figures["log_loss"].number)
      #expect(report["validation_weighted"]["log_loss"].number != report["validation"]["log_loss"].number)
      #expect(ReportPage(report).html.contains(words), "\(words)")
      #expect(ModelCard(report).markdown.contains("test rows by weight"))
      #expect(report["by_weight"]["classes"].elements.count == 2)
    }
    let plain = try report(try train(Synthetic.classesRun, csv: csv, sets: ["data.drop=[w]"]))
    #expect(plain["test_weighted"] == .null && !ReportPage(plain).html.contains("<section id=\"weights\">"))
  }

  @Test func theWeightsOfTheHandbookAreTaken() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let page = try String(
      contentsOf: root.appending(path: "Sources/Handbook/Handbook.docc/Training.md"), encoding: .utf8)
    let blocks = page.split(separator: "```yaml\n").dropFirst().compactMap { $0.split(separator: "```").first }
    let block = String(try #require(blocks.first { $0.contains("weight: exposure") }))
    var random = RandomSource(seed: 4)
    let rows = (0..<300).map { row in
      "\(random.normal() + Double(row % 3)),\(row % 5),\(row % 3 == 2 ? "yes" : "no")\n"
    }
    let trained = try train("data: { files: [data.csv] }\n" + block, csv: "x,exposure,churned\n" + rows.joined())
    #expect(trained.chosen.test.weighted.map(\.name) == trained.testFigures.map(\.name))
    #expect(trained.metrics(version: .first, bundleBytes: 1)["weights"]["column"] == .text("exposure"))
  }

  @Test func aReportOfNumbersShowsResiduals() throws {
    var random = RandomSource(seed: 1)
    let rows = (0..<200).map { _ in (random.normal(), random.normal()) }
    let csv = "a,b,y\n" + rows.map { "\($0.0),\($0.1),\(3 * $0.0 - $0.1 + 10)\n" }.joined()
    let trained = try train(
      "data: { files: data.csv }\ntarget: { column: y }\nmodel: { family: linear_regression }\n", csv: csv)
    let report = try report(trained)
    #expect(abs(report["residuals"]["mean"].number ?? 1) < 1e-5)
    #expect(
      report["residuals"]["histogram"].elements.compactMap(\.integer).reduce(0, +) == report["rows"]["test"].integer)
    // A line of slope 3.
    let part = try #require(report["partial_dependence"].elements.first { $0["feature"].text == "a" })
    let grid = part["grid"].elements.compactMap(\.number)
    let values = part["series"].elements[0]["values"].elements.compactMap(\.number)
    #expect(abs((values[5] - values[0]) / (grid[5] - grid[0]) - 3) < 1e-3)
    #expect(ReportPage(report).html.contains("<section id=\"residuals\">"))
  }

  @Test func theModelCardHasTheFiguresOfTheReport() throws {
    let report = try report(
      try train(
        Synthetic.classesRun, csv: Synthetic.classesCSV(rows: 300, seed: 1), sets: ["evaluation.subgroups=[colour]"]))
    let card = ModelCard(report).markdown
    let accuracy = try #require(report["test"]["accuracy"].number)
    #expect(card.contains("| accuracy | \(ReportPage.figure(accuracy)) |"))
    for title in ["# kinds 1", "## Data", "## Figures", "## Classes", "## Subgroups", "## Limits", "## Serving"] {
      #expect(card.contains("\(title)\n"), "\(title)")
    }
    #expect(card.contains("    model:\n      family: mlp\n"))
  }

  @Test func aReportReadsBackAsItWasWritten() throws {
    let trained = try train(Synthetic.classesRun, csv: Synthetic.classesCSV(rows: 200, seed: 2))
    let report = try report(trained)
    let read = try Document(json: Array(report.json.utf8), name: "report.json")
    #expect(read.json == report.json)
    #expect(ReportPage(read).html == ReportPage(report).html)
  }

  @Test func foreignTextBecomesNoMarkup() throws {
    let evil = "<img src=x onerror=alert(1)>"
    let csv = Synthetic.classesCSV(rows: 200, seed: 2)
      .replacingOccurrences(of: "left", with: evil).replacingOccurrences(of: "colour", with: evil + "c")
    let html = ReportPage(try report(try train(Synthetic.classesRun, csv: csv))).html
    #expect(!html.contains("<img"))
    #expect(html.contains("&lt;img src=x onerror=alert(1)&gt;"))
    let card = ModelCard(try report(try train(Synthetic.classesRun, csv: csv))).markdown
    #expect(card.contains("\\<img src=x onerror=alert(1)\\>") && !card.contains("| <img"))
    #expect(!html.contains("<script") && !html.contains("http://") && !html.contains("https://"))
  }

  @Test(arguments: [
    (["evaluation.subgroups=[color]"], "found \"color\", did you mean \"colour\"?"),
    (
      ["evaluation.threshold_for=f1", "target.column=x", "features.columns={}", "data.drop=[y]"],
      "expected two classes in \"x\", found numbers"
    ),
    (["evaluation.threshold_for=f2"], "expected none | f1 | accuracy | balanced_accuracy | mcc | youden | cost"),
  ])
  func refusesSettingsThatDoNotFitTheDataBeforeItTrains(sets: [String], message: String) throws {
    let error = #expect(throws: TrainingError.self) {
      try train(Synthetic.classesRun, csv: Synthetic.classesCSV(rows: 200, seed: 2), sets: sets)
    }
    #expect(error?.message.contains(message) == true, "\(error?.message ?? "")")
  }

  @Test(arguments: [
    ("", "a value"), ("{\"a\": 1", "a comma or the end of the object"), ("{\"a\": 1, \"a\": 2}", "each key once"),
    ("[1, 2", "a comma or the end of the list"), ("\"\\ud800\"", "the second half of a character"),
    ("\"a\nb\"", "text without control characters"), ("1 2", "the end of the file"), ("+1", "a value"),
    (String(repeating: "[", count: 5000), "levels of lists"), ("\"\\u00+1\"", "four hexadecimal digits"),
  ])
  func refusesWhatIsNoJSON(text: String, expected: String) {
    let error = #expect(throws: TrainingError.self) { try Document(json: Array(text.utf8), name: "report.json") }
    #expect(error?.message.contains("report.json:") == true)
    #expect(error?.message.contains(expected) == true, "\(error?.message ?? "")")
  }

  @Test func readsEveryKindOfJSON() throws {
    let text = #"{"b": [1, -2.5, 1e3, true, null], "a": {"π": "\u00e9\n\ud83d\ude00\/"}}"#
    let document = try Document(json: Array(text.utf8), name: "x")
    #expect(document.entries.map(\.key) == ["b", "a"])
    #expect(document["b"].elements == [.integer(1), .number(-2.5), .number(1000), .flag(true), .null])
    #expect(document["a"]["π"].text == "é\n😀/")
  }
}
