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
