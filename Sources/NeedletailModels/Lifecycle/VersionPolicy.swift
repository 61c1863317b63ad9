package import NeedletailCore

/// Which version of a model serves, which are loaded and which let go. Stateless.
///
/// The newest live version serves, and `keep` older ones stay live beside it for an instant way back.
/// A version that appears below the one that serves is not loaded: nobody asked to go back. One that is
/// no longer trusted serves only until another is live.
package struct VersionPolicy: Sendable {
  /// Live versions beside the serving one.
  package let keep: Int

  package init(keep: Int) {
    precondition(keep >= 0, "versions to keep: \(keep)")
    self.keep = keep
  }

  /// What the policy knows of one version.
  package struct Candidate: Sendable, Equatable {
    package enum Standing: Sendable {
      case live
      /// Live, but its key, its digest or its number was withdrawn.
      case distrusted
      /// Whole, and not refused as it is.
      case loadable
    }

    package var version: ModelVersion
    package var standing: Standing
    /// It appeared when a newer one was serving already.
    package var isLate: Bool

    package init(_ version: ModelVersion, _ standing: Standing, isLate: Bool = false) {
      self.version = version
      self.standing = standing
      self.isLate = isLate
    }
  }

  package struct Decision: Sendable, Equatable {
    package var serving: ModelVersion?
    /// Nothing serves, or only what is no longer trusted: the first to load is wanted urgently.
    package var isInNeed = false
    /// In this order; a decision is taken anew after each.
    package var load: [ModelVersion] = []
    package var retire: [ModelVersion] = []
  }

  /// - Complexity: O(n log n).
  package func decide(_ candidates: [Candidate]) -> Decision {
    let newestFirst = candidates.sorted { $0.version > $1.version }
    let live = newestFirst.filter { $0.standing == .live }.map(\.version)
    let distrusted = newestFirst.filter { $0.standing == .distrusted }.map(\.version)
    let loadable = newestFirst.filter { $0.standing == .loadable }
    var decision = Decision(serving: live.first ?? distrusted.first, isInNeed: live.isEmpty)
    // The only one that can answer stays, trusted or not.
    decision.retire = Array(live.dropFirst(1 + keep) + distrusted.dropFirst(live.isEmpty ? 1 : 0))
    var free = 1 + keep - live.count
    var rest = loadable[...]
    if let newest = loadable.first, live.first.map({ newest.version > $0 }) ?? true {
      // Whatever the room: the oldest goes when this one is live.
      decision.load.append(newest.version)
      rest = rest.dropFirst()
      free -= 1
    }
    // An older version fills room that is left, but never displaces one that has served.
    for candidate in rest where free > 0 && !candidate.isLate {
      decision.load.append(candidate.version)
      free -= 1
    }
    return decision
  }
}
