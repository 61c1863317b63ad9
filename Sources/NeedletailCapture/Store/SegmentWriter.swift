internal import Glibc
internal import NeedletailCore
internal import NeedletailCrypto
internal import NeedletailSystem

/// Writes one segment to its file. One thread uses it.
public struct SegmentWriter: ~Copyable {
  private let file: FileDescriptor
  private var encoder: SegmentEncoder
  private let bytesMax: Int
  /// Bytes up to the end of the last block that was written.
  public private(set) var bytes: Int

  init(in directory: String, microseconds: UInt64, bytesMax: Int) throws(CaptureError) {
    let id = CryptoLibrary.randomBytes(16)
    let digits = String(microseconds)
    let time = String(repeating: "0", count: max(0, 17 - digits.utf8.count)) + digits
    let path = "\(directory)/\(time)-\(Hex.text(id.prefix(4)))\(CaptureFormat.openSuffix)"
    let header = SegmentHeader(microseconds: microseconds, id: id)
    let encoder = try SegmentEncoder(header)
    let file = try Self.create(path, header.encoded)
    self.encoder = encoder
    self.file = file
    self.bytesMax = bytesMax
    bytes = CaptureFormat.headerBytes
  }

  private static func create(_ path: String, _ header: [UInt8]) throws(CaptureError) -> FileDescriptor {
    do throws(SystemError) {
      let file = try FileDescriptor(opening: path, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
      do throws(SystemError) {
        try file.write(header)
      } catch {
        unlink(path)
        throw error
      }
      return file
    } catch {
      throw CaptureError(.io, "\(error)")
    }
  }

  /// Calls that were added and are not in the file.
  public var calls: Int { encoder.calls }

  /// Whether the block should be written.
  public var isBlockFull: Bool { encoder.isFull }

  /// Whether the segment should be ended.
  public var isFull: Bool { bytes >= bytesMax }

  /// Adds a call; see ``SegmentEncoder/append(_:request:answer:of:)``.
  public mutating func append(
    _ head: CallRecordHead, request: UnsafeRawBufferPointer, answer: UnsafeRawBufferPointer,
    of model: @autoclosure () -> CapturedModel
  ) throws(CaptureError) {
    try encoder.append(head, request: request, answer: answer, of: model())
  }

  /// Adds an outcome.
  public mutating func append(_ outcome: CapturedOutcome) { encoder.append(outcome) }

  /// Writes what was added, as a block.
  ///
  /// - Returns: the number of its calls.
  /// - Throws: `.io`; then the file ends with the block before, and this writer is of no more use.
  public mutating func flush() throws(CaptureError) -> Int {
    let calls = encoder.calls
    let block = try encoder.takeBlock()
    guard !block.isEmpty else { return 0 }
    do throws(SystemError) {
      try file.write(block)
    } catch {
      // The part that was written would make the file look damaged.
      try? Self.truncate(file, to: bytes)
      throw CaptureError(.io, "\(error)")
    }
    bytes += block.count
    return calls
  }

  /// Ends the segment: once this returns it is complete, on the disk, and has its name.
  ///
  /// - Returns: the number of calls of its last block.
  /// - Throws: `.io`; then the segment stays open, and is ended by the next ``CaptureDirectory/recover()``.
  public consuming func end() throws(CaptureError) -> Int {
    let calls = try flush()
    do throws(SystemError) {
      do throws(SystemError) {
        try file.write(encoder.trailerBytes)
      } catch {
        try? Self.truncate(file, to: bytes)
        throw error
      }
      try file.synchronise()
      try Self.publish(file.path)
    } catch {
      throw CaptureError(.io, "\(error)")
    }
    return calls
  }

  static func truncate(_ file: borrowing FileDescriptor, to bytes: Int) throws(SystemError) {
    let (number, path) = (file.number, file.path)
    try SystemError.check("truncate \(path)") { ftruncate(number, off_t(bytes)) }
    try SystemError.check("seek \(path)") { lseek(number, off_t(bytes), SEEK_SET) }
  }

  /// Gives a complete segment its name.
  static func publish(_ path: String) throws(SystemError) {
    let complete = String(path.dropLast(CaptureFormat.openSuffix.count)) + CaptureFormat.suffix
    guard rename(path, complete) == 0 else { throw SystemError("rename \(path) to \(complete)") }
    try Directory.synchronise(Directory.split(path).directory)
  }
}
