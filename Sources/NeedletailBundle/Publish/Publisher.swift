internal import Glibc
public import NeedletailCore
package import NeedletailSystem

/// The publisher, which puts bundles into a store so that a reader sees either the old state or the new one.
public enum Publisher {
  /// Writes `bytes` to `STORE/<model>/<version>.ntb`: a temporary file in the same directory, fsync,
  /// rename, fsync of the directory. The temporary file is removed on every failure; one that a killed
  /// writer left is removed by the next writer after `Limits.abandonedFileSeconds`.
  ///
  /// - Parameter replace: false refuses to touch an existing version.
  /// - Returns: the path of the published file.
  /// - Throws: `.exists`, `.wrongName` if the bundle is another model or version, or `.io` that names
  ///   the failed call.
  public static func publish(
    _ bytes: [UInt8], model: ModelID, version: ModelVersion, store: String, replace: Bool = false
  ) throws(BundleError) -> String {
    try checkIdentity(bytes, model: model, version: version)
    let directory = "\(store)/\(model)"
    do throws(SystemError) {
      if try Directory.create(directory) { try Directory.synchronise(store) }
    } catch {
      throw BundleError(error)
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
    do throws(SystemError) {
      try Directory.forEachName(in: path) { name in
        if name.hasSuffix(".ntb"), let version = ModelVersion(decimal: name.dropLast(4)) {
          highest = max(highest, version.number)
        }
        return true
      }
    } catch {
      // A new model has no directory yet.
      guard error.code == ENOENT else { throw BundleError(error) }
    }
    let (next, overflow) = highest.addingReportingOverflow(1)
    guard !overflow, let version = ModelVersion(next) else {
      throw BundleError(.oversized, "version: expected one below \(UInt64.max) in \(path), found it: no number is left")
    }
    return version
  }

  private static func checkIdentity(_ bytes: [UInt8], model: ModelID, version: ModelVersion) throws(BundleError) {
    // The bundle must be complete and undamaged; the server decides which signatures it trusts.
    _ = try VerifiedBundle(
      BundleFile(bytes: bytes), trust: .allowingUnsigned, expecting: (model, version),
      limits: BundleLimits(fileBytesMax: .max), nowMilliseconds: 0)
  }

  fileprivate static func existing(_ path: String) -> BundleError {
    BundleError(.exists, "\(path): expected no such version, found one; a published version is never changed")
  }
}

extension AtomicFile {
  /// Writes a bundle, or another file of a store or beside one, and removes what killed writers left of such files.
  ///
  /// - Parameter replace: false refuses to touch an existing file.
  /// - Throws: `.exists`, or `.io` naming the call that failed.
  package static func write(_ bytes: [UInt8], to path: String, replace: Bool) throws(BundleError) {
    do throws(SystemError) {
      try write(bytes, to: path, existing: replace ? .replaced : .refused) {
        $0 == "rollout.yaml" || $0.hasSuffix(".ntb")
      }
    } catch {
      throw error.code == EEXIST ? Publisher.existing(path) : BundleError(error)
    }
  }
}
