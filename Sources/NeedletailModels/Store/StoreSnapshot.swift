package import NeedletailBundle
package import NeedletailCore

/// What one scan found.
package struct StoreSnapshot: Sendable, Equatable {
  /// By model, then version, ascending.
  package var files: [StoreFile] = []
  package var problems: [StoreProblem] = []
  /// Of models that have a `rollout.yaml`.
  package var rollouts: [ModelID: RolloutFinding] = [:]
  /// False while the store's directory is missing or cannot be listed: then nothing is known about any
  /// model, which is not the same as all of them being gone.
  package var isReadable = true
  /// Models whose directory could not be listed; nothing is known about their files.
  package var unreadableModels: Set<ModelID> = []
  /// Directories to watch, the store's first.
  package var directories: [String] = []

  package init() {}
}

/// One `STORE/<model>/<version>.ntb`.
package struct StoreFile: Sendable, Equatable {
  package var key: VersionKey
  package var path: String
  package var fingerprint: FileFingerprint
  package var completeness: BundleFile.Completeness

  package init(
    key: VersionKey, path: String, fingerprint: FileFingerprint, completeness: BundleFile.Completeness
  ) {
    self.key = key
    self.path = path
    self.fingerprint = fingerprint
    self.completeness = completeness
  }
}

/// One version of one model.
package struct VersionKey: Hashable, Comparable, Sendable, CustomStringConvertible {
  package let model: ModelID
  package let version: ModelVersion

  package init(_ model: ModelID, _ version: ModelVersion) {
    self.model = model
    self.version = version
  }

  package var description: String { "\(model) version \(version)" }

  package static func < (a: VersionKey, b: VersionKey) -> Bool {
    a.model == b.model ? a.version < b.version : a.model < b.model
  }
}
