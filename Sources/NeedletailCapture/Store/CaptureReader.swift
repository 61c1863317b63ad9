internal import Glibc
internal import NeedletailCore
internal import NeedletailSystem

/// A segment's file, as it stands in a directory of captures.
public struct SegmentFile: Sendable, Equatable {
  public var path: String
  public var bytes: Int
  /// Time of the last change, in seconds since 1970 (UTC).
  public var changedSeconds: Int
  /// Whether its name says that it is being written, or was when its writer ended.
  public var isOpen: Bool

  /// The segments of a directory, the oldest first; or the one that `path` names.
  /// - Throws: `.io` if there are no such files.
  public static func all(at path: String) throws(CaptureError) -> [SegmentFile] {
    var status = stat()
    guard stat(path, &status) == 0 else {
      throw CaptureError(.io, "\(path): expected a capture, found: \(SystemError("stat").reason)")
    }
    guard status.st_mode & S_IFMT == S_IFDIR else { return [SegmentFile(path, status)] }
    var names: [String] = []
    do throws(SystemError) {
      try Directory.forEachName(in: path) { name in
        if name.hasSuffix(CaptureFormat.suffix) || name.hasSuffix(CaptureFormat.openSuffix) { names.append(name) }
        return true
      }
    } catch {
      throw CaptureError(.io, "\(error)")
    }
    return names.sorted().compactMap { name in
      // One that was removed meanwhile is none.
      var status = stat()
      guard stat("\(path)/\(name)", &status) == 0 else { return nil }
      return SegmentFile("\(path)/\(name)", status)
    }
  }

  private init(_ path: String, _ status: stat) {
    self.path = path
    bytes = Int(status.st_size)
    changedSeconds = status.st_mtim.tv_sec
    isOpen = path.hasSuffix(CaptureFormat.openSuffix)
  }
}

/// What was found in a segment beside its calls.
public struct SegmentSummary: Sendable, Equatable {
  public var header: SegmentHeader
  /// Headers of its blocks, damaged ones included.
  public var blocks: [BlockHeader] = []
  /// What was wrong in it; empty: nothing.
  public var faults: [CaptureError] = []
  /// Whether it has its trailer.
  public var isComplete = false
  /// Whether it ended without a trailer where more was to come, so that its last fault is no more than that: it is being
  /// written, or its writer did not end it.
  public var isCut = false
  /// Bytes up to the end of its last block.
  public var wholeBytes = 0

  /// Calls that the headers of its blocks count.
  public var calls: Int { blocks.reduce(0) { $0 + $1.calls } }

  /// Earliest and latest arrival of its calls, in microseconds since 1970 (UTC); nil: it has none.
  public var times: ClosedRange<UInt64>? {
    // A block of outcomes alone has no call.
    let ofCalls = blocks.filter { $0.calls > 0 }
    guard let first = ofCalls.map(\.first).min(), let last = ofCalls.map(\.last).max(), first <= last else {
      return nil
    }
    return first...last
  }
}

/// Reads segments from files.
public enum CaptureReader {
  private static let pieceBytes = 256 << 10

  /// Visits the calls of a segment in the order in which they were written.
  ///
  /// A segment that was open and has been ended since is found by its new name.
  ///
  /// - Parameter body: returns false to stop; then the summary covers what was read.
  /// - Throws: `.missing` if there is no such file any more; another reason if it cannot be read or is no segment. Damage
  ///   behind its header is in the summary.
  @discardableResult
  public static func read(_ path: String, _ body: (CapturedCall) -> Bool) throws(CaptureError) -> SegmentSummary {
    try readRecords(path) { record in
      guard case .call(let call) = record else { return true }
      return body(call)
    }
  }

  /// As ``read(_:_:)``, for calls and outcomes.
  @discardableResult
  public static func readRecords(
    _ path: String, _ body: (CapturedRecord) -> Bool
  ) throws(CaptureError) -> SegmentSummary {
    try visit(path) { (header, records, summary) in
      var goesOn = true
      do throws(CaptureError) {
        goesOn = try BlockRecords.forEach(in: records, body)
      } catch {
        summary.faults.append(
          CaptureError(error.reason, "block \(header.sequence): \(error.message)"))
      }
      return goesOn
    }
  }

  /// Reads headers and checksums of a segment, and no calls.
  public static func summary(of path: String) throws(CaptureError) -> SegmentSummary {
    try visit(path) { _, _, _ in true }
  }

  /// Opens a segment, or what it became when it was ended.
  private static func open(_ path: String) throws(CaptureError) -> FileDescriptor {
    do throws(FileReadError) {
      return try FileDescriptor.regularFile(path)
    } catch {
      guard case .missing = error else { throw CaptureError(.io, "\(path): \(CaptureFile.reason(error))") }
      guard !path.hasSuffix(CaptureFormat.openSuffix) else {
        return try open(path.dropLast(CaptureFormat.openSuffix.count) + CaptureFormat.suffix)
      }
      throw CaptureError(.missing, "\(path): \(CaptureFile.reason(error))")
    }
  }

  private static func visit(
    _ path: String, _ body: (BlockHeader, [UInt8], inout SegmentSummary) -> Bool
  ) throws(CaptureError) -> SegmentSummary {
    let file = try open(path)
    var decoder = SegmentDecoder()
    var summary: SegmentSummary?
    var fault: CaptureError?
    func take(_ step: SegmentDecoder.Step) -> Bool {
      switch step {
      case .moreBytes: return false
      case .header(let header): summary = SegmentSummary(header: header)
      case .block(let header, let records):
        guard var found = summary else { return false }
        found.blocks.append(header)
        let goesOn = body(header, records, &found)
        summary = found
        return goesOn
      case .damaged(let header, let error):
        summary?.blocks.append(header)
        summary?.faults.append(error)
      case .end:
        summary?.isComplete = true
        return false
      case .torn(let error):
        summary?.faults.append(error)
        return false
      }
      return true
    }
    /// - Returns: whether more bytes are wanted.
    func advance() -> Bool {
      while true {
        do throws(CaptureError) {
          let step = try decoder.next()
          if case .moreBytes(let count) = step, count > 0 { return true }
          if case .moreBytes = step { continue }
          guard take(step) else { return false }
        } catch {
          fault = error
          return false
        }
      }
    }
    var isWanted = true
    do throws(SystemError) {
      try file.forEachPiece(ofBytes: pieceBytes) { piece in
        decoder.append(piece)
        isWanted = advance()
        return isWanted
      }
    } catch {
      throw CaptureError(.io, "\(error)")
    }
    if isWanted {
      _ = take(decoder.finish())
      if summary?.isComplete == false { summary?.isCut = true }
    }
    if let fault { throw CaptureError(fault.reason, "\(path): \(fault.message)") }
    guard var summary else {
      throw CaptureError(.damaged, "\(path): expected a segment, found fewer bytes than its header has")
    }
    summary.wholeBytes = decoder.wholeBytes
    return summary
  }
}
