import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

/// Rows of short texts about food and about ships, with a number and a colour that tell nothing.
private enum Texts {
  static let words = (
    food: ["bread", "soup", "salt", "the baker", "an apple, sliced", "hot"],
    ships: ["sail", "anchor", "the harbour", "a \"mast\"", "wind", "deep sea"]
  )

  static func csv(rows: Int, seed: UInt64 = 3) -> String {
    var random = RandomSource(seed: seed)
    var csv = "note,age,colour,score,kind\n"
    for row in 0..<rows {
      let isFood = row % 2 == 0
      let own = isFood ? words.food : words.ships
      let text = (0..<3 + random.index(below: 4)).map { _ in own[random.index(below: own.count)] } + ["and more words"]
      csv += "\"" + text.joined(separator: " ").replacingOccurrences(of: "\"", with: "\"\"") + "\","
      csv += "\(random.index(below: 90)),\(["red", "green"][random.index(below: 2)]),"
      csv += "\(Double(text.count) + (isFood ? 5 : 0)),\(isFood ? "food" : "ships")\n"
    }
    return csv
  }

  static func run(_ family: String, target: String = "kind", drop: String = "score", more: String = "") -> String {
    """
    data: { files: [data.csv], drop: [\(drop)] }
    features: { unknown: zeros, columns: { note: { type: text } } }
    target: { column: \(target), task: \(target == "score" ? "regression" : "classification") }
    model: { family: \(family) }
    evaluation: { report: false }
    tracking: { record: false }
    publish: { model: notes }
    \(more)
    """
  }
}

@Suite("Training on text")
struct TextTrainingTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func train(_ yaml: String, csv: String = Texts.csv(rows: 300), sets: [String] = []) throws -> TrainedModel {
    try directory.write(csv, to: "data.csv")
    return try TrainingRun(RunConfiguration(yaml: yaml, file: "run.yaml", directory: directory.path, sets: sets)).run()
  }

  private func refusal(_ yaml: String, csv: String = Texts.csv(rows: 60), sets: [String] = []) -> String? {
    let error = #expect(throws: TrainingError.self) { try train(yaml, csv: csv, sets: sets) }
    return error?.message
  }

  @Test(arguments: ["text_linear", "logistic_regression"])
  func textsAreLearnedBesideOtherColumnsAndServed(family: String) throws {
    let trained = try train(Texts.run(family))
    #expect(try #require(trained.contents.metrics["test.accuracy"]) == 1)
    let bytes = try trained.encode(version: .first, signing: [])
    let bundle = try VerifiedBundle(
      BundleFile(bytes: bytes), trust: .allowingUnsigned, expecting: nil, nowMilliseconds: 0)
    let contents = try bundle.decode()
    let model = try CompiledModel(contents.definition)
    try GoldenCheck.run(contents.golden, on: model)
    #expect(contents.definition.schema.features.map { $0.kind == .text } == [true, false, false])
    // Terms are looked up in the layer that reads them.
    #expect(model.plan.steps.contains { $0.kernel == "terms" && $0.outputColumns == 2 })
    #expect(!model.plan.steps.contains { $0.outputColumns > 8 })
    let rows: [[Cell]] = [
      [.text("An ANCHOR in the wind"), .number(3), .text("red")], [.text("salt soup"), .number(40), .text("blue")],
    ]
    let answers = try model.answers(for: rows)
    #expect(answers.last?.answer == .strings(["ships", "food"]))
    // What is known of a text's distribution is its length.
    #expect(contents.drift?.features[0].quantileEdges.count ?? 0 > 2)
  }

  @Test(arguments: ["tfidf", "counts", "hash"])
  func everyWayOfWeighingTrainsOnTextAlone(weights: String) throws {
    let yaml = Texts.run("text_linear", drop: "score, age, colour", more: "text: { weights: \(weights), buckets: 512 }")
    let trained = try train(yaml)
    #expect(try #require(trained.contents.metrics["test.accuracy"]) == 1)
    #expect(trained.contents.definition.schema.features.map(\.name) == ["note"])
  }

  @Test func numbersArePredictedFromTexts() throws {
    for (family, more) in [("text_linear", ""), ("linear_regression", ""), ("linear_regression", "loss: poisson")] {
      let yaml = Texts.run("\(family)\(more.isEmpty ? "" : ", " + more)", target: "score", drop: "kind")
      let trained = try train(yaml, sets: ["text.longest=1", "text.sublinear=false"])
      #expect(try #require(trained.contents.metrics["test.r2"]) > 0.8, "\(family) \(more)")
    }
  }

  @Test func theVocabularyIsThatOfPlainCounting() throws {
    let csv =
      "note,kind\n"
      + ["one two two", "Two three", "three, three!", "two four"].enumerated().map {
        "\"\($1)\",\($0 % 2 == 0 ? "a" : "b")\n"
      }.joined()
    let path = try directory.write(csv, to: "data.csv")
    func terms(_ sets: [String]) throws -> (terms: [String], idf: [Float]) {
      let configuration = try RunConfiguration(
        yaml: Texts.run("text_linear", drop: ""), file: "run.yaml", directory: directory.path,
        sets: ["text.longest=1"] + sets)
      let data = try TableReader(
        TableRequest(files: [("data.csv", path)], target: "kind", types: [("note", .text)])
      ).read()
      let fit = try TextFit(data.features.columns[0], feature: 0, index: 0, rows: [0, 1, 2, 3], configuration)
      guard case .vocabulary(let list) = fit.operation.columns else { return ([], []) }
      return ((0..<list.count).map { String(decoding: list[$0], as: UTF8.self) }, fit.operation.idf)
    }
    func idf(_ texts: Double) -> Float { Float(log(5 / (1 + texts)) + 1) }
    #expect(try terms(["text.min_df=1"]) == (["four", "one", "three", "two"], [idf(1), idf(1), idf(2), idf(3)]))
    #expect(try terms([]) == (["three", "two"], [idf(2), idf(3)]))
    #expect(try terms(["text.min_df=1", "text.max_df=0.5"]).terms == ["four", "one", "three"])
    #expect(try terms(["text.min_df=0.7"]).terms == ["two"])
    // "two" occurs four times, "three" as often as in two texts; then the order of bytes decides.
    #expect(try terms(["text.min_df=1", "text.max_features=3"]).terms == ["four", "three", "two"])
    #expect(try terms(["text.weights=counts"]).idf == [])
  }

  @Test func aColumnOfTextIsFoundByTextLinear() throws {
    let yaml = Texts.run("text_linear").replacingOccurrences(of: ", columns: { note: { type: text } }", with: "")
    let schema = try train(yaml).contents.definition.schema
    #expect(schema.features.map { $0.kind == .text } == [true, false, false])
    // Other families take such a column for names.
    let other = Texts.run("logistic_regression").replacingOccurrences(
      of: ", columns: { note: { type: text } }", with: "")
    #expect(try train(other).contents.definition.schema.textCount == 0)
  }

  @Test func aTableOfTextGetsARunFileThatTrains() throws {
    let path = try directory.write(Texts.csv(rows: 200), to: "data.csv")
    let starter = try StarterConfiguration(name: "data.csv", path: path, target: "kind", family: "text_linear")
    #expect(starter.yaml.contains("note: { type: text }"))
    try directory.write(starter.yaml, to: "run.yaml")
    let trained = try TrainingRun(RunConfiguration.load(path: directory.file("run.yaml"))).run()
    #expect(try #require(trained.contents.metrics["test.accuracy"]) == 1)
    // Text alone is for the family that reads it.
    let alone =
      Texts.csv(rows: 200).split(separator: "\n").map { line in
        let fields = line.split(separator: ",", omittingEmptySubsequences: false)
        return fields.dropLast(4).joined(separator: ",") + "," + fields[fields.count - 1]
      }.joined(separator: "\n") + "\n"
    let other = try directory.write(alone, to: "alone.csv")
    #expect(
      try StarterConfiguration(name: "alone.csv", path: other, target: "kind", family: nil).yaml
        .contains("family: text_linear"))
  }

  @Test func tuningTriesTheFamiliesThatTakeText() throws {
    try directory.write(Texts.csv(rows: 200), to: "data.csv")
    func plan(_ more: String) throws -> TuningPlan {
      let yaml = Texts.run("text_linear", more: "tuning: { \(more) }")
      let source = RunFileText(text: yaml, file: "run.yaml", directory: directory.path, sets: [])
      let own = try source.configuration()
      return try TuningPlan(source, own, TuningSettings(own))
    }
    let names = try plan("folds: 0").arms.map(\.family.name)
    #expect(names == ["logistic_regression", "text_linear"])
    let error = #expect(throws: TrainingError.self) { try plan("folds: 0, families: [gbdt]") }
    #expect(error?.message.hasSuffix("tuning.families: expected families that take text, found gbdt") == true)
  }

  @Test func tuningVariesHowTextsAreRead() throws {
    try directory.write(Texts.csv(rows: 200), to: "data.csv")
    func source(_ more: String, _ sets: [String] = []) -> RunFileText {
      RunFileText(
        text: Texts.run("text_linear", more: more), file: "run.yaml", directory: directory.path,
        sets: ["tuning.families=[text_linear]", "tuning.parallel=1"] + sets)
    }
    func paths(_ more: String) throws -> [String] {
      let own = try source(more).configuration()
      return try TuningPlan(source(more), own, TuningSettings(own)).arms[0].settings.map(\.path)
    }
    #expect(try paths("") == ["model.c", "text.terms", "text.weights", "text.min_df", "text.sublinear"])
    // What the run file sets stays, and so does what belongs to it.
    #expect(try paths("text: { longest: 3, buckets: 4096 }") == ["model.c", "text.min_df", "text.sublinear"])
    let arm = try #require(
      try TuningPlan(source(""), source("").configuration(), TuningSettings(source("").configuration())).arms.first)
    let text = try arm.configuration(of: [1, 3, 2, 4, 1]).document["text"]
    #expect(text["terms"] == .text("word_characters") && text["shortest"] == .integer(3))
    #expect(text["weights"] == .text("hash") && text["buckets"] == .integer(65_536))
    #expect(text["min_df"].number == 4 && text["sublinear"] == .flag(false))

    // Models that read texts in several ways answer together, also where rows are forgotten and read again.
    let sets = ["tuning.trials=9", "tuning.folds=3", "tuning.mixture=5", "tuning.pruner=none", "training.refit=true"]
    let tuning = try TuningRun(source("", sets), place: .memory)
    try tuning.search()
    let leaders = tuning.leaderboard
    #expect(leaders.count == 9)
    #expect(Set(leaders.flatMap(\.settings).filter { $0.hasPrefix("text.terms=") }).count > 1)
    let tuned = try tuning.finish()
    #expect(try #require(tuned.model.testFigures.first { $0.name == "accuracy" }?.value) > 0.9)
    _ = try tuned.model.encode(version: .first, signing: [])
  }

  /// The definition: the score where a text is what it is, less the mean of the scores with the texts of all training rows.
  @Test(arguments: ["score, age, colour", "score, age", "score"], ["text_linear", "logistic_regression"])
  func aTextContributesWhatItDiffersByFromTheMean(drop: String, family: String) throws {
    let trained = try train(Texts.run(family, drop: drop))
    let definition = trained.contents.definition
    let explainer = try ModelExplainer(definition, drift: trained.contents.drift)
    let rows = trained.data.cells(trained.data.split.test)
    let found = try explainer.explain(rows, firstRow: 1, threads: 2)
    #expect(explainer.outputs == ["food", "ships"])
    let others = trained.data.cells(trained.data.split.train)
    let width = definition.schema.features.count
    for row in [0, 3, 9] {
      let swapped = others.map { other in [other[0]] + rows[row].dropFirst() }
      let scores = try explainer.explain(swapped).scores
      let means = (0..<2).map { output in
        swapped.indices.reduce(0.0) { $0 + scores[$1 * 2 + output] } / Double(swapped.count)
      }
      for output in 0..<2 {
        let contribution = found.contributions[(row * 2 + output) * width]
        #expect(abs(contribution - (found.scores[row * 2 + output] - means[output])) < 1e-4)
      }
    }
    #expect(found.contributions.contains { abs($0) > 0.5 })
    // The terms of a text are in it, and add up to what it contributes.
    let terms = try #require(try TermExplainer(explainer))
    for (row, cells) in rows.enumerated() {
      for output in 0..<2 {
        let text = try #require(terms.explain(cells, output: output).first)
        let sum = text.terms.reduce(text.withoutTerms) { $0 + $1.contribution }
        #expect(text.feature == "note" && abs(sum - found.contributions[(row * 2 + output) * width]) < 1e-5)
        guard case .text(let note) = cells[0] else { continue }
        #expect(text.terms.allSatisfy { term in term.text.split(separator: " ").allSatisfy { note.contains($0) } })
      }
    }
    #expect(trained.importance.isEmpty || trained.importance[0].meanContribution ?? 0 > 0.5)
  }

  @Test func aModelOfTextWhoseMeansAreNotKnownIsNotExplained() throws {
    for drop in ["score, age, colour", "score"] {
      var definition = try train(Texts.run("text_linear", drop: drop)).contents.definition
      for index in definition.graph.tensors.indices where definition.graph.tensors[index].name.contains(".terms.") {
        if definition.graph.tensors[index].shape.count == 1 {
          definition.graph.tensors[index].storage = .float32([0, 0])
        }
      }
      for index in definition.graph.nodes.indices where definition.graph.nodes[index].name == "logits intercept" {
        definition.graph.nodes[index].operation = Softmax()
      }
      let error = #expect(throws: ExplanationError.self) { try ModelExplainer(definition) }
      #expect(
        error?.message.hasSuffix("earlier trainer wrote; train the model again") == true, "\(error?.message ?? "")")
    }
  }

  @Test(arguments: ["score, age, colour", "score"])
  func textsUnlikeTheOthersAreSelectedFirst(drop: String) throws {
    // Without pairs of words, their order makes no difference.
    let trained = try train(Texts.run("text_linear", drop: drop), sets: ["text.longest=1"])
    let bundle = try directory.write(trained.encode(version: .first, signing: []), to: "model.ntb")
    let plain = drop == "score" ? ",30,red" : ""
    let header = drop == "score" ? "note,age,colour\n" : "note\n"
    let texts = ["bread soup salt", "sail anchor wind", "salt soup bread", "wind anchor sail", "bread bread soup salt"]
    let data = try directory.write(header + texts.map { "\($0)\(plain)\n" }.joined(), to: "pool.csv")
    var settings = RowSelection.Settings()
    (settings.strategy, settings.count) = (.diversity, 3)
    settings.labelled = try directory.write(header + "soup bread salt\(plain)\n", to: "labelled.csv")
    let chosen = try RowSelection(bundle: bundle, data: data, settings).run().chosen
    // One about ships; then what is as one of those before is near.
    #expect([1, 3].contains(chosen[0].record))
    let distances = chosen.compactMap(\.distance)
    #expect(distances[0] > 0.9 && distances[0] < 1.5 && distances[1] < 0.6, "\(distances)")
  }

  @Test func theExampleOfTheHandbookTrains() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let page = try String(contentsOf: root.appending(path: "Sources/Handbook/Handbook.docc/Data.md"), encoding: .utf8)
    let blocks = page.split(separator: "```yaml\n").dropFirst().compactMap { $0.split(separator: "```").first }
    let yaml = String(try #require(blocks.first { $0.contains("family: text_linear") }))
    var random = RandomSource(seed: 8)
    let words = ["poor", "broken again", "it works", "lovely", "late", "cheap and", "very", "loved it"]
    let rows = (0..<200).map { row in
      let stars = 1 + row % 3
      let text = (0..<4).map { _ in words[random.index(below: 3) + 2 * stars - 1] }.joined(separator: " ")
      return "\(text),\(stars)\n"
    }
    try directory.write("review,stars\n" + rows.joined(), to: "reviews.csv")
    let trained = try TrainingRun(RunConfiguration(yaml: yaml, file: "run.yaml", directory: directory.path)).run()
    #expect(try #require(trained.contents.metrics["test.accuracy"]) > 0.8)
    // Every setting of the section stands in the page's table.
    for setting in TextSettings.settings { #expect(page.contains("`\(setting.key)`"), "\(setting.key)") }
  }

  @Test func whatDoesNotFitTextIsNamed() throws {
    // The place of the setting stands in front.
    func expect(_ message: String, _ yaml: String, csv: String = Texts.csv(rows: 60), sets: [String] = []) throws {
      let found = try #require(refusal(yaml, csv: csv, sets: sets))
      #expect(found.contains(message))
    }
    let text = Texts.run("text_linear")
    try expect(
      "features.columns.note.type: expected a family that takes text, such as linear_regression or "
        + "logistic_regression or text_linear or encoder, found gbdt", Texts.run("gbdt"))
    let none = Texts.run("text_linear", drop: "score, note").replacingOccurrences(
      of: ", columns: { note: { type: text } }", with: "")
    try expect("model.family: expected a column of text for text_linear, found none", none)
    try expect(
      "text.longest: expected at least text.shortest, which is 3, found 2", text, sets: ["text.shortest=3"])
    try expect(
      "column \"note\": expected terms that 1000 or more training texts have, found none among", text,
      sets: ["text.min_df=1000"])
    try expect(
      "model.loss: expected squared or poisson beside columns of text, found quantile",
      Texts.run("linear_regression, loss: quantile", target: "score", drop: "kind"))
    let long = "note,age,colour,score,kind\n" + "\(String(repeating: "x", count: 65_537)),1,red,2,a\n"
    try expect("expected at most 65536 bytes of text, found 65537", text, csv: long)
    try expect("text", Texts.run("gbdt"), sets: ["text.longest=1"])
  }
}

@Suite("Sparse rows")
struct SparseRowsTests {
  /// Products with terms beside plain columns and a wide category, against plain loops.
  @Test func productsAreThoseOfPlainLoops() throws {
    var random = RandomSource(seed: 12)
    let (rows, others, levels, width, outputs) = (40, 3, 70, 50, 4)
    for hasLevels in [false, true] {
      let plain = Matrix(rows: rows, columns: others, elements: (0..<rows * others).map { _ in random.uniform() })
      let codes = (0..<rows).map { _ in Int32(random.index(below: levels + 1)) - 1 }
      var dense = [[Double]](repeating: [], count: rows)
      var terms = SparseRows(columns: width)
      for row in 0..<rows {
        var own = [Float](repeating: 0, count: width)
        for _ in 0..<random.index(below: 6) { own[random.index(below: width)] = random.uniform() }
        terms.append(own.enumerated().filter { $0.element != 0 }.map { (UInt32($0.offset), $0.element) })
        let indicators = (0..<levels).map { Int32($0) == codes[row] ? 1.0 : 0 }
        let first = (0..<others).map { Double(plain[row, $0]) }
        dense[row] = (hasLevels ? [first[0]] + indicators + first[1...] : first) + own.map { Double($0) }
      }
      let inputs = IndicatorRows(
        CodedRows(
          columns: hasLevels ? others + levels : others,
          categories: hasLevels ? [.init(columns: 1..<(1 + levels), codes: codes)] : [], numbers: plain), terms: terms)
      let matrix = DesignMatrix(inputs)
      #expect(matrix.columns == dense[0].count)
      let weights = (0..<outputs * matrix.columns).map { _ in Double(random.uniform()) - 0.5 }
      var scores = [Double](repeating: 0.25, count: rows * outputs)
      matrix.addProducts(with: weights, outputs: outputs, to: &scores)
      var gradient = [Double](repeating: 9, count: outputs * (matrix.columns + 1))
      matrix.writeGradient(of: scores, outputs: outputs, to: &gradient)
      for output in 0..<outputs {
        let own = weights[output * matrix.columns..<(output + 1) * matrix.columns]
        for row in 0..<rows {
          let expected = 0.25 + zip(own, dense[row]).reduce(0) { $0 + $1.0 * $1.1 }
          #expect(abs(scores[row * outputs + output] - expected) < 1e-12)
        }
        for column in 0..<matrix.columns {
          let expected = (0..<rows).reduce(0.0) { $0 + scores[$1 * outputs + output] * dense[$1][column] }
          #expect(abs(gradient[output * matrix.columns + column] - expected) < 1e-12)
        }
      }
    }
  }
}
