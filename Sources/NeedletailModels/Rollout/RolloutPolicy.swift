public import NeedletailCore

/// What an operator orders for one model's versions: the content of its `rollout.yaml`.
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
    /// The word in the file: a label or a version.
    public var name: String
    public var version: ModelVersion
    /// Its share, in units of 1 / ``RoutingPoint/count``.
    public var points: Int

    public init(_ name: String, _ version: ModelVersion, points: Int) {
      self.name = name
      self.version = version
      self.points = points
    }
  }

  /// What serves; nil: the version labelled `stable`, else the latest.
  public var serve: Serve?
  /// Labels by name.
  public var labels: [Label]
  /// Arms in the order of the file; empty: one version answers all.
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

  /// The version of the split that the others are compared with and fall back to: the one labelled `stable`, else the one
  /// that `serve` names, else the largest share.
  public var splitBaseline: ModelVersion? {
    let versions = split.map(\.version)
    if let stable, versions.contains(stable) { return stable }
    if case .versions(let served) = serve, let first = served.first(where: versions.contains) { return first }
    return split.max { $0.points < $1.points }?.version
  }

  /// Versions that answer requests without a selector, in order of preference; nil: the latest.
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

/// Limits beyond which a version loses its traffic. Each limit that is set is watched over a sliding window.
public struct GuardLimits: Sendable, Equatable {
  /// Share of requests that may fail above the share that fails at the version it is compared with.
  public var errorRate: Double?
  /// Share of numbers in answers that may be NaN or infinite.
  public var nanRate: Double?
  /// Largest ratio of its mean time to compute to that of the version it is compared with.
  public var latencyRatio: Double?
  public var windowMilliseconds: Int
  /// Number of requests within the window below which nothing is judged.
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

// MARK: - Text

extension RolloutPolicy {
  /// The policy as a `rollout.yaml`, without comments. ``RolloutFile`` reads it back as an equal policy.
  public var yaml: String {
    var lines: [String] = []
    switch serve {
    case .latest: lines.append("serve: latest")
    case .versions(let versions):
      let numbers = versions.map(\.description)
      lines.append("serve: " + (numbers.count == 1 ? numbers[0] : "[\(numbers.joined(separator: ", "))]"))
    case nil: break
    }
    if !labels.isEmpty {
      lines.append("labels: {" + labels.map { "\($0.name): \($0.version)" }.joined(separator: ", ") + "}")
    }
    if !split.isEmpty {
      lines.append("split: {" + split.map { "\($0.name): \(Self.percent($0.points))" }.joined(separator: ", ") + "}")
    }
    if let shadow {
      lines.append("shadow: " + (labels.first { $0.version == shadow }?.name ?? shadow.description))
    }
    if let limits { lines.append("guard: {\(Self.text(limits))}") }
    if let keep { lines.append("keep: \(keep)") }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func percent(_ points: Int) -> String {
    let (whole, rest) = points.quotientAndRemainder(dividingBy: RoutingPoint.count / 100)
    return rest == 0 ? "\(whole)" : "\(whole)." + (rest < 10 ? "0\(rest)" : "\(rest)")
  }

  private static func text(_ limits: GuardLimits) -> String {
    var parts: [String] = []
    func add(_ key: String, _ value: Double?) {
      if let value { parts.append("\(key): \(plain(value))") }
    }
    add("error_rate", limits.errorRate)
    add("nan_rate", limits.nanRate)
    add("latency_ratio", limits.latencyRatio)
    parts.append("window: \(limits.windowMilliseconds)ms")
    parts.append("min_requests: \(limits.minRequests)")
    return parts.joined(separator: ", ")
  }

  /// A number to a millionth, without an exponent, which the file does not have.
  private static func plain(_ value: Double) -> String {
    let millionths = UInt64((value * 1_000_000).rounded())
    let (whole, rest) = millionths.quotientAndRemainder(dividingBy: 1_000_000)
    guard rest > 0 else { return "\(whole)" }
    let digits = String(rest)
    var fraction = String(repeating: "0", count: 6 - digits.utf8.count) + digits
    while fraction.hasSuffix("0") { fraction.removeLast() }
    return "\(whole).\(fraction)"
  }
}
