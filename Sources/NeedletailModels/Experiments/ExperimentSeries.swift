internal import NeedletailCore
internal import NeedletailMetrics

/// The series of experiments: gauges of the present figures, which go when an experiment goes. Arms are labelled `arm`: the
/// series of a version that leaves memory go with it, and an experiment's figures outlive that.
struct ExperimentSeries {
  private struct Sample {
    var name: String
    var help: String
    var labels: [(String, String)]
    var value: Double
  }

  private let metrics: MetricsRegistry
  /// Series of each model that are there.
  private var shown: [ModelID: [(name: String, labels: [(String, String)])]] = [:]

  init(_ metrics: MetricsRegistry) {
    self.metrics = metrics
    for result in Experiment.Result.allCases { count(result, by: 0) }
  }

  /// Counts an experiment that ended.
  func count(_ result: Experiment.Result, by amount: UInt64 = 1) {
    metrics.counter(
      "needletail_experiments_total", help: "Experiments that ended, by how.", labels: [("result", result.rawValue)]
    ).add(amount)
  }

  /// Shows a report in place of the last one of its model; nil removes that.
  mutating func show(_ report: ExperimentReport?, of model: ModelID) {
    let samples = report.map(Self.samples) ?? []
    for old in shown[model] ?? []
    where !samples.contains(where: { $0.name == old.name && Self.areEqual($0.labels, old.labels) }) {
      metrics.remove(old.name, labels: old.labels)
    }
    for sample in samples {
      metrics.gauge(sample.name, help: sample.help, labels: sample.labels).set(sample.value)
    }
    shown[model] = samples.isEmpty ? nil : samples.map { ($0.name, $0.labels) }
  }

  private static func areEqual(_ a: [(String, String)], _ b: [(String, String)]) -> Bool {
    a.count == b.count && zip(a, b).allSatisfy { $0 == $1 }
  }

  private static func samples(_ report: ExperimentReport) -> [Sample] {
    let labels = [("model", report.model.name)]
    let settings = report.settings
    var samples: [Sample] = []
    func add(_ name: String, _ help: String, _ more: [(String, String)] = [], _ value: Double?) {
      guard let value else { return }
      samples.append(Sample(name: name, help: help, labels: labels + more, value: value))
    }
    add(
      "needletail_experiment_info", "1; the labels tell what an experiment compares.",
      [
        ("metric", settings.metric.rawValue), ("success", settings.success ?? ""), ("goal", settings.goal.rawValue),
        ("baseline", "\(report.baseline)"), ("promote", settings.promotes ? "yes" : "no"),
      ], 1)
    add("needletail_experiment_state", "1 for the state that an experiment is in.", [("state", report.state)], 1)
    add(
      "needletail_experiment_winner", "The version that is to have all requests.", [], report.winner.map { Double($0) })
    add(
      "needletail_experiment_error", "Probability with which the experiment may end with a wrong decision.", [],
      settings.error)
    add("needletail_experiment_minimum_effect", "Difference that makes an arm better.", [], settings.minimumEffect)
    add(
      "needletail_experiment_outcomes_max", "Outcomes after which the experiment ends undecided.", [],
      Double(settings.outcomesMax))
    add(
      "needletail_experiment_started_seconds", "Unix time at which the experiment began.", [],
      Double(report.beganMilliseconds) / 1000)
    add(
      "needletail_experiment_repeated", "Outcomes left out because their routing key had one already.", [],
      Double(report.repeated))
    if settings.isRate {
      add("needletail_experiment_evidence_needed", "E-value that decides a comparison.", [], report.evidenceNeeded)
    }
    for arm in report.arms {
      let own = [("arm", "\(arm.version)")]
      add("needletail_experiment_outcomes", "Outcomes of an arm that count.", own, Double(arm.outcomes))
      add("needletail_experiment_mean", "Mean of the metric of an arm.", own, arm.mean)
      guard let comparison = arm.comparison else { continue }
      add(
        "needletail_experiment_blocks", "Blocks of outcomes that were compared with the baseline's.", own,
        Double(comparison.blocks))
      add("needletail_experiment_difference", "Mean of an arm less that of the baseline.", own, comparison.difference)
      add(
        "needletail_experiment_difference_lower", "Lower bound of the difference, at all times.", own, comparison.lower)
      add(
        "needletail_experiment_difference_upper", "Upper bound of the difference, at all times.", own, comparison.upper)
      add(
        "needletail_experiment_evidence", "E-value of a claim about an arm.", own + [("claim", "better")],
        comparison.evidence?.better)
      add(
        "needletail_experiment_evidence", "E-value of a claim about an arm.", own + [("claim", "not_better")],
        comparison.evidence?.notBetter)
      if !comparison.verdict.isEmpty {
        add(
          "needletail_experiment_verdict", "1 for what was found of an arm.", own + [("verdict", comparison.verdict)], 1
        )
      }
    }
    return samples
  }
}
