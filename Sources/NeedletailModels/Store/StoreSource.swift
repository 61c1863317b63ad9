public import NeedletailBundle
public import NeedletailCore

/// A place that holds bundles and rollout files: a directory, or one day a bucket of an object store.
///
/// The loader, the reconciler and the status know a store through this protocol alone, so that another kind of store
/// is one more type that conforms. ``DirectoryStore`` is the one for file systems.
///
/// Calls block. ``snapshot(limits:)`` and ``waitForChange(atMost:)`` are called by the watcher's thread, one after the
/// other; ``read(_:limits:)`` and ``fingerprint(of:)`` by the loader's thread. Both threads are outside of Swift's
/// pool, so a source above an asynchronous client may wait there for its answers. ``wake()`` may be called by anyone.
///
/// ```swift
/// let store = DirectoryStore("/var/lib/models", logger: logger)
/// for bundle in store.snapshot(limits: BundleLimits()).bundles { print(bundle.place) }
/// ```
public protocol StoreSource: Sendable {
  /// Lists everything that the store holds now. What cannot be read is a problem of the snapshot, not an error: a
  /// store that is out of reach for a moment must not look like an empty one.
  ///
  /// - Parameter limits: sizes beyond which a file is no bundle.
  func snapshot(limits: BundleLimits) -> StoreSnapshot

  /// Waits until something may have changed since the last snapshot. It may return early without a reason, so a source
  /// that hears of no changes just waits.
  ///
  /// - Parameter duration: the longest wait; the caller takes a snapshot afterwards in any case.
  func waitForChange(atMost duration: Duration)

  /// Ends a wait at once: the present one, or the next one if nobody waits.
  func wake()

  /// Makes a private copy of a bundle as it was listed.
  ///
  /// - Parameters:
  ///   - bundle: as in a snapshot.
  ///   - limits: the largest file that is read.
  /// - Returns: the bytes, with the fingerprint of exactly these bytes.
  /// - Throws: `.changed` if the store holds another bundle now, or one that is still being written.
  func read(_ bundle: StoredBundle, limits: BundleLimits) throws(StoreReadError) -> StoredCopy

  /// Fingerprint of what the store holds now under a version, nil if it holds nothing. A bundle that was refused
  /// counts as refused only if its fingerprint is still the same.
  func fingerprint(of key: VersionKey) -> StoreFingerprint?

  /// Adds a bundle so that a reader sees all of it or nothing.
  ///
  /// - Parameters:
  ///   - bytes: a whole bundle of this model and version.
  ///   - replace: false refuses to touch a version that is there.
  /// - Returns: where it lies, in words for people.
  /// - Throws: `.exists`, `.wrongName` if the bundle is another model or version, or `.io`.
  func publish(_ bytes: [UInt8], as key: VersionKey, replace: Bool) throws(BundleError) -> String

  /// Replaces a model's rollout file so that a reader sees the old text or the new one. The text is not checked.
  ///
  /// - Returns: where it lies, in words for people.
  /// - Throws: `.io`.
  func writeRollout(_ text: String, of model: ModelID) throws(BundleError) -> String
}

/// A token that changes whenever a stored bundle may have changed: the figures of `stat`, or the ETag of an object.
/// Only the source that made it looks inside.
public struct StoreFingerprint: Hashable, Sendable {
  public let token: String

  public init(_ token: String) { self.token = token }
}

/// A version of a model that a store holds, as one snapshot found it.
public struct StoredBundle: Equatable, Sendable {
  public var key: VersionKey
  /// Where it lies, in words for people.
  public var place: String
  public var fingerprint: StoreFingerprint
  /// Size in bytes.
  public var bytes: UInt64
  /// The finding from its length and its header alone.
  public var completeness: BundleFile.Completeness

  public init(
    key: VersionKey, place: String, fingerprint: StoreFingerprint, bytes: UInt64,
    completeness: BundleFile.Completeness
  ) {
    self.key = key
    self.place = place
    self.fingerprint = fingerprint
    self.bytes = bytes
    self.completeness = completeness
  }
}

/// A private copy of a stored bundle: what is verified is what is decoded, whatever happens to the store meanwhile.
public struct StoredCopy: Sendable {
  public let file: BundleFile
  public let fingerprint: StoreFingerprint

  public init(file: BundleFile, fingerprint: StoreFingerprint) {
    self.file = file
    self.fingerprint = fingerprint
  }
}

/// Why a stored bundle could not be read.
public enum StoreReadError: Error, Equatable {
  /// The store holds something else by now, or somebody is still writing: the next snapshot shows it.
  case changed
  /// What was listed is there and cannot be read.
  case failed(BundleError)
}

/// Everything that one listing of a store found.
public struct StoreSnapshot: Sendable, Equatable {
  /// By model, then version, ascending.
  public var bundles: [StoredBundle] = []
  /// Rollout files by model; a model without one is absent.
  public var rollouts: [ModelID: RolloutFinding] = [:]
  /// User ids that the rollout files belong to, for the audit log; a model whose store knows none is absent.
  public var rolloutOwners: [ModelID: UInt32] = [:]
  public var problems: [StoreProblem] = []
  /// False while the store as a whole cannot be listed: then nothing is known about any model, which is not the same
  /// as all of them being gone.
  public var isReadable = true
  /// Models whose part of the store could not be listed; nothing is known about their bundles.
  public var unreadableModels: Set<ModelID> = []

  public init() {}
}

/// The finding of a snapshot on one model's `rollout.yaml`.
public enum RolloutFinding: Sendable, Equatable {
  case file(RolloutFile)
  /// The file is there and cannot be used; the reason is one sentence.
  case invalid(String)
}

/// Something in the store that is no bundle of any model, or the store itself.
public struct StoreProblem: Sendable, Equatable, Hashable {
  /// Place below the store; empty for the store itself.
  public let path: String
  public let reason: String

  public init(path: String, reason: String) {
    self.path = path
    self.reason = reason
  }
}

/// A version of a model.
public struct VersionKey: Hashable, Comparable, Sendable, CustomStringConvertible {
  public let model: ModelID
  public let version: ModelVersion

  public init(_ model: ModelID, _ version: ModelVersion) {
    self.model = model
    self.version = version
  }

  public var description: String { "\(model) version \(version)" }

  /// By model, then version.
  public static func < (a: VersionKey, b: VersionKey) -> Bool {
    a.model == b.model ? a.version < b.version : a.model < b.model
  }
}
