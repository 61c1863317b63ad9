#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif
internal import NeedletailCore

/// Temporary files whose writer was killed before it could rename or remove them.
///
/// One is removed only if it is old by the clock of its own file system, and nobody holds the lock that a
/// writer takes: either alone would do on one machine; together they also hold where a network file system
/// knows no locks, or where an older release writes that takes none.
enum AbandonedFiles {
  /// `.NAME.tmp-`, then what makes it unlike any other.
  static func temporaryName(for name: String) -> String {
    ".\(name)\(infix)\(String(UInt64.random(in: .min ... .max), radix: 36))"
  }

  private static let infix = ".tmp-"

  /// Says that a writer lives, as long as the descriptor is open. Best effort: without locks the age decides.
  static func lock(_ descriptor: Int32) { _ = SystemCall.retrying { flock(descriptor, LOCK_EX | LOCK_NB) } }

  /// Removes what dead writers left beside `path`, which was written just now. What cannot be looked at or
  /// removed stays: the next writer tries again.
  static func remove(beside path: String, in directory: String) {
    var written = stat()
    guard stat(path, &written) == 0, let entries = opendir(directory) else { return }
    defer { closedir(entries) }
    while let entry = readdir(entries) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard isTemporary(name) else { continue }
      removeIfAbandoned("\(directory)/\(name)", now: written)
    }
  }

  /// What an `AtomicFile` writes, and nothing that people name.
  private static func isTemporary(_ name: String) -> Bool {
    guard name.hasPrefix("."), let dash = name.lastIndex(of: "-") else { return false }
    let random = name[name.index(after: dash)...]
    guard name[...dash].hasSuffix(infix), !random.isEmpty, random.utf8.allSatisfy(isDigit) else { return false }
    let target = name[...dash].dropLast(infix.count).dropFirst()
    return target == "rollout.yaml" || target.hasSuffix(".ntb")
  }

  /// To the base of 36.
  private static func isDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
  }

  private static func removeIfAbandoned(_ path: String, now: stat) {
    // For writing: some network file systems lock only such descriptors. Neither a link nor a pipe is followed.
    let descriptor = SystemCall.retrying { open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) }
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
      seconds(now) &- seconds(status) >= Limits.abandonedFileSeconds,
      SystemCall.retrying({ flock(descriptor, LOCK_EX | LOCK_NB) }) == 0
    else { return }
    unlink(path)
  }

  /// When the file was last written to.
  private static func seconds(_ status: stat) -> Int {
    #if canImport(Glibc)
      Int(status.st_mtim.tv_sec)
    #else
      Int(status.st_mtimespec.tv_sec)
    #endif
  }
}
