internal import Glibc
public import Logging
public import NeedletailBundle
public import NeedletailCore
internal import NeedletailSystem
internal import Synchronization

/// A store in a directory: `STORE/<model>/<version>.ntb`, and `STORE/<model>/rollout.yaml` beside the bundles.
///
/// Everything that a store on a file system needs is in here: listing (``DirectoryScanner``), events of the file
/// system, files that still grow, timestamps that are too coarse, and writing that survives a power failure.
///
/// The directory need not exist yet, and may be replaced, unmounted or read-only at any time.
public final class DirectoryStore: StoreSource {
  private struct State: ~Copyable {
    var scanner: DirectoryScanner
    var events: FileSystemEvents
  }

  private let path: String
  private let alsoWatching: [String]
  private let wakeup: PollerWakeup
  /// Used by the watcher's thread alone; the lock only proves it.
  private let state: Mutex<State>

  /// Events come in bursts: a scan waits this long for the rest of one, and no longer.
  private static let burstMilliseconds: Int32 = 2
  /// A file younger than this could be written to without its timestamps moving: the kernel's clock for files ticks
  /// every 1 to 10 ms.
  private static let timestampTickMilliseconds: Int64 = 10
  /// A file that goes on changing for so many ticks is left to be finished first.
  private static let settlingLooksMax = 8

  /// - Parameters:
  ///   - path: the directory of models.
  ///   - directories: other directories whose changes end a wait, for instance that of a trust file.
  ///   - logger: gets a warning if the system gives no file system events.
  /// - Throws: `.io` if the process has no descriptor left.
  public init(_ path: String, alsoWatching directories: [String] = [], logger: Logger? = nil) throws(BundleError) {
    self.path = path
    alsoWatching = directories
    do throws(SystemError) { wakeup = try PollerWakeup() } catch { throw BundleError(error) }
    state = Mutex(State(scanner: DirectoryScanner(directory: path), events: FileSystemEvents(logger: logger)))
  }

  // MARK: listing

  public func snapshot(limits: BundleLimits) -> StoreSnapshot {
    state.withLock { $0.scanner.scan(limits: limits) }
  }

  public func waitForChange(atMost duration: Duration) {
    // A directory that was not watched while it was listed may have changed since.
    let (isNew, descriptor) = state.withLock { state in
      (state.events.watch(state.scanner.directories + alsoWatching), state.events.descriptor)
    }
    guard !isNew else { return }
    // A signal that came before the wait ends it at once.
    guard wakeup.mayBlock() else { return _ = wakeup.takeSignal() }
    defer {
      _ = wakeup.takeSignal()
      wakeup.clear()
    }
    var sources = [pollfd(fd: wakeup.descriptor, events: Int16(POLLIN), revents: 0)]
    if let descriptor { sources.append(pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)) }
    guard poll(&sources, nfds_t(sources.count), Self.milliseconds(duration)) > 0 else { return }
    if sources.count > 1, sources[1].revents != 0, sources[0].revents == 0 {
      _ = poll(&sources, 1, Self.burstMilliseconds)
    }
    if let descriptor { FileSystemEvents.drain(descriptor) }
  }

  public func wake() { wakeup.signal() }

  /// At least one millisecond: a wait of none would keep a processor busy.
  private static func milliseconds(_ duration: Duration) -> Int32 {
    let (seconds, attoseconds) = duration.components
    let milliseconds = Int64(clamping: seconds).multipliedReportingOverflow(by: 1000).partialValue
    return Int32(clamping: max(1, milliseconds &+ attoseconds / 1_000_000_000_000_000))
  }

  // MARK: reading

  public func read(_ bundle: StoredBundle, limits: BundleLimits) throws(StoreReadError) -> StoredCopy {
    let fingerprint = try settledFingerprint(of: bundle).opaque
    do throws(BundleError) {
      return StoredCopy(file: try BundleFile.open(path: file(bundle.key), limits: limits), fingerprint: fingerprint)
    } catch {
      guard self.fingerprint(of: bundle.key) == fingerprint else { throw .changed }
      throw .failed(error)
    }
  }

  public func fingerprint(of key: VersionKey) -> StoreFingerprint? {
    guard case .file(let fingerprint) = FileFingerprint.of(path: file(key)) else { return nil }
    return fingerprint.opaque
  }

  /// Waits until a change of the file could not go unnoticed any more.
  ///
  /// - Throws: `.changed` if somebody wrote to the file since it was scanned: it may be growing again.
  private func settledFingerprint(of bundle: StoredBundle) throws(StoreReadError) -> FileFingerprint {
    guard let scanned = FileFingerprint(bundle.fingerprint) else { throw .changed }
    let tick = Self.timestampTickMilliseconds * 1_000_000
    var last: FileFingerprint?
    for _ in 0..<Self.settlingLooksMax {
      guard case .file(let fingerprint) = FileFingerprint.of(path: file(bundle.key)),
        fingerprint.hasContents(of: scanned)
      else { throw .changed }
      // Only links or permissions moved during the wait: a publisher took its temporary name away.
      guard fingerprint != last else { return fingerprint }
      var time = timespec()
      clock_gettime(CLOCK_REALTIME, &time)
      let now = Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
      let age = now &- max(fingerprint.modifiedNanoseconds, fingerprint.changedNanoseconds)
      // A timestamp from the future says nothing about the age.
      guard (0..<tick).contains(age) else { return fingerprint }
      usleep(UInt32((tick - age) / 1000) + 1)
      last = fingerprint
    }
    throw .changed
  }

  // MARK: writing

  public func publish(_ bytes: [UInt8], as key: VersionKey, replace: Bool) throws(BundleError) -> String {
    try Publisher.publish(bytes, model: key.model, version: key.version, store: path, replace: replace)
  }

  /// - Throws: `.io`, also if the store has no directory of this model.
  public func writeRollout(_ text: String, of model: ModelID) throws(BundleError) -> String {
    try writeRollout(text, of: model, creatingDirectory: false)
  }

  /// - Parameter creatingDirectory: whether to make the model's directory where there is none: to retire a model whose
  ///   directory was deleted.
  public func writeRollout(
    _ text: String, of model: ModelID, creatingDirectory: Bool
  ) throws(BundleError) -> String {
    if creatingDirectory {
      do throws(SystemError) {
        try Directory.create(directory(model))
        try Directory.synchronise(path)
      } catch {
        throw BundleError(error)
      }
    }
    let directory = directory(model)
    guard case .directory = FileFingerprint.of(path: directory) else {
      throw BundleError(.io, "\(directory): expected the directory of the model, found none")
    }
    let file = "\(directory)/\(RolloutFile.name)"
    try AtomicFile.write(Array(text.utf8), to: file, replace: true)
    return file
  }

  /// A model's rollout file as it lies in the store now; nil if there is none.
  public func rollout(of model: ModelID) -> RolloutFinding? {
    DirectoryScanner.rollout(in: directory(model))
  }

  private func directory(_ model: ModelID) -> String { "\(path)/\(model)" }

  private func file(_ key: VersionKey) -> String {
    "\(directory(key.model))/\(key.version)\(DirectoryScanner.fileSuffix)"
  }
}

/// Linux' file system events for a set of directories. What happened is not kept: an event only says that a scan is
/// worthwhile, and so does a queue that overflowed. Where the system gives no events, rescans must do.
struct FileSystemEvents: ~Copyable {
  /// Readable when something happened, non-blocking; nil before the first ``watch(_:)``, and if the system gives no
  /// events.
  private(set) var descriptor: Int32?
  private var isOpened = false
  private var watches: [String: Int32] = [:]
  private let logger: Logger?
  private var hasFailed = false

  /// `IN_MODIFY` is left out: a file that is being written is of no interest until it is closed.
  private static let mask = UInt32(
    IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)

  /// - Parameter logger: told once if there are no events at all, for instance because the user has too many
  ///   instances (`EMFILE`), and once if some directory cannot be watched.
  init(logger: Logger?) { self.logger = logger }

  deinit {
    if let descriptor { close(descriptor) }
  }

  /// Watches these directories and no others.
  ///
  /// - Returns: whether some directory is watched that was not before, so that what happened in it until now was
  ///   missed.
  mutating func watch(_ paths: [String]) -> Bool {
    if !isOpened { open() }
    guard let descriptor else { return false }
    var now: [String: Int32] = [:]
    var failure: SystemError?
    for path in paths {
      // Asked anew each time: behind the same path there may be another directory by now.
      let watch = inotify_add_watch(descriptor, path, Self.mask)
      if watch >= 0 {
        now[path] = watch
      } else if errno != ENOENT, failure == nil {
        failure = SystemError("watch \(path)")
      }
    }
    let kept = Set(now.values)
    for watch in Set(watches.values).subtracting(kept) {
      // Fails where the directory is gone, and the watch with it.
      inotify_rm_watch(descriptor, watch)
    }
    let isNew = !kept.isSubset(of: Set(watches.values))
    watches = now
    if let failure, !hasFailed {
      hasFailed = true
      // `ENOSPC`: the user has too many watches.
      logger?.warning(
        "cannot watch every directory of the store, relying on rescans", metadata: ["error": "\(failure.reason)"])
    }
    return isNew
  }

  private mutating func open() {
    isOpened = true
    let opened = inotify_init1(Int32(IN_NONBLOCK) | Int32(IN_CLOEXEC))
    if opened >= 0 {
      descriptor = opened
    } else {
      logger?.warning(
        "no file system events, relying on rescans", metadata: ["error": "\(SystemError("inotify").reason)"])
    }
  }

  /// Empties the queue.
  static func drain(_ descriptor: Int32) {
    withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 8) { buffer in
      while Glibc.read(descriptor, buffer.baseAddress, buffer.count) > 0 {}
    }
  }
}
