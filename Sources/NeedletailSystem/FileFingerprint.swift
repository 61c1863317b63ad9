internal import Glibc

/// Figures of `stat` that change when a file does: whoever writes, replaces or re-permits it moves one of them.
package struct FileFingerprint: Hashable, Sendable {
  package var device: UInt64
  package var inode: UInt64
  package var bytes: UInt64
  package var modifiedNanoseconds: Int64
  /// Last change of the inode. It moves with permissions and links too, and nobody can set it back.
  package var changedNanoseconds: Int64

  package init(
    device: UInt64 = 0, inode: UInt64, bytes: UInt64, modifiedNanoseconds: Int64, changedNanoseconds: Int64
  ) {
    self.device = device
    self.inode = inode
    self.bytes = bytes
    self.modifiedNanoseconds = modifiedNanoseconds
    self.changedNanoseconds = changedNanoseconds
  }

  /// Whether nobody wrote to the file since: its name, links or permissions may have changed, as they do when a
  /// publisher takes its temporary name away.
  package func hasContents(of other: FileFingerprint) -> Bool {
    device == other.device && inode == other.inode && bytes == other.bytes
      && modifiedNanoseconds == other.modifiedNanoseconds
  }

  /// Kind of thing behind a path, symbolic links followed.
  package enum Kind: Sendable, Equatable {
    case file(FileFingerprint)
    case directory
    /// A device, a socket or a pipe.
    case other
    /// The path cannot be looked at, for the reason of this `errno`.
    case unreachable(Int32)
  }

  package static func of(path: String) -> Kind {
    var status = stat()
    guard stat(path, &status) == 0 else { return .unreachable(errno) }
    switch status.st_mode & S_IFMT {
    case S_IFDIR: return .directory
    case S_IFREG: return .file(FileFingerprint(status))
    default: return .other
    }
  }

  private init(_ status: stat) {
    self.init(
      device: UInt64(truncatingIfNeeded: status.st_dev), inode: UInt64(status.st_ino),
      bytes: UInt64(clamping: status.st_size), modifiedNanoseconds: Self.nanoseconds(status.st_mtim),
      changedNanoseconds: Self.nanoseconds(status.st_ctim))
  }

  /// Wraps for times some centuries away, which a file may claim: only equality matters.
  private static func nanoseconds(_ time: timespec) -> Int64 {
    Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
  }
}
