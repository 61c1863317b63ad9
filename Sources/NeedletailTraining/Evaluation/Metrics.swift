internal import Glibc

/// Figures of how good answers are, by the definitions of scikit-learn's `sklearn.metrics`.
public enum Metrics {
  /// One figure under the name that `metrics.json` gives it.
  public typealias Figure = (name: String, value: Double)

  /// - Parameters:
  ///   - probabilities: rows × classes; nil for a model that tells none.
  ///   - predicted: class per row, as the model says.
  ///   - truth: class per row.
  /// - Returns: accuracy, macro precision, recall and F1; with probabilities also the log loss, and for two classes
  ///   the area under the ROC curve.
  public static func classification(
    probabilities: [Float]?, predicted: [Int], truth: [Int], classCount: Int
  ) -> [Figure] {
    let count = Double(truth.count)
    let correct = zip(predicted, truth).count { $0 == $1 }
    var truePositives = [Double](repeating: 0, count: classCount)
    var predictedCounts = truePositives
    var truthCounts = truePositives
    for (p, t) in zip(predicted, truth) {
      predictedCounts[p] += 1
      truthCounts[t] += 1
      if p == t { truePositives[p] += 1 }
    }
    // Means go over the classes that occur in the truth or in the answers; a ratio without denominator is 0.
    let present = (0..<classCount).filter { predictedCounts[$0] + truthCounts[$0] > 0 }
    func mean(_ value: (Int) -> Double) -> Double {
      present.isEmpty ? 0 : present.reduce(0) { $0 + value($1) } / Double(present.count)
    }
    func ratio(_ a: Double, _ b: Double) -> Double { b > 0 ? a / b : 0 }
    var figures: [Figure] = [
      ("accuracy", Double(correct) / count),
      ("precision_macro", mean { ratio(truePositives[$0], predictedCounts[$0]) }),
      ("recall_macro", mean { ratio(truePositives[$0], truthCounts[$0]) }),
      ("f1_macro", mean { ratio(2 * truePositives[$0], predictedCounts[$0] + truthCounts[$0]) }),
    ]
    guard let probabilities else { return figures }
    // A probability of 0 counts as 2⁻⁵², as scikit-learn counts it for numbers in double precision.
    var logLoss = 0.0
    for (row, t) in truth.enumerated() {
      logLoss -= log(max(Double(probabilities[row * classCount + t]), Double.ulpOfOne))
    }
    figures.append(("log_loss", logLoss / count))
    if classCount == 2, let auc = areaUnderROC(truth.indices.map { (probabilities[$0 * 2 + 1], truth[$0] == 1) }) {
      figures.append(("auc", auc))
    }
    return figures
  }

  /// Chance that a positive row scores above a negative one, ties counting half (Mann and Whitney, 1947).
  ///
  /// - Returns: nil where one of the two kinds is absent.
  static func areaUnderROC(_ scores: [(score: Float, isPositive: Bool)]) -> Double? {
    let positives = Double(scores.count { $0.isPositive })
    let negatives = Double(scores.count) - positives
    guard positives > 0, negatives > 0 else { return nil }
    let sorted = scores.sorted { $0.score < $1.score }
    var rankSum = 0.0
    var start = 0
    while start < sorted.count {
      var end = start
      while end < sorted.count, sorted[end].score == sorted[start].score { end += 1 }
      let meanRank = Double(start + 1 + end) / 2
      rankSum += meanRank * Double(sorted[start..<end].count { $0.isPositive })
      start = end
    }
    return (rankSum - positives * (positives + 1) / 2) / (positives * negatives)
  }

  /// - Returns: mean squared and absolute error, and the share of variance explained.
  public static func regression(predicted: [Float], truth: [Double]) -> [Figure] {
    let count = Double(truth.count)
    let errors = zip(predicted, truth).map { Double($0) - $1 }
    let squares = errors.reduce(0) { $0 + $1 * $1 }
    let mean = truth.reduce(0, +) / count
    let spread = truth.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    return [
      ("r2", spread > 0 ? 1 - squares / spread : 0),
      ("mse", squares / count),
      ("rmse", (squares / count).squareRoot()),
      ("mae", errors.reduce(0) { $0 + abs($1) } / count),
    ]
  }
}
