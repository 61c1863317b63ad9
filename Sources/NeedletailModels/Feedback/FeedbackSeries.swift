internal import NeedletailCore
public import NeedletailMetrics

/// The series of feedback. A scrape computes the figures, so that nothing is done where nobody scrapes; those of a version
/// go when its other series go.
public enum FeedbackSeries {
  /// Makes the counter of outcomes of a model that ended in one way.
  public static func outcomes(of model: String, _ result: OutcomeResult, in metrics: MetricsRegistry) -> Counter {
    metrics.counter(
      "needletail_feedback_outcomes_total", help: "Outcomes that were reported, by what came of them.",
      labels: [("model", model), ("result", result.rawValue)])
  }

  /// Makes the series of one version's figures.
  /// - Parameter report: its report, not older than a second.
  public static func add(
    _ source: FeedbackBook.Source, of model: String, to metrics: MetricsRegistry,
    report: @escaping @Sendable () -> FeedbackBook.Report?
  ) {
    let labels = [("model", model), ("version", source.version.description)]
    let isClassification = source.shape.isClassification
    for (index, role) in FeedbackBook.Role.allCases.enumerated() {
      add(isClassification, labels + [("role", role.rawValue)], to: metrics) { report()?.byRole[index] }
    }
    for (index, name) in source.groups.names.enumerated() {
      addGroup(
        isClassification, labels + [("feature", name.feature), ("group", name.group)], to: metrics
      ) { report()?.byGroup[index] }
    }
    metrics.sampled(
      "needletail_feedback_expected", kind: .gauge,
      help: "Accuracy, or mean absolute error, that the version should have: of its training, or of its rule.",
      labels: labels
    ) { report()?.expected }
    metrics.sampled(
      "needletail_feedback_worse", kind: .gauge,
      help: "1 while a version's outcomes are worse than expected by more than chance gives.", labels: labels
    ) { report()?.isWorse.map { $0 ? 1 : 0 } }
  }

  private static func add(
    _ isClassification: Bool, _ labels: [(String, String)], to metrics: MetricsRegistry,
    _ figures: @escaping @Sendable () -> OutcomeFigures?
  ) {
    func gauge(_ name: String, _ help: String, _ value: @escaping @Sendable (OutcomeFigures) -> Double?) {
      metrics.sampled(name, kind: .gauge, help: help, labels: labels) { figures().flatMap(value) }
    }
    gauge("needletail_feedback_rows", "Rows of the window whose outcomes are known.") { Double($0.rows) }
    guard isClassification else {
      gauge("needletail_feedback_mean_absolute_error", "Mean distance of answer and outcome.") { $0.meanAbsoluteError }
      gauge("needletail_feedback_root_mean_squared_error", "Root of the mean squared distance of answer and outcome.") {
        $0.rootMeanSquaredError
      }
      gauge("needletail_feedback_bias", "Mean of answer less outcome.") { $0.bias }
      return
    }
    gauge("needletail_feedback_accuracy", "Share of the rows whose class was right.") { $0.accuracy }
    gauge("needletail_feedback_log_loss", "Mean of minus the logarithm of the true class's probability.") { $0.logLoss }
    gauge("needletail_feedback_brier_score", "Mean squared distance of probabilities and outcome.") { $0.brier }
    gauge("needletail_feedback_calibration_error", "Expected calibration error, over 15 bins.") {
      $0.calibrationError
    }
  }

  private static func addGroup(
    _ isClassification: Bool, _ labels: [(String, String)], to metrics: MetricsRegistry,
    _ figures: @escaping @Sendable () -> OutcomeFigures?
  ) {
    func gauge(_ name: String, _ help: String, _ value: @escaping @Sendable (OutcomeFigures) -> Double?) {
      metrics.sampled(name, kind: .gauge, help: help, labels: labels) { figures().flatMap(value) }
    }
    gauge("needletail_feedback_group_rows", "Rows of a group whose outcomes are known.") { Double($0.rows) }
    if isClassification {
      gauge("needletail_feedback_group_accuracy", "Share of a group's rows whose class was right.") { $0.accuracy }
      gauge("needletail_feedback_group_log_loss", "Mean log loss of a group's rows.") { $0.logLoss }
    } else {
      gauge("needletail_feedback_group_mean_absolute_error", "Mean distance of answer and outcome in a group.") {
        $0.meanAbsoluteError
      }
    }
  }
}
