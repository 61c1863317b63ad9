internal import Glibc

/// Figures of how good answers are, by the definitions of scikit-learn's `sklearn.metrics`; weights are its
/// `sample_weight`.
public enum Metrics {
  /// One figure under the name that `metrics.json` gives it.
  public typealias Figure = (name: String, value: Double)

  /// - Parameters:
  ///   - probabilities: rows × classes; nil for a model that tells none.
  ///   - predicted: class per row, as the model says.
  ///   - truth: class per row.
  ///   - weights: one a row, from 0; none: all rows count alike.
  /// - Returns: accuracy, macro precision, recall and F1; with probabilities also the log loss, and for two classes
  ///   the area under the ROC curve. Nothing where all weights are 0.
  public static func classification(
    probabilities: [Float]?, predicted: [Int], truth: [Int], classCount: Int, weights: [Double] = []
  ) -> [Figure] {
    let own = weights.isEmpty ? [Double](repeating: 1, count: truth.count) : weights
    let total = own.reduce(0, +)
    guard total > 0 else { return [] }
    var hits = [Double](repeating: 0, count: classCount)
    var answered = hits
    var actual = hits
    var occurs = [Bool](repeating: false, count: classCount)
    for (row, t) in truth.enumerated() {
      let p = predicted[row]
      answered[p] += own[row]
      actual[t] += own[row]
      if p == t { hits[p] += own[row] }
      (occurs[p], occurs[t]) = (true, true)
    }
    // Means go over the classes that occur in the truth or in the answers; a ratio without denominator is 0.
    let present = occurs.indices.filter { occurs[$0] }
    func mean(_ value: (Int) -> Double) -> Double {
      present.isEmpty ? 0 : present.reduce(0) { $0 + value($1) } / Double(present.count)
    }
    func ratio(_ a: Double, _ b: Double) -> Double { b > 0 ? a / b : 0 }
    var figures: [Figure] = [
      ("accuracy", hits.reduce(0, +) / total),
      ("precision_macro", mean { ratio(hits[$0], answered[$0]) }),
      ("recall_macro", mean { ratio(hits[$0], actual[$0]) }),
      ("f1_macro", mean { ratio(2 * hits[$0], answered[$0] + actual[$0]) }),
    ]
    guard let probabilities else { return figures }
    // A probability of 0 counts as 2⁻⁵², as scikit-learn counts it for numbers in double precision.
    var logLoss = 0.0
    for (row, t) in truth.enumerated() where own[row] > 0 {
      logLoss -= own[row] * log(max(Double(probabilities[row * classCount + t]), Double.ulpOfOne))
    }
    figures.append(("log_loss", logLoss / total))
    guard classCount == 2 else { return figures }
    let scores = truth.indices.map { (score: probabilities[$0 * 2 + 1], isPositive: truth[$0] == 1) }
    if let auc = areaUnderROC(scores, weights: weights) { figures.append(("auc", auc)) }
    return figures
  }

  /// Chance that a positive row scores above a negative one, ties counting half (Mann and Whitney, 1947).
  ///
  /// - Parameter weights: one a row, by which it is drawn; none: all alike.
  /// - Returns: nil where one of the two kinds is absent.
  static func areaUnderROC(_ scores: [(score: Float, isPositive: Bool)], weights: [Double] = []) -> Double? {
    RankedScores(scores, weights: weights).rocArea
  }

  /// - Parameter weights: one a row, from 0; none: all rows count alike.
  /// - Returns: mean squared and absolute error, and the share of variance explained. Nothing where all weights are 0.
  public static func regression(predicted: [Float], truth: [Double], weights: [Double] = []) -> [Figure] {
    let own = weights.isEmpty ? [Double](repeating: 1, count: truth.count) : weights
    let total = own.reduce(0, +)
    guard total > 0 else { return [] }
    func sum(_ value: (Int) -> Double) -> Double { truth.indices.reduce(0) { $0 + own[$1] * value($1) } }
    let errors = zip(predicted, truth).map { Double($0) - $1 }
    let squares = sum { errors[$0] * errors[$0] }
    let mean = sum { truth[$0] } / total
    let spread = sum { (truth[$0] - mean) * (truth[$0] - mean) }
    return [
      ("r2", spread > 0 ? 1 - squares / spread : 0),
      ("mse", squares / total),
      ("rmse", (squares / total).squareRoot()),
      ("mae", sum { abs(errors[$0]) } / total),
    ]
  }
}
