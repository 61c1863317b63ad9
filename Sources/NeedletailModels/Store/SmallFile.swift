#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Reads a small regular file as a whole, within a bound. Never waits for a pipe of that name.
enum SmallFile {
  enum Failure: Error {
    case missing
    case notAFile
    case tooLong
    /// An `errno`.
    case system(Int32)
  }

  static func read(_ path: String, bytesMax: Int, followingLinks: Bool) throws(Failure) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | (followingLinks ? 0 : O_NOFOLLOW))
    guard descriptor >= 0 else { throw errno == ENOENT ? .missing : .system(errno) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .system(errno) }
    guard status.st_mode & S_IFMT == S_IFREG else { throw .notAFile }
    // One byte more than there should be tells a file that has grown since.
    var bytes = [UInt8](repeating: 0, count: min(Int(status.st_size), bytesMax) + 1)
    var count = 0
    while true {
      let received = bytes.withUnsafeMutableBytes {
        pread(descriptor, $0.baseAddress! + count, $0.count - count, off_t(count))
      }
      if received < 0 && errno == EINTR { continue }
      guard received >= 0 else { throw .system(errno) }
      if received == 0 { return Array(bytes[..<count]) }
      count += received
      guard count <= bytesMax else { throw .tooLong }
      if count == bytes.count { bytes += [UInt8](repeating: 0, count: bytesMax + 1 - count) }
    }
  }
}
