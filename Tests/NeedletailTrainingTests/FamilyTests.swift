import Foundation
import NeedletailCore
import NeedletailEngine
import Testing

@testable import NeedletailTraining

@Suite struct LinearRegressionTests {
  private let family = LinearRegression()

  private func samples(rows: Int) -> Samples<Matrix> {
    let inputs = Synthetic.inputs(rows: rows, columns: 3, seed: 1)
    let targets = (0..<rows).map { 4 + Double(inputs[$0, 0]) * 2 - Double(inputs[$0, 1]) + 0.5 * Double(inputs[$0, 2]) }
    return Samples(inputs: inputs, targets: targets)
  }

  private func fit(_ samples: Samples<Matrix>, l2: Double = 0) throws -> LinearRegression.Fitted {
    try fit(IndicatorRows(samples.inputs), samples.targets, l2: l2)
  }

  private func fit(_ inputs: IndicatorRows, _ targets: [Double], l2: Double) throws -> LinearRegression.Fitted {
    let context = FitContext(
      task: .regression, classCount: 0, train: Samples(inputs: inputs, targets: targets),
      validation: Samples(inputs: IndicatorRows(Matrix(rows: 0, columns: inputs.columns)), targets: []),
      model: .section([.init("l2", .number(l2))]), training: .section([]), seed: 1)
    return try #require(try family.fit(context) as? LinearRegression.Fitted)
  }

  @Test func recoversAKnownPlane() throws {
    let fitted = try fit(samples(rows: 500))
    for (found, expected) in zip(fitted.weights + [fitted.intercept], [2, -1, 0.5, 4]) {
      #expect(abs(found - expected) < 1e-10)
    }
  }

  @Test func thePenaltyShrinksWeightsButNotTheIntercept() throws {
    // One centred column: w = Σxy / (Σx² + l2); the intercept stays the mean.
    let inputs = Matrix(rows: 4, columns: 1, elements: [-3, -1, 1, 3])
    let fitted = try fit(Samples(inputs: inputs, targets: [4, 8, 12, 16]), l2: 20)
    #expect(abs(fitted.weights[0] - 40.0 / 40) < 1e-12)
    #expect(abs(fitted.intercept - 10) < 1e-12)
  }

  @Test func aCategoryOfManyLevelsIsSolvedWithoutOverflow() throws {
    // 300 levels, one-hot and standardised as f32: every level's own column and rows × levels dependent columns.
    let levels = 300
    let rows = 1500
    var random = RandomSource(seed: 6)
    let effects = (0..<levels).map { _ in random.normal() }
    var inputs = Matrix(rows: rows, columns: levels)
    var targets: [Double] = []
    for row in 0..<rows {
      let level = row < levels ? row : random.index(below: levels)
      inputs[row, level] = 1
      targets.append(effects[level] + 0.1 * random.normal())
    }
    for l2 in [0.0, 1000] {
      let fitted = try fit(Samples(inputs: inputs, targets: targets), l2: l2)
      #expect(fitted.weights.allSatisfy { $0.isFinite && abs($0) < 10 })
      // Without a penalty, a level's prediction is the mean of its targets.
      if l2 == 0 {
        let level = 17
        let own = (0..<rows).filter { inputs[$0, level] == 1 }.map { targets[$0] }
        let mean = own.reduce(0, +) / Double(own.count)
        #expect(abs(fitted.weights[level] + fitted.intercept - mean) < 1e-9)
        #expect(fitted.notes.last == "1 of 300 columns depend on others: solution of least norm")
      }
    }
  }

  /// Rows of one category beside other columns: as indicators, and the same as plain columns.
  private func grouped(
    rows: Int, levels: Int, others: Int, seed: UInt64, hasRowsWithoutLevel: Bool = false,
    change: (inout Matrix, [Int32]) -> Void = { _, _ in }
  ) -> (indicators: IndicatorRows, plain: Matrix, targets: [Double]) {
    var random = RandomSource(seed: seed)
    var other = Synthetic.inputs(rows: rows, columns: others, seed: seed + 1)
    let effects = (0..<levels).map { _ in 3 * random.normal() }
    // The last level has no row, as the column for unknown categories has none in training.
    let codes = (0..<rows).map { row -> Int32 in
      if hasRowsWithoutLevel, row % 7 == 0 { return -1 }
      return Int32(row < levels - 1 ? row : random.index(below: levels - 1))
    }
    change(&other, codes)
    var plain = Matrix(rows: rows, columns: others + levels)
    var targets: [Double] = []
    for row in 0..<rows {
      // The indicators stand behind the first of the other columns.
      for column in 0..<others { plain[row, column == 0 ? 0 : column + levels] = other[row, column] }
      if codes[row] >= 0 { plain[row, 1 + Int(codes[row])] = 1 }
      let sum = (0..<others).reduce(0.0) { $0 + Double($1 + 1) * Double(other[row, $1]) }
      targets.append(2 + sum + (codes[row] >= 0 ? effects[Int(codes[row])] : 0) + 0.1 * random.normal())
    }
    let indicators = IndicatorRows(
      CodedRows(
        columns: others + levels, categories: [.init(columns: 1..<(1 + levels), codes: codes)], numbers: other))
    return (indicators, plain, targets)
  }

  @Test(arguments: [0.0, 0.5, 1000], [false, true])
  func indicatorsAreSolvedAsTheSameColumnsWrittenOut(l2: Double, hasRowsWithoutLevel: Bool) throws {
    let cases: [(inout Matrix, [Int32]) -> Void] = [
      { _, _ in },
      // A column that never changes, one that the level determines, and a sum of two others.
      { matrix, codes in
        for row in 0..<matrix.rows {
          matrix[row, 1] = 5
          matrix[row, 2] = Float(codes[row] % 3)
          matrix[row, 4] = matrix[row, 0] + matrix[row, 3]
        }
      },
    ]
    for (seed, change) in cases.enumerated() {
      let (indicators, plain, targets) = grouped(
        rows: 300, levels: 12, others: 5, seed: UInt64(seed) + 20, hasRowsWithoutLevel: hasRowsWithoutLevel,
        change: change)
      let expected = try fit(Samples(inputs: plain, targets: targets), l2: l2)
      let found = try fit(indicators, targets, l2: l2)
      for (x, y) in zip(found.weights + [found.intercept], expected.weights + [expected.intercept]) {
        #expect(abs(x - y) < 1e-8 * max(1, abs(y)), "case \(seed): \(x) instead of \(y)")
      }
      #expect(found.notes == expected.notes)
    }
  }

  @Test func fourThousandLevelsTakeSeconds() throws {
    // As plain columns this is 4,000² operations a row: 150 s when it was found.
    let (indicators, _, targets) = grouped(rows: 20_000, levels: 4000, others: 3, seed: 3)
    let start = Instant.now()
    let fitted = try fit(indicators, targets, l2: 0)
    let seconds = Double(Instant.now().microseconds(since: start)) / 1e6
    #expect(seconds < 10, "20,000 rows of 4,000 levels took \(seconds) s")
    #expect(abs(fitted.weights[0] - 1) < 0.01 && abs(fitted.weights[4001] - 2) < 0.01)
    // With a level's effect, the mean of its residuals is 0.
    var residual = 0.0
    var count = 0.0
    for row in 0..<20_000 where indicators.row.categories[0].codes[row] == 17 {
      let others = [0, 4001, 4002].enumerated().reduce(0.0) {
        $0 + fitted.weights[$1.element] * Double(indicators.row.numbers[row, $1.offset])
      }
      residual += targets[row] - fitted.intercept - fitted.weights[18] - others
      count += 1
    }
    #expect(abs(residual / count) < 1e-9)
  }

  @Test func aTotalBesideItsPartsDoesNotGetAHugeWeight() throws {
    // Rounded to fp32, the last column equals the sum of the others up to 1e-7 only.
    var samples = samples(rows: 400)
    for row in 0..<400 {
      samples.inputs[row, 2] = Float(0.1) * samples.inputs[row, 0] + Float(0.7) * samples.inputs[row, 1]
    }
    let fitted = try fit(samples)
    #expect(fitted.weights.allSatisfy { abs($0) < 5 })
    #expect(fitted.notes.last == "1 of 3 columns depend on others: solution of least norm")
  }

  @Test func unitsOfColumnsDoNotMatter() throws {
    var samples = samples(rows: 200)
    for row in 0..<200 { samples.inputs[row, 1] *= 1e-9 }
    let fitted = try fit(samples)
    #expect(abs(fitted.weights[1] / -1e9 - 1) < 1e-6 && abs(fitted.weights[0] - 2) < 1e-6)
  }

  @Test func largeNumbersDoNotOverflow() throws {
    let inputs = Matrix(rows: 4, columns: 2, elements: [1e30, 3, 2e30, 1, 3e30, 4, 5e30, 1])
    let targets = (0..<4).map { 2e-30 * Double(inputs[$0, 0]) + 1 }
    let fitted = try fit(Samples(inputs: inputs, targets: targets))
    #expect(abs(fitted.weights[0] / 2e-30 - 1) < 1e-9)
  }

  @Test func exportsOneLayerThatTheGraphNames() throws {
    var builder = GraphBuilder(inputColumns: 3)
    let head = try fit(samples(rows: 50)).export(into: &builder, input: 0)
    let graph = try builder.finish(head, classCount: 0)
    #expect(graph.outputs == [.init(name: "prediction", value: 1, kind: .number)])
    #expect(graph.tensors[0].shape == [1, 3])
  }

  private func fit(
    _ inputs: IndicatorRows, _ targets: [Double], weights: [Float] = [], _ model: [String: Document],
    progress: @escaping (EpochReport) throws(TrainingError) -> Void = { _ in }
  ) throws -> LinearRegression.Fitted {
    var context = FitContext(
      family, task: .regression, train: Samples(inputs: inputs, targets: targets, weights: weights), model: model,
      training: ["tolerance": .number(1e-11)])
    context.progress = progress
    return try #require(try family.fit(context) as? LinearRegression.Fitted)
  }

  /// Mean slope of a loss by the score of each row, times each column and 1.
  private func slopes(
    _ inputs: Matrix, _ targets: [Double], _ weights: [Float], _ fitted: LinearRegression.Fitted,
    _ slope: (_ score: Double, _ target: Double) -> Double
  ) -> [Double] {
    var sums = [Double](repeating: 0, count: inputs.columns + 1)
    let total = weights.isEmpty ? Double(targets.count) : weights.reduce(0) { $0 + Double($1) }
    for row in targets.indices {
      var score = fitted.intercept
      for column in 0..<inputs.columns { score += fitted.weights[column] * Double(inputs[row, column]) }
      let part = slope(score, targets[row]) * (weights.isEmpty ? 1 : Double(weights[row])) / total
      for column in 0..<inputs.columns { sums[column] += part * Double(inputs[row, column]) }
      sums[inputs.columns] += part
    }
    return sums
  }

  @Test(arguments: ["squared", "poisson"], [false, true])
  func penaltiesHoldTheSlopesOfTheMeanLossInBalance(loss: String, isWeighted: Bool) throws {
    let (indicators, plain, _) = grouped(rows: 400, levels: 12, others: 5, seed: 31, hasRowsWithoutLevel: true)
    var random = RandomSource(seed: 5)
    let targets = (0..<400).map { row in
      (exp(0.3 * Double(plain[row, 0])) + Double(random.index(below: 3))).rounded()
    }
    let weights = isWeighted ? (0..<400).map { Float($0 % 3) } : []
    for (penalty, ratio) in [(0.05, 1.0), (0.05, 0.4), (0.02, 0)] {
      let model: [String: Document] = [
        "loss": .text(loss), "penalty": .number(penalty), "l1_ratio": .number(ratio),
      ]
      for inputs in [indicators, IndicatorRows(plain)] {
        let fitted = try fit(inputs, targets, weights: weights, model)
        #expect(fitted.isExponential == (loss == "poisson"))
        let slopes = slopes(plain, targets, weights, fitted) { score, target in
          (loss == "poisson" ? exp(score) : score) - target
        }
        for (column, slope) in slopes.enumerated() {
          guard column < fitted.weights.count else {
            #expect(abs(slope) < 1e-7, "the intercept is free")
            continue
          }
          let weight = fitted.weights[column]
          let pull = slope + penalty * (1 - ratio) * weight
          if weight == 0 {
            #expect(abs(pull) <= penalty * ratio + 1e-7)
          } else {
            #expect(abs(pull + penalty * ratio * (weight > 0 ? 1 : -1)) < 1e-7)
          }
        }
        #expect(fitted.weights.contains(0) == (ratio == 1) || ratio < 1)
      }
    }
  }

  @Test(arguments: [0.1, 0.5, 0.85])
  func aQuantileLeavesItsShareOfTheWeightBelow(share: Double) throws {
    let inputs = Synthetic.inputs(rows: 301, columns: 3, seed: 8)
    var random = RandomSource(seed: 9)
    let targets = (0..<301).map { 5 + 2 * Double(inputs[$0, 0]) + random.normal() * (1 + abs(Double(inputs[$0, 1]))) }
    let weights = (0..<301).map { Float(1 + $0 % 2) }
    for penalty in [0, 0.05] {
      let fitted = try fit(
        IndicatorRows(inputs), targets, weights: weights,
        ["loss": .text("quantile"), "quantile": .number(share), "penalty": .number(penalty), "l1_ratio": .number(1)])
      // At the optimum 0 is a subgradient: rows on the plane, one for each weight that is not 0, fill the gap.
      let total = weights.reduce(0) { $0 + Double($1) }
      var onPlane = 0
      var gradient = [Double](repeating: 0, count: 4)
      for row in 0..<301 {
        let score = (0..<3).reduce(fitted.intercept) { $0 + fitted.weights[$1] * Double(inputs[row, $1]) }
        let residual = targets[row] - score
        guard abs(residual) > 1e-6 else {
          onPlane += 1
          continue
        }
        let slope = Double(weights[row]) / total * (residual > 0 ? -share : 1 - share)
        for column in 0..<3 { gradient[column] += slope * Double(inputs[row, column]) }
        gradient[3] += slope
      }
      #expect(onPlane == 1 + fitted.weights.count { $0 != 0 })
      #expect(abs(gradient[3]) <= Double(onPlane) * 2 / total)
      for column in 0..<3 where fitted.weights[column] == 0 {
        #expect(abs(gradient[column]) <= penalty + Double(onPlane) * 6 / total)
      }
      if penalty == 0 { #expect(!fitted.weights.contains(0)) } else { #expect(fitted.weights.contains(0)) }
    }
  }

  @Test(arguments: [0.0, 2], [false, true])
  func weightsOfRowsCountLikeRepeatedRows(l2: Double, hasRowsWithoutLevel: Bool) throws {
    let (indicators, plain, targets) = grouped(
      rows: 200, levels: 12, others: 4, seed: 41, hasRowsWithoutLevel: hasRowsWithoutLevel)
    let weights = (0..<200).map { Float($0 < 12 ? 1 : $0 % 4) }
    var (elements, repeated): ([Float], [Double]) = ([], [])
    for row in 0..<200 {
      for _ in 0..<Int(weights[row]) {
        elements += (0..<plain.columns).map { plain[row, $0] }
        repeated.append(targets[row])
      }
    }
    let rows = IndicatorRows(Matrix(rows: repeated.count, columns: plain.columns, elements: elements))
    let expected = try fit(rows, repeated, ["l2": .number(l2)])
    for inputs in [indicators, IndicatorRows(plain)] {
      let found = try fit(inputs, targets, weights: weights, ["l2": .number(l2)])
      for (x, y) in zip(found.weights + [found.intercept], expected.weights + [expected.intercept]) {
        #expect(abs(x - y) < 1e-8 * max(1, abs(y)))
      }
    }
  }

  @Test func aPoissonModelExportsTheExponential() throws {
    let inputs = Synthetic.inputs(rows: 100, columns: 2, seed: 3)
    let fitted = try fit(IndicatorRows(inputs), (0..<100).map { Double($0 % 5) }, ["loss": .text("poisson")])
    var builder = GraphBuilder(inputColumns: 2)
    let head = try fitted.export(into: &builder, input: 0)
    let graph = try builder.finish(head, classCount: 0)
    #expect(graph.nodes.last?.operation is Exp)
  }

  @Test func targetsThatAreNoCountsAreRefused() throws {
    let inputs = IndicatorRows(Synthetic.inputs(rows: 4, columns: 1, seed: 3))
    func message(_ targets: [Double], weights: [Float] = []) -> String? {
      #expect(throws: TrainingError.self) {
        _ = try fit(inputs, targets, weights: weights, ["loss": .text("poisson")])
      }?.message
    }
    #expect(message([0, 1, -2, 3]) == "model.loss: expected targets from 0 for poisson, found -2.0")
    #expect(message([0, 0, 0, 0]) == "model.loss: expected a target above 0 for poisson, found only zeros")
    #expect(
      message([0, 1, 2, 0], weights: [1, 0, 0, 1])
        == "model.loss: expected a target above 0 for poisson, found only zeros")
  }

  @Test(arguments: ["squared", "poisson", "quantile"])
  func iterationsAreReportedAndCanBeStopped(loss: String) throws {
    let inputs = IndicatorRows(Synthetic.inputs(rows: 100, columns: 3, seed: 3))
    let targets = (0..<100).map { Double($0 % 7) }
    var steps: [Int] = []
    let model: [String: Document] = [
      "loss": .text(loss), "penalty": .number(0.01), "l1_ratio": .number(1), "quantile": .number(0.3),
    ]
    _ = try fit(inputs, targets, model) { steps.append($0.epoch) }
    #expect(steps.count > 1 && steps == Array(1...steps.count))
    let error = #expect(throws: TrainingError.self) {
      _ = try fit(inputs, targets, model) { (_) throws(TrainingError) in throw .stopped }
    }
    #expect(error == .stopped)
  }
}

@Suite struct NearestCentroidTests {
  private func fit(_ inputs: Matrix, _ targets: [Double], classes: Int) throws -> NearestCentroid.Fitted {
    let samples = Samples(inputs: inputs, targets: targets)
    let context = FitContext(NearestCentroid(), task: .classification, classCount: classes, train: samples)
    return try #require(try NearestCentroid().fit(context) as? NearestCentroid.Fitted)
  }

  @Test func theLogitsAreThoseOfGaussiansAroundTheCentroids() throws {
    // Centroids (1, 0) and (5, 2); every row is 1 away from its own in one of two columns: variance ½.
    let inputs = Matrix(rows: 4, columns: 2, elements: [0, 0, 2, 0, 5, 1, 5, 3])
    let fitted = try fit(inputs, [0, 0, 1, 1], classes: 2)
    #expect(fitted.centroids == [[1, 0], [5, 2]])
    #expect(fitted.variance == 0.5)
    var builder = GraphBuilder(inputColumns: 2)
    let head = fitted.export(into: &builder, input: 0)
    guard case .float32(let weights) = builder.tensors[0].storage, case .float32(let bias) = builder.tensors[1].storage
    else {
      Issue.record("expected fp32 weights")
      return
    }
    func logit(_ index: Int, _ x: Float, _ y: Float) -> Float {
      weights[2 * index] * x + weights[2 * index + 1] * y + bias[index]
    }
    // At (4, 3) the squared distances are 18 and 2: the logits differ by (18 − 2) / 2 / ½ = 16.
    #expect(head == .logits(1))
    #expect(abs(logit(1, 4, 3) - logit(0, 4, 3) - 16) < 1e-4)
    // Half way between the centroids both classes are equal.
    #expect(abs(logit(1, 3, 1) - logit(0, 3, 1)) < 1e-4)
  }

  @Test func oneRowAClassIsEnough() throws {
    let fitted = try fit(Matrix(rows: 3, columns: 1, elements: [1, 2, 6]), [0, 1, 2], classes: 3)
    #expect(fitted.variance == 1)
    #expect(fitted.centroids == [[1], [2], [6]])
  }

  @Test func largeNumbersThatDifferLittleAreToldApart() throws {
    // Years: x·c and |c|² are about 4,000,000, where fp32 steps by a quarter.
    let years: [Float] = [1998, 1999, 2000, 2002, 2003, 2004]
    let fitted = try fit(Matrix(rows: 6, columns: 1, elements: years), [0, 0, 0, 1, 1, 1], classes: 2)
    var builder = GraphBuilder(inputColumns: 1)
    _ = fitted.export(into: &builder, input: 0)
    guard case .float32(let weights) = builder.tensors[0].storage, case .float32(let bias) = builder.tensors[1].storage
    else {
      Issue.record("expected fp32 weights")
      return
    }
    // The border lies at 2001.
    for (year, isSecond) in [(2000.9 as Float, false), (2001.1, true)] {
      #expect((weights[1] * year + bias[1] > weights[0] * year + bias[0]) == isSecond)
    }
  }
}
