internal import NeedletailCore
internal import NeedletailModels

/// An experiment in `status.json`.
struct ExperimentJSON: Encodable {
  struct Arm: Encodable {
    var version: UInt64
    var outcomes: Int
    /// Absent without outcomes.
    var mean: Double?
    /// Against the baseline; absent for the baseline.
    var difference, lower, upper: Double?
    /// E-values of the claims; absent where the bounds decide.
    var evidenceBetter, evidenceNotBetter: Double?
    /// `better`, `not_better` or `lost`; absent while nothing is found.
    var verdict: String?
  }

  var model: String
  var state: String
  var metric: String
  var baseline: UInt64
  /// Absent while it runs, and where the baseline has lost its traffic.
  var winner: UInt64?
  var reason: String?
  var error: Double
  var minimumEffect: Double
  var promote: Bool
  var startedMs: UInt64
  var arms: [Arm]

  init(_ report: ExperimentReport) {
    model = report.model.name
    state = report.state
    metric = report.settings.metric.rawValue
    baseline = report.baseline
    winner = report.winner
    reason = report.reason.isEmpty ? nil : report.reason
    error = report.settings.error
    minimumEffect = report.settings.minimumEffect
    promote = report.settings.promotes
    startedMs = report.beganMilliseconds
    arms = report.arms.map { arm in
      let comparison = arm.comparison
      return Arm(
        version: arm.version, outcomes: arm.outcomes, mean: arm.mean, difference: comparison?.difference,
        lower: comparison?.lower, upper: comparison?.upper, evidenceBetter: comparison?.evidence?.better,
        evidenceNotBetter: comparison?.evidence?.notBetter,
        verdict: comparison.flatMap { $0.verdict.isEmpty ? nil : $0.verdict })
    }
  }
}
