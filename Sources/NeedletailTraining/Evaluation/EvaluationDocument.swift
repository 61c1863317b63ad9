internal import Glibc
internal import NeedletailCore
internal import NeedletailEngine

/// Writes what is known of judged rows as sections of `report.json`.
struct EvaluationDocument {
  let judged: JudgedRows
  let seed: UInt64
  /// Columns that rows are grouped by: a name, and a value for each row.
  var subgroups: [(column: String, values: [Cell])] = []
  /// Threshold for the second class, chosen on other rows.
  var threshold: ChosenThreshold?
  /// Features by what the model makes of them, where that was measured.
  var importance: [FeatureImportance] = []

  /// Points of a curve that are kept, classes that curves are drawn of, rows and features that are shown.
  static let pointsMax = 200
  static let curvesMax = 12
  static let confusionMax = 60
  static let worstRows = 10
  static let worstFeatures = 8
  static let dependenceFeatures = 6
  static let scatterRows = 400
  static let groupsMax = 12

  /// - Parameter stage: hears what is measured.
  /// - Throws: `TrainingError` where the model refuses a row.
  func sections(_ stage: (String) -> Void) throws(TrainingError) -> [Document.Entry] {
    guard !judged.rows.isEmpty else { return [] }
    var entries: [Document.Entry] = []
    if judged.isClassification {
      entries += classSections()
    } else {
      entries.append(.init("residuals", residuals()))
    }
    if !subgroups.isEmpty { entries.append(.init("subgroups", .list(subgroups.map(subgroup)))) }
    entries.append(.init("worst", worst()))
    stage("asking the model again with noise, gaps and changed features")
    let probe = ModelProbe(judged: judged, seed: seed)
    entries.append(
      .init(
        "robustness",
        .list(
          try probe.robustness().map { part in
            .section([
              .init("kind", .text(part.kind)), .init("level", .number(part.level)),
              .init("figures", Self.figures(part.figures)),
            ])
          })))
    entries.append(.init("partial_dependence", try dependence(probe)))
    stage("timing the plan on the serving engine")
    entries.append(
      .init(
        "latency",
        .list(
          try probe.latency().map { part in
            .section([
              .init("batch", .integer(part.batch)), .init("microseconds", .number(part.microseconds)),
              .init("microseconds_per_row", .number(part.microseconds / Double(part.batch))),
            ])
          })))
    return entries
  }

  static func figures(_ figures: [Metrics.Figure]) -> Document {
    .section(figures.map { .init($0.name, .number($0.value)) })
  }

  private static func number(_ value: Double?) -> Document { value.map { .number($0) } ?? .null }

  // MARK: - classification

  private func classSections() -> [Document.Entry] {
    let figures = ClassFigures(
      predicted: judged.evaluation.classes, truth: judged.truth, classCount: judged.labels.count)
    var entries = [classes(figures), averages(figures)]
    if !judged.evaluation.weighted.isEmpty {
      let weighted = ClassFigures(
        predicted: judged.evaluation.classes, truth: judged.truth, classCount: judged.labels.count,
        weights: judged.weights)
      entries.append(.init("by_weight", .section([classes(weighted), averages(weighted)])))
    }
    if judged.labels.count <= Self.confusionMax {
      entries.append(.init("confusion", .list(figures.confusion.map { .list($0.map { .integer(Int($0)) }) })))
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

  private static func entries(_ scores: ClassFigures.Scores) -> [Document.Entry] {
    [
      .init("precision", .number(scores.precision)), .init("recall", .number(scores.recall)),
      .init("f1", .number(scores.f1)),
      .init("support", Int(exactly: scores.support).map { .integer($0) } ?? .number(scores.support)),
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
      let ranked = judged.scores(of: index)
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
    let found = Calibration(rows)
    var brier = 0.0
    for (row, target) in judged.truth.enumerated() {
      // The second of two classes alone counts, as in scikit-learn.
      for index in (width == 2 ? 1 : 0)..<width {
        let miss = Double(evaluation.numbers[row * width + index]) - (index == target ? 1 : 0)
        brier += miss * miss
      }
    }
    return .section([
      .init("of", .text(width == 2 ? judged.labels[1] : "the class that was chosen")),
      .init("expected_calibration_error", .number(found.expectedError)),
      .init("brier", .number(brier / Double(rows.count))),
      .init(
        "bins",
        .list(
          found.bins.map { bin in
            .section([
              .init("count", .integer(bin.count)), .init("mean_probability", .number(bin.meanProbability)),
              .init("share", .number(bin.share)),
            ])
          })),
    ])
  }

  /// Figures of the second class at each hundredth.
  private func thresholds() -> Document {
    let ranked = judged.scores(of: 1)
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
    let ranked = judged.scores(of: 1)
    let test = ranked.hasBothKinds ? Self.atThreshold(threshold.threshold, ranked) : .null
    let half = ranked.hasBothKinds ? Self.atThreshold(0.5, ranked) : .null
    return .section([
      .init("for", .text(threshold.metric.rawValue)), .init("class", .text(judged.labels[1])),
      .init("threshold", .number(threshold.threshold)), .init("validation", .number(threshold.value)),
      .init("test", test), .init("test_at_half", half),
    ])
  }

  // MARK: - regression

  private func residuals() -> Document {
    let residuals = judged.targets.indices.map { judged.targets[$0] - Double(judged.evaluation.numbers[$0]) }
    let sorted = residuals.sorted()
    let count = Double(sorted.count)
    let mean = residuals.reduce(0) { $0 + $1 / count }
    let deviation = residuals.reduce(0) { $0 + ($1 - mean) * ($1 - mean) / count }.squareRoot()
    let (low, high) = (sorted[0], sorted[sorted.count - 1])
    let binCount = min(40, max(5, Int(count.squareRoot())))
    var bins = [Int](repeating: 0, count: binCount)
    let width = (high - low) / Double(binCount)
    for residual in residuals {
      let place = width > 0 && width.isFinite ? Int((residual - low) / width) : 0
      bins[min(max(place, 0), binCount - 1)] += 1
    }
    let shown = judged.sample(Self.scatterRows, seed: seed, purpose: "rows of the scatter")
    return .section([
      .init("mean", .number(mean)), .init("deviation", .number(deviation)),
      .init(
        "quantiles",
        .section(
          [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99].map { .init("\($0)", .number(Quantiles.of(sorted, $0))) })),
      .init("from", .number(low)), .init("to", .number(high)), .init("histogram", .list(bins.map { .integer($0) })),
      .init(
        "points",
        Self.list(shown.map { (Double(judged.evaluation.numbers[$0]), judged.targets[$0]) })),
    ])
  }

  private static func list(_ points: [(x: Double, y: Double)]) -> Document {
    .list(points.map { .list([.number($0.x), .number($0.y)]) })
  }
}
