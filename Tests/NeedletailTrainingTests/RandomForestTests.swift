import CNeedletailTraining
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite struct RandomForestTests {
  private func numbers(_ name: String, _ values: [Double]) -> Table.Column {
    .init(name: name, values: .numbers(values))
  }

  /// Rows whose class, or number, depends on three columns of four; a fifth has categories.
  private func mixed(rows: Int, classCount: Int, seed: UInt64 = 7) -> TreeFit {
    var random = RandomSource(seed: seed)
    var columns = (0..<4).map { _ in (0..<rows).map { _ in random.normal() } }
    let codes = (0..<rows).map { _ in Int32(random.index(below: 3)) }
    for row in stride(from: 0, to: rows, by: 11) { columns[1][row] = .nan }
    let targets = (0..<rows).map { row -> Double in
      let value = 2 * columns[0][row] + abs(columns[2][row]) + Double(codes[row]) + 0.2 * random.normal()
      return classCount == 0 ? value : Double(min(max(Int(value.rounded()), 0), classCount - 1))
    }
    var table = columns.enumerated().map { numbers("x\($0)", $1) }
    table.append(.init(name: "c", values: .categories(codes: codes, categories: ["a", "b", "c"])))
    return TreeFit(
      columns: table, targets: targets, classCount: classCount, model: ["trees": .integer(20)], isForest: true)
  }

  private static let whole: [String: Document] = [
    "bootstrap": .flag(false), "node_column_sample": .number(1), "rows_min": .integer(1),
  ]

  @Test(arguments: [0, 2, 5])
  func treesOfAllRowsAndColumnsKnowTheirRowsByHeart(classCount: Int) throws {
    var fit = mixed(rows: 200, classCount: classCount)
    fit.model = ["trees": .integer(3)]
    fit.training = Self.whole
    let fitted = try fit.run()
    let inputs = try fit.inputs(Array(0..<200)).columns
    for row in 0..<200 {
      let answer = treeSums(fitted.model, inputs.map { $0.values[row] })
      if classCount == 0 {
        #expect(abs(answer[0] - fit.targets[row]) < 1e-3)
      } else {
        #expect(answer.indices.map { Double($0) == fit.targets[row] ? 1 : 0 } == answer)
      }
    }
  }

  @Test func aLeafHoldsTheSharesOfItsClassesByWeight() throws {
    let fitted = try TreeFit(
      columns: [numbers("x", [1, 1, 1, 1])], targets: [0, 1, 2, 2], classCount: 3, weights: [1, 2, 4, 1],
      model: ["trees": .integer(2)], training: Self.whole, isForest: true
    ).run()
    #expect(treeSums(fitted.model, [1]) == [0.125, 0.25, 0.625])
  }

  @Test(arguments: [0, 2, 4])
  func theSameForestGrowsOnAnyNumberOfThreads(classCount: Int) throws {
    var fit = mixed(rows: 3000, classCount: classCount)
    fit.model = ["trees": .integer(4)]
    fit.training = ["threads": .integer(1)]
    let expected = try fit.run()
    fit.training["threads"] = .integer(3)
    #expect(try fit.run().model == expected.model)
    fit.seed = 2
    #expect(try fit.run().model != expected.model)
  }

  @Test func treesOfAForestKeepToTheirLimits() throws {
    var fit = mixed(rows: 2000, classCount: 0)
    fit.model = ["trees": .integer(3), "depth": .integer(5), "leaves": .integer(20)]
    fit.training = ["rows_min": .integer(30), "bootstrap": .flag(false)]
    let inputs = try fit.inputs(Array(0..<2000)).columns
    for tree in try fit.run().model.trees {
      #expect(tree.nodes.count { if case .leaf = $0 { true } else { false } } <= 20)
      var counts: [Int: Int] = [:]
      for row in 0..<2000 {
        let (node, depth) = tree.leaf(of: inputs.map { $0.values[row] })
        #expect(depth <= 5)
        counts[node, default: 0] += 1
      }
      #expect(counts.values.allSatisfy { $0 >= 30 })
    }
  }

  @Test func drawsWithReplacementLeaveOutAThirdOfTheRows() {
    var sample = [UInt32](repeating: 0, count: 10_000)
    #expect(nt_boost_bootstrap(10_000, 10_000, 3, &sample) == 10_000)
    #expect(sample == sample.sorted() && sample[9999] < 10_000)
    let share = Double(Set(sample).count) / 10_000
    #expect(abs(share - 0.632) < 0.02)
    var counts = [Int](repeating: 0, count: 10)
    for row in sample { counts[Int(row) / 1000] += 1 }
    #expect(counts.allSatisfy { abs($0 - 1000) < 150 })
  }

  @Test(arguments: ["kind", "y"])
  func aServedForestAnswersWithMeansOfItsTrees(target: String) throws {
    let directory = try TemporaryDirectory()
    var csv = "a,b,kind,y\n"
    var random = RandomSource(seed: 2)
    for _ in 0..<900 {
      let (a, b) = (random.normal(), random.normal())
      csv += "\(a),\(b),\(a > 0.5 ? "high" : b > 0 ? "middle" : "low"),\(a * 3 + abs(b))\n"
    }
    try directory.write(csv, to: "data.csv")
    let run = try RunConfiguration(
      yaml: """
        data: { files: data.csv, drop: [\(target == "y" ? "kind" : "y")] }
        target: { column: \(target) }
        model: { family: random_forest, trees: 40 }
        """, file: "run.yaml", directory: directory.path)
    let trained = try TrainingRun(run).run()
    if target == "y" {
      #expect(try #require(trained.chosen.test["r2"]) > 0.95)
    } else {
      #expect(try #require(trained.chosen.test["accuracy"]) > 0.95)
      let probabilities = trained.chosen.test.numbers
      for row in stride(from: 0, to: probabilities.count, by: 3) {
        #expect(abs(probabilities[row..<row + 3].reduce(0, +) - 1) < 1e-5)
      }
    }
    _ = try trained.encode(version: .first, signing: [])
  }
}
