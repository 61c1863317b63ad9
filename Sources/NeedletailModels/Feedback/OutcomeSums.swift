internal import Glibc

/// Sums over predictions whose outcomes are known, from which their figures follow. Sums of different times, or of
/// different versions, add up.
public struct OutcomeSums: Equatable, Sendable {
  /// Predictions whose largest probability lies in one part of 0 to 1.
  struct Bin: Equatable, Sendable {
    var rows = 0.0
    var confidence = 0.0
    var correct = 0.0
  }

  /// Parts of equal width, as in Guo et al., On Calibration of Modern Neural Networks (2017).
  static let binCount = 15
  /// Probabilities count as no less than this, nor as more than one less this: what 1 and the next float below it differ
  /// by, as scikit-learn takes it for fp32.
  static let probabilityMin = 0x1p-23

  public private(set) var rows = 0
  /// Answers that were NaN or infinite. They count as wrong classes, and in no other figure.
  public private(set) var nonFinite = 0
  private var correct = 0
  /// Rows that have probabilities.
  private var scored = 0
  private var logLoss = 0.0
  private var brier = 0.0
  private var bins: [Bin] = []
  private var error = 0.0
  private var absolute = 0.0
  private var squared = 0.0

  public init() {}

  /// Adds a row.
  /// - Parameters:
  ///   - prediction: what was answered.
  ///   - truth: index of the class, or the number.
  public mutating func add(_ prediction: PredictionShape.Prediction, truth: Double) {
    rows += 1
    switch prediction {
    case .nothing: nonFinite += 1
    case .number(let number):
      error += number - truth
      absolute += abs(number - truth)
      squared += (number - truth) * (number - truth)
    case .ofClass(let found, let probabilities):
      let isCorrect = Double(found) == truth
      if isCorrect { correct += 1 }
      addProbabilities(probabilities, truth: Int(truth), isCorrect: isCorrect)
    }
  }

  private mutating func addProbabilities(_ probabilities: ArraySlice<Float>, truth: Int, isCorrect: Bool) {
    // Scores that are no probabilities have no loss.
    let total = probabilities.reduce(0.0) { $0 + Double($1) }
    guard truth < probabilities.count, abs(total - 1) < 1e-3, probabilities.allSatisfy({ $0 >= 0 && $0 <= 1 }) else {
      return
    }
    scored += 1
    let first = probabilities.startIndex
    let own = Double(probabilities[first + truth])
    logLoss -= log(min(max(own, Self.probabilityMin), 1 - Self.probabilityMin))
    var squares = 0.0
    var largest = 0.0
    for (index, probability) in probabilities.enumerated() {
      let distance = Double(probability) - (index == truth ? 1 : 0)
      squares += distance * distance
      largest = max(largest, Double(probability))
    }
    // With two classes each distance counts once.
    brier += probabilities.count == 2 ? squares / 2 : squares
    if bins.isEmpty { bins = [Bin](repeating: Bin(), count: Self.binCount) }
    let bin = min(Int(largest * Double(Self.binCount)), Self.binCount - 1)
    bins[bin].rows += 1
    bins[bin].confidence += largest
    bins[bin].correct += isCorrect ? 1 : 0
  }

  public static func += (a: inout OutcomeSums, b: OutcomeSums) {
    a.rows += b.rows
    a.nonFinite += b.nonFinite
    a.correct += b.correct
    a.scored += b.scored
    a.logLoss += b.logLoss
    a.brier += b.brier
    a.error += b.error
    a.absolute += b.absolute
    a.squared += b.squared
    guard !b.bins.isEmpty else { return }
    guard !a.bins.isEmpty else { return a.bins = b.bins }
    for index in a.bins.indices {
      a.bins[index].rows += b.bins[index].rows
      a.bins[index].confidence += b.bins[index].confidence
      a.bins[index].correct += b.bins[index].correct
    }
  }

  /// Figures of all rows; nil without rows.
  /// - Parameter isClassification: whether the rows are of classes.
  public func figures(isClassification: Bool) -> OutcomeFigures? {
    guard rows > 0 else { return nil }
    var figures = OutcomeFigures(rows: rows)
    if isClassification {
      figures.accuracy = Double(correct) / Double(rows)
      guard scored > 0 else { return figures }
      figures.logLoss = logLoss / Double(scored)
      figures.brier = brier / Double(scored)
      figures.calibrationError = bins.reduce(0) { $0 + abs($1.correct - $1.confidence) } / Double(scored)
      return figures
    }
    let count = Double(rows - nonFinite)
    guard count > 0 else { return figures }
    figures.meanAbsoluteError = absolute / count
    figures.rootMeanSquaredError = (squared / count).squareRoot()
    figures.bias = error / count
    return figures
  }
}

/// How good a version's answers were.
public struct OutcomeFigures: Equatable, Sendable {
  /// Rows whose outcomes are known.
  public var rows: Int
  /// Share of the rows whose class was right, 0 to 1.
  public var accuracy: Double?
  /// Mean of −ln p, p being the probability of the true class.
  public var logLoss: Double?
  /// Mean of Σ (p − y)² over the classes; of two classes of (p − y)² (Brier 1950, as scikit-learn counts it).
  public var brier: Double?
  /// Expected calibration error: mean distance of confidence and accuracy, over 15 parts of equal width (Guo et al. 2017).
  public var calibrationError: Double?
  public var meanAbsoluteError: Double?
  public var rootMeanSquaredError: Double?
  /// Mean of answer less truth.
  public var bias: Double?

  public init(rows: Int) { self.rows = rows }

  /// Whether the figures are worse than expected by more than chance gives: four standard deviations, as one version in
  /// 30,000 goes beyond that at a time.
  /// - Parameter expected: accuracy or mean absolute error that the version should have.
  /// - Returns: nil where the rows are too few to say.
  public func isWorse(than expected: Double, rowsMin: Int) -> Bool? {
    guard rows >= rowsMin else { return nil }
    if let accuracy {
      // If a share p of n rows is expected to be right, the share that is right spreads by √(p (1 − p) / n). Where nearly all
      // should be right, one of the n counts as if it should not: a test without a fault promises no more than that.
      let count = Double(rows)
      let spread = (max(expected * (1 - expected), (count - 1) / (count * count)) / count).squareRoot()
      return accuracy < expected - Self.deviationsByChance * spread
    }
    guard let meanAbsoluteError, let rootMeanSquaredError else { return nil }
    let variance = rootMeanSquaredError * rootMeanSquaredError - meanAbsoluteError * meanAbsoluteError
    let spread = (max(variance, 0) / Double(rows)).squareRoot()
    return meanAbsoluteError > expected + Self.deviationsByChance * spread
  }

  static let deviationsByChance = 4.0
}
