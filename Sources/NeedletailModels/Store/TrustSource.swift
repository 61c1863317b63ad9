internal import NeedletailBundle

/// Whom to trust, and whether that changed. Used by one thread at a time.
struct TrustSource: Sendable {
  private let trust: StoreConfiguration.Trust
  private let allowUnsigned: Bool
  private var read: FileFingerprint.Kind?

  init(_ configuration: StoreConfiguration) {
    trust = configuration.trust
    allowUnsigned = configuration.allowUnsigned
  }

  /// - Throws: where the trust file is missing, unreadable or wrong.
  mutating func load() throws(BundleError) -> TrustPolicy {
    switch trust {
    case .policy(var policy):
      policy.allowUnsigned = policy.allowUnsigned || allowUnsigned
      return policy
    case .file(let path):
      // Taken before reading: a change in between is then seen as one.
      read = FileFingerprint.of(path: path)
      var policy = try TrustPolicy.load(path: path)
      policy.allowUnsigned = policy.allowUnsigned || allowUnsigned
      return policy
    }
  }

  /// Where the trust file lies: what happens in it is a reason to look at the file again.
  var directory: String? {
    guard case .file(let path) = trust else { return nil }
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  /// The policy if its file changed since it was last read, or the error that this ended with; nil if
  /// nothing changed.
  mutating func reload() -> Result<TrustPolicy, BundleError>? {
    guard case .file(let path) = trust, FileFingerprint.of(path: path) != read else { return nil }
    do throws(BundleError) {
      return .success(try load())
    } catch {
      return .failure(error)
    }
  }
}
