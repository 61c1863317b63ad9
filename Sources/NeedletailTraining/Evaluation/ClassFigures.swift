internal import Glibc

/// Counts of a classifier's answers, and the figures of each class that follow from them, by the definitions of
/// scikit-learn's `confusion_matrix` and `precision_recall_fscore_support`.
struct ClassFigures: Equatable, Sendable {
  /// Figures of one class, or their mean over classes.
  struct Scores: Equatable, Sendable {
    var precision = 0.0
    var recall = 0.0
    var f1 = 0.0
    /// Weight of the rows whose truth is the class: their number where all count alike.
    var support = 0.0
  }

  /// Weight of the rows by true class and by predicted class.
  let confusion: [[Double]]
  let classes: [Scores]
  /// Classes that occur in the truth or in the answers, whatever their rows weigh.
  private let present: [Int]

  /// - Parameter weights: one a row, from 0; none: 1 for all.
  init(predicted: [Int], truth: [Int], classCount: Int, weights: [Double] = []) {
    var confusion = [[Double]](repeating: [Double](repeating: 0, count: classCount), count: classCount)
    for row in truth.indices { confusion[truth[row]][predicted[row]] += weights.isEmpty ? 1 : weights[row] }
    self.confusion = confusion
    let occurring = Set(truth).union(predicted)
    present = (0..<classCount).filter(occurring.contains)
    let columns = (0..<classCount).map { index in confusion.reduce(0) { $0 + $1[index] } }
    classes = (0..<classCount).map { index in
      let hits = confusion[index][index]
      let actual = confusion[index].reduce(0, +)
      let answered = columns[index]
      return Scores(
        precision: Self.ratio(hits, answered), recall: Self.ratio(hits, actual),
        f1: Self.ratio(2 * hits, answered + actual), support: actual)
    }
  }

  /// A ratio without denominator is 0.
  private static func ratio(_ a: Double, _ b: Double) -> Double { b > 0 ? a / b : 0 }

  /// Mean over the classes, each weighted by its support.
  var weighted: Scores {
    let total = classes.reduce(0) { $0 + $1.support }
    func mean(_ value: (Scores) -> Double) -> Double {
      Self.ratio(classes.reduce(0) { $0 + value($1) * $1.support }, total)
    }
    return Scores(precision: mean(\.precision), recall: mean(\.recall), f1: mean(\.f1), support: total)
  }

  /// Mean over the classes that occur in the truth or in the answers.
  var macro: Scores {
    func mean(_ value: (Scores) -> Double) -> Double {
      Self.ratio(present.reduce(0) { $0 + value(classes[$1]) }, Double(present.count))
    }
    return Scores(
      precision: mean(\.precision), recall: mean(\.recall), f1: mean(\.f1),
      support: classes.reduce(0) { $0 + $1.support })
  }

  /// Mean recall of the classes that occur in the truth.
  var balancedAccuracy: Double {
    let present = classes.filter { $0.support > 0 }
    return Self.ratio(present.reduce(0) { $0 + $1.recall }, Double(present.count))
  }

  /// Correlation of Matthews (1975), for any number of classes (Gorodkin, 2004); 0 where it is not defined.
  var matthews: Double {
    let actual = confusion.map { $0.reduce(0, +) }
    let answered = confusion.indices.map { index in confusion.reduce(0) { $0 + $1[index] } }
    let total = actual.reduce(0, +)
    let hits = confusion.indices.reduce(0.0) { $0 + confusion[$1][$1] }
    let expected = zip(actual, answered).reduce(0) { $0 + $1.0 * $1.1 }
    let a = total * total - answered.reduce(0) { $0 + $1 * $1 }
    let b = total * total - actual.reduce(0) { $0 + $1 * $1 }
    return Self.ratio(hits * total - expected, (a * b).squareRoot())
  }
}

/// Rows that a classifier answered, sorted by the score of one class: what ROC and precision-recall curves are read from.
struct RankedScores {
  /// Rows with at least some score: all of the same score count together.
  struct Step: Equatable {
    var threshold: Double
    /// Weight of the rows of the class, and of others, that score at least the threshold.
    var truePositives: Double
    var falsePositives: Double
  }

  /// From the highest score to the lowest.
  let steps: [Step]
  let positives: Double
  let negatives: Double

  /// - Parameter weights: one a row, from 0; none: 1 for all. Rows of weight 0 are no rows.
  init(_ rows: [(score: Float, isPositive: Bool)], weights: [Double] = []) {
    let counted = weights.isEmpty ? Array(rows.indices) : rows.indices.filter { weights[$0] > 0 }
    let sorted = counted.sorted { rows[$0].score > rows[$1].score }
    var steps: [Step] = []
    var (hits, misses) = (0.0, 0.0)
    for (index, row) in sorted.enumerated() {
      let weight = weights.isEmpty ? 1 : weights[row]
      if rows[row].isPositive { hits += weight } else { misses += weight }
      if index + 1 == sorted.count || rows[sorted[index + 1]].score != rows[row].score {
        steps.append(Step(threshold: Double(rows[row].score), truePositives: hits, falsePositives: misses))
      }
    }
    self.steps = steps
    positives = hits
    negatives = misses
  }

  /// False where a kind of rows is absent, and curves are not defined.
  var hasBothKinds: Bool { positives > 0 && negatives > 0 }

  /// Points (false positive rate, true positive rate) from (0, 0) to (1, 1) without those on a line between their
  /// neighbours, as `roc_curve` gives them.
  var rocPoints: [(x: Double, y: Double)] {
    guard hasBothKinds else { return [] }
    let kept = steps.indices.filter { index in
      guard index > 0, index + 1 < steps.count else { return true }
      let (before, at, after) = (steps[index - 1], steps[index], steps[index + 1])
      return after.falsePositives - at.falsePositives != at.falsePositives - before.falsePositives
        || after.truePositives - at.truePositives != at.truePositives - before.truePositives
    }
    return [(0, 0)] + kept.map { (steps[$0].falsePositives / negatives, steps[$0].truePositives / positives) }
  }

  /// Area under the ROC curve by trapezoids.
  var rocArea: Double? {
    guard hasBothKinds else { return nil }
    var area = 0.0
    var last = (x: 0.0, y: 0.0)
    for step in steps {
      area += (step.falsePositives - last.x) * (step.truePositives + last.y) / 2
      last = (step.falsePositives, step.truePositives)
    }
    return area / (positives * negatives)
  }

  /// Points (recall, precision) from the highest score to the lowest, after (0, 1), as `precision_recall_curve` has them
  /// in the other order.
  var precisionRecallPoints: [(x: Double, y: Double)] {
    guard positives > 0 else { return [] }
    return [(0, 1)]
      + steps.map { ($0.truePositives / positives, $0.truePositives / ($0.truePositives + $0.falsePositives)) }
  }

  /// Sum of precisions, each times the recall that it adds: `average_precision_score`.
  var averagePrecision: Double? {
    guard positives > 0 else { return nil }
    var sum = 0.0
    var last = 0.0
    for step in steps {
      sum += (step.truePositives - last) * step.truePositives / (step.truePositives + step.falsePositives)
      last = step.truePositives
    }
    return sum / positives
  }
}

/// A threshold for the probability of the second of two classes.
struct ChosenThreshold: Equatable, Sendable {
  /// Figures that a threshold may be chosen for.
  enum Metric: String, Sendable, CaseIterable {
    case f1
    case accuracy
    case balancedAccuracy = "balanced_accuracy"
    case matthews = "mcc"
    /// Recall plus the recall of the first class, less 1 (Youden, 1950).
    case youden
    /// Mean cost of a row, of which less is better: its value here is negative.
    case cost

    func value(
      hits: Double, falseAlarms: Double, positives: Double, negatives: Double, costs: Costs = Costs()
    ) -> Double {
      let misses = positives - hits
      let rejections = negatives - falseAlarms
      switch self {
      case .f1: return hits > 0 ? 2 * hits / (2 * hits + falseAlarms + misses) : 0
      case .accuracy: return (hits + rejections) / (positives + negatives)
      case .balancedAccuracy: return (hits / positives + rejections / negatives) / 2
      case .youden: return hits / positives + rejections / negatives - 1
      case .cost: return -(costs.falseAlarm * falseAlarms + costs.miss * misses) / (positives + negatives)
      case .matthews:
        let product = (hits + falseAlarms) * positives * negatives * (rejections + misses)
        return product > 0 ? (hits * rejections - falseAlarms * misses) / product.squareRoot() : 0
      }
    }
  }

  /// What a wrong answer costs: the second class where it is not, and the first where the second is.
  struct Costs: Equatable, Sendable {
    var falseAlarm = 1.0
    var miss = 1.0
  }

  let metric: Metric
  /// Rows whose probability is at least this belong to the second class.
  let threshold: Double
  /// The metric on the rows that it was chosen on.
  let value: Double

  /// The threshold with the largest metric of all that tell the rows apart in another way; of several, the one nearest
  /// to a half. It lies in the middle between the scores that it separates.
  ///
  /// - Returns: nil where one of the classes has no rows.
  init?(_ metric: Metric, _ scores: RankedScores, costs: Costs = Costs()) {
    guard scores.hasBothKinds else { return nil }
    // With a threshold of 1 no row is of the second class, which may cost least.
    var best: (threshold: Double, value: Double)?
    if metric == .cost, let top = scores.steps.first, top.threshold < 1 {
      let value = metric.value(
        hits: 0, falseAlarms: 0, positives: scores.positives, negatives: scores.negatives, costs: costs)
      best = ((1 + top.threshold) / 2, value)
    }
    for (index, step) in scores.steps.enumerated() {
      let value = metric.value(
        hits: step.truePositives, falseAlarms: step.falsePositives, positives: scores.positives,
        negatives: scores.negatives, costs: costs)
      let next = index + 1 < scores.steps.count ? scores.steps[index + 1].threshold : 0
      let threshold = (step.threshold + next) / 2
      if let best, value < best.value || (value == best.value && abs(threshold - 0.5) >= abs(best.threshold - 0.5)) {
        continue
      }
      best = (threshold, value)
    }
    guard let best else { return nil }
    self.metric = metric
    threshold = best.threshold
    value = best.value
  }
}

/// Agreement of probabilities with what came true.
struct Calibration: Equatable, Sendable {
  /// Rows whose probability lies in one part of 0 to 1; the lower bound belongs to the part before.
  struct Bin: Equatable, Sendable {
    /// Weight of the rows: their number where all count alike.
    var weight = 0.0
    var meanProbability = 0.0
    /// Part of the rows in which the event came true.
    var share = 0.0
  }

  static let binCount = 10

  /// Parts without rows are there too.
  let bins: [Bin]
  /// Mean distance of probability and share, each bin by its rows (Guo et al., 2017).
  let expectedError: Double

  /// The bins of `calibration_curve` with the strategy `uniform`.
  ///
  /// - Parameter weights: one a row, from 0; none: 1 for all.
  init(_ rows: [(probability: Double, isTrue: Bool)], weights: [Double] = []) {
    var bins = [Bin](repeating: Bin(), count: Self.binCount)
    for (index, row) in rows.enumerated() {
      let weight = weights.isEmpty ? 1 : weights[index]
      let place = (row.probability * Double(Self.binCount)).rounded(.up)
      let bin = min(max(Int(place) - 1, 0), Self.binCount - 1)
      bins[bin].weight += weight
      bins[bin].meanProbability += weight * row.probability
      bins[bin].share += row.isTrue ? weight : 0
    }
    var error = 0.0
    for index in bins.indices where bins[index].weight > 0 {
      error += abs(bins[index].meanProbability - bins[index].share)
      bins[index].meanProbability /= bins[index].weight
      bins[index].share /= bins[index].weight
    }
    self.bins = bins
    let total = bins.reduce(0) { $0 + $1.weight }
    expectedError = total > 0 ? error / total : 0
  }
}
