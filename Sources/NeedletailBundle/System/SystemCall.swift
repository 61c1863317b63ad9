#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif
internal import NeedletailCore

/// System calls that retry EINTR and say what failed.
enum SystemCall {
  /// - Returns: the result of `call`, which is negative on failure, with `errno` set.
  static func retrying<Result: SignedInteger>(_ call: () -> Result) -> Result {
    while true {
      let result = call()
      guard result < 0, errno == EINTR else { return result }
    }
  }

  /// `open FILE: No such file or directory`.
  static func failure(_ what: String, _ code: Int32 = errno, reason: BundleError.Reason = .io) -> BundleError {
    BundleError(reason, "\(what): \(String(cString: strerror(code)))")
  }

  /// Writes all bytes, however short the writes of the system are.
  static func writeAll(_ bytes: [UInt8], to descriptor: Int32, path: String) throws(BundleError) {
    var written = 0
    while written < bytes.count {
      let result = bytes.withUnsafeBytes { buffer in
        retrying { write(descriptor, buffer.baseAddress.map { $0 + written }, buffer.count - written) }
      }
      guard result > 0 else {
        throw failure("write \(path) after \(written) of \(bytes.count) bytes", result == 0 ? ENOSPC : errno)
      }
      written += result
    }
  }

  /// Reads a small text file, at most `bytesMax`.
  static func readText(_ path: String, bytesMax: Int, reason: BundleError.Reason) throws(BundleError) -> String {
    let file = try BundleFile.open(path: path, limits: BundleLimits(fileBytesMax: bytesMax))
    let text = file.withBytes { String(validating: $0, as: UTF8.self) }
    guard let text else { throw BundleError(reason, "\(path): expected UTF-8 text, found other bytes") }
    return text
  }

  /// A directory's entries reach the disk only when it is synchronised itself.
  static func synchroniseDirectory(_ path: String) throws(BundleError) {
    let descriptor = retrying { open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    guard descriptor >= 0 else { throw failure("open directory \(path)") }
    defer { close(descriptor) }
    guard retrying({ fsync(descriptor) }) == 0 else { throw failure("fsync directory \(path)") }
  }
}
