public import NeedletailCore

/// An experiment at one moment, for people and metrics.
public struct ExperimentReport: Sendable, Equatable {
  /// One arm.
  public struct Arm: Sendable, Equatable {
    public var version: UInt64
    /// Outcomes that count.
    public var outcomes: Int
    /// Mean of the metric; nil without outcomes.
    public var mean: Double?
    /// What the comparison with the baseline says; nil for the baseline.
    public var comparison: Comparison?
  }

  /// A challenger against the baseline, in units of the metric.
  public struct Comparison: Sendable, Equatable {
    /// Blocks of outcomes of both.
    public var blocks: Int
    /// Mean of the challenger less that of the baseline.
    public var difference: Double
    /// Bounds of the difference, each of which holds at all times; nil: there are too few outcomes.
    public var lower, upper: Double?
    /// E-values that the challenger is better by the minimum effect, and that it is not; nil where the bounds decide.
    public var evidence: (better: Double, notBetter: Double)?
    /// Why it is out of the experiment: `better`, `not_better` or `lost`; empty while it is not.
    public var verdict: String

    public static func == (a: Comparison, b: Comparison) -> Bool {
      a.blocks == b.blocks && a.difference == b.difference && a.lower == b.lower && a.upper == b.upper
        && a.evidence?.better == b.evidence?.better && a.evidence?.notBetter == b.evidence?.notBetter
        && a.verdict == b.verdict
    }
  }

  public var model: ModelID
  public var settings: ExperimentSettings
  public var baseline: UInt64
  public var arms: [Arm]
  /// E-value at which a comparison of rates is decided.
  public var evidenceNeeded: Double
  /// Outcomes left out because their unit had one already.
  public var repeated: Int
  /// Unix time.
  public var beganMilliseconds: UInt64
  /// `running`, or how it ended: `better`, `kept`, `undecided` or `stopped`.
  public var state: String
  /// Version that is to have all requests; nil while it runs, and where the baseline has lost its traffic.
  public var winner: UInt64?
  /// Why it ended, in one sentence; empty while it runs.
  public var reason: String

  /// Every word of ``state``.
  public static let states = ["running"] + Experiment.Result.allCases.map(\.rawValue)

  init(_ experiment: Experiment, of model: ModelID) {
    let design = experiment.design
    self.model = model
    settings = design.settings
    baseline = design.baseline
    evidenceNeeded = Double(max(1, design.challengers.count)) / design.settings.error
    repeated = experiment.repeated
    beganMilliseconds = experiment.beganMilliseconds
    state = experiment.conclusion?.result.rawValue ?? "running"
    winner = experiment.conclusion?.winner
    reason = experiment.conclusion?.reason ?? ""
    arms = zip(design.arms, experiment.tallies).map { arm, tally in
      Arm(version: arm.version, outcomes: tally.outcomes, mean: tally.mean)
    }
    for (challenger, pair) in zip(design.challengers, experiment.pairs) {
      guard let index = arms.firstIndex(where: { $0.version == challenger.version }) else { continue }
      arms[index].comparison = Comparison(
        pair, design.settings.goal, isLost: experiment.lost.contains(challenger.version))
    }
  }

  /// One sentence for people.
  public var sentence: String {
    let counts = arms.map { "\($0.version): \($0.outcomes)" }.joined(separator: ", ")
    return reason.isEmpty ? "running, outcomes of \(counts)" : "\(state): \(reason), outcomes of \(counts)"
  }
}

extension ExperimentReport.Comparison {
  init(_ pair: ArmPair, _ goal: ExperimentSettings.Goal, isLost: Bool) {
    let sign: Double = goal == .higher ? 1 : -1
    blocks = pair.difference.count
    difference = sign * pair.difference.mean
    if let bounds = pair.bounds {
      lower = min(sign * bounds.lower, sign * bounds.upper)
      upper = max(sign * bounds.lower, sign * bounds.upper)
    }
    evidence = pair.rates.map { ($0.better, $0.notBetter) }
    verdict = isLost ? "lost" : pair.verdict?.rawValue ?? ""
  }
}
