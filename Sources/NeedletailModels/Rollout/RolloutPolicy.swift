public import NeedletailCore

/// What an operator wants of one model's versions: the content of its `rollout.yaml`.
public struct RolloutPolicy: Sendable, Equatable {
  public enum Serve: Sendable, Equatable {
    /// The newest version that is good.
    case latest
    /// The first of these that is good; all of them stay live.
    case versions([ModelVersion])
  }

  public struct Label: Sendable, Equatable {
    public var name: String
    public var version: ModelVersion

    public init(_ name: String, _ version: ModelVersion) {
      self.name = name
      self.version = version
    }
  }

  /// One part of a split.
  public struct Arm: Sendable, Equatable {
    /// As written: a label or a version.
    public var name: String
    public var version: ModelVersion
    /// Of ``RoutingPoint/count``.
    public var points: Int

    public init(_ name: String, _ version: ModelVersion, points: Int) {
      self.name = name
      self.version = version
      self.points = points
    }
  }

  /// Nil: the version labelled `stable`, else the latest.
  public var serve: Serve?
  /// By name.
  public var labels: [Label]
  /// In the order of the file; empty: one version answers all.
  public var split: [Arm]
  public var shadow: ModelVersion?
  public var limits: GuardLimits?
  /// Previous versions that stay live; nil: as configured for the server.
  public var keep: Int?

  public init(
    serve: Serve? = nil, labels: [Label] = [], split: [Arm] = [], shadow: ModelVersion? = nil,
    limits: GuardLimits? = nil, keep: Int? = nil
  ) {
    self.serve = serve
    self.labels = labels
    self.split = split
    self.shadow = shadow
    self.limits = limits
    self.keep = keep
  }

  /// The label whose version others are compared with.
  public static let stableLabel = "stable"

  private var stable: ModelVersion? { labels.first { $0.name == Self.stableLabel }?.version }

  /// The version of the split that the others are measured against and fall back to: the one labelled
  /// `stable`, else the one that `serve` names, else the largest share.
  public var splitBaseline: ModelVersion? {
    let versions = split.map(\.version)
    if let stable, versions.contains(stable) { return stable }
    if case .versions(let served) = serve, let first = served.first(where: versions.contains) { return first }
    return split.max { $0.points < $1.points }?.version
  }

  /// What answers requests without a selector, in order of preference; nil: the latest.
  var preferred: [ModelVersion]? {
    var preferred: [ModelVersion] = splitBaseline.map { [$0] } ?? []
    switch serve {
    case .versions(let versions): preferred += versions
    case .latest: if preferred.isEmpty { return nil }
    case nil: preferred += stable.map { [$0] } ?? []
    }
    return preferred.isEmpty ? nil : preferred
  }

  /// Every version that has to be live for this policy, the most important first.
  var named: [ModelVersion] {
    var named: [ModelVersion] = []
    let all = (preferred ?? []) + split.map(\.version) + labels.map(\.version) + (shadow.map { [$0] } ?? [])
    for version in all where !named.contains(version) { named.append(version) }
    return named
  }
}

/// When a version has to go: each limit that is set is watched over a sliding window.
public struct GuardLimits: Sendable, Equatable {
  /// Share of requests that may fail beyond what fails at the version it is compared with.
  public var errorRate: Double?
  /// Share of numbers in answers that may be NaN or infinite.
  public var nanRate: Double?
  /// How many times slower than the version it is compared with it may compute.
  public var latencyRatio: Double?
  public var windowMilliseconds: Int
  /// Requests within the window below which nothing is judged.
  public var minRequests: Int

  public init(
    errorRate: Double? = nil, nanRate: Double? = nil, latencyRatio: Double? = nil,
    windowMilliseconds: Int = Limits.guardWindowMillisecondsDefault,
    minRequests: Int = Limits.guardMinRequestsDefault
  ) {
    self.errorRate = errorRate
    self.nanRate = nanRate
    self.latencyRatio = latencyRatio
    self.windowMilliseconds = windowMilliseconds
    self.minRequests = minRequests
  }
}
