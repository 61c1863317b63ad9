internal import NeedletailCore
internal import NeedletailEngine

/// Writes how well rows were answered as sections of `report.json`: all rows alike, or each by its weight, as
/// `sample_weight` of scikit-learn.
struct QualityDocument {
  let judged: JudgedRows
  let seed: UInt64
  /// One a row, from 0, not all 0; none: all rows count alike. Rows of weight 0 are no rows.
  var weights: [Double] = []
  /// Threshold for the second class, chosen on other rows.
  var threshold: ChosenThreshold?

  /// Points of a curve that are kept, classes that curves are drawn of and a matrix is written of, rows of the scatter.
  static let pointsMax = 200
  static let curvesMax = 12
  static let confusionMax = 60
  static let scatterRows = 400

  /// Figures of classes, curves, calibration and thresholds; or residuals.
  ///
  /// - Precondition: there is a row.
  var sections: [Document.Entry] {
    judged.isClassification ? classSections() : [.init("residuals", residuals())]
  }

  private func weight(_ row: Int) -> Double { weights.isEmpty ? 1 : weights[row] }

  // MARK: - classification

  private func classSections() -> [Document.Entry] {
    let figures = ClassFigures(
      predicted: judged.evaluation.classes, truth: judged.truth, classCount: judged.labels.count, weights: weights)
    var entries = [classes(figures), averages(figures)]
    if judged.labels.count <= Self.confusionMax {
      entries.append(.init("confusion", .list(figures.confusion.map { .list($0.map(Self.amount)) })))
    }
    guard judged.evaluation.areProbabilities else { return entries }
    entries += curves(figures)
    entries.append(.init("calibration", calibration()))
    if judged.labels.count == 2 {
      entries.append(.init("thresholds", thresholds()))
      if let threshold { entries.append(.init("threshold", chosen(threshold))) }
    }
    return entries
  }

  private func classes(_ figures: ClassFigures) -> Document.Entry {
    .init(
      "classes",
      .list(
        zip(judged.labels, figures.classes).map { label, scores in
          .section([.init("label", .text(label))] + Self.entries(scores))
        }))
  }

  private func averages(_ figures: ClassFigures) -> Document.Entry {
    .init(
      "averages",
      .section([
        .init("macro", .section(Self.entries(figures.macro))),
        .init("weighted", .section(Self.entries(figures.weighted))),
        .init("balanced_accuracy", .number(figures.balancedAccuracy)),
        .init("mcc", .number(figures.matthews)),
      ]))
  }

  /// A number of rows, or their weight.
  private static func amount(_ value: Double) -> Document {
    Int(exactly: value).map { .integer($0) } ?? .number(value)
  }

  private static func entries(_ scores: ClassFigures.Scores) -> [Document.Entry] {
    [
      .init("precision", .number(scores.precision)), .init("recall", .number(scores.recall)),
      .init("f1", .number(scores.f1)),
      .init("support", amount(scores.support)),
    ]
  }

  /// ROC and precision-recall curves of the second of two classes, or of each class against all others.
  private func curves(_ figures: ClassFigures) -> [Document.Entry] {
    let labels = judged.labels
    let wanted = labels.count == 2 ? [1] : Array(labels.indices)
    var roc: [Document] = []
    var precisionRecall: [Document] = []
    var areas: [(area: Double, precision: Double, support: Double)] = []
    for index in wanted {
      let ranked = judged.scores(of: index, weights: weights)
      guard let area = ranked.rocArea, let precision = ranked.averagePrecision else { continue }
      areas.append((area, precision, ranked.positives))
      guard roc.count < Self.curvesMax else { continue }
      roc.append(
        .section([
          .init("class", .text(labels[index])), .init("auc", .number(area)),
          .init("points", Self.points(ranked.rocPoints)),
        ]))
      precisionRecall.append(
        .section([
          .init("class", .text(labels[index])), .init("average_precision", .number(precision)),
          .init("base_rate", .number(ranked.positives / (ranked.positives + ranked.negatives))),
          .init("points", Self.points(ranked.precisionRecallPoints)),
        ]))
    }
    let count = Double(areas.count)
    let support = areas.reduce(0) { $0 + $1.support }
    func mean(_ value: ((area: Double, precision: Double, support: Double)) -> Double) -> Document {
      areas.isEmpty ? .null : .number(areas.reduce(0) { $0 + value($1) })
    }
    return [
      .init("roc", .list(roc)), .init("precision_recall", .list(precisionRecall)),
      .init(
        "areas",
        .section([
          .init("auc_macro", mean { $0.area / count }),
          .init("auc_weighted", mean { $0.area * $0.support / support }),
          .init("average_precision_macro", mean { $0.precision / count }),
          .init("average_precision_weighted", mean { $0.precision * $0.support / support }),
        ])),
    ]
  }

  /// Points as a list of pairs: every one, or so many that a curve of a report's size looks the same.
  static func points(_ points: [(x: Double, y: Double)]) -> Document {
    let step = max(1, Double(points.count - 1) / Double(pointsMax - 1))
    let kept = stride(from: 0, to: Double(points.count) - 0.5, by: step).map { Int($0.rounded()) }
    return .list(kept.map { .list([.number(points[$0].x), .number(points[$0].y)]) })
  }

  /// Calibration of the second of two classes, or of the class that the model chose.
  private func calibration() -> Document {
    let evaluation = judged.evaluation
    let width = judged.labels.count
    let rows = judged.targets.indices.map { row in
      let index = width == 2 ? 1 : evaluation.classes[row]
      return (probability: Double(evaluation.numbers[row * width + index]), isTrue: Int(judged.targets[row]) == index)
    }
    let found = Calibration(rows, weights: weights)
    var brier = 0.0
    for (row, target) in judged.truth.enumerated() {
      var squares = 0.0
      // The second of two classes alone counts, as in scikit-learn.
      for index in (width == 2 ? 1 : 0)..<width {
        let miss = Double(evaluation.numbers[row * width + index]) - (index == target ? 1 : 0)
        squares += miss * miss
      }
      brier += weight(row) * squares
    }
    return .section([
      .init("of", .text(width == 2 ? judged.labels[1] : "the class that was chosen")),
      .init("expected_calibration_error", .number(found.expectedError)),
      .init("brier", .number(brier / rows.indices.reduce(0) { $0 + weight($1) })),
      .init(
        "bins",
        .list(
          found.bins.map { bin in
            .section([
              .init("count", Self.amount(bin.weight)), .init("mean_probability", .number(bin.meanProbability)),
              .init("share", .number(bin.share)),
            ])
          })),
    ])
  }

  /// Figures of the second class at each hundredth.
  private func thresholds() -> Document {
    let ranked = judged.scores(of: 1, weights: weights)
    guard ranked.hasBothKinds else { return .list([]) }
    return .list((0...100).map { Self.atThreshold(Double($0) / 100, ranked) })
  }

  private static func atThreshold(_ threshold: Double, _ ranked: RankedScores) -> Document {
    let step = ranked.steps.last { $0.threshold >= threshold }
    let hits = step?.truePositives ?? 0
    let falseAlarms = step?.falsePositives ?? 0
    func value(_ metric: ChosenThreshold.Metric) -> Document {
      .number(
        metric.value(
          hits: hits, falseAlarms: falseAlarms, positives: ranked.positives, negatives: ranked.negatives))
    }
    return .section([
      .init("threshold", .number(threshold)),
      .init("precision", .number(hits + falseAlarms > 0 ? hits / (hits + falseAlarms) : 0)),
      .init("recall", .number(hits / ranked.positives)), .init("f1", value(.f1)),
      .init("accuracy", value(.accuracy)), .init("balanced_accuracy", value(.balancedAccuracy)),
      .init("mcc", value(.matthews)),
    ])
  }

  private func chosen(_ threshold: ChosenThreshold) -> Document {
    let ranked = judged.scores(of: 1, weights: weights)
    let test = ranked.hasBothKinds ? Self.atThreshold(threshold.threshold, ranked) : .null
    let half = ranked.hasBothKinds ? Self.atThreshold(0.5, ranked) : .null
    return .section([
      .init("for", .text(threshold.metric.rawValue)), .init("class", .text(judged.labels[1])),
      .init("threshold", .number(threshold.threshold)), .init("validation", .number(threshold.value)),
      .init("test", test), .init("test_at_half", half),
    ])
  }

  // MARK: - regression

  /// Mean, deviation, quantiles and histogram of what the answers miss; the scatter only where all rows count alike.
  private func residuals() -> Document {
    let rows = judged.targets.indices.filter { weight($0) > 0 }
      .map { (value: judged.targets[$0] - Double(judged.evaluation.numbers[$0]), weight: weight($0)) }
      .sorted { $0.value < $1.value }
    let total = rows.reduce(0) { $0 + $1.weight }
    let mean = rows.reduce(0) { $0 + $1.value * ($1.weight / total) }
    let variance = rows.reduce(0) { $0 + ($1.value - mean) * ($1.value - mean) * ($1.weight / total) }
    let (low, high) = (rows[0].value, rows[rows.count - 1].value)
    let binCount = min(40, max(5, Int(Double(rows.count).squareRoot())))
    var bins = [Double](repeating: 0, count: binCount)
    let width = (high - low) / Double(binCount)
    for row in rows {
      let place = width > 0 && width.isFinite ? Int((row.value - low) / width) : 0
      bins[min(max(place, 0), binCount - 1)] += row.weight
    }
    let sorted = rows.map(\.value)
    let quantiles = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99].map { fraction -> Document.Entry in
      let value =
        weights.isEmpty
        ? Quantiles.of(sorted, fraction) : Quantiles.of(sorted, weights: rows.map(\.weight), fraction)
      return .init("\(fraction)", .number(value))
    }
    var entries: [Document.Entry] = [
      .init("mean", .number(mean)), .init("deviation", .number(variance.squareRoot())),
      .init("quantiles", .section(quantiles)), .init("from", .number(low)), .init("to", .number(high)),
      .init("histogram", .list(bins.map(Self.amount))),
    ]
    if weights.isEmpty {
      let shown = judged.sample(Self.scatterRows, seed: seed, purpose: "rows of the scatter")
      entries.append(
        .init("points", Self.list(shown.map { (Double(judged.evaluation.numbers[$0]), judged.targets[$0]) })))
    }
    return .section(entries)
  }

  private static func list(_ points: [(x: Double, y: Double)]) -> Document {
    .list(points.map { .list([.number($0.x), .number($0.y)]) })
  }
}
