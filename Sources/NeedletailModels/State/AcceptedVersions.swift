package import NeedletailCore

/// Which bundles this server has brought up, by model and signing key: what tells a new version from an
/// old one that somebody puts back.
///
/// A signature proves who made a bundle, not that it is the latest. So a signed version below the highest
/// that was accepted of its model and key is refused, unless this very bundle was accepted before: what
/// served once may serve again, by `rollout.yaml` or when a newer version is no longer trusted.
package struct AcceptedVersions: Codable, Equatable, Sendable {
  package struct Record: Codable, Equatable, Sendable {
    package var highest: UInt64
    /// Digests by version, the newest ones only.
    package var digests: [String: String]
  }

  /// By model, then by key id.
  package private(set) var models: [String: [String: Record]] = [:]

  package init() {}

  /// - Returns: nil where nothing was accepted of this model and key.
  package func record(_ model: ModelID, keyID: String) -> Record? { models[model.name]?[keyID] }

  /// - Returns: whether anything is new.
  mutating func accept(_ key: VersionKey, digest: String, keyID: String, remembering count: Int) -> Bool {
    let before = record(key.model, keyID: keyID)
    var record = before ?? Record(highest: 0, digests: [:])
    record.highest = max(record.highest, key.version.number)
    record.digests[key.version.description] = digest
    if record.digests.count > count {
      let versions = record.digests.keys.sorted { (UInt64($0) ?? 0) > (UInt64($1) ?? 0) }
      for version in versions.dropFirst(count) { record.digests[version] = nil }
    }
    guard record != before else { return false }
    models[key.model.name, default: [:]][keyID] = record
    return true
  }
}

/// Judges versions by what was accepted before. It does no I/O: whoever owns it keeps ``accepted``.
package struct AcceptanceLedger: Sendable {
  package private(set) var accepted: AcceptedVersions
  /// What was on record when the process started.
  private let atStart: AcceptedVersions
  private let remembered: Int

  /// Of the state directory.
  package static let fileName = "accepted-versions.json"

  /// - Parameters:
  ///   - accepted: as kept by the last process.
  ///   - keep: live versions beside the serving one: as many must be known again after a restart.
  package init(_ accepted: AcceptedVersions = AcceptedVersions(), keep: Int) {
    self.accepted = accepted
    atStart = accepted
    remembered = max(Limits.acceptedDigestsMin, keep + 2)
  }

  /// Why a bundle must not be loaded, nil if it may.
  ///
  /// - Parameters:
  ///   - keyID: empty for an unsigned bundle: where anybody may publish, an order of versions protects
  ///     nothing.
  ///   - isLate: it appeared when a newer version was serving. One that did not is judged by what was on
  ///     record at start: a first start accepts all that it finds, in whatever order.
  package func refusal(of key: VersionKey, digest: String, keyID: String, isLate: Bool) -> Rejection? {
    guard !keyID.isEmpty, let record = (isLate ? accepted : atStart).record(key.model, keyID: keyID),
      key.version.number < record.highest
    else { return nil }
    if accepted.record(key.model, keyID: keyID)?.digests[key.version.description] == digest { return nil }
    return Rejection(
      label: "rollback",
      message: "version: expected at least \(record.highest), the highest accepted of this model and key, found "
        + "\(key.version), which was never accepted here")
  }

  /// Remembers a bundle that is about to go live.
  /// - Returns: whether there is anything new to keep.
  package mutating func accept(_ key: VersionKey, digest: String, keyID: String) -> Bool {
    !keyID.isEmpty && accepted.accept(key, digest: digest, keyID: keyID, remembering: remembered)
  }
}
