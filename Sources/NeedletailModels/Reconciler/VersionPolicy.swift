package import NeedletailCore

/// Which version of a model serves, which are loaded and which let go. Stateless.
///
/// Without a rollout file the newest live version serves; with one, what it names. `keep` versions that served before
/// stay live beside it for an instant way back. A quarantined version gets no traffic as long as any other can answer.
/// A version that appears below the highest that was live is not loaded: nobody asked to go back. A version that is no
/// longer trusted serves only until another is live.
///
/// A model is **held** while its rollout file cannot be read and no earlier one is known: nobody can tell what the file
/// forbids, so only versions that have served before may serve.
package struct VersionPolicy: Sendable {
  /// Live versions beside the serving one.
  package let keep: Int

  package init(keep: Int) {
    precondition(keep >= 0, "versions to keep: \(keep)")
    self.keep = keep
  }

  /// The policy's knowledge of one version.
  package struct Candidate: Sendable, Equatable {
    package enum Standing: Sendable {
      case live
      /// Live, but its key was revoked, its digest withdrawn, or its number is below the minimum.
      case distrusted
      /// Whole, and not refused as it is.
      case loadable
    }

    package var version: ModelVersion
    package var standing: Standing
    /// True if it appeared, or changed, when a higher version had been live already.
    package var isLate: Bool

    package init(_ version: ModelVersion, _ standing: Standing, isLate: Bool = false) {
      self.version = version
      self.standing = standing
      self.isLate = isLate
    }
  }

  package struct Decision: Sendable, Equatable {
    package var serving: ModelVersion?
    /// True if nothing serves, or only what is no longer trusted: the first to load is wanted urgently.
    package var isInNeed = false
    /// Versions to load, in this order; a decision is taken anew after each.
    package var load: [ModelVersion] = []
    /// Number of those in `load` that are to answer requests; the others are only kept for the way back.
    package var wantedCount = 0
    package var retire: [ModelVersion] = []
    package var routing = ModelRouting()
  }

  /// - Complexity: O(n log n).
  package func decide(
    _ candidates: [Candidate], rollout: RolloutPolicy = RolloutPolicy(), memory: RolloutMemory = RolloutMemory(),
    isHeld: Bool = false
  ) -> Decision {
    let standings = Standings(candidates, quarantined: memory.quarantinedVersions)
    if rollout.isRetired { return Decision(retire: standings.live + standings.distrusted) }
    if isHeld { return held(standings, memory) }
    var decision = Decision(serving: serving(standings, rollout, memory), isInNeed: standings.good.isEmpty)
    decision.routing = routing(standings, rollout, serving: decision.serving)

    let named = rollout.named.filter { !standings.quarantined.contains($0) }
    let served = memory.servedVersions
    func rank(_ version: ModelVersion) -> (Int, Int, UInt64) {
      (
        standings.quarantined.contains(version) ? 1 : 0, served.firstIndex(of: version) ?? Int.max,
        UInt64.max - version.number
      )
    }
    let previous = standings.live.filter { $0 != decision.serving && !named.contains($0) }
      .sorted { rank($0) < rank($1) }
    // The only version that can answer stays, trusted or not.
    decision.retire = previous.dropFirst(keep(rollout)) + standings.distrusted.filter { $0 != decision.serving }
    decision.load = wanted(standings, rollout, memory, named: named)
    decision.wantedCount = decision.load.count
    fill(&decision, standings, rollout, previous: previous.count)
    return decision
  }

  /// The version that would serve if `version` were quarantined; nil if nothing good would.
  package func fallback(
    from version: ModelVersion, _ candidates: [Candidate], rollout: RolloutPolicy, memory: RolloutMemory,
    isHeld: Bool = false
  ) -> ModelVersion? {
    var standings = Standings(candidates, quarantined: memory.quarantinedVersions)
    standings.quarantine(version)
    let next = isHeld ? held(standings, memory).serving : serving(standings, rollout, memory)
    return next.flatMap { standings.good.contains($0) ? $0 : nil }
  }

  /// Decides for a model that is held: what has served goes on, and nothing else may.
  private func held(_ standings: Standings, _ memory: RolloutMemory) -> Decision {
    let served = memory.servedVersions
    func last(_ versions: [ModelVersion]) -> ModelVersion? { served.first(where: versions.contains) }
    let good = last(standings.good)
    var decision = Decision(
      serving: good ?? last(standings.live) ?? last(standings.distrusted), isInNeed: standings.good.isEmpty)
    let previous = standings.live.filter { $0 != decision.serving }
    let kept = decision.serving == nil ? 0 : keep
    let ranked = previous.filter(served.contains) + previous.filter { !served.contains($0) }
    decision.retire = ranked.dropFirst(kept) + standings.distrusted.filter { $0 != decision.serving }
    if good == nil {
      let loadable = standings.loadable.map(\.version)
      let wanted =
        last(loadable.filter { !standings.quarantined.contains($0) })
        ?? (decision.serving == nil ? last(loadable) : nil)
      decision.load = wanted.map { [$0] } ?? []
      decision.wantedCount = decision.load.count
    }
    return decision
  }

  private func keep(_ rollout: RolloutPolicy) -> Int { rollout.keep ?? keep }

  /// Candidates by what may be done with them, newest first.
  private struct Standings {
    var quarantined: Set<ModelVersion>
    var live: [ModelVersion]
    /// Live, trusted and not quarantined.
    var good: [ModelVersion]
    var distrusted: [ModelVersion]
    var loadable: [Candidate]

    init(_ candidates: [Candidate], quarantined: Set<ModelVersion>) {
      let newestFirst = candidates.sorted { $0.version > $1.version }
      self.quarantined = quarantined
      live = newestFirst.filter { $0.standing == .live }.map(\.version)
      good = live.filter { !quarantined.contains($0) }
      distrusted = newestFirst.filter { $0.standing == .distrusted }.map(\.version)
      loadable = newestFirst.filter { $0.standing == .loadable }
    }

    mutating func quarantine(_ version: ModelVersion) {
      quarantined.insert(version)
      good.removeAll { $0 == version }
    }
  }

  private func serving(
    _ standings: Standings, _ rollout: RolloutPolicy, _ memory: RolloutMemory
  ) -> ModelVersion? {
    if let preferred = rollout.preferred {
      if let version = preferred.first(where: standings.good.contains) { return version }
      // Until a version that the file names is live, the one that served goes on.
      if let version = memory.servedVersions.first(where: standings.good.contains) { return version }
    }
    return standings.good.first ?? standings.live.first ?? standings.distrusted.first
  }

  private func routing(
    _ standings: Standings, _ rollout: RolloutPolicy, serving: ModelVersion?
  ) -> ModelRouting {
    var routing = ModelRouting()
    routing.labels = rollout.labels.map { label in
      let version = label.version
      if standings.good.contains(version) || version == serving { return .init(label.name, version) }
      return .init(label.name, standings.quarantined.contains(version) ? serving : nil)
    }
    guard let serving else { return routing }
    let baseline = rollout.splitBaseline
    var rest = RoutingPoint.count
    for arm in rollout.split where arm.version != baseline && arm.version != serving && arm.points > 0 {
      // The share of a version that cannot answer goes to the one that serves.
      guard standings.good.contains(arm.version) else { continue }
      routing.shares.append(.init(arm.version, points: arm.points))
      rest -= arm.points
    }
    if !routing.shares.isEmpty && rest > 0 { routing.shares.append(.init(serving, points: rest)) }
    if let shadow = rollout.shadow, shadow != serving, standings.good.contains(shadow) { routing.shadow = shadow }
    return routing
  }

  /// Versions that are to answer and are not in memory.
  private func wanted(
    _ standings: Standings, _ rollout: RolloutPolicy, _ memory: RolloutMemory, named: [ModelVersion]
  ) -> [ModelVersion] {
    let loadable = standings.loadable.map(\.version)
    let allowed = loadable.filter { !standings.quarantined.contains($0) }
    var wanted = named.filter(allowed.contains)
    if rollout.preferred == nil {
      // Even without room: the oldest version goes when this one is live.
      if let newest = allowed.first, standings.good.first.map({ newest > $0 }) ?? true {
        wanted.removeAll { $0 == newest }
        wanted.insert(newest, at: 0)
      }
    } else if wanted.isEmpty && standings.good.isEmpty {
      // No version that the file names can answer: the last good one is better than nothing.
      wanted = (memory.servedVersions.first(where: allowed.contains) ?? allowed.first).map { [$0] } ?? []
    }
    if wanted.isEmpty, standings.live.isEmpty, standings.distrusted.isEmpty, let last = loadable.first {
      return [last]
    }
    return wanted
  }

  /// An older version fills a place that is left, but never displaces one that has served.
  private func fill(_ decision: inout Decision, _ standings: Standings, _ rollout: RolloutPolicy, previous: Int) {
    var free = keep(rollout) - previous
    // What serves now will be a previous one.
    if let serving = decision.serving, standings.good.contains(serving), let next = decision.load.first,
      rollout.preferred.map({ $0.first == next && !rollout.named.contains(serving) }) ?? (next > serving)
    {
      free -= 1
    }
    let newest = rollout.preferred.flatMap { _ in [decision.load.first, decision.serving].compactMap { $0 }.max() }
    for candidate in standings.loadable where free > 0 && !candidate.isLate {
      let version = candidate.version
      guard !decision.load.contains(version), !standings.quarantined.contains(version),
        newest.map({ version < $0 }) ?? true
      else { continue }
      decision.load.append(version)
      free -= 1
    }
  }
}
