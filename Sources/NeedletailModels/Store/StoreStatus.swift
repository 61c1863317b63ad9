public import NeedletailCore

/// What the store holds and how far each version got.
public struct StoreStatus: Sendable, Equatable {
  /// By name.
  public var models: [ModelStatus] = []
  /// Files that are no bundle of any model.
  public var problems: [StoreProblem] = []
  /// Set once the first scan is done and every model in it is either live or only has versions that
  /// were rejected or are incomplete; stays set, for a server that serves must not stop because
  /// somebody uploads a new model.
  public var isReady = false

  public init() {}

  /// The status of one model, nil if the store has never held it.
  public func model(_ name: String) -> ModelStatus? { models.first { $0.model.name == name } }
}

public struct ModelStatus: Sendable, Equatable {
  public let model: ModelID
  /// What answers a request without a selector.
  public var serving: ModelVersion?
  /// Newest first.
  public var versions: [VersionStatus]
  public var rollout: RolloutStatus

  public init(
    model: ModelID, serving: ModelVersion?, versions: [VersionStatus], rollout: RolloutStatus = RolloutStatus()
  ) {
    self.model = model
    self.serving = serving
    self.versions = versions
    self.rollout = rollout
  }

  /// - Returns: nil if the store does not know this version.
  public func version(_ number: UInt64) -> VersionStatus? { versions.first { $0.version.number == number } }
}

public struct VersionStatus: Sendable, Equatable {
  public let version: ModelVersion
  public var state: VersionState
  /// Why it was rejected, or what it waits for, or what is odd about it; empty otherwise.
  public var reason: String
  /// SHA-256 of the bundle's directory, lower-case hexadecimal; empty while unknown.
  public var digest: String
  /// Name of the key that signed it; empty if unsigned or not known yet.
  public var signer: String
  /// Unix time at which it entered this state.
  public var sinceMilliseconds: UInt64
  /// Bytes of memory it holds.
  public var residentBytes: Int

  public init(
    version: ModelVersion, state: VersionState, reason: String, digest: String, signer: String,
    sinceMilliseconds: UInt64, residentBytes: Int
  ) {
    self.version = version
    self.state = state
    self.reason = reason
    self.digest = digest
    self.signer = signer
    self.sinceMilliseconds = sinceMilliseconds
    self.residentBytes = residentBytes
  }
}

/// A file or directory in the store that nothing can be made of.
public struct StoreProblem: Sendable, Equatable, Hashable {
  /// Below the store; empty for the store itself.
  public let path: String
  public let reason: String

  public init(path: String, reason: String) {
    self.path = path
    self.reason = reason
  }
}
