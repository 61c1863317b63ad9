internal import Glibc

/// Folders of the file system. Every call blocks: it is for threads of the control plane and for commands.
public enum Directory {
  /// Visits the names of all entries except `.` and `..`, in no particular order.
  ///
  /// - Parameter body: returns false to stop.
  /// - Throws: the reason of the kernel, also if the listing breaks off: half of it would look as if files had gone.
  public static func forEachName(in path: String, _ body: (String) -> Bool) throws(SystemError) {
    guard let directory = opendir(path) else { throw SystemError("open directory \(path)") }
    defer { closedir(directory) }
    while true {
      errno = 0
      guard let entry = readdir(directory) else {
        if errno != 0 { throw SystemError("read directory \(path)") }
        return
      }
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name == "." || name == ".." { continue }
      guard body(name) else { return }
    }
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
  static func split(_ path: String) -> (directory: String, name: String) {
    guard let slash = path.lastIndex(of: "/") else { return (".", path) }
    let name = String(path[path.index(after: slash)...])
    return (slash == path.startIndex ? "/" : String(path[..<slash]), name)
  }
}
