#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif
public import NeedletailCore

/// Puts bundles into a store so that a reader sees the old state or the new one, nothing between.
public enum Publisher {
  /// Writes `bytes` to `STORE/<model>/<version>.ntb`: a temporary file in the same directory, fsync,
  /// rename, fsync of the directory. The temporary file is gone on every failure; what a writer that was
  /// killed left behind, the next one removes after ``Limits/abandonedFileSeconds``.
  ///
  /// - Parameter replace: false refuses to touch a version that is there.
  /// - Returns: the path of the published file.
  /// - Throws: `.exists`, `.wrongName` if the bundle is another model or version, or `.io` naming what
  ///   failed.
  public static func publish(
    _ bytes: [UInt8], model: ModelID, version: ModelVersion, store: String, replace: Bool = false
  ) throws(BundleError) -> String {
    try checkIdentity(bytes, model: model, version: version)
    let directory = "\(store)/\(model)"
    if mkdir(directory, 0o777) == 0 {
      try SystemCall.synchroniseDirectory(store)
    } else if errno != EEXIST {
      throw SystemCall.failure("create directory \(directory)")
    }
    let path = "\(directory)/\(version).ntb"
    var status = stat()
    guard replace || lstat(path, &status) != 0 else { throw existing(path) }
    try AtomicFile.write(bytes, to: path, replace: replace)
    return path
  }

  /// One above the highest version in the store, 1 for a new model.
  public static func nextVersion(of model: ModelID, store: String) throws(BundleError) -> ModelVersion {
    let path = "\(store)/\(model)"
    var highest: UInt64 = 0
    if let directory = opendir(path) {
      defer { closedir(directory) }
      while let entry = readdir(directory) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
          String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        guard name.hasSuffix(".ntb"), let version = ModelVersion(decimal: name.dropLast(4)) else { continue }
        highest = max(highest, version.number)
      }
    } else if errno != ENOENT {
      throw SystemCall.failure("open directory \(path)")
    }
    let (next, overflow) = highest.addingReportingOverflow(1)
    guard !overflow, let version = ModelVersion(next) else {
      throw BundleError(.oversized, "version: expected one below \(UInt64.max) in \(path), found it: no number is left")
    }
    return version
  }

  private static func checkIdentity(_ bytes: [UInt8], model: ModelID, version: ModelVersion) throws(BundleError) {
    // Whole and unharmed; whose signatures count is for the server to say.
    _ = try VerifiedBundle(
      BundleFile(bytes: bytes), trust: .allowingUnsigned, expecting: (model, version),
      limits: BundleLimits(fileBytesMax: .max), nowMilliseconds: 0)
  }

  fileprivate static func existing(_ path: String) -> BundleError {
    BundleError(.exists, "\(path): expected no such version, found one; a published version is never changed")
  }
}

/// A file that appears whole or not at all.
package enum AtomicFile {
  package static func write(_ bytes: [UInt8], to path: String, replace: Bool) throws(BundleError) {
    let slash = path.lastIndex(of: "/")
    let directory = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let name = slash.map { String(path[path.index(after: $0)...]) } ?? path
    // A leading dot and another ending: a store's scan takes no notice.
    let temporary = "\(directory)/\(AbandonedFiles.temporaryName(for: name))"
    let descriptor = SystemCall.retrying { open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644) }
    guard descriptor >= 0 else { throw SystemCall.failure("create \(temporary)") }
    var isTemporaryLeft = true
    defer {
      if isTemporaryLeft { unlink(temporary) }
      close(descriptor)
    }
    AbandonedFiles.lock(descriptor)
    try SystemCall.writeAll(bytes, to: descriptor, path: temporary)
    guard SystemCall.retrying({ fsync(descriptor) }) == 0 else { throw SystemCall.failure("fsync \(temporary)") }
    let isNamed = replace ? false : try isLinked(temporary, path)
    if !isNamed {
      guard rename(temporary, path) == 0 else { throw SystemCall.failure("rename \(temporary) to \(path)") }
      isTemporaryLeft = false
    }
    try SystemCall.synchroniseDirectory(directory)
    AbandonedFiles.remove(beside: path, in: directory)
  }

  /// Gives the file its name, unless another has it: `link` refuses what `rename` would replace.
  ///
  /// - Returns: false on a file system without hard links (vfat, many in user space), where only a look
  ///   beforehand protects an existing file.
  private static func isLinked(_ temporary: String, _ path: String) throws(BundleError) -> Bool {
    guard link(temporary, path) != 0 else { return true }
    switch errno {
    case EEXIST: throw Publisher.existing(path)
    case EPERM, ENOTSUP, EOPNOTSUPP, ENOSYS:
      var status = stat()
      guard lstat(path, &status) != 0 else { throw Publisher.existing(path) }
      return false
    default: throw SystemCall.failure("link \(temporary) to \(path)")
    }
  }
}
