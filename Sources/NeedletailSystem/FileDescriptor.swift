internal import Glibc

/// An open file that is closed when this value goes out of scope.
///
/// Its calls block, so that event loops use them for sockets only. They repeat what a signal interrupts.
public struct FileDescriptor: ~Copyable, Sendable {
  /// The kernel's number of the file.
  public let number: Int32
  /// Name of the file in error messages.
  public let path: String

  /// Takes ownership of an open descriptor.
  public init(owning number: Int32, path: String) {
    self.number = number
    self.path = path
  }

  /// Opens a file; it is closed when the process executes another program.
  ///
  /// - Parameters:
  ///   - flags: of open(2), for example `O_RDONLY`.
  ///   - mode: permissions of a file that is created.
  /// - Throws: the reason of the kernel.
  public init(opening path: String, _ flags: Int32, mode: UInt32 = 0) throws(SystemError) {
    number = try SystemError.check(flags & O_CREAT == 0 ? "open \(path)" : "create \(path)") {
      Glibc.open(path, flags | O_CLOEXEC, mode)
    }
    self.path = path
  }

  /// Opens a regular file for reading. A pipe of that name does not block.
  ///
  /// - Parameter followingLinks: false refuses a symbolic link in the last part of the path.
  /// - Throws: `.missing`, `.notARegularFile` or `.system`.
  public static func regularFile(
    _ path: String, followingLinks: Bool = true
  ) throws(FileReadError) -> FileDescriptor {
    let file: FileDescriptor
    do throws(SystemError) {
      file = try FileDescriptor(opening: path, O_RDONLY | O_NONBLOCK | (followingLinks ? 0 : O_NOFOLLOW))
    } catch {
      throw error.code == ENOENT ? .missing : .system(error)
    }
    var status = stat()
    guard fstat(file.number, &status) == 0 else { throw .system(SystemError("stat \(path)")) }
    guard status.st_mode & S_IFMT == S_IFREG else { throw .notARegularFile }
    return file
  }

  deinit { close(number) }

  /// Size of the file in bytes; 0 for pseudo files such as those of `/proc`.
  ///
  /// - Throws: the reason of the kernel.
  public func byteCount() throws(SystemError) -> Int {
    var status = stat()
    guard fstat(number, &status) == 0 else { throw SystemError("stat \(path)") }
    return Int(status.st_size)
  }

  /// Reads until `buffer` is full or the file ends, in pieces whose pages are made present first.
  ///
  /// - Returns: bytes read; fewer than the buffer holds only at the end of the file.
  /// - Throws: the reason of the kernel, with the offset in `buffer`.
  public func read(into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int {
    guard let base = buffer.baseAddress else { return 0 }
    var found = 0
    var failure: SystemError?
    // The kernel fills new pages more slowly and without a pause: half of what a call waited for was their faults.
    Pieces.whileTrue(buffer.count) { range in
      PageMemory.touch(base + range.lowerBound, bytes: range.count)
      do throws(SystemError) {
        while found < range.upperBound {
          let count = try SystemError.check("read \(path) at byte \(found)") {
            Glibc.read(number, base + found, range.upperBound - found)
          }
          guard count > 0 else { return false }
          found += count
        }
        return true
      } catch {
        failure = error
        return false
      }
    }
    if let failure { throw failure }
    return found
  }

  /// Reads the rest of the file in pieces.
  ///
  /// - Parameters:
  ///   - pieceBytes: the largest size of a piece.
  ///   - body: takes a piece, which is valid during the call; returns false to read no further.
  /// - Throws: the reason of the kernel.
  public func forEachPiece(
    ofBytes pieceBytes: Int, _ body: (UnsafeRawBufferPointer) -> Bool
  ) throws(SystemError) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: pieceBytes, alignment: 64)
    defer { buffer.deallocate() }
    while true {
      let count = try SystemError.check("read \(path)") { Glibc.read(number, buffer.baseAddress, buffer.count) }
      guard count > 0, body(UnsafeRawBufferPointer(rebasing: buffer[..<count])) else { return }
    }
  }

  /// Reads the rest of the file. It is for input that the user chose, whose size has no bound.
  ///
  /// - Throws: the reason of the kernel.
  public func readToEnd() throws(SystemError) -> [UInt8] {
    var bytes: [UInt8] = []
    try forEachPiece(ofBytes: 1 << 20) { piece in
      bytes.append(contentsOf: piece)
      return true
    }
    return bytes
  }

  /// Writes all bytes, however short the writes of the system are.
  ///
  /// - Throws: the reason of the kernel, with how far the writing came.
  public func write(_ bytes: UnsafeRawBufferPointer) throws(SystemError) {
    var written = 0
    while let base = bytes.baseAddress, written < bytes.count {
      let what = "write \(path) after \(written) of \(bytes.count) bytes"
      let piece = min(Pieces.bytes, bytes.count - written)
      let count = try SystemError.check(what) { Glibc.write(number, base + written, piece) }
      guard count > 0 else { throw SystemError(code: ENOSPC, what) }
      written += count
    }
  }

  /// Writes all bytes; see ``write(_:)-(UnsafeRawBufferPointer)``.
  public func write(_ bytes: [UInt8]) throws(SystemError) {
    try bytes.withUnsafeBytes { buffer in Result { () throws(SystemError) in try write(buffer) } }.get()
  }

  /// Returns once what was written is on the disk. For a directory: once its entries are.
  ///
  /// - Throws: the reason of the kernel.
  public func synchronise() throws(SystemError) {
    try SystemError.check("fsync \(path)") { fsync(number) }
  }
}

/// Why a file could not be read as a whole.
public enum FileReadError: Error, Equatable {
  /// There is no file of that name.
  case missing
  /// The name belongs to a directory, a pipe, a device or, where links are not followed, a link.
  case notARegularFile
  /// The file has more bytes than the reader accepts.
  case tooLong(bytesMax: Int)
  case system(SystemError)
}

/// Files that are read as a whole.
public enum WholeFile {
  /// Reads a regular file into memory that grows with what arrives, never with what the file's size promises.
  /// A pipe of that name does not block. Pseudo files, whose size is 0, are read to their end.
  ///
  /// - Parameters:
  ///   - bytesMax: the largest file that is accepted.
  ///   - followingLinks: false refuses a symbolic link in the last part of the path.
  /// - Throws: ``FileReadError``.
  public static func read(
    _ path: String, bytesMax: Int, followingLinks: Bool = true
  ) throws(FileReadError) -> [UInt8] {
    let file = try FileDescriptor.regularFile(path, followingLinks: followingLinks)
    let bytes: [UInt8]?
    do throws(SystemError) {
      bytes = try readAll(file, sizeHint: file.byteCount(), bytesMax: bytesMax)
    } catch {
      throw .system(error)
    }
    guard let bytes else { throw .tooLong(bytesMax: bytesMax) }
    return bytes
  }

  /// Reads UTF-8 text; see ``read(_:bytesMax:followingLinks:)``.
  ///
  /// - Returns: nil for bytes that are not UTF-8.
  /// - Throws: ``FileReadError``.
  public static func text(_ path: String, bytesMax: Int) throws(FileReadError) -> String? {
    String(validating: try read(path, bytesMax: bytesMax), as: UTF8.self)
  }

  /// - Returns: nil for a file of more than `bytesMax`.
  private static func readAll(
    _ file: borrowing FileDescriptor, sizeHint: Int, bytesMax: Int
  ) throws(SystemError) -> [UInt8]? {
    // One byte more than the size says shows whether the file has grown since.
    var bytes = [UInt8](repeating: 0, count: max(4096, min(sizeHint, bytesMax) + 1))
    var count = 0
    while true {
      let path = file.path
      let number = file.number
      let found = try bytes.withUnsafeMutableBytes { buffer in
        Result { () throws(SystemError) in
          try SystemError.check("read \(path) at byte \(count)") {
            Glibc.read(number, buffer.baseAddress! + count, min(Pieces.bytes, buffer.count - count))
          }
        }
      }.get()
      if found == 0 { break }
      count += found
      guard count <= bytesMax else { return nil }
      if count == bytes.count { bytes += [UInt8](repeating: 0, count: count) }
    }
    bytes.removeLast(bytes.count - count)
    return bytes
  }
}

/// A system call that failed: what was attempted, and the kernel's reason.
public struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Operation that failed, for example `open /models/wine`.
  public let call: String
  /// The value of `errno`.
  public let code: Int32

  /// Creates an error from a failed call. The text of `call` is built after `errno` was read, because building it may
  /// itself change `errno`.
  ///
  /// - Parameters:
  ///   - code: the value of `errno`; by default the calling thread's current one.
  ///   - call: what was attempted.
  public init(code: Int32 = SystemError.lastCode, _ call: @autoclosure () -> String) {
    self.code = code
    self.call = call()
  }

  /// The calling thread's `errno`.
  public static var lastCode: Int32 { errno }

  /// The C library's text of the code, in lower case, because it stands inside a message: `no such file or directory`.
  public var reason: String { String(cString: strerror(code)).lowercased() }

  /// `open /models/wine: no such file or directory`.
  public var description: String { "\(call): \(reason)" }

  /// Repeats a system call while a signal interrupts it.
  ///
  /// - Returns: the result of `body`, which is negative on failure, with `errno` set.
  public static func retrying<Result: SignedInteger>(_ body: () -> Result) -> Result {
    while true {
      let result = body()
      guard result < 0, errno == EINTR else { return result }
    }
  }

  /// Repeats a system call while a signal interrupts it, and throws if it fails.
  ///
  /// - Returns: the result of `body`, which is not negative.
  /// - Throws: the error of `body`, named by `call`.
  @discardableResult
  public static func check<Result: SignedInteger>(
    _ call: @autoclosure () -> String, _ body: () -> Result
  ) throws(SystemError) -> Result {
    let result = retrying(body)
    guard result >= 0 else { throw SystemError(code: errno, call()) }
    return result
  }
}
