package import NeedletailCore

/// What an experiment is about: as long as a rollout file says the same, the same experiment goes on.
struct ExperimentDesign: Codable, Equatable, Sendable {
  struct Arm: Codable, Equatable, Sendable {
    var version: UInt64
    /// Its share, in units of 1 / ``RoutingPoint/count``.
    var points: Int
  }

  let settings: ExperimentSettings
  /// Arms that get requests, in the order of the file.
  let arms: [Arm]
  /// Version that the others are compared with.
  let baseline: UInt64

  /// - Returns: nil for a policy without an experiment.
  init?(_ policy: RolloutPolicy) {
    let arms = policy.split.filter { $0.points > 0 }
    guard let settings = policy.experiment, arms.count > 1, let baseline = policy.splitBaseline,
      arms.contains(where: { $0.version == baseline })
    else { return nil }
    self.settings = settings
    self.arms = arms.map { Arm(version: $0.version.number, points: $0.points) }
    self.baseline = baseline.number
  }

  /// The other arms.
  var challengers: [Arm] { arms.filter { $0.version != baseline } }

  /// The comparisons: each may be wrong with its part of the error.
  var pairs: [ArmPair] {
    let points = arms.first { $0.version == baseline }?.points ?? 1
    return challengers.map { arm in
      ArmPair(
        sizes: BlockSizes(shares: (arm.points, points), sizeMax: Limits.experimentBlockMax),
        minimumEffect: settings.minimumEffect, error: settings.error / Double(challengers.count),
        areRates: settings.isRate)
    }
  }
}

extension RolloutPolicy {
  /// The policy after its experiment: one version has all requests, and is the stable one.
  package func concluding(_ winner: ModelVersion) -> RolloutPolicy {
    var policy = self
    policy.experiment = nil
    policy.split = []
    let stable = policy.labels.firstIndex { $0.name == Self.stableLabel }
    if let stable { policy.labels[stable].version = winner }
    // Without a split, what `serve` says goes before the label: `latest` may be the version that lost.
    if stable == nil || policy.serve != nil { policy.serve = .versions([winner]) }
    if policy.shadow == winner { policy.shadow = nil }
    return policy
  }
}
