internal import NeedletailBundle
internal import NeedletailCore

/// What the planner remembers of one version.
struct VersionRecord: Sendable {
  /// As last scanned; nil once it is gone.
  var file: StoreFile?
  var lifecycle: VersionLifecycle
  /// The file that was last handed to the loader, or judged by the scan; nil where it must be looked at.
  var attempted: FileFingerprint?
  /// Who it is and who signed it; nil until it was verified.
  var identity: StorePlanner.Identity?
  /// Of memory; 0 while it is not loaded.
  var residentBytes = 0
  /// False from the moment it is live until the table that shows it is out.
  var isAnnounced = true
  /// What is odd about the file of a live version; empty otherwise.
  var remark = ""
  /// Why a live version is no longer trusted.
  var distrust: Rejection?
  /// Somebody wrote to the file while it was read: the next scan tells what it is now.
  var awaitsScan = false
  /// It appeared when a newer version was serving already.
  var isLate: Bool
  /// It was refused for want of memory.
  var lacksMemory = false
  /// Refusals in a row whose cause may pass.
  var retries = 0
  /// When to look at an unchanged file again.
  var retryAt: Instant?
  /// Since when an incomplete file has not grown.
  var stalledSince: Instant

  init(file: StoreFile, isLate: Bool, now: Moment) {
    self.file = file
    self.isLate = isLate
    stalledSince = now.instant
    switch file.completeness {
    case .incomplete:
      lifecycle = VersionLifecycle(.incomplete, reason: "", now: now)
    case .complete, .notABundle:
      lifecycle = VersionLifecycle(.verifying, reason: "", now: now)
    }
  }

  /// Whole, not in memory, and not refused as it is.
  var isLoadable: Bool {
    guard let file, file.completeness == .complete, !awaitsScan else { return false }
    switch lifecycle.state {
    case .incomplete, .verifying, .retired: return true
    case .rejected: return attempted != file.fingerprint
    case .loading, .checking, .warming, .live, .retiring: return false
    }
  }

  /// It is live, but its file is not the one that was loaded, or has to be judged anew.
  var needsInspection: Bool {
    guard let file, file.completeness == .complete, lifecycle.state == .live, !awaitsScan else {
      return false
    }
    return attempted != file.fingerprint
  }

  /// Somewhere between being found whole and being live.
  var isOnItsWay: Bool {
    switch lifecycle.state {
    case .verifying, .loading, .checking, .warming: true
    case .incomplete, .live, .retiring, .retired, .rejected: false
    }
  }

  /// The loader found that somebody wrote to the file. The scan that shows the change may have come
  /// already, while the loader was at work; if not, it is still to come.
  mutating func awaitNextScan() {
    awaitsScan = attempted == file?.fingerprint
    attempted = nil
  }

  /// What a live version is listed with.
  var liveReason: String {
    guard let distrust else { return remark }
    let alarm = "no longer trusted: \(distrust.message); serving until another version is live"
    return remark.isEmpty ? alarm : alarm + "; " + remark
  }

  /// Leaves an unchanged file alone for a while, longer each time.
  mutating func pause(now: Moment) {
    let doubled = Limits.loadRetryMillisecondsMin << min(retries, 16)
    retryAt = now.instant.advanced(byMicroseconds: UInt64(min(doubled, Limits.loadRetryMillisecondsMax)) * 1000)
    retries += 1
  }

  /// Forgets the verdict on the file. What the header alone refuses stays refused.
  mutating func reopen() {
    guard let file, file.completeness == .complete else { return }
    attempted = nil
    retryAt = nil
    retries = 0
  }
}
