import NeedletailCore
import NeedletailEngine
import Testing

@testable import NeedletailModels

/// Figures of known outcomes are those of scikit-learn 1.9 (`accuracy_score`, `log_loss`, `brier_score_loss`,
/// `mean_absolute_error`, `mean_squared_error`) and, for the calibration error, of a plain loop in numpy, on the same rows.
@Suite("Figures of outcomes")
struct OutcomeSumsTests {
  /// A linear congruential generator, as the Python that made the figures has it.
  private struct Numbers {
    private var state: UInt64 = 1

    mutating func next(below bound: UInt64) -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return (state >> 40) % bound
    }
  }

  private func classification(classes: Int) -> OutcomeSums {
    var numbers = Numbers()
    var sums = OutcomeSums()
    for _ in 0..<400 {
      let weights = (0..<classes).map { _ in Float(numbers.next(below: 1000) + 1) }
      let probabilities = weights.map { $0 / weights.reduce(0, +) }
      let best = probabilities.firstIndex(of: probabilities.max()!)!
      sums.add(
        .ofClass(best, probabilities: probabilities[...]), truth: Double(numbers.next(below: UInt64(classes))))
    }
    return sums
  }

  private static let expected: [(classes: Int, accuracy: Double, logLoss: Double, brier: Double, error: Double)] = [
    (2, 0.5, 0.8372521840510561, 0.29120495747673086, 0.17921588838100433),
    (3, 0.2975, 1.346766208023484, 0.7765106941235931, 0.2271002224087715),
    (5, 0.215, 1.8484106722129001, 0.854865345320715, 0.13605274610221385),
  ]

  @Test(arguments: expected.indices) func classesAreJudgedAsScikitLearnDoes(_ index: Int) throws {
    let expected = Self.expected[index]
    let figures = try #require(classification(classes: expected.classes).figures(isClassification: true))
    #expect(figures.rows == 400)
    #expect(abs(try #require(figures.accuracy) - expected.accuracy) < 1e-12)
    #expect(abs(try #require(figures.logLoss) - expected.logLoss) < 1e-7)
    #expect(abs(try #require(figures.brier) - expected.brier) < 1e-7)
    #expect(abs(try #require(figures.calibrationError) - expected.error) < 1e-7)
    #expect(figures.meanAbsoluteError == nil)
  }

  @Test func numbersAreJudgedAsScikitLearnDoes() throws {
    var numbers = Numbers()
    var sums = OutcomeSums()
    for _ in 0..<400 {
      let prediction = Float(Double(numbers.next(below: 2000)) / 100 - 10)
      sums.add(.number(Double(prediction)), truth: Double(numbers.next(below: 2000)) / 100 - 10)
    }
    let figures = try #require(sums.figures(isClassification: false))
    #expect(abs(try #require(figures.meanAbsoluteError) - 6.6004500024857) < 1e-9)
    #expect(abs(try #require(figures.rootMeanSquaredError) - 8.094897628779828) < 1e-9)
    #expect(abs(try #require(figures.bias) - 0.7610500155376269) < 1e-9)
    #expect(figures.accuracy == nil)
  }

  @Test func sumsOfPartsAreThoseOfAll() {
    let (two, three) = (classification(classes: 3), classification(classes: 3))
    var both = OutcomeSums()
    both += two
    both += three
    let (one, all) = (two.figures(isClassification: true), both.figures(isClassification: true))
    #expect(all?.rows == 800)
    #expect(all?.accuracy == one?.accuracy)
    #expect(abs((all?.calibrationError ?? 9) - (one?.calibrationError ?? 0)) < 1e-12)
  }

  @Test func answersThatAreNoNumbersAreWrongAndInNoOtherFigure() throws {
    var sums = OutcomeSums()
    sums.add(.ofClass(1, probabilities: [0.25, 0.75]), truth: 1)
    sums.add(.nothing, truth: 1)
    let figures = try #require(sums.figures(isClassification: true))
    #expect(figures.accuracy == 0.5)
    #expect(abs(try #require(figures.brier) - 0.0625) < 1e-12)
    var errors = OutcomeSums()
    errors.add(.nothing, truth: 1)
    #expect(errors.figures(isClassification: false) == OutcomeFigures(rows: 1))
  }

  @Test func scoresThatAreNoProbabilitiesHaveNoLoss() throws {
    var sums = OutcomeSums()
    sums.add(.ofClass(0, probabilities: [2, -1]), truth: 0)
    sums.add(.ofClass(0, probabilities: []), truth: 0)
    let figures = try #require(sums.figures(isClassification: true))
    #expect(figures.accuracy == 1)
    #expect(figures.logLoss == nil && figures.brier == nil && figures.calibrationError == nil)
  }

  /// A probability of 0 for what happened is a large loss and no infinite one.
  @Test func certaintyThatWasWrongHasAFiniteLoss() throws {
    var sums = OutcomeSums()
    sums.add(.ofClass(0, probabilities: [1, 0]), truth: 1)
    let loss = try #require(sums.figures(isClassification: true)?.logLoss)
    #expect(abs(loss - 15.942385152878742) < 1e-9, "−ln 2⁻²³")
  }

  @Test func worseThanExpectedNeedsMoreThanChance() {
    var figures = OutcomeFigures(rows: 100)
    figures.accuracy = 0.79
    // Four times √(0.9 · 0.1 / 100) is 0.12.
    #expect(figures.isWorse(than: 0.9, rowsMin: 100) == false)
    figures.accuracy = 0.77
    #expect(figures.isWorse(than: 0.9, rowsMin: 100) == true)
    #expect(figures.isWorse(than: 0.9, rowsMin: 101) == nil, "too few")
    // Four times √(0.99 · 0.01 / 100) is 0.0398.
    figures.accuracy = 0.97
    #expect(figures.isWorse(than: 1, rowsMin: 100) == false, "a few errors although training's test had none")
    figures.accuracy = 0.96
    #expect(figures.isWorse(than: 1, rowsMin: 100) == true)
    var errors = OutcomeFigures(rows: 100)
    // Errors spread by √(5² − 4²) = 3; four times 3 / 10 is 1.2.
    (errors.meanAbsoluteError, errors.rootMeanSquaredError) = (4, 5)
    #expect(errors.isWorse(than: 2.9, rowsMin: 100) == false)
    #expect(errors.isWorse(than: 2.7, rowsMin: 100) == true)
  }
}
