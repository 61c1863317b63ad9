internal import Glibc
internal import NeedletailCore

/// Files that appear whole or not at all: temporary file in the same directory, fsync, rename, fsync of the directory.
///
/// Every call blocks: it is for threads of the control plane and for commands. Several processes may write to one
/// directory at a time.
public enum AtomicFile {
  /// Whether a write may replace a file of the same name.
  public enum Existing: Sendable {
    case replaced
    case refused
  }

  /// Writes a file; a device or a pipe, such as `/dev/stdout`, is written to, where a rename would put a file in its place.
  /// The temporary file is gone on every failure. A writer that is killed leaves its temporary file
  /// behind; a later write to the same directory removes it after `Limits.abandonedFileSeconds`.
  ///
  /// - Parameters:
  ///   - existing: what happens to a file of that name.
  ///   - mode: permissions of the new file, before the process's mask.
  ///   - removingAbandoned: whether temporary files of the target with this name may be removed. By default only those
  ///     of `path` itself, so that nothing is removed that people made.
  /// - Throws: the call that failed; `EEXIST` where there is a file that must not be replaced.
  public static func write(
    _ bytes: [UInt8], to path: String, existing: Existing, mode: UInt32 = 0o644,
    removingAbandoned isOurs: ((String) -> Bool)? = nil
  ) throws(SystemError) {
    if existing == .replaced, isStream(path) {
      return try FileDescriptor(opening: path, O_WRONLY).write(bytes)
    }
    let (directory, name) = Directory.split(path)
    let temporary = "\(directory)/\(TemporaryName.make(for: name))"
    do throws(SystemError) {
      let file = try FileDescriptor(opening: temporary, O_WRONLY | O_CREAT | O_EXCL, mode: mode)
      TemporaryName.lock(file)
      try file.write(bytes)
      try file.synchronise()
      try rename(temporary, to: path, existing: existing)
    } catch {
      unlink(temporary)
      throw error
    }
    try Directory.synchronise(directory)
    TemporaryName.removeAbandoned(beside: path, in: directory) { isOurs?($0) ?? ($0 == name) }
  }

  /// Whether a name belongs to what bytes flow through: a device, a pipe, a socket.
  private static func isStream(_ path: String) -> Bool {
    var status = stat()
    guard stat(path, &status) == 0 else { return false }
    return [S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK].contains(status.st_mode & S_IFMT)
  }

  /// Removes every temporary file of a directory, however young.
  /// - Precondition: nobody else writes to the directory, for instance because the caller holds a lock on it.
  public static func removeTemporaries(in directory: String) {
    for name in TemporaryName.abandonedNames(in: directory, where: { _ in true }) { unlink("\(directory)/\(name)") }
  }

  /// Writes a file that must not exist yet, under its own name: a half-written one is removed on failure.
  ///
  /// - Parameter mode: permissions of the new file, before the process's mask.
  /// - Throws: the call that failed; `EEXIST` where there is a file.
  public static func create(_ path: String, _ bytes: [UInt8], mode: UInt32) throws(SystemError) {
    let file = try FileDescriptor(opening: path, O_WRONLY | O_CREAT | O_EXCL, mode: mode)
    do throws(SystemError) {
      try file.write(bytes)
      try file.synchronise()
    } catch {
      unlink(path)
      throw error
    }
    try Directory.synchronise(Directory.split(path).directory)
  }

  /// Gives a temporary file its name. `link` refuses what `rename` would replace; a file system without hard links
  /// (vfat, many in user space) is protected by a look beforehand only.
  private static func rename(_ temporary: String, to path: String, existing: Existing) throws(SystemError) {
    if existing == .refused {
      if link(temporary, path) == 0 {
        unlink(temporary)
        return
      }
      let code = errno
      var status = stat()
      switch code {
      case EPERM, ENOTSUP, EOPNOTSUPP, ENOSYS:
        guard lstat(path, &status) != 0 else { throw SystemError(code: EEXIST, "create \(path)") }
      default: throw SystemError(code: code, "link \(temporary) to \(path)")
      }
    }
    guard Glibc.rename(temporary, path) == 0 else { throw SystemError("rename \(temporary) to \(path)") }
  }
}

/// Names of temporary files, `.NAME.tmp-RANDOM`, and those that a killed writer left.
///
/// A leading dot and another ending keep a scan of the directory from taking notice. A file is removed only if it is
/// old by the clock of its own file system, and nobody holds the lock that a writer takes: either alone would do on
/// one machine; together they also hold where a network file system knows no locks, or where an older release writes
/// that takes none.
private enum TemporaryName {
  private static let infix = ".tmp-"

  static func make(for name: String) -> String {
    ".\(name)\(infix)\(String(UInt64.random(in: .min ... .max), radix: 36))"
  }

  /// Marks the file as being written, as long as the descriptor is open. Where there are no locks, the age decides.
  static func lock(_ file: borrowing FileDescriptor) {
    let number = file.number
    _ = SystemError.retrying { flock(number, LOCK_EX | LOCK_NB) }
  }

  /// Removes what dead writers left beside `path`, which was written just now. What cannot be looked at or removed
  /// stays: the next writer tries again.
  static func removeAbandoned(beside path: String, in directory: String, where isOurs: (String) -> Bool) {
    var written = stat()
    guard stat(path, &written) == 0 else { return }
    let names = abandonedNames(in: directory, where: isOurs)
    for name in names { removeIfAbandoned("\(directory)/\(name)", now: written) }
  }

  static func abandonedNames(in directory: String, where isOurs: (String) -> Bool) -> [String] {
    var names: [String] = []
    // An unreadable directory has nothing that could be removed.
    try? Directory.forEachName(in: directory) { name in
      if let target = target(of: name), isOurs(target) { names.append(name) }
      return true
    }
    return names
  }

  /// The name of the file that was to be written; nil for names that ``make(for:)`` does not make.
  private static func target(of name: String) -> String? {
    guard name.hasPrefix("."), let dash = name.lastIndex(of: "-") else { return nil }
    let random = name[name.index(after: dash)...]
    guard name[...dash].hasSuffix(infix), !random.isEmpty, random.utf8.allSatisfy(isBase36Digit) else { return nil }
    return String(name[...dash].dropLast(infix.count).dropFirst())
  }

  private static func isBase36Digit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
  }

  private static func removeIfAbandoned(_ path: String, now: stat) {
    // Opened for writing: some network file systems lock only such descriptors. Neither links nor pipes are followed.
    guard let file = try? FileDescriptor(opening: path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK) else { return }
    let number = file.number
    var status = stat()
    guard fstat(number, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
      now.st_mtim.tv_sec &- status.st_mtim.tv_sec >= Limits.abandonedFileSeconds,
      SystemError.retrying({ flock(number, LOCK_EX | LOCK_NB) }) == 0
    else { return }
    unlink(path)
  }
}

/// Folders of the file system. Every call blocks: it is for threads of the control plane and for commands.
public enum Directory {
  /// Visits the names of all entries except `.` and `..`, in no particular order.
  ///
  /// - Parameters:
  ///   - illegible: gets each name that is not UTF-8, with `\xHH` for the bytes that are not ASCII: such an entry cannot
  ///     be opened by a `String`, so `body` does not get it.
  ///   - body: returns false to stop.
  /// - Throws: the reason of the kernel, also if the listing breaks off: half of it would look as if files had gone.
  public static func forEachName(
    in path: String, illegible: (String) -> Void = { _ in }, _ body: (String) -> Bool
  ) throws(SystemError) {
    guard let directory = opendir(path) else { throw SystemError("open directory \(path)") }
    defer { closedir(directory) }
    while true {
      errno = 0
      guard let entry = readdir(directory) else {
        if errno != 0 { throw SystemError("read directory \(path)") }
        return
      }
      let bytes = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
      guard let name = String(validating: bytes, as: UTF8.self) else {
        illegible(escaped(bytes))
        continue
      }
      if name == "." || name == ".." { continue }
      guard body(name) else { return }
    }
  }

  private static func escaped(_ bytes: [UInt8]) -> String {
    bytes.map { byte in
      byte < 0x80 ? String(UnicodeScalar(byte)) : "\\x" + String(byte, radix: 16)
    }.joined()
  }

  /// Creates a directory unless something of that name exists.
  ///
  /// - Returns: whether it was created.
  /// - Throws: the reason of the kernel.
  @discardableResult
  public static func create(_ path: String, mode: UInt32 = 0o777) throws(SystemError) -> Bool {
    if mkdir(path, mode) == 0 { return true }
    let code = errno
    guard code == EEXIST else { throw SystemError(code: code, "create directory \(path)") }
    return false
  }

  /// Returns once the entries of a directory are on the disk. A file that was created or renamed outlives a power
  /// failure only after this.
  ///
  /// - Throws: the reason of the kernel.
  public static func synchronise(_ path: String) throws(SystemError) {
    try FileDescriptor(opening: path, O_RDONLY | O_DIRECTORY).synchronise()
  }

  /// The directory and the last part of a path: `("models", "1.ntb")`, `(".", "1.ntb")`, `("/", "1.ntb")`.
  public static func split(_ path: String) -> (directory: String, name: String) {
    guard let slash = path.lastIndex(of: "/") else { return (".", path) }
    let name = String(path[path.index(after: slash)...])
    return (slash == path.startIndex ? "/" : String(path[..<slash]), name)
  }
}
