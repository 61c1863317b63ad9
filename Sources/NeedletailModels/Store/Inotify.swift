#if canImport(Glibc)
  internal import Glibc

  /// Linux' file system events, for a set of directories. What happened is not kept: an event only says
  /// that a scan is worthwhile, and so does a queue that overflowed.
  struct Inotify: ~Copyable {
    /// Readable when something happened; non-blocking.
    let descriptor: Int32
    private var watches: [String: Int32] = [:]

    /// Not `IN_MODIFY`: a file that is being written is of no interest until it is closed.
    private static let mask = UInt32(
      IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)

    /// - Throws: ``SystemFailure``, e.g. `EMFILE` where the user has too many instances.
    init() throws(SystemFailure) {
      descriptor = inotify_init1(Int32(IN_NONBLOCK) | Int32(IN_CLOEXEC))
      guard descriptor >= 0 else { throw SystemFailure(errno) }
    }

    deinit { close(descriptor) }

    /// Watches these directories and no others.
    ///
    /// - Returns: whether some directory is watched that was not before, so that what happened in it
    ///   until now was missed; and the first failure, `ENOSPC` where the user has too many watches.
    mutating func watch(_ paths: [String]) -> (isNew: Bool, failure: SystemFailure?) {
      var now: [String: Int32] = [:]
      var failure: SystemFailure?
      for path in paths {
        // Asked anew each time: behind the same path there may be another directory by now.
        let watch = inotify_add_watch(descriptor, path, Self.mask)
        if watch >= 0 {
          now[path] = watch
        } else if errno != ENOENT, failure == nil {
          failure = SystemFailure(errno)
        }
      }
      let kept = Set(now.values)
      for watch in Set(watches.values).subtracting(kept) {
        // Fails where the directory is gone, and the watch with it.
        inotify_rm_watch(descriptor, watch)
      }
      let isNew = !kept.isSubset(of: Set(watches.values))
      watches = now
      return (isNew, failure)
    }

    /// Empties the queue.
    static func drain(_ descriptor: Int32) {
      withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 8) { buffer in
        while read(descriptor, buffer.baseAddress, buffer.count) > 0 {}
      }
    }
  }
#endif
