internal import NeedletailCore
internal import Yams

/// Why a `rollout.yaml` is not used: one sentence with the line.
public struct RolloutFileError: Error, Equatable, Sendable, CustomStringConvertible {
  public let line: Int
  public let message: String

  public var description: String { "rollout.yaml:\(line): \(message)" }
}

/// A `rollout.yaml` that was read and understood.
///
/// ```yaml
/// serve: 3                          # or latest, or [3, 4]
/// labels: {stable: 3, canary: 4}
/// split: {stable: 95, canary: 5}    # percent, sticky by routing key
/// shadow: canary
/// guard: {error_rate: 0.01, nan_rate: 0, latency_ratio: 1.5, window: 30s, min_requests: 100}
/// keep: 1
/// ```
public struct RolloutFile: Sendable, Equatable {
  public static let name = "rollout.yaml"

  public let text: String
  public let policy: RolloutPolicy

  /// - Throws: the first line that is not understood. Unknown keys are: a mistyped guard must not be none.
  public init(parsing text: String) throws(RolloutFileError) {
    guard text.utf8.count <= Limits.rolloutFileBytesMax else {
      throw RolloutFileError(
        line: 1, message: "expected at most \(Limits.rolloutFileBytesMax) bytes, found \(text.utf8.count)")
    }
    let root: Yams.Node?
    do {
      root = try Yams.compose(yaml: text)
    } catch {
      throw Self.failure(error)
    }
    // What `cp` shows for a moment, before it has written anything.
    guard let root, root.null == nil else { throw RolloutFileError(line: 1, message: "expected a key, found none") }
    policy = try RolloutReader().policy(root)
    self.text = text
  }

  private static func failure(_ error: any Error) -> RolloutFileError {
    switch error as? YamlError {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      return RolloutFileError(line: mark.line, message: "not YAML: \(problem)")
    case .duplicatedKeysInMapping(let duplicates, let context):
      return RolloutFileError(
        line: context.mark.line, message: "key given twice: \(duplicates.joined(separator: ", "))")
    default: return RolloutFileError(line: 1, message: "not YAML")
    }
  }
}

/// Reads the nodes of a `rollout.yaml`.
private struct RolloutReader {
  private static let keys = ["serve", "labels", "split", "shadow", "guard", "keep"]
  private static let guardKeys = ["error_rate", "nan_rate", "latency_ratio", "window", "min_requests"]

  typealias Entry = (key: String, node: Yams.Node, value: Yams.Node)

  func policy(_ root: Yams.Node) throws(RolloutFileError) -> RolloutPolicy {
    var policy = RolloutPolicy()
    let entries = try mapping(root, "rollout", allowed: Self.keys)
    // Labels first, whatever the order of the file: the others refer to them.
    for entry in entries where entry.key == "labels" { policy.labels = try labels(entry.value) }
    for entry in entries {
      switch entry.key {
      case "serve": policy.serve = try serve(entry.value)
      case "split": policy.split = try split(entry, policy.labels)
      case "shadow": policy.shadow = try version(try text(entry.value, "shadow"), "shadow", policy.labels, entry.value)
      case "guard": policy.limits = try limits(entry)
      case "keep": policy.keep = Int(try number(entry.value, "keep", 0...64, isWhole: true))
      default: break
      }
    }
    return policy
  }

  private func serve(_ node: Yams.Node) throws(RolloutFileError) -> RolloutPolicy.Serve {
    if case .sequence(let items) = node {
      var versions: [ModelVersion] = []
      for item in items {
        let version = try self.version(try text(item, "serve"), "serve", [], item)
        guard !versions.contains(version) else { throw failure(item, "serve: version \(version) given twice") }
        versions.append(version)
      }
      guard (1...Limits.rolloutVersionsMax).contains(versions.count) else {
        throw failure(node, "serve: expected 1 to \(Limits.rolloutVersionsMax) versions, found \(versions.count)")
      }
      return .versions(versions)
    }
    let word = try text(node, "serve")
    if word == "latest" { return .latest }
    guard let version = ModelVersion(decimal: word) else {
      throw failure(
        node,
        "serve: expected latest, a version or a list of versions, found \(word.quotedForMessage)\(Suggestion.clause(for: word, among: ["latest"]))"
      )
    }
    return .versions([version])
  }

  private func labels(_ node: Yams.Node) throws(RolloutFileError) -> [RolloutPolicy.Label] {
    var labels: [RolloutPolicy.Label] = []
    for entry in try mapping(node, "labels", allowed: nil) {
      // A number would hide a version, and `latest` is a word of this file.
      guard (try? ModelID(entry.key)) != nil, entry.key.utf8.count <= Limits.rolloutLabelBytesMax,
        ModelVersion(decimal: entry.key) == nil, entry.key != "latest"
      else {
        throw failure(
          entry.node,
          "labels: expected a name of up to \(Limits.rolloutLabelBytesMax) letters, digits, '.', '_', '-' that is no version, found \(entry.key.quotedForMessage)"
        )
      }
      labels.append(.init(entry.key, try version(try text(entry.value, "label"), "label", [], entry.value)))
    }
    guard labels.count <= Limits.rolloutVersionsMax else {
      throw failure(node, "labels: expected at most \(Limits.rolloutVersionsMax), found \(labels.count)")
    }
    return labels.sorted { $0.name < $1.name }
  }

  private func split(_ entry: Entry, _ labels: [RolloutPolicy.Label]) throws(RolloutFileError) -> [RolloutPolicy.Arm] {
    var arms: [RolloutPolicy.Arm] = []
    for arm in try mapping(entry.value, "split", allowed: nil) {
      let version = try self.version(arm.key, "split", labels, arm.node)
      guard !arms.contains(where: { $0.version == version }) else {
        throw failure(arm.node, "split: version \(version) given twice")
      }
      let percent = try number(arm.value, "split: \(arm.key.quotedForMessage)", 0...100, isWhole: false)
      let points = (percent * Double(RoutingPoint.count) / 100).rounded()
      guard abs(points - percent * Double(RoutingPoint.count) / 100) < 1e-6 else {
        throw failure(arm.value, "split: \(arm.key.quotedForMessage): expected at most two decimals, found \(percent)")
      }
      arms.append(.init(arm.key, version, points: Int(points)))
    }
    guard (1...Limits.rolloutVersionsMax).contains(arms.count) else {
      throw failure(entry.node, "split: expected 1 to \(Limits.rolloutVersionsMax) shares, found \(arms.count)")
    }
    let sum = arms.reduce(0) { $0 + $1.points }
    guard sum == RoutingPoint.count else {
      throw failure(
        entry.node, "split: expected shares that sum up to 100, found \(Double(sum) * 100 / Double(RoutingPoint.count))"
      )
    }
    return arms
  }

  private func limits(_ entry: Entry) throws(RolloutFileError) -> GuardLimits {
    var limits = GuardLimits()
    for entry in try mapping(entry.value, "guard", allowed: Self.guardKeys) {
      let field = "guard: \(entry.key)"
      switch entry.key {
      case "error_rate": limits.errorRate = try number(entry.value, field, 0...1, isWhole: false)
      case "nan_rate": limits.nanRate = try number(entry.value, field, 0...1, isWhole: false)
      case "latency_ratio": limits.latencyRatio = try number(entry.value, field, 1...1000, isWhole: false)
      case "window": limits.windowMilliseconds = try milliseconds(entry.value, field)
      default: limits.minRequests = Int(try number(entry.value, field, 1...1_000_000, isWhole: true))
      }
    }
    guard limits.errorRate != nil || limits.nanRate != nil || limits.latencyRatio != nil else {
      throw failure(entry.node, "guard: expected error_rate, nan_rate or latency_ratio, found none")
    }
    return limits
  }

  /// `30s`, `500ms`, `2m`, or a number of seconds.
  private func milliseconds(_ node: Yams.Node, _ field: String) throws(RolloutFileError) -> Int {
    let word = try text(node, field)
    let units: [(suffix: String, milliseconds: Double)] = [("ms", 1), ("s", 1000), ("m", 60_000), ("", 1000)]
    for unit in units where word.hasSuffix(unit.suffix) {
      guard let value = decimal(String(word.dropLast(unit.suffix.count))) else { break }
      let milliseconds = value * unit.milliseconds
      guard milliseconds >= Double(Limits.guardWindowMillisecondsMin),
        milliseconds <= Double(Limits.guardWindowMillisecondsMax)
      else { break }
      return Int(milliseconds)
    }
    throw failure(node, "\(field): expected a time from 500ms to 60m, found \(word.quotedForMessage)")
  }

  // MARK: shapes

  /// A label's version, or a version itself.
  private func version(
    _ word: String, _ field: String, _ labels: [RolloutPolicy.Label], _ node: Yams.Node
  ) throws(RolloutFileError) -> ModelVersion {
    if let label = labels.first(where: { $0.name == word }) { return label.version }
    guard let version = ModelVersion(decimal: word) else {
      let expected = labels.isEmpty ? "a version" : "a label or a version"
      throw failure(
        node,
        "\(field): expected \(expected), found \(word.quotedForMessage)\(Suggestion.clause(for: word, among: labels.map(\.name)))"
      )
    }
    return version
  }

  private func number(
    _ node: Yams.Node, _ field: String, _ range: ClosedRange<Double>, isWhole: Bool
  ) throws(RolloutFileError) -> Double {
    let word = try text(node, field)
    guard let value = decimal(word), range.contains(value), !isWhole || value == value.rounded() else {
      let bounds = "\(Int(range.lowerBound)) to \(Int(range.upperBound))"
      throw failure(
        node,
        "\(field): expected a \(isWhole ? "whole number" : "number") from \(bounds), found \(word.quotedForMessage)")
    }
    return value
  }

  /// Digits and a point: neither `nan` nor `1e3` nor hexadecimal.
  private func decimal(_ word: String) -> Double? {
    guard !word.isEmpty, word.utf8.allSatisfy({ $0 == UInt8(ascii: ".") || (48...57).contains($0) }) else { return nil }
    return Double(word)
  }

  private func mapping(
    _ node: Yams.Node, _ field: String, allowed: [String]?
  ) throws(RolloutFileError) -> [Entry] {
    guard case .mapping(let mapping) = node else {
      throw failure(node, "\(field): expected keys with values, found another shape")
    }
    var entries: [Entry] = []
    for (keyNode, value) in mapping {
      let key = try text(keyNode, "\(field): key")
      if let allowed, !allowed.contains(key) {
        throw failure(
          keyNode, "\(field): unknown key \(key.quotedForMessage)\(Suggestion.clause(for: key, among: allowed))")
      }
      entries.append((key, keyNode, value))
    }
    return entries
  }

  private func text(_ node: Yams.Node, _ field: String) throws(RolloutFileError) -> String {
    guard case .scalar(let scalar) = node else {
      throw failure(node, "\(field): expected one word, found another shape")
    }
    return scalar.string
  }

  private func failure(_ node: Yams.Node, _ message: String) -> RolloutFileError {
    RolloutFileError(line: node.mark?.line ?? 1, message: message)
  }
}
