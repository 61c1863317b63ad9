internal import NeedletailCore

extension RolloutPolicy {
  /// The policy as a `rollout.yaml`, without comments. ``RolloutFile`` reads it back as the same.
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

  /// Without an exponent, which the file does not know: to a millionth.
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
