package import NeedletailCore

/// Watches versions that get traffic, and says when one has to go. Pure: counters and time in, verdicts out.
///
/// A window is the difference between now and the last look that is older than the window. Nothing is
/// judged below `min_requests`, nor against a version that has never had so many.
package struct RolloutGuard: Sendable {
  /// A version and what it is compared with.
  package struct Watch: Sendable, Equatable {
    package var key: VersionKey
    package var baseline: ModelVersion
    package var limits: GuardLimits

    package init(key: VersionKey, baseline: ModelVersion, limits: GuardLimits) {
      self.key = key
      self.baseline = baseline
      self.limits = limits
    }
  }

  package struct Verdict: Sendable, Equatable {
    package var key: VersionKey
    package var cause: QuarantineCause
    /// One sentence: limit, expected, found.
    package var reason: String
  }

  private struct Look: Sendable {
    var instant: Instant
    var counts: VersionCounts
  }

  private struct History: Sendable {
    /// By time; the first is the last one that lies a window back, or the first of all.
    var looks: [Look]
    /// The last window with enough requests.
    var judgable: VersionCounts?
  }

  private var histories: [VersionKey: History] = [:]

  package init() {}

  /// - Parameter counts: of every live version of the models watched.
  package mutating func look(_ watches: [Watch], _ counts: [VersionKey: VersionCounts], now: Instant) -> [Verdict] {
    histories = histories.filter { counts[$0.key] != nil }
    let limits = Dictionary(watches.map { ($0.key.model, $0.limits) }, uniquingKeysWith: { first, _ in first })
    for (key, counts) in counts {
      record(key, counts, limits[key.model] ?? GuardLimits(), now: now)
    }
    return watches.compactMap { judge($0, counts) }
  }

  private mutating func record(_ key: VersionKey, _ counts: VersionCounts, _ limits: GuardLimits, now: Instant) {
    var history = histories[key] ?? History(looks: [], judgable: nil)
    // The version was let go and loaded again between two looks: a difference would be some 18 quintillion requests.
    if let last = history.looks.last, last.counts.isAhead(of: counts) { history.looks = [] }
    history.looks.append(Look(instant: now, counts: counts))
    let windowMicroseconds = UInt64(limits.windowMilliseconds) * 1000
    while history.looks.count > 2, UInt64(now.microseconds(since: history.looks[1].instant)) >= windowMicroseconds {
      history.looks.removeFirst()
    }
    // A long window needs no more looks than a short one: of two that are close, the older suffices.
    if history.looks.count > 2 {
      let last = history.looks.count - 1
      let gap = UInt64(history.looks[last - 1].instant.microseconds(since: history.looks[last - 2].instant))
      if gap < windowMicroseconds / 64 { history.looks.remove(at: last - 1) }
    }
    let window = counts - history.looks[0].counts
    if window.judged >= UInt64(limits.minRequests) { history.judgable = window }
    histories[key] = history
  }

  private func judge(_ watch: Watch, _ counts: [VersionKey: VersionCounts]) -> Verdict? {
    guard let history = histories[watch.key], let last = history.looks.last else { return nil }
    let limits = watch.limits
    let found = last.counts - history.looks[0].counts
    guard found.judged >= UInt64(limits.minRequests) else { return nil }
    let baselineKey = VersionKey(watch.key.model, watch.baseline)
    // A version that has no traffic any more is remembered as it was.
    var baseline = histories[baselineKey]?.judgable ?? counts[baselineKey] ?? VersionCounts()
    if baseline.judged < UInt64(limits.minRequests) { baseline = VersionCounts() }
    func verdict(_ cause: QuarantineCause, _ reason: String) -> Verdict {
      Verdict(key: watch.key, cause: cause, reason: "\(reason) in \(found.judged) requests")
    }
    if let limit = limits.nanRate, found.nanRate > limit {
      return verdict(.guardNaN, "nan_rate: expected at most \(limit), found \(Self.rounded(found.nanRate))")
    }
    if let limit = limits.errorRate, found.errorRate - baseline.errorRate > limit {
      return verdict(
        .guardErrors,
        "error_rate: expected at most \(limit) above the \(Self.rounded(baseline.errorRate)) of version \(watch.baseline), found \(Self.rounded(found.errorRate))"
      )
    }
    if let limit = limits.latencyRatio, baseline.computed > 0, found.computed > 0 {
      // A mean below one microsecond may be measured as none.
      let ratio = found.meanMicroseconds / max(1, baseline.meanMicroseconds)
      if ratio > limit {
        return verdict(
          .guardLatency,
          "latency_ratio: expected at most \(limit) to version \(watch.baseline), found \(Self.rounded(ratio))")
      }
    }
    return nil
  }

  private static func rounded(_ value: Double) -> Double { (value * 10_000).rounded() / 10_000 }
}
