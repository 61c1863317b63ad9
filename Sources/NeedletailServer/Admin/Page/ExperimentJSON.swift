internal import NeedletailCore
internal import NeedletailModels

/// An experiment in `status.json`: the object that `needletail experiment show --json` makes of metrics.
struct ExperimentJSON: Encodable {
  struct Arm: Encodable {
    var version: UInt64
    var outcomes: Int
    /// Absent without outcomes.
    var mean: Double?
    /// Against the baseline; absent for the baseline.
    var difference, differenceLower, differenceUpper: Double?
    /// E-values of the claims; absent where the bounds decide.
    var evidenceBetter, evidenceNotBetter: Double?
    /// `better`, `not_better` or `lost`; absent while nothing is found.
    var verdict: String?
  }

  var model: String
  var state: String
  var metric: String
  /// The class that is a success; absent for other metrics.
  var success: String?
  var goal: String
  var baseline: UInt64
  /// Absent while it runs, and where the baseline has lost its traffic.
  var winner: UInt64?
  var reason: String?
  var error: Double
  var minimumEffect: Double
  /// E-value that decides; absent where the bounds do.
  var evidenceNeeded: Double?
  var outcomesMax: Int
  /// Outcomes left out because their routing key had one already.
  var repeated: Int
  var promote: Bool
  var startedMs: UInt64
  var arms: [Arm]

  init(_ report: ExperimentReport) {
    model = report.model.name
    state = report.state
    metric = report.settings.metric.rawValue
    success = report.settings.success
    goal = report.settings.goal.rawValue
    baseline = report.baseline
    winner = report.winner
    reason = report.reason.isEmpty ? nil : report.reason
    error = report.settings.error
    minimumEffect = report.settings.minimumEffect
    evidenceNeeded = report.settings.isRate ? report.evidenceNeeded : nil
    outcomesMax = report.settings.outcomesMax
    repeated = report.repeated
    promote = report.settings.promotes
    startedMs = report.beganMilliseconds
    arms = report.arms.map { arm in
      let comparison = arm.comparison
      return Arm(
        version: arm.version, outcomes: arm.outcomes, mean: arm.mean, difference: comparison?.difference,
        differenceLower: comparison?.lower, differenceUpper: comparison?.upper,
        evidenceBetter: comparison?.evidence?.better, evidenceNotBetter: comparison?.evidence?.notBetter,
        verdict: comparison.flatMap { $0.verdict.isEmpty ? nil : $0.verdict })
    }
  }
}
