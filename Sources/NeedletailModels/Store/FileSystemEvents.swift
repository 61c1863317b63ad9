internal import Glibc
internal import Logging
internal import NeedletailSystem

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
