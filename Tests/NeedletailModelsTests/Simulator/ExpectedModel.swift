import NeedletailCore
import NeedletailModels

/// What the handbook promises of one model, said a second time and in another way than the server does it: every live
/// version gets a score, and the highest serves. It knows versions as numbers and rollouts as the simulation wrote them,
/// and shares no code with the reconciler.
struct ExpectedModel: Equatable {
  struct Quarantined: Equatable {
    var version: UInt64
    var isByGuard: Bool
  }

  /// Where the requests of the model go.
  struct Routing: Equatable {
    var serving: UInt64?
    /// Points of ten thousand by version; empty where one answers all.
    var shares: [UInt64: Int] = [:]
    /// Version by label; 0: none answers.
    var labels: [String: UInt64] = [:]
    var shadow: UInt64?
  }

  /// Versions in memory, and whether each is trusted.
  var live: [UInt64: Bool] = [:]

  // MARK: what outlives the process

  /// The last rollout that was understood, and its text; nil: there was none.
  var order: SimulatedRollout?
  var text = ""
  var quarantined: [Quarantined] = []
  /// Versions that served, the last one first.
  var served: [UInt64] = []

  // MARK: what does not

  /// Whether the file in the store cannot be understood.
  var isFileBad = false

  var isRetired: Bool { order?.serve == .nothing }
  /// Nobody knows what the file forbids: only what has served may serve.
  var isHeld: Bool { isFileBad && order == nil }

  /// Takes in what the store holds beside the bundles.
  mutating func see(_ found: SimulatedOrder?) {
    switch found {
    case nil: isFileBad = false
    case .invalid: isFileBad = true
    case .file(let order, let text):
      isFileBad = false
      guard text != self.text else { return }
      (self.order, self.text, quarantined) = (order, text, [])
    }
  }

  mutating func serve(_ version: UInt64?) {
    guard let version, served.first != version else { return }
    served = [version] + served.filter { $0 != version }
    served = Array(served.prefix(16))
  }

  /// After SIGKILL: what was on the disk is left.
  func restarted() -> ExpectedModel {
    var next = ExpectedModel()
    (next.order, next.text, next.quarantined, next.served) = (order, text, quarantined, served)
    return next
  }

  // MARK: expectations

  private func isQuarantined(_ version: UInt64) -> Bool { quarantined.contains { $0.version == version } }

  func isGood(_ version: UInt64) -> Bool { live[version] == true && !isQuarantined(version) }

  /// Versions that the file wants to answer, in order; nil: the newest.
  var wished: [UInt64]? {
    guard let order else { return nil }
    var wished: [UInt64] = []
    if let baseline { wished.append(baseline) }
    switch order.serve {
    case .nothing: return []
    case .latest: break
    case .absent: if let stable = order.stable { wished.append(stable) }
    case .versions(let versions): wished += versions
    }
    return wished.isEmpty ? nil : wished
  }

  /// The version of a split that gets what no other arm can answer.
  private var baseline: UInt64? {
    guard let order, !order.split.isEmpty else { return nil }
    let arms = order.split.map(\.version)
    if let stable = order.stable, arms.contains(stable) { return stable }
    if case .versions(let versions) = order.serve, let first = versions.first(where: arms.contains) { return first }
    return order.split[0].percent > order.split[1].percent ? arms[0] : arms[1]
  }

  /// Every version that the file names.
  var named: Set<UInt64> {
    guard let order else { return [] }
    return Set(
      (wished ?? []) + order.split.map(\.version) + [order.stable, order.canary, order.shadow].compactMap { $0 })
  }

  /// How much a version is wished to serve; the highest does.
  func score(_ version: UInt64, isGood: Bool, isTrusted: Bool) -> [Int] {
    guard isGood else { return [isTrusted ? 1 : 0, 0, Int(version)] }
    guard let wished else { return [2, 0, Int(version)] }
    if let place = wished.firstIndex(of: version) { return [2, 2, -place] }
    if let place = served.firstIndex(of: version) { return [2, 1, -place] }
    return [2, 0, Int(version)]
  }

  private func heldScore(_ version: UInt64, isGood: Bool, isTrusted: Bool) -> [Int]? {
    served.firstIndex(of: version).map { [isGood ? 2 : isTrusted ? 1 : 0, -$0] }
  }

  var routing: Routing {
    guard !isRetired else { return Routing() }
    var best: (version: UInt64, score: [Int])?
    for (version, isTrusted) in live {
      let score =
        isHeld
        ? heldScore(version, isGood: isGood(version), isTrusted: isTrusted)
        : score(version, isGood: isGood(version), isTrusted: isTrusted)
      guard let score else { continue }
      if best == nil || best!.score.lexicographicallyPrecedes(score) { best = (version, score) }
    }
    var routing = Routing(serving: best?.version)
    guard !isHeld, let order, let serving = best?.version else {
      if !isHeld, let order, order.stable != nil { routing.labels = ["stable": 0, "canary": 0] }
      return routing
    }
    for (name, version) in [("stable", order.stable), ("canary", order.canary)] {
      guard let version else { continue }
      routing.labels[name] =
        isGood(version) || version == serving ? version : isQuarantined(version) ? serving : 0
    }
    var rest = 10_000
    for arm in order.split where arm.version != baseline && arm.version != serving && isGood(arm.version) {
      routing.shares[arm.version] = arm.percent * 100
      rest -= arm.percent * 100
    }
    if !routing.shares.isEmpty { routing.shares[serving] = rest }
    if let shadow = order.shadow, shadow != serving, isGood(shadow) { routing.shadow = shadow }
    return routing
  }

  /// Whether a version's traffic can be taken: something good answers in its place.
  func canGiveWay(_ version: UInt64) -> Bool {
    guard !isQuarantined(version) else { return false }
    var without = self
    without.quarantined.append(.init(version: version, isByGuard: false))
    return without.routing.serving.map(without.isGood) ?? false
  }

  /// What an undo takes the traffic from; nil: it is refused.
  func undone(from version: UInt64?, isForced: Bool) -> [UInt64]? {
    let routing = routing
    guard let serving = routing.serving else { return nil }
    let arms = routing.shares.keys.filter { $0 != serving }.sorted()
    var leaving = arms.isEmpty ? [serving] : arms
    if let version {
      guard version == serving || arms.contains(version) else { return nil }
      leaving = [version]
    } else if !isForced, quarantined.contains(where: { $0.isByGuard && wouldAnswer($0.version) }) {
      return nil
    }
    return leaving.allSatisfy(canGiveWay) ? leaving : nil
  }

  /// Whether a quarantined version would have traffic if it were good and live.
  private func wouldAnswer(_ version: UInt64) -> Bool {
    var with = self
    with.quarantined.removeAll { $0.version == version }
    with.live[version] = true
    let routing = with.routing
    return routing.serving == version || routing.shares[version] != nil || routing.labels.values.contains(version)
  }

  /// The version that serves once nothing is left to load.
  /// - Parameter loadable: versions in the store that would come up.
  func atRest(loadable: Set<UInt64>) -> UInt64? {
    guard !isRetired else { return nil }
    let allowed = loadable.filter { !isQuarantined($0) }
    let good = Set(live.keys.filter(isGood))
    if isHeld {
      if let version = served.first(where: good.contains) { return version }
      if let version = served.first(where: allowed.contains) { return version }
      return routing.serving ?? served.first(where: loadable.contains)
    }
    guard let wished else { return good.union(allowed).max() ?? routing.serving ?? loadable.max() }
    if let version = wished.first(where: good.union(allowed).contains) { return version }
    if !good.isEmpty { return routing.serving }
    // What the file names comes up first, whatever for; else what served, else the newest.
    if !named.isDisjoint(with: allowed) { return nil }
    return served.first(where: allowed.contains) ?? allowed.max() ?? routing.serving ?? loadable.max()
  }
}

/// Rollback protection, as the handbook tells it: a signed version below the highest that was accepted of its model and key
/// is refused, unless this very bundle was accepted before. At a first start everything that lies there is accepted.
struct ExpectedProtection {
  private struct Entry {
    var highest: UInt64 = 0
    var highestAtStart: UInt64 = 0
    var digests: [UInt64: String] = [:]
  }

  private var entries: [String: Entry] = [:]

  private static func name(_ bundle: SimulatedBundle) -> String { "\(bundle.key.model) \(bundle.signer)" }

  /// - Parameter isLate: whether the bytes appeared when a higher version of the model had been live since the start.
  func refuses(_ bundle: SimulatedBundle, isLate: Bool) -> Bool {
    guard !bundle.signer.isEmpty, let entry = entries[Self.name(bundle)] else { return false }
    let version = bundle.key.version.number
    return version < (isLate ? entry.highest : entry.highestAtStart) && entry.digests[version] != bundle.digest
  }

  mutating func accept(_ bundle: SimulatedBundle) {
    guard !bundle.signer.isEmpty else { return }
    var entry = entries[Self.name(bundle)] ?? Entry()
    entry.highest = max(entry.highest, bundle.key.version.number)
    entry.digests[bundle.key.version.number] = bundle.digest
    // Sixteen are remembered, the highest ones.
    let kept = Set(entry.digests.keys.sorted(by: >).prefix(16))
    entry.digests = entry.digests.filter { kept.contains($0.key) }
    entries[Self.name(bundle)] = entry
  }

  mutating func restart() {
    entries = entries.mapValues { Entry(highest: $0.highest, highestAtStart: $0.highest, digests: $0.digests) }
  }
}
