import Foundation
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite struct GBDTTests {
  private func numbers(_ name: String, _ values: [Double]) -> Table.Column {
    .init(name: name, values: .numbers(values))
  }

  // MARK: by hand

  @Test func oneSplitOfFourRowsIsTheMeanOfEitherSide() throws {
    let (model, training) = TreeFit.oneTree
    let fitted = try TreeFit(
      columns: [numbers("x", [1, 2, 4, 8])], targets: [0, 2, 10, 12],
      model: model.merging(["leaves": .integer(2)]) { $1 },
      training: training
    ).run()
    guard case .split(let split) = fitted.model.trees[0].nodes[0] else {
      Issue.record("expected a split")
      return
    }
    #expect(split.test == .threshold(3))
    #expect(fitted.model.bias == [6])
    #expect(
      treeSums(fitted.model, [2.9]) == [1] && treeSums(fitted.model, [3]) == [1]
        && treeSums(fitted.model, [3.1]) == [11])
  }

  @Test func penaltiesAndLearningRateShrinkALeaf() throws {
    // Residuals −6, −4, 4, 6 about the mean 6: (10 − 1) / (2 + 3) · ½ on either side.
    let (model, training) = TreeFit.oneTree
    let fitted = try TreeFit(
      columns: [numbers("x", [1, 2, 4, 8])], targets: [0, 2, 10, 12],
      model: model.merging(["leaves": .integer(2)]) { $1 },
      training: training.merging(["l1": .number(1), "l2": .number(3), "learning_rate": .number(0.5)]) { $1 }
    ).run()
    let found = treeSums(fitted.model, [1]) + treeSums(fitted.model, [9])
    #expect(abs(found[0] - 5.1) < 1e-6 && abs(found[1] - 6.9) < 1e-6)
  }

  @Test func aLogisticLeafIsANewtonStepFromTheLogOdds() throws {
    // Prior 1/2 after 3 of 6: log-odds 0, p (1 − p) = ¼. Left: 1 of 3, gradient ½ of 3 rows; −½ / ¾ = −2/3.
    let (model, training) = TreeFit.oneTree
    let fitted = try TreeFit(
      columns: [numbers("x", [1, 2, 3, 7, 8, 9])], targets: [0, 1, 0, 1, 0, 1], classCount: 2,
      model: model.merging(["leaves": .integer(2)]) { $1 }, training: training.merging(["rows_min": .integer(3)]) { $1 }
    ).run()
    #expect(fitted.model.bias == [0])
    #expect(abs(treeSums(fitted.model, [1])[0] + 2.0 / 3) < 1e-6)
    #expect(abs(treeSums(fitted.model, [9])[0] - 2.0 / 3) < 1e-6)
  }

  @Test func missingValuesGoWhereTheyFitBetter() throws {
    let (model, training) = TreeFit.oneTree
    for (gap, expected) in [(1.0, 1.0), (11, 11)] {
      let fitted = try TreeFit(
        columns: [numbers("x", [1, 2, .nan, 4, 8, .nan])], targets: [1, 1, gap, 11, 11, gap],
        model: model.merging(["leaves": .integer(2)]) { $1 }, training: training
      ).run()
      #expect(abs(treeSums(fitted.model, [.nan])[0] - expected) < 1e-5)
      #expect(abs(treeSums(fitted.model, [1])[0] - 1) < 1e-5 && abs(treeSums(fitted.model, [9])[0] - 11) < 1e-5)
    }
  }

  @Test func missingValuesMayBeTheWholeReasonOfASplit() throws {
    let (model, training) = TreeFit.oneTree
    let fitted = try TreeFit(
      columns: [numbers("x", [5, 5, 5, .nan, .nan])], targets: [1, 1, 1, 4, 4], model: model, training: training
    ).run()
    #expect(abs(treeSums(fitted.model, [.nan])[0] - 4) < 1e-6 && abs(treeSums(fitted.model, [1e300])[0] - 1) < 1e-6)
  }

  @Test func whatTrainingNeverMissedGoesWithMostRows() throws {
    let (model, training) = TreeFit.oneTree
    for (targets, expected) in [([0.0, 10, 10, 10], 10.0), ([0, 0, 0, 10], 0)] {
      let fitted = try TreeFit(
        columns: [numbers("x", [1, 2, 3, 4])], targets: targets, model: model.merging(["leaves": .integer(2)]) { $1 },
        training: training
      ).run()
      #expect(abs(treeSums(fitted.model, [.nan])[0] - expected) < 1e-5)
    }
  }

  @Test func categoriesAreSplitByTheirMeansAndUnknownOnesGoRight() throws {
    let names = ["red", "green", "blue", "white"]
    // Even codes are low, odd ones high: no threshold on codes could tell.
    let codes = (0..<40).map { Int32($0 % 4) }
    let (model, training) = TreeFit.oneTree
    let fitted = try TreeFit(
      columns: [.init(name: "colour", values: .categories(codes: codes, categories: names))],
      targets: codes.map { $0 % 2 == 0 ? 1 : 5 }, model: model.merging(["leaves": .integer(2)]) { $1 },
      training: training.merging(["category_smoothing": .number(0), "category_l2": .number(0)]) { $1 }
    ).run()
    // The schema sorts names: blue, green, red, white.
    #expect([2.0, 1, 0, 3].map { treeSums(fitted.model, [$0])[0].rounded() } == [1, 5, 1, 5])
    let unknown = treeSums(fitted.model, [-1])[0]
    guard case .split(let split) = fitted.model.trees[0].nodes[0],
      case .leaf(let right) = fitted.model.trees[0].nodes[split.right]
    else {
      Issue.record("expected a split above leaves")
      return
    }
    #expect(abs(unknown - right[0] - fitted.model.bias[0]) < 1e-6)
  }

  @Test func thousandsOfCategoriesShareABinBeyondTheMostFrequent() throws {
    let names = (0..<600).map { "c\($0)" }
    // Categories below 200 have 20 rows and tell the answer, the others one row each.
    var codes: [Int32] = []
    for code in 0..<200 { codes += [Int32](repeating: Int32(code), count: 20) }
    codes += (200..<600).map { Int32($0) }
    let fitted = try TreeFit(
      columns: [.init(name: "c", values: .categories(codes: codes, categories: names))],
      targets: codes.map { $0 < 100 ? 0 : $0 < 200 ? 8 : 4 },
      model: ["trees": .integer(60)],
      training: ["patience": .integer(0), "categories_max": .integer(254), "category_l2": .number(0)]
    ).run()
    let schema = names.sorted()
    #expect(abs(treeSums(fitted.model, [Double(schema.firstIndex(of: "c7")!)])[0]) < 0.2)
    #expect(abs(treeSums(fitted.model, [Double(schema.firstIndex(of: "c150")!)])[0] - 8) < 0.2)
  }

  // MARK: properties

  /// Rows with numbers, gaps, a category, and a target that depends on all.
  private func mixed(rows: Int, classCount: Int = 0, seed: UInt64 = 5) -> TreeFit {
    var random = RandomSource(seed: seed)
    var columns: [[Double]] = (0..<6).map { _ in (0..<rows).map { _ in random.normal() } }
    let codes = (0..<rows).map { _ in Int32(random.index(below: 5)) }
    for row in stride(from: 0, to: rows, by: 7) { columns[2][row] = .nan }
    let targets = (0..<rows).map { row -> Double in
      let gap = columns[2][row].isNaN ? 1 : columns[2][row]
      let value = 2 * columns[0][row] + sin(3 * columns[1][row]) * gap + Double(codes[row] % 3) + 0.3 * random.normal()
      return classCount == 0 ? value : Double(min(max(Int(value.rounded()), 0), classCount - 1))
    }
    var table = columns.enumerated().map { numbers("x\($0)", $1) }
    table.append(.init(name: "c", values: .categories(codes: codes, categories: ["a", "b", "c", "d", "e"])))
    return TreeFit(columns: table, targets: targets, classCount: classCount)
  }

  @Test(arguments: [0, 2, 4])
  func theSameTreesGrowOnAnyNumberOfThreads(classCount: Int) throws {
    var fit = mixed(rows: 20_000, classCount: classCount)
    fit.model = ["trees": .integer(8)]
    fit.training = [
      "patience": .integer(0), "row_sample": .number(0.7), "column_sample": .number(0.6),
      "node_column_sample": .number(0.7), "threads": .integer(1),
    ]
    let expected = try fit.run()
    #expect(expected.model.trees.count == 8 * max(1, classCount == 2 ? 1 : classCount))
    for threads in [2, 3] {
      fit.training["threads"] = .integer(threads)
      #expect(try fit.run().model == expected.model)
    }
    fit.seed = 2
    #expect(try fit.run().model != expected.model)
  }

  @Test func limitsOfLeavesDepthAndRowsHold() throws {
    var fit = mixed(rows: 3000)
    for growth in ["leaf", "level"] {
      fit.model = ["trees": .integer(5), "leaves": .integer(13), "depth": .integer(4), "growth": .text(growth)]
      fit.training = ["patience": .integer(0), "rows_min": .integer(150)]
      let fitted = try fit.run()
      let inputs = try fit.inputs(Array(0..<3000)).columns
      for tree in fitted.model.trees {
        #expect(tree.nodes.count { if case .leaf = $0 { true } else { false } } <= 13)
        var counts = [Int](repeating: 0, count: tree.nodes.count)
        var depthMax = 0
        for row in 0..<3000 {
          let (node, depth) = tree.leaf(of: inputs.map { $0.values[row] })
          counts[node] += 1
          depthMax = max(depthMax, depth)
        }
        #expect(depthMax <= 4)
        for (node, count) in counts.enumerated() where count > 0 { #expect(count >= 150, "node \(node)") }
      }
    }
  }

  @Test func moreTreesFitTheTrainingRowsBetter() throws {
    var losses: [Double] = []
    var fit = mixed(rows: 2000)
    fit.model = ["trees": .integer(100)]
    fit.training = ["patience": .integer(0)]
    fit.progress = { losses.append($0.loss) }
    _ = try fit.run()
    #expect(losses.count == 100)
    for (before, after) in zip(losses, losses.dropFirst()) { #expect(after <= before) }
    #expect(losses[99] < 0.1 * losses[0])
  }

  @Test func stoppingEarlyKeepsTheBestRounds() throws {
    var reports: [EpochReport] = []
    var fit = mixed(rows: 600)
    var random = RandomSource(seed: 8)
    fit.targets = fit.targets.map { $0 + 3 * random.normal() }
    fit.validationCount = 200
    fit.model = ["trees": .integer(400)]
    fit.training = ["patience": .integer(10), "rows_min": .integer(5)]
    fit.progress = { reports.append($0) }
    let fitted = try fit.run()
    let last = try #require(reports.last)
    #expect(last.epoch == last.bestEpoch + 10 && last.epoch < 400)
    #expect(fitted.model.trees.count == last.bestEpoch)
    #expect(fitted.notes[0] == "stopped early after \(last.epoch) rounds, best was \(last.bestEpoch)")
  }

  @Test func answersNeverFallWhereAColumnIsDeclaredRising() throws {
    var random = RandomSource(seed: 4)
    let rows = 1500
    let x = (0..<rows).map { _ in random.normal() }
    let other = (0..<rows).map { _ in random.normal() }
    // Rises on the whole, falls in between, and depends on another column.
    let targets = (0..<rows).map { x[$0] + 2 * sin(3 * x[$0]) + other[$0] * x[$0] + 0.5 * random.normal() }
    for (key, sign) in [("rising", 1.0), ("falling", -1.0)] {
      let fitted = try TreeFit(
        columns: [numbers("x", x), numbers("other", other)], targets: targets,
        model: ["trees": .integer(40), key: .list([.text("x")])],
        training: ["patience": .integer(0), "rows_min": .integer(5)]
      ).run()
      for z in [-2.0, -0.5, 0, 0.7, 2] {
        let answers = stride(from: -3.0, through: 3, by: 0.05).map { treeSums(fitted.model, [$0, z])[0] }
        for (before, after) in zip(answers, answers.dropFirst()) { #expect(sign * (after - before) >= -1e-6) }
      }
      #expect(fitted.importance[0].splits > 0, "the column that has a direction is used")
    }
  }

  @Test func balancedClassesCountAlike() throws {
    // Nine rows of class 0 for each of class 1, and nothing to tell them apart.
    let targets = (0..<200).map { $0 % 10 == 0 ? 1.0 : 0 }
    var fit = TreeFit(
      columns: [numbers("x", (0..<200).map { Double($0 / 100) })], targets: targets, classCount: 2,
      model: ["trees": .integer(1)], training: ["patience": .integer(0)])
    #expect(abs(try fit.run().model.bias[0] - log(1.0 / 9)) < 1e-6)
    fit.training["class_weights"] = .text("balanced")
    #expect(abs(try fit.run().model.bias[0]) < 1e-6)
  }

  @Test func importanceTellsWhichColumnsAreUsed() throws {
    var fit = mixed(rows: 1000)
    fit.columns.append(numbers("constant", [Double](repeating: 3, count: 1000)))
    fit.model = ["trees": .integer(20)]
    fit.training = ["patience": .integer(0)]
    let importance = try fit.run().importance
    #expect(importance.map(\.name) == ["x0", "x1", "x2", "x3", "x4", "x5", "c", "constant"])
    #expect(abs(importance.reduce(0) { $0 + $1.gainShare } - 1) < 1e-9)
    #expect(importance[7].splits == 0 && importance[7].gainShare == 0)
    #expect(importance.allSatisfy { $0.gainShare <= importance[0].gainShare })
  }

  // MARK: refusals

  @Test func settingsThatDoNotFitAreRefusedByName() throws {
    func message(_ model: [String: Document], _ training: [String: Document] = [:], classCount: Int = 0) -> String? {
      var fit = mixed(rows: 100, classCount: classCount)
      fit.model = model
      fit.training = ["patience": .integer(0)].merging(training) { $1 }
      return #expect(throws: TrainingError.self) { try fit.run() }?.message
    }
    #expect(
      message(["rising": .list([.text("x00")])])
        == "model.rising: expected a column of numbers, found \"x00\", did you mean \"x0\"?")
    #expect(
      message(["falling": .list([.text("c")])])?.hasPrefix("model.falling: expected a column of numbers, found \"c\"")
        == true)
    #expect(
      message(["rising": .list([.text("x1")]), "falling": .list([.text("x1")])])
        == "model.falling: expected a column that is not rising as well, found \"x1\"")
    #expect(
      message(["rising": .list([.text("x1")])], classCount: 3)
        == "model.rising, model.falling: expected none for 3 classes, found some")
    #expect(
      message(["trees": .integer(65_536)], classCount: 3)
        == "model.trees: expected at most 21845, a tree for each of 3 classes and round, found 65536")
    #expect(
      message([:], ["patience": .integer(5)])
        == "training.patience: expected validation rows to stop by, found none; set split.validation or patience: 0")
  }

  @Test func targetsBeyondReachEndWithAReason() throws {
    let error = #expect(throws: TrainingError.self) {
      try TreeFit(
        columns: [numbers("x", [1, 2, 3, 4])], targets: [1e38, -1e38, 3e38, -3e38].map { $0 * 1e120 },
        training: ["patience": .integer(0)]
      ).run()
    }
    #expect(error?.message.contains("to be finite, found") == true)
  }

  // MARK: whole runs

  @Test(arguments: ["kind", "y"])
  func aServerAnswersWhatWasLearnedToTheBit(target: String) throws {
    let directory = try TemporaryDirectory()
    var csv = "a,b,colour,kind,y\n"
    var random = RandomSource(seed: 2)
    for row in 0..<700 {
      let (a, b) = (random.normal(), random.normal())
      let colour = ["red", "green", "blue"][random.index(below: 3)]
      csv += "\(a),\(row % 9 == 0 ? "" : "\(b)"),\(colour),\(a + b > 0.2 ? "high" : "low"),\(a * b + 100)\n"
    }
    try directory.write(csv, to: "data.csv")
    let other = target == "y" ? "kind" : "y"
    let run = try RunConfiguration(
      yaml: """
        data: { files: data.csv, drop: [\(other)] }
        target: { column: \(target) }
        model: { family: gbdt, trees: 30 }
        training: { patience: 0, rows_min: 5 }
        """, file: "run.yaml", directory: directory.path)
    var last: EpochReport?
    let trained = try TrainingRun(run, observer: RunObserver(epoch: { last = $0 })).run()
    let report = try #require(last)
    #expect(report.epoch == 30)
    if target == "y" {
      // Half the mean squared error, of the same bits in the same order.
      #expect(trained.chosen.validation["mse"] == 2 * (try #require(report.validationLoss)))
    } else {
      #expect(trained.chosen.validation["accuracy"] == report.validationMetric)
      let loss = try #require(trained.chosen.validation["log_loss"])
      #expect(abs(loss - (try #require(report.validationLoss))) < 1e-5)
      #expect(try #require(trained.chosen.test["accuracy"]) > 0.85)
    }
    #expect(trained.importance.map(\.name) == ["a", "b", "colour"])
    #expect(trained.metrics(version: .first, bundleBytes: 1)["importance"].elements.count == 3)
    let table = ResultsTable(terminal: .plain).render(trained, version: .first, bundleBytes: 1, paths: [])
    #expect(table.contains("importance") && table.contains("when shuffled") && table.contains("mean contribution"))
    // Colour says nothing about either target.
    let shuffled = try trained.importance.map { try #require($0.permutation) }
    #expect(shuffled[0].mean > 10 * abs(shuffled[2].mean) && shuffled[0].mean > 5 * shuffled[0].deviation)
    let contributions = try trained.importance.map { try #require($0.meanContribution) }
    #expect(contributions[0] > 3 * contributions[2] && contributions[1] > 3 * contributions[2])
    // Trees are no tensors, and weigh something.
    let weights = try #require(table.split(separator: "\n").first { $0.contains("weights ") })
    #expect(!weights.contains(" 0 B"))
    _ = try trained.encode(version: .first, signing: [])
  }
}
