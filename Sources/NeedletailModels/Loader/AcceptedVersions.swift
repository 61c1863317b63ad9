package import NeedletailCore

/// Bundles that this server has brought up, by model and signing key. They distinguish a new version from an old one that
/// somebody puts back.
///
/// A signature proves who made a bundle, not that it is the latest. So a signed version below the highest that was
/// accepted of its model and key is refused, unless this very bundle was accepted before: a bundle that served once may
/// serve again, by `rollout.yaml` or when a newer version is no longer trusted.
package struct AcceptedVersions: Codable, Equatable, Sendable {
  package struct Record: Codable, Equatable, Sendable {
    package var highest: UInt64
    /// Digests by version, the newest ones only.
    package var digests: [String: String]
  }

  /// Records by model, then by key id.
  package private(set) var models: [String: [String: Record]] = [:]

  package init() {}

  /// - Returns: nil if nothing was accepted of this model and key.
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

/// Judges versions by what was accepted before. It does no I/O: its owner writes ``accepted`` to the disk.
package struct AcceptanceLedger: Sendable {
  package private(set) var accepted: AcceptedVersions
  /// The records that the last process left.
  private let atStart: AcceptedVersions
  private let remembered: Int

  /// Name of the records' file in the state directory.
  package static let fileName = "accepted-versions.json"

  /// - Parameters:
  ///   - accepted: the records that the last process left.
  ///   - keep: number of live versions beside the serving one: as many must be known again after a restart.
  package init(_ accepted: AcceptedVersions = AcceptedVersions(), keep: Int) {
    self.accepted = accepted
    atStart = accepted
    remembered = max(Limits.acceptedDigestsMin, keep + 2)
  }

  /// Reason why a bundle must not be loaded; nil if it may be.
  ///
  /// - Parameters:
  ///   - keyID: id of the key that signed it; empty for an unsigned bundle, which no order of versions protects, for
  ///     anybody may publish one.
  ///   - isLate: true if it appeared, or changed, when a higher version had been live. Others are judged by the records
  ///     of the last process, so that a first start accepts all that it finds, in any order.
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
