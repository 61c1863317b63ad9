internal import NeedletailCore
internal import NeedletailMetrics

/// The series of a version's live statistics. A scrape computes them, so that nothing is done where nobody scrapes;
/// they go when the version's other series go.
enum WatchSeries {
  /// Makes the series of `watch`.
  /// - Parameter labels: model and version.
  static func add(_ watch: VersionWatch, labels: [(String, String)], to metrics: MetricsRegistry) {
    metrics.sampled(
      "needletail_watch_rows_total", kind: .counter, help: "Rows whose values were counted for live statistics.",
      labels: labels
    ) { Double(watch.rows) }
    for level in [DriftFigures.Level.warning, .alert] {
      metrics.sampled(
        "needletail_drift_columns", kind: .gauge,
        help: "Columns, answers included, whose values have moved from those of training, by how far.",
        labels: labels + [("level", level.rawValue)]
      ) { Double(watch.recentReport().count(level)) }
    }
    for column in watch.columnNames.indices.prefix(Limits.watchedSeriesColumnsMax) {
      add(watch, labels + [("column", watch.columnNames[column])], to: metrics) { $0.columns[column] }
    }
    if watch.watchesAnswers { addAnswers(watch, labels, to: metrics) }
  }

  private static func add(
    _ watch: VersionWatch, _ labels: [(String, String)], to metrics: MetricsRegistry,
    _ column: @escaping @Sendable (VersionWatch.Report) -> VersionWatch.Column?
  ) {
    func gauge(_ name: String, _ help: String, _ value: @escaping @Sendable (DriftFigures) -> Double) {
      metrics.sampled(name, kind: .gauge, help: help, labels: labels) {
        guard let figures = column(watch.recentReport())?.figures, figures.rows > 0 else { return nil }
        return value(figures)
      }
    }
    gauge("needletail_drift_psi", "Population stability index against training; 0.1 is worth a look, 0.2 has moved.") {
      $0.stabilityIndex
    }
    gauge("needletail_drift_psi_by_chance", "Population stability index that values like those of training stay below.")
    {
      $0.chance
    }
    gauge("needletail_drift_jensen_shannon", "Square root of the Jensen-Shannon divergence from training.") {
      $0.jensenShannon
    }
    gauge("needletail_drift_missing_ratio", "Share of the watched rows in which the value was missing.") {
      $0.missingRate
    }
    gauge("needletail_drift_out_of_range_ratio", "Share of the watched values beyond all that training saw.") {
      $0.outOfRangeRate
    }
    gauge("needletail_drift_unknown_ratio", "Share of the watched values that were unknown categories.") {
      $0.unknownRate
    }
  }

  private static func addAnswers(_ watch: VersionWatch, _ labels: [(String, String)], to metrics: MetricsRegistry) {
    func gauge(
      _ name: String, _ help: String, _ labels: [(String, String)],
      _ value: @escaping @Sendable (VersionWatch.Answers) -> Double?
    ) {
      metrics.sampled(name, kind: .gauge, help: help, labels: labels) {
        guard let answers = watch.recentReport().answers, answers.rows > 0 else { return nil }
        return value(answers)
      }
    }
    gauge("needletail_answers_psi", "Population stability index of the answers against those of training.", labels) {
      $0.column.figures.stabilityIndex
    }
    gauge(
      "needletail_answers_psi_by_chance",
      "Population stability index that answers like those of training stay below.", labels
    ) { $0.column.figures.chance }
    gauge("needletail_answers_jensen_shannon", "Jensen-Shannon distance of the answers from those of training.", labels)
    {
      $0.column.figures.jensenShannon
    }
    gauge("needletail_answers_confidence", "Mean of the largest probability of the watched answers.", labels) {
      $0.confidence
    }
    gauge("needletail_answers_mean", "Mean of the watched numbers of a regression.", labels) { $0.mean }
    gauge("needletail_answers_nan_ratio", "Share of the watched answers that were NaN or infinite.", labels) {
      $0.nonFiniteRate
    }
    for (index, name) in watch.classNames.prefix(Limits.watchedSeriesColumnsMax).enumerated() {
      gauge(
        "needletail_answers_class_ratio", "Share of a class among the watched answers.", labels + [("class", name)]
      ) { answers in answers.classShares.isEmpty ? nil : answers.classShares[index].share }
    }
  }
}
