internal import Logging
internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailSystem
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Scans the store on a thread of its own: at start, whenever something seems to have happened, when
/// asked, and at least once per interval. It only looks; what to do about it is the planner's business.
final class StoreWatcher: Sendable {
  enum Finding: Sendable {
    /// - Parameter request: the last ``scanNow()`` this scan began after.
    case snapshot(StoreSnapshot, request: UInt64)
    case trust(Result<TrustPolicy, BundleError>)
  }

  private let directory: String
  private let limits: BundleLimits
  private let intervalMilliseconds: Int32
  private let wake = WakeUp()
  private let requests = Atomic<UInt64>(0)
  private let isStopped = Atomic<Bool>(false)
  private let logger: Logger

  /// Events come in bursts: a scan waits this long for the rest of one, and no longer.
  private static let burstMilliseconds: Int32 = 2

  init(configuration: StoreConfiguration, logger: Logger) {
    directory = configuration.directory
    limits = configuration.limits
    let (seconds, attoseconds) = configuration.rescanInterval.components
    let milliseconds = Int64(clamping: seconds).multipliedReportingOverflow(by: 1000).partialValue
    intervalMilliseconds = Int32(clamping: max(1, milliseconds &+ attoseconds / 1_000_000_000_000_000))
    self.logger = logger
  }

  /// - Parameter deliver: called on the watcher's thread.
  func start(trust: TrustSource, deliver: @escaping @Sendable (Finding) -> Void) {
    NativeThread.start(name: "nt-store", niceness: 5) { [self] in run(trust: trust, deliver: deliver) }
  }

  /// Asks for a scan at once.
  /// - Returns: the number that the snapshot will carry, or a later one.
  func scanNow() -> UInt64 {
    let request = requests.wrappingAdd(1, ordering: .sequentiallyConsistent).newValue
    wake.call()
    return request
  }

  func stop() {
    isStopped.store(true, ordering: .sequentiallyConsistent)
    wake.call()
  }

  private func run(trust: TrustSource, deliver: (Finding) -> Void) {
    var trust = trust
    var scanner = StoreScanner(directory: directory, limits: limits)
    var hints = FileSystemHints(logger: logger)
    while !isStopped.load(ordering: .sequentiallyConsistent) {
      if let policy = trust.reload() { deliver(.trust(policy)) }
      let request = requests.load(ordering: .sequentiallyConsistent)
      let snapshot = scanner.scan()
      deliver(.snapshot(snapshot, request: request))
      // A directory that was not watched while it was listed may have changed since.
      if hints.watch(snapshot.directories + (trust.directory.map { [$0] } ?? [])) { continue }
      wait(hints)
    }
  }

  /// Until something happens or the interval is over.
  private func wait(_ hints: borrowing FileSystemHints) {
    var sources = [pollfd(fd: wake.descriptor, events: Int16(POLLIN), revents: 0)]
    if let descriptor = hints.descriptor {
      sources.append(pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0))
    }
    let count = poll(&sources, nfds_t(sources.count), intervalMilliseconds)
    guard count > 0 else { return }
    if sources.count > 1, sources[1].revents != 0, sources[0].revents == 0 {
      _ = poll(&sources, 1, Self.burstMilliseconds)
    }
    wake.drain()
    hints.drain()
  }
}

/// File system events where the system has them; without, rescans must do.
struct FileSystemHints: ~Copyable {
  private let logger: Logger
  /// Readable when something happened; nil where nothing is ever heard.
  let descriptor: Int32?
  #if canImport(Glibc)
    private var inotify: Inotify?
    private var hasFailed = false
  #endif

  init(logger: Logger) {
    self.logger = logger
    #if canImport(Glibc)
      do throws(SystemFailure) {
        let inotify = try Inotify()
        descriptor = inotify.descriptor
        self.inotify = consume inotify
      } catch {
        inotify = nil
        descriptor = nil
        logger.warning("no file system events, relying on rescans", metadata: ["error": "\(error.message)"])
      }
    #else
      descriptor = nil
    #endif
  }

  /// - Returns: whether a directory is watched that was not before.
  mutating func watch(_ directories: [String]) -> Bool {
    #if canImport(Glibc)
      guard let (isNew, failure) = inotify?.watch(directories) else { return false }
      if let failure, !hasFailed {
        hasFailed = true
        logger.warning(
          "cannot watch every directory of the store, relying on rescans", metadata: ["error": "\(failure.message)"])
      }
      return isNew
    #else
      return false
    #endif
  }

  func drain() {
    #if canImport(Glibc)
      if let descriptor { Inotify.drain(descriptor) }
    #endif
  }
}
