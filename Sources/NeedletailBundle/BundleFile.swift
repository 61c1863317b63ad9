internal import Glibc
public import NeedletailCore
internal import NeedletailSystem

/// A private copy of a bundle's bytes that is read once: the bytes that were verified are those that are decoded, even
/// if the file changes in between.
///
/// It is anonymous memory and not a mapping of the file: a mapped file that another program truncates would kill the
/// process with SIGBUS.
///
/// `@unchecked Sendable`: the memory is written before `init` returns and only read afterwards.
public final class BundleFile: @unchecked Sendable {
  /// Number of bytes.
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
      throw BundleError(SystemError("map \(count) bytes for a bundle"))
    }
    self.memory = memory
    self.count = count
  }

  deinit { munmap(memory, max(count, 1)) }

  /// A copy of the bytes.
  package var bytes: [UInt8] { withBytes { Array($0) } }

  /// Calls `body` with the bytes, which are valid during the call.
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
    let descriptor = try openFile(path)
    let size = try byteCount(descriptor)
    guard size <= limits.fileBytesMax else {
      throw BundleError(.oversized, "\(path): expected at most \(limits.fileBytesMax) bytes, found \(size)")
    }
    let file = try BundleFile(count: size)
    let found = try read(descriptor, into: UnsafeMutableRawBufferPointer(start: file.memory, count: size))
    guard found == size else {
      throw BundleError(.truncated, "\(path): expected \(size) bytes, found \(found): it shrank while it was read")
    }
    var extra: [UInt8] = [0]
    guard
      try extra.withTypedMutableBytes({ byte throws(BundleError) in try read(descriptor, into: byte) }) == 0
    else {
      throw BundleError(.badLength, "\(path): expected \(size) bytes, found more: it grew while it was read")
    }
    return file
  }

  private static func openFile(_ path: String) throws(BundleError) -> FileDescriptor {
    do throws(FileReadError) {
      return try FileDescriptor.regularFile(path)
    } catch {
      throw BundleError(error, path: path)
    }
  }

  private static func byteCount(_ file: borrowing FileDescriptor) throws(BundleError) -> Int {
    do throws(SystemError) { return try file.byteCount() } catch { throw BundleError(error) }
  }

  /// - Returns: bytes read; fewer than asked for at the end of the file.
  private static func read(
    _ file: borrowing FileDescriptor, into buffer: UnsafeMutableRawBufferPointer
  ) throws(BundleError) -> Int {
    do throws(SystemError) { return try file.read(into: buffer) } catch { throw BundleError(error) }
  }
}

// MARK: - Completeness

extension BundleFile {
  /// Whether a file in the store is whole.
  public enum Completeness: Sendable, Equatable {
    case complete
    /// The length differs from the header's: the file is still being written. Both are in bytes; before the header is
    /// complete, `expected` is the length of a header.
    case incomplete(found: UInt64, expected: UInt64)
    case notABundle(BundleError)
  }

  /// Compares the length of a file with its header, and reads only the header.
  public static func isComplete(path: String, limits: BundleLimits = BundleLimits()) -> Completeness {
    do throws(BundleError) {
      let descriptor = try openFile(path)
      let size = try byteCount(descriptor)
      var bytes = [UInt8](repeating: 0, count: BundleFormat.headerBytes)
      let found = try bytes.withTypedMutableBytes { buffer throws(BundleError) in
        try read(descriptor, into: buffer)
      }
      let header = try bytes.withTypedBytes { buffer throws(BundleError) in
        try BundleHeader(UnsafeRawBufferPointer(rebasing: buffer.prefix(found)), limits: limits)
      }
      return size == header.fileBytes
        ? .complete : .incomplete(found: UInt64(size), expected: UInt64(header.fileBytes))
    } catch {
      // The header is not complete yet.
      guard error.reason == .truncated, let size = try? openedSize(path) else { return .notABundle(error) }
      return .incomplete(found: UInt64(size), expected: UInt64(BundleFormat.headerBytes))
    }
  }

  private static func openedSize(_ path: String) throws(BundleError) -> Int {
    try byteCount(openFile(path))
  }
}

/// Bounds that an operator may move; all others are in `Limits`.
public struct BundleLimits: Sendable, Equatable {
  /// Largest size of one file in bytes.
  public var fileBytesMax: Int
  /// Largest size of all sections of one file together in bytes, after decompression.
  public var rawBytesMax: Int

  public init(
    fileBytesMax: Int = Limits.bundleBytesMaxDefault, rawBytesMax: Int = Limits.bundleRawBytesMaxDefault
  ) {
    self.fileBytesMax = fileBytesMax
    self.rawBytesMax = rawBytesMax
  }
}
