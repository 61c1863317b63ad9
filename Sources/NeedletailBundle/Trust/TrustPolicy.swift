/// A key whose signatures count.
public struct TrustedKey: Sendable, Equatable {
  public enum State: String, Sendable, CaseIterable {
    case active
    /// Signs nothing new; what it signed stays good.
    case retired
    /// Never good again.
    case revoked
  }

  public var name: String
  public var publicKey: PublicKey
  /// Globs of model names, `*` and `?`.
  public var models: [String]
  public var state: State

  public init(name: String, publicKey: PublicKey, models: [String] = ["*"], state: State = .active) {
    self.name = name
    self.publicKey = publicKey
    self.models = models
    self.state = state
  }
}

/// Which bundles a server accepts.
public struct TrustPolicy: Sendable, Equatable {
  public var keys: [TrustedKey]
  public var allowUnsigned: Bool
  /// Digests of directories, lower-case hexadecimal.
  public var revokedDigests: Set<String>
  /// By model name: lower versions are refused.
  public var minimumVersions: [String: UInt64]

  public init(
    keys: [TrustedKey] = [], allowUnsigned: Bool = false, revokedDigests: Set<String> = [],
    minimumVersions: [String: UInt64] = [:]
  ) {
    self.keys = keys
    self.allowUnsigned = allowUnsigned
    self.revokedDigests = revokedDigests
    self.minimumVersions = minimumVersions
  }

  /// What `--allow-unsigned` means.
  public static let allowingUnsigned = TrustPolicy(allowUnsigned: true)
}
