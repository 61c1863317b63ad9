import Foundation
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite struct MetricsTests {
  private func value(_ name: String, _ figures: [Metrics.Figure]) -> Double {
    figures.first { $0.name == name }?.value ?? .nan
  }

  /// Expected values: sklearn.metrics 1.9 on the same rows.
  @Test func agreesWithScikitLearnOnThreeClasses() {
    let probabilities: [Float] = [0.7, 0.2, 0.1, 0.1, 0.8, 0.1, 0.3, 0.4, 0.3, 0.2, 0.2, 0.6, 0.5, 0.25, 0.25]
    let figures = Metrics.classification(
      probabilities: probabilities, predicted: [0, 1, 1, 2, 0], truth: [0, 1, 2, 2, 1], classCount: 3)
    #expect(abs(value("accuracy", figures) - 0.6) < 1e-12)
    #expect(abs(value("precision_macro", figures) - 2.0 / 3) < 1e-12)
    #expect(abs(value("recall_macro", figures) - 2.0 / 3) < 1e-12)
    #expect(abs(value("f1_macro", figures) - (2.0 / 3 + 0.5 + 2.0 / 3) / 3) < 1e-12)
    let logLoss = -(log(0.7) + log(0.8) + log(0.3) + log(0.6) + log(0.25)) / 5
    #expect(abs(value("log_loss", figures) - logLoss) < 1e-6)
    #expect(value("auc", figures).isNaN)
  }

  /// Expected values: sklearn.metrics 1.9 with `sample_weight` on the same rows.
  @Test func weightsAreSampleWeightsOfScikitLearn() {
    let weights: [Double] = [0.5, 2, 1, 0, 3, 1.5]
    let binary: [Float] = [0.75, 0.25, 0.5, 0.5, 0.25, 0.75, 0.5, 0.5, 0.875, 0.125, 0.375, 0.625]
    let figures = Metrics.classification(
      probabilities: binary, predicted: [0, 0, 1, 0, 0, 1], truth: [0, 1, 1, 1, 0, 0], classCount: 2, weights: weights)
    let expected = [
      ("accuracy", 0.5625), ("precision_macro", 0.5181818181818182), ("recall_macro", 0.5166666666666666),
      ("f1_macro", 0.5151515151515151), ("log_loss", 0.4612069408985899), ("auc", 0.8),
    ]
    #expect(figures.map(\.name) == expected.map(\.0))
    for (name, value) in expected { #expect(abs(self.value(name, figures) - value) < 1e-9, "\(name)") }
    let numbers = Metrics.regression(
      predicted: [2, 4, 7, 1, 0.5, 3], truth: [1, 4, 10, 2, 0, 3.5], weights: weights)
    for (name, value) in [
      ("r2", 0.8677943034898415), ("mse", 1.328125), ("rmse", 1.1524430571616109), ("mae", 0.71875),
    ] {
      #expect(abs(self.value(name, numbers) - value) < 1e-9, "\(name)")
    }
    #expect(Metrics.regression(predicted: [1], truth: [1], weights: [0]).isEmpty)
    #expect(Metrics.classification(probabilities: nil, predicted: [1], truth: [1], classCount: 2, weights: [0]).isEmpty)
  }

  @Test func aClassOfNoWeightStillCountsInMeans() {
    let figures = ClassFigures(
      predicted: [0, 1, 1, 2, 0], truth: [0, 1, 2, 2, 1], classCount: 3, weights: [1, 2, 0, 0, 3])
    #expect(figures.classes.map(\.support) == [1, 5, 0])
    // f1_score(average="macro", zero_division=0) with the same weights.
    #expect(abs(figures.macro.f1 - 0.3238095238095238) < 1e-9)
    // balanced_accuracy_score and matthews_corrcoef.
    #expect(abs(figures.balancedAccuracy - 0.7) < 1e-9)
    #expect(abs(figures.matthews - 0.31622776601683794) < 1e-9)
  }

  @Test func withoutProbabilitiesTheirMetricsAreAbsent() {
    let figures = Metrics.classification(probabilities: nil, predicted: [0, 1, 1], truth: [0, 1, 0], classCount: 2)
    #expect(figures.map(\.name) == ["accuracy", "precision_macro", "recall_macro", "f1_macro"])
  }

  @Test func logLossPunishesConfidentMistakes() {
    // Probabilities far below 1e-7 still count as they are.
    let figures = Metrics.classification(probabilities: [1, 1e-12], predicted: [0], truth: [1], classCount: 2)
    #expect(abs(value("log_loss", figures) + log(1e-12)) < 1e-6)
  }

  @Test func theAreaUnderTheCurveCountsTiesHalf() {
    #expect(Metrics.areaUnderROC([(0.1, false), (0.4, false), (0.35, true), (0.8, true)]) == 0.75)
    #expect(Metrics.areaUnderROC([(0.5, false), (0.5, true)]) == 0.5)
    #expect(Metrics.areaUnderROC([(0.5, true)]) == nil)
  }

  @Test func regressionFiguresByHand() {
    let figures = Metrics.regression(predicted: [2, 4, 7], truth: [1, 4, 10])
    #expect(abs(value("mse", figures) - 10.0 / 3) < 1e-12)
    #expect(abs(value("mae", figures) - 4.0 / 3) < 1e-12)
    #expect(abs(value("r2", figures) - (1 - 10.0 / 42)) < 1e-12)
  }
}

@Suite struct DriftRecorderTests {
  @Test func decilesHoldAboutEqualCounts() {
    let column = Table.Column(name: "x", values: .numbers((0...100).map { Double($0) } + [.nan]))
    let baseline = DriftRecorder.column(column, rows: Array(0...101))
    #expect(baseline.quantileEdges == stride(from: 0.0, through: 100, by: 10).map { $0 })
    #expect(baseline.binCounts == [10, 10, 10, 10, 10, 10, 10, 10, 10, 11])
    #expect(abs(baseline.missingRate - 1.0 / 102) < 1e-12)
  }

  @Test func repeatedBinEdgesAreMerged() {
    let column = Table.Column(name: "x", values: .numbers([0, 0, 0, 0, 0, 0, 0, 0, 0, 5]))
    let baseline = DriftRecorder.column(column, rows: Array(0..<10))
    #expect(zip(baseline.quantileEdges, baseline.quantileEdges.dropFirst()).allSatisfy { $0 < $1 })
    #expect(baseline.binCounts.count == baseline.quantileEdges.count - 1)
    #expect(baseline.binCounts.reduce(0, +) == 10)
    let constant = DriftRecorder.column(Table.Column(name: "x", values: .numbers([4, 4])), rows: [0, 1])
    #expect(constant.quantileEdges == [4] && constant.binCounts.isEmpty)
  }

  @Test func categoriesAreListedMostFrequentFirst() {
    let column = Table.Column(
      name: "c", values: .categories(codes: [0, 1, 1, -1, 2], categories: ["a", "b", "c", "never"]))
    let baseline = DriftRecorder.column(column, rows: Array(0..<5))
    #expect(baseline.categories.map(\.category) == ["b", "a", "c"])
    #expect(baseline.categories.map(\.count) == [2, 1, 1])
    #expect(baseline.missingRate == 0.2)
  }
}

@Suite struct ProgressDisplayTests {
  private func report(_ epoch: Int) -> EpochReport {
    EpochReport(
      epoch: epoch, epochCount: 200, loss: 0.5, validationLoss: 0.4, validationMetric: 0.91, metricName: "accuracy",
      bestEpoch: 7, bestMetric: 0.92)
  }

  private func at(_ milliseconds: UInt64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }

  @Test func aLogFileGetsOccasionalProgressLines() {
    var display = ProgressDisplay(terminal: .plain, start: at(0))
    #expect(display.show(report(1), now: at(10))?.hasPrefix("epoch   1/200  loss 0.5000  accuracy 0.9100") == true)
    #expect(display.show(report(2), now: at(1000)) == nil)
    var fresh = ProgressDisplay(terminal: .plain, start: at(0))
    #expect(fresh.show(report(1), now: at(0))?.contains("ETA") == false, "the first epoch says nothing of the others")
    let line = display.show(report(100), now: at(3000))
    #expect(line == "epoch 100/200  loss 0.5000  accuracy 0.9100  best 0.9200 at 7  ETA 3.0s\n")
    #expect(display.show(report(200), now: at(3001)) != nil)
    #expect(display.finish() == "")
  }

  @Test func aTerminalIsRedrawnWithinItsWidth() {
    for width in [20, 60, 80, 200] {
      let terminal = Terminal(isInteractive: true, hasColour: false, width: width)
      var display = ProgressDisplay(terminal: terminal, start: at(0))
      let text = display.show(report(100), now: at(3000)) ?? ""
      #expect(text.hasPrefix("\r\u{1B}[2K"))
      #expect(!text.contains("\n"))
      #expect(text.dropFirst(5).count < width)
      #expect(display.show(report(101), now: at(3050)) == nil)
      #expect(display.finish() == "\n")
    }
  }

  @Test func theBarFillsEvenly() {
    #expect(ProgressDisplay.bar(0, width: 4) == "░░░░")
    #expect(ProgressDisplay.bar(0.5, width: 4) == "██░░")
    #expect(ProgressDisplay.bar(0.125 + 1.0 / 32, width: 4) == "▋░░░")
    #expect(ProgressDisplay.bar(2, width: 4) == "████")
  }

  @Test(arguments: [(0.0, "0.0s"), (42.4, "42s"), (185, "3m 05s"), (7800, "2h 10m"), (Double.infinity, "–")])
  func durationsAreFormattedForPeople(seconds: Double, text: String) {
    #expect(Figures.duration(seconds) == text)
  }

  @Test func countsAreGrouped() {
    #expect([0, 999, 1000, 1_234_005].map { Figures.count($0) } == ["0", "999", "1,000", "1,234,005"])
  }

  /// For answers wᵀx that are right, shuffling an independent column raises the mean squared error by 2 w² var(x).
  @Test func shufflingAFeatureCostsWhatItsWeightSays() throws {
    let definition = ModelFixtures.linearRegression(weights: [2, -3, 0, 0.5], bias: 1)
    var random = RandomSource(seed: 9)
    let rows = (0..<2000).map { _ in (0..<4).map { _ in random.normal() } }
    let targets = rows.map { Double(2 * $0[0] - 3 * $0[1] + 0.5 * $0[3] + 1) }
    let cells = rows.map { $0.map { Cell.number(Double($0)) } }
    func measured(seed: UInt64) throws -> [FeatureImportance] {
      try FeatureUse(
        model: CompiledModel(definition), definition: definition, rows: cells, targets: targets, seed: seed
      ).measure((0..<4).map { FeatureImportance(name: "x\($0)", gainShare: 0, splits: 0) })
    }
    let found = try measured(seed: 1)
    for (feature, expected) in zip(found, [8, 18, 0, 0.5]) {
      let permutation = try #require(feature.permutation)
      #expect(abs(permutation.mean - expected) <= 0.1 * expected)
      #expect(permutation.deviation < 0.1 * expected + 1e-9)
    }
    #expect(try measured(seed: 1) == found, "the same seed shuffles alike")
    #expect(try measured(seed: 2) != found)
    // Columns that are not standardised have no mean in the bundle: no contributions are made up.
    #expect(found.allSatisfy { $0.meanContribution == nil })
  }
}
