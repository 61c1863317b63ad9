internal import NeedletailCore
internal import NeedletailYAML

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Reads a `rollout.yaml` with every scan: it is small, and a file system's timestamps may be coarse.
enum RolloutFileReader {
  /// - Returns: nil if it has gone since it was listed.
  static func read(_ path: String) -> RolloutFinding? {
    // Not for a pipe that nobody writes to.
    let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { return errno == ENOENT ? nil : .invalid(SystemFailure(errno).message) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      return .invalid("expected a file, found something else")
    }
    var bytes = [UInt8](repeating: 0, count: Limits.rolloutFileBytesMax + 1)
    var count = 0
    while count < bytes.count {
      let received = bytes.withUnsafeMutableBytes {
        pread(descriptor, $0.baseAddress! + count, $0.count - count, off_t(count))
      }
      if received < 0 && errno == EINTR { continue }
      guard received >= 0 else { return .invalid(SystemFailure(errno).message) }
      if received == 0 { break }
      count += received
    }
    guard let text = String(validating: bytes[..<count], as: UTF8.self) else {
      return .invalid("expected UTF-8 text, found other bytes")
    }
    do throws(YAMLError) {
      return .file(try RolloutFile(parsing: text))
    } catch {
      return .invalid(error.description)
    }
  }
}
