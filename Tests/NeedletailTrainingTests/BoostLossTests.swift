import Foundation
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite struct BoostLossTests {
  private func numbers(_ name: String, _ values: [Double]) -> Table.Column {
    .init(name: name, values: .numbers(values))
  }

  /// Answers of one tree, its leaves exact, for rows of x = 1 and of x = 2.
  private func sides(
    _ loss: [String: Document], left: [Double], right: [Double], weights: [Float] = []
  ) throws -> (bias: Double, left: Double, right: Double) {
    let (model, training) = TreeFit.oneTree
    let fitted = try TreeFit(
      columns: [numbers("x", left.map { _ in 1 } + right.map { _ in 2 })], targets: left + right, weights: weights,
      model: model.merging(loss) { $1 }, training: training
    ).run()
    return (fitted.model.bias[0], treeSums(fitted.model, [1])[0], treeSums(fitted.model, [2])[0])
  }

  private func isNear(_ a: Double, _ b: Double) -> Bool { abs(a - b) < 1e-5 * (1 + abs(b)) }

  // MARK: by hand

  @Test func leavesOfTheAbsoluteErrorAreMedians() throws {
    let found = try sides(["loss": .text("absolute")], left: [1, 2, 10], right: [20, 30, 100])
    // With an even number of rows, the median is half way between the two in the middle.
    #expect(found.bias == 15 && found.left == 2 && found.right == 30)
  }

  @Test func leavesOfAQuantileHaveThatShareBelowThem() throws {
    let found = try sides(
      ["loss": .text("quantile"), "quantile": .number(0.25)], left: [4, 1, 3, 2], right: [14, 12, 11, 13])
    #expect(found.bias == 2.5 && found.left == 1.5 && found.right == 11.5)
    let high = try sides(
      ["loss": .text("quantile"), "quantile": .number(0.6)], left: [4, 1, 3, 2], right: [14, 12, 11, 13])
    #expect(high.left == 3 && high.right == 13)
  }

  @Test func weightsMoveAQuantile() throws {
    let found = try sides(
      ["loss": .text("absolute")], left: [1, 2, 10], right: [20, 30, 100], weights: [1, 1, 3, 5, 1, 1])
    #expect(found.left == 10 && found.right == 20)
  }

  @Test func errorsBeyondHubersWidthCountByTheirSign() throws {
    let found = try sides(["loss": .text("huber")], left: [0, 0, 0, 0], right: [10])
    #expect(isNear(found.bias, 2) && isNear(found.left, 1) && isNear(found.right, 3))
  }

  @Test func aPoissonLeafIsAShortenedNewtonStepOfTheLogarithm() throws {
    let found = try sides(["loss": .text("poisson")], left: [1, 1], right: [3, 3])
    #expect(isNear(found.bias, log(2)))
    // Gradients 2 − 1 a row, hessians 2 e^0.7.
    let step = 1 / (2 * exp(0.7))
    #expect(isNear(found.left, log(2) - step) && isNear(found.right, log(2) + step))
  }

  @Test func aTweedieLeafIsANewtonStepOfTheLogarithm() throws {
    let found = try sides(["loss": .text("tweedie")], left: [1, 1], right: [3, 3])
    #expect(isNear(found.left, log(2) - 2.0 / 3) && isNear(found.right, log(2) + 0.4))
  }

  @Test func aWeightCountsAsThatManyRows() throws {
    for loss in ["squared", "poisson", "absolute"] {
      let weighted = try sides(["loss": .text(loss)], left: [1, 2, 6], right: [9, 12], weights: [2, 1, 3, 1, 4])
      let repeated = try sides(["loss": .text(loss)], left: [1, 1, 2, 6, 6, 6], right: [9, 12, 12, 12, 12])
      #expect(isNear(weighted.bias, repeated.bias), "\(loss)")
      #expect(isNear(weighted.left, repeated.left) && isNear(weighted.right, repeated.right), "\(loss)")
    }
  }

  // MARK: ranking

  /// Groups of ten rows: the first column tells the relevance, the second tells the group and nothing else.
  private func ranking(seed: UInt64) -> TreeFit {
    var random = RandomSource(seed: seed)
    let rows = 2000
    let targets = (0..<rows).map { _ in Double(random.index(below: 4)) }
    let signal = targets.map { $0 + 0.8 * random.normal() }
    return TreeFit(
      columns: [numbers("signal", signal), numbers("group", (0..<rows).map { Double($0 / 10) })], targets: targets,
      groups: (0..<rows).map { $0 / 10 }, model: ["loss": .text("rank"), "trees": .integer(30)],
      training: ["patience": .integer(0)])
  }

  @Test func aRankingPutsRelevantRowsOfAGroupFirst() throws {
    var fit = ranking(seed: 3)
    fit.validationCount = 500
    var reports: [EpochReport] = []
    fit.progress = { reports.append($0) }
    let fitted = try fit.run()
    let last = try #require(reports.last)
    #expect(last.metricName == "NDCG")
    #expect(try #require(last.validationMetric) > 0.9)
    #expect(abs(try #require(last.validationLoss) + (try #require(last.validationMetric)) - 1) < 1e-9)
    #expect(treeSums(fitted.model, [4, 50])[0] > treeSums(fitted.model, [-1, 50])[0] + 0.5)
  }

  @Test func aRankingIsTheSameOnAnyNumberOfThreads() throws {
    var fit = ranking(seed: 4)
    fit.training["threads"] = .integer(1)
    let expected = try fit.run()
    fit.training["threads"] = .integer(3)
    #expect(try fit.run().model == expected.model)
  }

  // MARK: constraints and refusals

  @Test func columnsOfDifferentListsNeverStandAboveEachOther() throws {
    var random = RandomSource(seed: 6)
    let columns = (0..<4).map { _ in (0..<1500).map { _ in random.normal() } }
    let targets = (0..<1500).map { columns[0][$0] * columns[1][$0] + columns[2][$0] * columns[3][$0] }
    var fit = TreeFit(
      columns: columns.enumerated().map { numbers("x\($0)", $1) }, targets: targets, model: ["trees": .integer(20)],
      training: ["patience": .integer(0)])
    /// Sets of columns that stand on one path.
    func paths() throws -> Set<Set<Int>> {
      var found: Set<Set<Int>> = []
      for tree in try fit.run().model.trees {
        var open: [(node: Int, above: Set<Int>)] = [(tree.root, [])]
        while let (node, above) = open.popLast() {
          if case .split(let split) = tree.nodes[node] {
            open += [split.left, split.right].map { ($0, above.union([split.column])) }
          } else {
            found.insert(above)
          }
        }
      }
      return found
    }
    #expect(try paths().contains { $0.contains(0) && $0.contains(2) })
    fit.model["interactions"] = .list([.list([.text("x1"), .text("x0")]), .list([.text("x0"), .text("x2")])])
    let allowed: [Set<Int>] = [[0, 1], [0, 2], [3]]
    let found = try paths()
    for path in found { #expect(allowed.contains { path.isSubset(of: $0) }, "\(path)") }
    #expect(found.contains([0, 1]), "those of one list do stand above each other")
  }

  @Test func lossesThatDoNotFitAreRefusedByName() throws {
    func message(
      _ model: [String: Document], targets: [Double] = [0, 1, 2, 3], classCount: Int = 0, groups: [Int] = [],
      weights: [Float] = []
    ) -> String? {
      let fit = TreeFit(
        columns: [numbers("x", [1, 2, 3, 4])], targets: targets, classCount: classCount, weights: weights,
        groups: groups, model: model,
        training: ["patience": .integer(0)])
      return #expect(throws: TrainingError.self) { try fit.run() }?.message
    }
    #expect(
      message(["loss": .text("poisson")], targets: [0, 1, -2, 3])
        == "model.loss: expected targets from 0 for poisson, found -2.0")
    #expect(
      message(["loss": .text("tweedie")], targets: [0, 0, 0, 0])
        == "model.loss: expected a target above 0 for tweedie, found only zeros")
    #expect(
      message(["loss": .text("squared")], targets: [0, 1, 0, 1], classCount: 2)
        == "model.loss: expected auto for classes, found squared")
    #expect(
      message(["loss": .text("rank")], targets: [0, 1, 1.5, 2], groups: [0, 0, 0, 0])
        == "model.loss: expected targets that are whole numbers from 0 to 30 for rank, found 1.5")
    #expect(
      message(["loss": .text("rank")])
        == "model.loss: expected target.group for rank, the column of what is ranked together; found none")
    #expect(
      message([:], weights: [0, 0, 0, 0])
        == "target.weight: expected numbers above 0 among the training rows, found only zeros")
    #expect(
      message([:], targets: [0, 1, 1, 0], classCount: 2, weights: [1, 0, 0, 1])
        == "target.weight: expected numbers above 0 in each class of the training rows, found only zeros")
    #expect(
      message(["loss": .text("absolute"), "rising": .list([.text("x")])])
        == "model.rising, model.falling: expected none for loss absolute or quantile, found some")
    #expect(
      message(["interactions": .list([.list([.text("y")])])])
        == "model.interactions: expected a feature column, found \"y\", did you mean \"x\"?")
  }

  // MARK: whole runs

  /// Rows of thirty groups, with a weight, in a file.
  private func write(_ directory: borrowing TemporaryDirectory) throws {
    var csv = "q,a,b,w,y\n"
    var random = RandomSource(seed: 12)
    for row in 0..<900 {
      let (a, b) = (random.normal(), random.normal())
      let y = max(0, (2 * a + b + random.normal()).rounded())
      csv += "q\(row % 30),\(a),\(b),\(row % 3),\(y)\n"
    }
    try directory.write(csv, to: "data.csv")
  }

  private func train(
    _ directory: borrowing TemporaryDirectory, target: String, model: String
  ) throws -> (TrainedModel, EpochReport) {
    let run = try RunConfiguration(
      yaml: """
        data: { files: data.csv }
        target: { column: y, task: regression, \(target) }
        model: { family: gbdt, trees: 30, \(model) }
        training: { patience: 0 }
        """, file: "run.yaml", directory: directory.path)
    var last: EpochReport?
    let trained = try TrainingRun(run, observer: RunObserver(epoch: { last = $0 })).run()
    return (trained, try #require(last))
  }

  @Test func aPoissonModelAnswersWithMeansNotLogarithms() throws {
    let directory = try TemporaryDirectory()
    try write(directory)
    let (trained, report) = try train(directory, target: "weight: w, group: q", model: "loss: poisson")
    #expect(trained.importance.map(\.name) == ["a", "b"], "weights and groups are no features")
    let rows = trained.data.split.validation
    var (loss, sum) = (0.0, 0.0)
    for (row, answer) in zip(rows, trained.chosen.validation.numbers.map { Double($0) }) {
      #expect(answer > 0)
      let weight = Double(trained.data.dataset.weights[row])
      loss += weight * (answer - trained.data.targets[row] * log(answer))
      sum += weight
    }
    #expect(isNear(loss / sum, try #require(report.validationLoss)))
    let groups = trained.data.dataset.groups
    let parts = [trained.data.split.train, rows, trained.data.split.test].map { part in Set(part.map { groups[$0] }) }
    #expect(parts[0].isDisjoint(with: parts[1]) && parts[0].isDisjoint(with: parts[2]))
    #expect(parts[1].isDisjoint(with: parts[2]) && parts.reduce(0) { $0 + $1.count } == 30)
  }

  @Test func aRankingIsJudgedByItsOrder() throws {
    let directory = try TemporaryDirectory()
    try write(directory)
    let (trained, report) = try train(directory, target: "group: q", model: "loss: rank, rank_places: 5")
    #expect(trained.chosen.validation["ndcg"] == report.validationMetric)
    #expect(try #require(trained.chosen.test["ndcg"]) > 0.5)
  }

  @Test func weightsAndGroupsThatAreNoneAreRefused() throws {
    let directory = try TemporaryDirectory()
    try directory.write("a,w,q,y\n1,1,g,2\n2,-1,g,3\n3,1,,4\n", to: "data.csv")
    func message(_ target: String, family: String = "gbdt", task: String = "regression") -> String? {
      #expect(throws: TrainingError.self) {
        let run = try RunConfiguration(
          yaml: """
            data: { files: data.csv }
            target: { column: y, task: \(task), \(target) }
            model: { family: \(family) }
            """, file: "run.yaml", directory: directory.path)
        _ = try TrainingRun(run).run()
      }?.message
    }
    #expect(message("weight: w") == "target.weight: expected numbers from 0, found -1.0 in row 2")
    #expect(message("group: q") == "target.group: expected the name of a group, found nothing in row 3")
    #expect(message("weight: v")?.contains("target.weight: expected a column of data.csv, found \"v\"") == true)
    #expect(message("weight: y")?.contains("expected a column of its own, found \"y\" twice") == true)
    try directory.write("a,w,y\n1,1,2\n2,1,3\n3,1,4\n", to: "data.csv")
    #expect(
      message("weight: w", family: "nearest_centroid", task: "classification")?.contains(
        "target.weight: expected a family that takes weights, such as gbdt or linear_regression or "
          + "logistic_regression or mlp or random_forest or text_linear or encoder, found nearest_centroid")
        == true)
  }
}
