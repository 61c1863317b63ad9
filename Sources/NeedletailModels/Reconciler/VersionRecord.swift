internal import NeedletailBundle
package import NeedletailCore

/// The reconciler's knowledge of one version.
struct VersionRecord: Sendable {
  /// The bundle as last listed; nil once the store does not hold it any more.
  private(set) var bundle: StoredBundle?
  var lifecycle: VersionLifecycle
  /// Fingerprint that was last handed to the loader, or judged by its header; nil if the bundle must be looked at.
  var attempted: StoreFingerprint?
  /// Its identity and its signer; nil until it was verified.
  var identity: Reconciler.Identity?
  /// Bytes of memory; 0 while it is not loaded.
  var residentBytes = 0
  /// False from the moment it is live until it was told, which follows the table that shows it.
  var isAnnounced = true
  /// The oddity of a live version's file; empty otherwise.
  var remark = ""
  /// Why a live version is no longer trusted.
  var distrust: Rejection?
  /// True if somebody wrote to the file while it was read: the next snapshot shows what it is now.
  private(set) var awaitsScan = false
  /// True if it appeared, or changed, when a higher version had been live already.
  var isLate: Bool
  /// True if it was refused for want of memory.
  var lacksMemory = false
  /// Refusals in a row whose cause may pass.
  private(set) var retries = 0
  /// When to look at an unchanged file again.
  var retryAt: Instant?
  /// Since when an incomplete file has not grown.
  private(set) var stalledSince: Instant

  init(bundle: StoredBundle, isLate: Bool, now: Moment) {
    self.bundle = bundle
    self.isLate = isLate
    stalledSince = now.instant
    switch bundle.completeness {
    case .incomplete:
      lifecycle = VersionLifecycle(.incomplete, reason: "", now: now)
    case .complete, .notABundle:
      lifecycle = VersionLifecycle(.verifying, reason: "", now: now)
    }
  }

  /// True if it is whole, not in memory, and not refused as it is.
  var isLoadable: Bool {
    guard let bundle, bundle.completeness == .complete, !awaitsScan else { return false }
    switch lifecycle.state {
    case .incomplete, .verifying, .retired: return true
    case .rejected: return attempted != bundle.fingerprint
    case .loading, .checking, .warming, .live, .retiring: return false
    }
  }

  /// True if it is live, but its file is not the one that was loaded, or has to be judged anew.
  var needsInspection: Bool {
    guard let bundle, bundle.completeness == .complete, lifecycle.state == .live, !awaitsScan else { return false }
    return attempted != bundle.fingerprint
  }

  /// True somewhere between being found whole and being live.
  var isOnItsWay: Bool {
    switch lifecycle.state {
    case .verifying, .loading, .checking, .warming: true
    case .incomplete, .live, .retiring, .retired, .rejected: false
    }
  }

  /// The entry under which a live version is listed.
  var liveReason: String {
    guard let distrust else { return remark }
    let alarm = "no longer trusted: \(distrust.message); serving until another version is live"
    return remark.isEmpty ? alarm : alarm + "; " + remark
  }

  // MARK: changes

  /// Takes in the bundle as the store holds it now.
  mutating func observe(_ bundle: StoredBundle, isChanged: Bool, now: Moment) {
    self.bundle = bundle
    awaitsScan = false
    if isChanged {
      retryAt = nil
      retries = 0
      stalledSince = now.instant
    }
    if let retryAt, retryAt <= now.instant {
      self.retryAt = nil
      attempted = nil
    }
  }

  /// Takes in that the store does not hold the bundle any more.
  mutating func lose() { bundle = nil }

  mutating func becomeLive(_ identity: Reconciler.Identity, residentBytes: Int) {
    self.identity = identity
    self.residentBytes = residentBytes
    retries = 0
    isAnnounced = false
  }

  /// The loader found that somebody wrote to the file. The snapshot that shows the change may have come already, while
  /// the loader was at work; if not, it is still to come.
  mutating func awaitNextScan() {
    awaitsScan = attempted == bundle?.fingerprint
    attempted = nil
  }

  /// Leaves an unchanged file alone for a while, longer each time.
  mutating func pause(now: Moment) {
    let doubled = Limits.loadRetryMillisecondsMin << min(retries, 16)
    retryAt = now.instant.advanced(byMicroseconds: UInt64(min(doubled, Limits.loadRetryMillisecondsMax)) * 1000)
    retries += 1
  }

  /// Opens the verdict on the file again. What the header alone refuses stays refused.
  mutating func forgetVerdict() {
    guard let bundle, bundle.completeness == .complete else { return }
    attempted = nil
    retryAt = nil
    retries = 0
  }

  /// Its status as people see it.
  /// - Parameter entry: what requests may reach of its model.
  func status(_ version: ModelVersion, _ entry: Reconciler.TableEntry?) -> VersionStatus {
    var status = VersionStatus(
      version: version, state: lifecycle.state, reason: lifecycle.reason, digest: identity?.digest ?? "",
      signer: identity?.signer ?? "", sinceMilliseconds: lifecycle.sinceMilliseconds, residentBytes: residentBytes)
    status.isTrusted = distrust == nil
    if let entry, lifecycle.state == .live {
      status.share = entry.routing.share(of: version, serving: entry.serving)
      status.labels = entry.routing.labels.filter { $0.version == version }.map(\.name)
    }
    return status
  }
}

/// Where one version stands, and where it may go from there.
package struct VersionLifecycle: Sendable, Equatable {
  package private(set) var state: VersionState
  /// Why it was rejected, what it waits for, or what is odd about it; empty otherwise.
  package private(set) var reason: String
  /// Unix time at which it entered the state, in milliseconds.
  package private(set) var sinceMilliseconds: UInt64

  /// - Precondition: `state` is one that a file just found can be in.
  package init(_ state: VersionState, reason: String, now: Moment) {
    assert(Self.entries.contains(state), "no version begins \(state)")
    self.state = state
    self.reason = reason
    sinceMilliseconds = now.milliseconds
  }

  /// Moves on, or keeps the state and changes the reason.
  ///
  /// - Precondition: ``canEnter(_:)``.
  /// - Returns: whether anything changed.
  package mutating func enter(_ next: VersionState, reason: String = "", now: Moment) -> Bool {
    guard next != state || reason != self.reason else { return false }
    if next != state {
      precondition(canEnter(next), "a version cannot go from \(state) to \(next)")
      state = next
      sinceMilliseconds = now.milliseconds
    }
    self.reason = reason
    return true
  }

  package func canEnter(_ next: VersionState) -> Bool { Self.successors(of: state).contains(next) }

  /// `verifying` also stands for "waits for the loader", `retired` for "older than what is kept".
  private static let entries: Set<VersionState> = [.incomplete, .verifying, .rejected, .retired]

  private static func successors(of state: VersionState) -> Set<VersionState> {
    switch state {
    case .incomplete: [.verifying, .rejected, .retired]
    // Back to incomplete: somebody writes the file anew before it was read.
    case .verifying: [.loading, .rejected, .incomplete, .retired]
    case .loading: [.checking, .rejected, .verifying]
    case .checking: [.warming, .rejected, .verifying]
    case .warming: [.live, .rejected, .verifying]
    case .live: [.retiring]
    case .retiring: [.retired]
    // The file changed, or the trust file did.
    case .retired, .rejected: [.incomplete, .verifying, .rejected, .retired]
    }
  }
}
