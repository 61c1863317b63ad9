internal import NeedletailBundle

/// The trust policy, read from its file again whenever that changes. Used by one thread at a time.
struct TrustSource: Sendable {
  private let trust: StoreConfiguration.Trust
  private let allowUnsigned: Bool
  /// The trust file as it was when it was last read.
  private var lastRead: FileFingerprint.Kind?

  init(_ configuration: StoreConfiguration) {
    trust = configuration.trust
    allowUnsigned = configuration.allowUnsigned
  }

  /// - Throws: if the trust file is missing, unreadable or wrong.
  mutating func load() throws(BundleError) -> TrustPolicy {
    var policy: TrustPolicy
    switch trust {
    case .policy(let given): policy = given
    case .file(let path):
      // Taken before reading: a change in between is then seen as one.
      lastRead = FileFingerprint.of(path: path)
      policy = try TrustPolicy.load(path: path)
    }
    policy.allowUnsigned = policy.allowUnsigned || allowUnsigned
    return policy
  }

  /// The policy if its file changed since it was last read, or the error that this ended with; nil if nothing changed.
  mutating func reload() -> Result<TrustPolicy, BundleError>? {
    guard case .file(let path) = trust, FileFingerprint.of(path: path) != lastRead else { return nil }
    do throws(BundleError) {
      return .success(try load())
    } catch {
      return .failure(error)
    }
  }
}
