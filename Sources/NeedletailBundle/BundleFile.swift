#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// A private copy of a bundle's bytes, read once: what was verified is what is decoded, whatever
/// happens to the file meanwhile.
///
/// Anonymous memory, never a mapping of the file: a file that others truncate would kill the process
/// with SIGBUS.
///
/// `@unchecked Sendable`: the memory is written before `init` returns and only read afterwards.
public final class BundleFile: @unchecked Sendable {
  /// Bytes.
  public let count: Int
  private let memory: UnsafeMutableRawPointer

  /// - Throws: `.io` if the system has no memory for a copy.
  public convenience init(bytes: [UInt8]) throws(BundleError) {
    try self.init(count: bytes.count)
    bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(start: memory, count: count).copyMemory(from: $0) }
  }

  private init(count: Int) throws(BundleError) {
    let memory = mmap(nil, max(count, 1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let memory, memory != MAP_FAILED else {
      throw SystemCall.failure("map \(count) bytes for a bundle")
    }
    self.memory = memory
    self.count = count
  }

  deinit { munmap(memory, max(count, 1)) }

  /// A copy of the bytes.
  package var bytes: [UInt8] { withBytes { Array($0) } }

  /// Lends the bytes.
  func withBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try body(UnsafeRawBufferPointer(start: memory, count: count))
  }

  /// Reads the whole file into private memory.
  ///
  /// - Throws: `.io`, or `.oversized`, `.truncated` and `.badLength` where the file is larger than
  ///   `limits` allow, shrinks or grows meanwhile.
  public static func open(path: String, limits: BundleLimits = BundleLimits()) throws(BundleError) -> BundleFile {
    let (descriptor, size) = try openFile(path)
    defer { close(descriptor) }
    guard size <= limits.fileBytesMax else {
      throw BundleError(.oversized, "\(path): expected at most \(limits.fileBytesMax) bytes, found \(size)")
    }
    let file = try BundleFile(count: size)
    let found = try read(descriptor, path, into: UnsafeMutableRawBufferPointer(start: file.memory, count: size))
    guard found == size else {
      throw BundleError(.truncated, "\(path): expected \(size) bytes, found \(found): it shrank while it was read")
    }
    var extra: UInt8 = 0
    guard
      try withUnsafeMutableBytes(of: &extra, { byte throws(BundleError) in try read(descriptor, path, into: byte) })
        == 0
    else {
      throw BundleError(.badLength, "\(path): expected \(size) bytes, found more: it grew while it was read")
    }
    return file
  }

  /// Opens a regular file; never blocks on a pipe of that name.
  fileprivate static func openFile(_ path: String) throws(BundleError) -> (descriptor: Int32, size: Int) {
    // `open` is a static method here, too.
    #if canImport(Glibc)
      let descriptor = SystemCall.retrying { Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
    #else
      let descriptor = SystemCall.retrying { Darwin.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
    #endif
    guard descriptor >= 0 else { throw SystemCall.failure("open \(path)") }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      defer { close(descriptor) }
      throw SystemCall.failure("stat \(path)")
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw BundleError(.io, "\(path): expected a regular file, found something else")
    }
    return (descriptor, Int(status.st_size))
  }

  /// - Returns: bytes read; fewer than asked for at the end of the file.
  fileprivate static func read(
    _ descriptor: Int32, _ path: String, into buffer: UnsafeMutableRawBufferPointer
  ) throws(BundleError) -> Int {
    var found = 0
    while found < buffer.count {
      #if canImport(Glibc)
        let result = SystemCall.retrying { Glibc.read(descriptor, buffer.baseAddress! + found, buffer.count - found) }
      #else
        let result = SystemCall.retrying { Darwin.read(descriptor, buffer.baseAddress! + found, buffer.count - found) }
      #endif
      guard result >= 0 else { throw SystemCall.failure("read \(path) at byte \(found)") }
      guard result > 0 else { break }
      found += result
    }
    return found
  }
}

// MARK: - Completeness

extension BundleFile {
  /// Whether a file in the store is whole.
  public enum Completeness: Sendable, Equatable {
    case complete
    /// Its length disagrees with its header: still being written. Bytes; while there is no whole header
    /// yet, `expected` is that of a header.
    case incomplete(found: UInt64, expected: UInt64)
    case notABundle(BundleError)
  }

  /// Compares the length of a file with its header, reading only that.
  public static func isComplete(path: String, limits: BundleLimits = BundleLimits()) -> Completeness {
    do throws(BundleError) {
      let (descriptor, size) = try openFile(path)
      defer { close(descriptor) }
      var bytes = [UInt8](repeating: 0, count: BundleFormat.headerBytes)
      let found = try bytes.withTypedMutableBytes { buffer throws(BundleError) in
        try read(descriptor, path, into: buffer)
      }
      let header = try bytes.withTypedBytes { buffer throws(BundleError) in
        try BundleHeader(UnsafeRawBufferPointer(rebasing: buffer.prefix(found)), limits: limits)
      }
      return size == header.fileBytes
        ? .complete : .incomplete(found: UInt64(size), expected: UInt64(header.fileBytes))
    } catch {
      // A header that has begun, but not ended.
      guard error.reason == .truncated, let size = try? openedSize(path) else { return .notABundle(error) }
      return .incomplete(found: UInt64(size), expected: UInt64(BundleFormat.headerBytes))
    }
  }

  private static func openedSize(_ path: String) throws(BundleError) -> Int {
    let (descriptor, size) = try openFile(path)
    close(descriptor)
    return size
  }
}
