public import NeedletailCore
public import NeedletailYAML

/// An operator's orders for one model's versions: the content of its `rollout.yaml`.
public struct RolloutPolicy: Sendable, Equatable {
  public enum Serve: Sendable, Equatable {
    /// The newest version that is good.
    case latest
    /// The first of these that is good; all of them stay live.
    case versions([ModelVersion])
    /// Nothing: the model is retired, and its versions leave memory.
    case nothing
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

  /// The version that serves; nil: the version labelled `stable`, else the latest.
  public var serve: Serve?
  /// Labels by name.
  public var labels: [Label]
  /// Arms in the order of the file; empty: one version answers all.
  public var split: [Arm]
  public var shadow: ModelVersion?
  public var limits: GuardLimits?
  /// What is found out about the arms of the split; nil: nothing.
  public var experiment: ExperimentSettings?
  /// Previous versions that stay live; nil: as configured for the server.
  public var keep: Int?

  public init(
    serve: Serve? = nil, labels: [Label] = [], split: [Arm] = [], shadow: ModelVersion? = nil,
    limits: GuardLimits? = nil, experiment: ExperimentSettings? = nil, keep: Int? = nil
  ) {
    self.serve = serve
    self.labels = labels
    self.split = split
    self.shadow = shadow
    self.limits = limits
    self.experiment = experiment
    self.keep = keep
  }

  /// Whether the model is to serve nothing and to leave memory.
  public var isRetired: Bool { serve == .nothing }

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
    case .nothing: return []
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
  /// Share of requests that may end in `INTERNAL` above the share that does at the version it is compared with. What a
  /// caller can cause by what it sends does not count: whoever pins a version could have it rolled back.
  public var errorRate: Double?
  /// Share of numbers in answers that may be NaN or infinite.
  public var nanRate: Double?
  /// Largest ratio of its mean time to compute to that of the version it is compared with.
  public var latencyRatio: Double?
  public var windowMilliseconds: Int
  /// Number of requests within the window, without callers' mistakes, below which nothing is judged.
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
    case .nothing: lines.append("serve: none")
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
    if let experiment { lines.append("experiment: \(experiment.yaml)") }
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

/// A `rollout.yaml` that was read and understood.
///
/// ```yaml
/// serve: 3                          # or latest, or [3, 4], or none
/// labels: {stable: 3, canary: 4}
/// split: {stable: 95, canary: 5}    # percent, sticky by routing key
/// shadow: canary
/// guard: {error_rate: 0.01, nan_rate: 0, latency_ratio: 1.5, window: 30s, min_requests: 100}
/// experiment: {metric: accuracy, error: 0.05, minimum_effect: 0.01, promote: true}
/// keep: 1
/// ```
public struct RolloutFile: Sendable, Equatable {
  public static let name = "rollout.yaml"

  public let text: String
  public let policy: RolloutPolicy

  /// - Throws: an error that names the first line that is not understood. Unknown keys are refused: a mistyped guard must
  ///   not mean that there is none.
  public init(parsing text: String) throws(YAMLError) {
    guard text.utf8.count <= Limits.rolloutFileBytesMax else {
      throw YAMLError(
        YAMLPlace(Self.name, line: 1), expected: "at most \(Limits.rolloutFileBytesMax) bytes",
        found: "\(text.utf8.count)")
    }
    let root = try YAMLNode.parse(text, file: Self.name)
    // An empty file is what `cp` leaves for a moment, before it has written anything.
    guard !root.isNull else { throw root.wrong(expected: "a key", found: "none") }
    policy = try RolloutReader().policy(root)
    self.text = text
  }
}

/// Reads the nodes of a `rollout.yaml` into a policy.
private struct RolloutReader {
  private static let keys = ["serve", "labels", "split", "shadow", "guard", "experiment", "keep"]
  private static let guardKeys = ["error_rate", "nan_rate", "latency_ratio", "window", "min_requests"]

  func policy(_ root: YAMLNode) throws(YAMLError) -> RolloutPolicy {
    var policy = RolloutPolicy()
    let entries = try root.entries(known: Self.keys)
    // Labels come first in any order of the file: the other keys refer to them.
    for entry in entries where entry.word == "labels" { policy.labels = try labels(entry.value) }
    for entry in entries {
      switch entry.word {
      case "serve": policy.serve = try serve(entry.value)
      case "split": policy.split = try split(entry.value, policy.labels)
      case "shadow": policy.shadow = try version(entry.value, policy.labels)
      case "guard": policy.limits = try limits(entry.value)
      case "experiment": policy.experiment = try ExperimentSettings(entry.value)
      case "keep": policy.keep = Int(try number(entry.value, 0...64, isWhole: true))
      default: break
      }
    }
    if policy.isRetired, let other = entries.first(where: { ["labels", "split", "shadow"].contains($0.word) }) {
      throw other.key.wrong(
        expected: "no labels, split or shadow beside serve: none", found: other.word.quotedForMessage)
    }
    if policy.experiment != nil, let key = entries.first(where: { $0.word == "experiment" })?.key {
      let arms = policy.split.count { $0.points > 0 }
      guard arms > 1 else {
        throw key.wrong(expected: "a split of at least two versions that get requests", found: "\(arms)")
      }
      if let baseline = policy.split.first(where: { $0.version == policy.splitBaseline }), baseline.points == 0 {
        throw key.wrong(
          expected: "a share of the split for \(baseline.name), which the others are compared with", found: "0")
      }
    }
    return policy
  }

  private func serve(_ node: YAMLNode) throws(YAMLError) -> RolloutPolicy.Serve {
    if case .list(let items) = node.content {
      var versions: [ModelVersion] = []
      for item in items {
        let version = try self.version(item)
        guard !versions.contains(version) else { throw item.twice(version) }
        versions.append(version)
      }
      guard (1...Limits.rolloutVersionsMax).contains(versions.count) else {
        throw node.wrong(expected: "1 to \(Limits.rolloutVersionsMax) versions", found: "\(versions.count)")
      }
      return .versions(versions)
    }
    let word = try node.text()
    if word == "latest" { return .latest }
    if word == "none" { return .nothing }
    guard let version = ModelVersion(decimal: word) else {
      throw node.wrong(
        expected: "latest, none, a version or a list of versions",
        hint: Suggestion.clause(for: word, among: ["latest", "none"]))
    }
    return .versions([version])
  }

  private func labels(_ node: YAMLNode) throws(YAMLError) -> [RolloutPolicy.Label] {
    var labels: [RolloutPolicy.Label] = []
    for entry in try node.entries() {
      // A number would hide a version, and `latest` has a meaning of its own.
      guard (try? ModelID(entry.word)) != nil, entry.word.utf8.count <= Limits.rolloutLabelBytesMax,
        ModelVersion(decimal: entry.word) == nil, entry.word != "latest"
      else {
        throw entry.key.wrong(
          expected:
            "a name of up to \(Limits.rolloutLabelBytesMax) letters, digits, '.', '_', '-' that is no version")
      }
      labels.append(.init(entry.word, try version(entry.value)))
    }
    guard labels.count <= Limits.rolloutVersionsMax else {
      throw node.wrong(expected: "at most \(Limits.rolloutVersionsMax) labels", found: "\(labels.count)")
    }
    return labels.sorted { $0.name < $1.name }
  }

  private func split(_ node: YAMLNode, _ labels: [RolloutPolicy.Label]) throws(YAMLError) -> [RolloutPolicy.Arm] {
    var arms: [RolloutPolicy.Arm] = []
    for entry in try node.entries() {
      let version = try self.version(entry.key, labels)
      guard !arms.contains(where: { $0.version == version }) else { throw entry.key.twice(version) }
      let percent = try number(entry.value, 0...100, isWhole: false)
      let points = (percent * Double(RoutingPoint.count) / 100).rounded()
      guard abs(points - percent * Double(RoutingPoint.count) / 100) < 1e-6 else {
        throw entry.value.wrong(expected: "at most two decimals")
      }
      arms.append(.init(entry.word, version, points: Int(points)))
    }
    guard (1...Limits.rolloutVersionsMax).contains(arms.count) else {
      throw node.wrong(expected: "1 to \(Limits.rolloutVersionsMax) shares", found: "\(arms.count)")
    }
    let sum = arms.reduce(0) { $0 + $1.points }
    guard sum == RoutingPoint.count else {
      throw node.wrong(
        expected: "shares that sum up to 100", found: "\(Double(sum) * 100 / Double(RoutingPoint.count))")
    }
    return arms
  }

  private func limits(_ node: YAMLNode) throws(YAMLError) -> GuardLimits {
    var limits = GuardLimits()
    for entry in try node.entries(known: Self.guardKeys) {
      switch entry.word {
      case "error_rate": limits.errorRate = try number(entry.value, 0...1, isWhole: false)
      case "nan_rate": limits.nanRate = try number(entry.value, 0...1, isWhole: false)
      case "latency_ratio": limits.latencyRatio = try number(entry.value, 1...1000, isWhole: false)
      case "window": limits.windowMilliseconds = try milliseconds(entry.value)
      default: limits.minRequests = Int(try number(entry.value, 1...1_000_000, isWhole: true))
      }
    }
    guard limits.errorRate != nil || limits.nanRate != nil || limits.latencyRatio != nil else {
      throw node.wrong(expected: "error_rate, nan_rate or latency_ratio", found: "none")
    }
    return limits
  }

  /// A time: `30s`, `500ms`, `2m`, or a number of seconds.
  private func milliseconds(_ node: YAMLNode) throws(YAMLError) -> Int {
    let word = try node.text()
    let units: [(suffix: String, milliseconds: Double)] = [("ms", 1), ("s", 1000), ("m", 60_000), ("", 1000)]
    for unit in units where word.hasSuffix(unit.suffix) {
      guard let value = decimal(String(word.dropLast(unit.suffix.count))) else { break }
      let milliseconds = value * unit.milliseconds
      guard milliseconds >= Double(Limits.guardWindowMillisecondsMin),
        milliseconds <= Double(Limits.guardWindowMillisecondsMax)
      else { break }
      return Int(milliseconds)
    }
    throw node.wrong(expected: "a time from 500ms to 60m")
  }

  /// The version of a label, or a version itself.
  private func version(_ node: YAMLNode, _ labels: [RolloutPolicy.Label] = []) throws(YAMLError) -> ModelVersion {
    let word = try node.text()
    if let label = labels.first(where: { $0.name == word }) { return label.version }
    guard let version = ModelVersion(decimal: word) else {
      throw node.wrong(
        expected: labels.isEmpty ? "a version" : "a label or a version",
        hint: Suggestion.clause(for: word, among: labels.map(\.name)))
    }
    return version
  }

  private func number(_ node: YAMLNode, _ range: ClosedRange<Double>, isWhole: Bool) throws(YAMLError) -> Double {
    guard let value = decimal(try node.text()), range.contains(value), !isWhole || value == value.rounded() else {
      let bounds = "\(Int(range.lowerBound)) to \(Int(range.upperBound))"
      throw node.wrong(expected: "a \(isWhole ? "whole number" : "number") from \(bounds)")
    }
    return value
  }

  /// A number of digits and a point: neither `nan` nor `1e3` nor hexadecimal.
  private func decimal(_ word: String) -> Double? {
    guard !word.isEmpty, word.utf8.allSatisfy({ $0 == UInt8(ascii: ".") || (48...57).contains($0) }) else { return nil }
    return Double(word)
  }
}

extension YAMLNode {
  fileprivate func twice(_ version: ModelVersion) -> YAMLError {
    wrong(expected: "every version once", found: "\(version) twice")
  }
}
