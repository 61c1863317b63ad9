internal import Glibc
internal import NeedletailCore
internal import NeedletailSystem

/// Bounds of what a directory of captures holds.
public struct CaptureBounds: Sendable, Equatable {
  /// Bytes after which a segment is ended.
  public var segmentBytesMax = Limits.captureSegmentBytesDefault
  /// Bytes of all segments: the oldest ones are removed.
  public var bytesMax = Limits.captureBytesDefault
  /// Seconds since the last change after which a segment is removed. A segment is ended after an eighth of it, and an hour
  /// at most, so that its first calls are not kept much longer than its last.
  public var secondsMax = Limits.captureSecondsDefault

  public init() {}
}

/// The directory that one process writes segments to. Others may read it meanwhile.
///
/// A segment has the ending `.ntcap.open` until it is complete and on the disk. What a killed process left open is
/// shortened to its whole blocks, ended and given its name when the next one starts.
public final class CaptureDirectory: Sendable {
  public let path: String
  private let bounds: CaptureBounds
  /// Holds the lock as long as it is open.
  private let lock: FileDescriptor

  /// Opens a directory for writing, which is made if it does not exist, readable for its owner only.
  /// - Throws: `.io` if it cannot be used, or another process writes to it.
  public init(creating path: String, _ bounds: CaptureBounds) throws(CaptureError) {
    self.path = path
    self.bounds = bounds
    do throws(SystemError) {
      try Directory.create(path, mode: 0o700)
      lock = try FileDescriptor(opening: path, O_RDONLY | O_DIRECTORY)
    } catch {
      throw CaptureError(.io, "\(error)")
    }
    let number = lock.number
    // Where the file system knows no locks, the operator sees to it.
    if SystemError.retrying({ flock(number, LOCK_EX | LOCK_NB) }) < 0, errno == EWOULDBLOCK {
      throw CaptureError(.io, "\(path): expected that nobody else captures to this directory, found another process")
    }
  }

  /// Ends segments that were left open.
  /// - Returns: what was wrong with them, one sentence each.
  public func recover() -> [String] {
    guard let files = try? SegmentFile.all(at: path) else { return [] }
    return files.filter(\.isOpen).compactMap { file in
      do throws(CaptureError) {
        return try recover(file)
      } catch {
        return error.message
      }
    }
  }

  private func recover(_ file: SegmentFile) throws(CaptureError) -> String? {
    let summary: SegmentSummary
    do throws(CaptureError) {
      summary = try CaptureReader.summary(of: file.path)
    } catch {
      // A process that was killed before it wrote the header has left nothing.
      guard file.bytes < CaptureFormat.headerBytes else { throw error }
      unlink(file.path)
      return nil
    }
    guard !summary.blocks.isEmpty else {
      unlink(file.path)
      return nil
    }
    do throws(SystemError) {
      if !summary.isComplete {
        let segment = try FileDescriptor(opening: file.path, O_WRONLY)
        try SegmentWriter.truncate(segment, to: summary.wholeBytes)
        try segment.write(SegmentEncoder.trailer(of: summary.blocks))
        try segment.synchronise()
      }
      try SegmentWriter.publish(file.path)
    } catch {
      throw CaptureError(.io, "\(error)")
    }
    let torn = file.bytes - summary.wholeBytes
    return summary.isComplete || torn == 0
      ? nil : "\(file.path): expected a complete segment, found \(torn) bytes of an unfinished block, which are gone"
  }

  /// Removes segments that are too old, and the oldest ones where all have too many bytes.
  ///
  /// - Parameters:
  ///   - nowSeconds: time of the wall clock.
  ///   - room: bytes that are to be free.
  /// - Returns: files and bytes that are left.
  public func prune(nowSeconds: Int, room: Int) -> (segments: Int, bytes: Int) {
    let files = (try? SegmentFile.all(at: path)) ?? []
    var bytes = files.reduce(0) { $0 + $1.bytes }
    var removed = 0
    for file in files where !file.isOpen {
      guard bytes + room > bounds.bytesMax || nowSeconds - file.changedSeconds > bounds.secondsMax else { continue }
      guard unlink(file.path) == 0 else { continue }
      bytes -= file.bytes
      removed += 1
    }
    return (files.count - removed, bytes)
  }

  /// Begins a segment.
  /// - Throws: `.io`.
  public func begin(microseconds: UInt64) throws(CaptureError) -> SegmentWriter {
    try SegmentWriter(in: path, microseconds: microseconds, bytesMax: bounds.segmentBytesMax)
  }

  public var segmentBytesMax: Int { bounds.segmentBytesMax }

  /// Seconds after which a segment is ended however few bytes it has.
  public var segmentSecondsMax: Int { min(bounds.secondsMax / 8, Limits.captureSegmentSecondsMax) }
}
