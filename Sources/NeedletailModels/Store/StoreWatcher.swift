internal import NeedletailBundle
internal import NeedletailSystem
internal import Synchronization

/// Lists the store on a thread of its own: at start, whenever something seems to have changed, when asked, and at
/// least once per interval. It only looks; the reconciler decides what follows.
final class StoreWatcher: Sendable {
  enum Finding: Sendable {
    /// - Parameter request: the last ``scanNow()`` before this listing began.
    case snapshot(StoreSnapshot, request: UInt64)
    case trust(Result<TrustPolicy, BundleError>)
  }

  private let source: any StoreSource
  private let limits: BundleLimits
  private let interval: Duration
  private let requests = Atomic<UInt64>(0)
  private let isStopped = Atomic<Bool>(false)

  init(source: any StoreSource, limits: BundleLimits, interval: Duration) {
    self.source = source
    self.limits = limits
    self.interval = interval
  }

  /// - Parameter deliver: called on the watcher's thread.
  func start(trust: TrustSource, deliver: @escaping @Sendable (Finding) -> Void) {
    NativeThread.start(name: "nt-store", niceness: 5) { [self] in run(trust: trust, deliver: deliver) }
  }

  /// Asks for a listing at once.
  /// - Returns: the number that the snapshot will carry, or a later one.
  func scanNow() -> UInt64 {
    let request = requests.wrappingAdd(1, ordering: .sequentiallyConsistent).newValue
    source.wake()
    return request
  }

  func stop() {
    isStopped.store(true, ordering: .sequentiallyConsistent)
    source.wake()
  }

  private func run(trust: TrustSource, deliver: (Finding) -> Void) {
    var trust = trust
    while !isStopped.load(ordering: .sequentiallyConsistent) {
      if let policy = trust.reload() { deliver(.trust(policy)) }
      let request = requests.load(ordering: .sequentiallyConsistent)
      deliver(.snapshot(source.snapshot(limits: limits), request: request))
      source.waitForChange(atMost: interval)
    }
  }
}

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
