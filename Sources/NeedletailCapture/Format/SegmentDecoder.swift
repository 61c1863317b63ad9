internal import CZstd
internal import NeedletailCore

/// Reads the bytes of one segment, without I/O and without trust: pieces go in, blocks come out.
///
/// Memory is bounded by one block, whatever the bytes promise. A block whose frame is damaged is passed over; nothing is
/// read behind a header that is damaged, because it says how far to go.
public struct SegmentDecoder {
  public enum Step: Equatable {
    /// So many bytes more are needed to go on.
    case moreBytes(Int)
    /// The header of the segment.
    case header(SegmentHeader)
    /// A block, and the bytes of its records.
    case block(BlockHeader, records: [UInt8])
    /// A block that cannot be read; the next step is behind it.
    case damaged(BlockHeader, CaptureError)
    /// The segment is complete.
    case end
    /// The rest cannot be read: it was cut, is still being written, or is damaged.
    case torn(CaptureError)
  }

  private enum Part {
    case header
    case blockHeader
    case frame(BlockHeader)
    case done(Step)
  }

  private var part = Part.header
  private var pending: [UInt8] = []
  private var blocks = 0
  private var calls = 0
  /// Bytes of the segment that were read and are whole, damaged frames included.
  public private(set) var wholeBytes = 0

  public init() {}

  public mutating func append(_ bytes: UnsafeRawBufferPointer) { pending.append(contentsOf: bytes) }

  /// Does the next step with what was appended.
  /// - Throws: `.foreign`, `.version` or `.damaged` about the header of the segment: then nothing in it can be read.
  public mutating func next() throws(CaptureError) -> Step {
    switch part {
    case .header:
      guard let bytes = take(CaptureFormat.headerBytes) else { return missing(CaptureFormat.headerBytes) }
      let header = try bytes.lend { (bytes) throws(CaptureError) in try SegmentHeader(decoding: bytes) }
      wholeBytes = CaptureFormat.headerBytes
      part = .blockHeader
      return .header(header)
    case .blockHeader:
      guard let bytes = take(CaptureFormat.headerBytes) else { return missing(CaptureFormat.headerBytes) }
      do throws(CaptureError) {
        return try begin(try bytes.lend { (bytes) throws(CaptureError) in try BlockHeader(decoding: bytes) })
      } catch {
        return finish(.torn(error))
      }
    case .frame(let header):
      guard let frame = take(header.frameBytes) else { return missing(header.frameBytes) }
      wholeBytes += CaptureFormat.headerBytes + header.frameBytes
      part = .blockHeader
      do throws(CaptureError) {
        return .block(header, records: try Self.records(in: frame, header))
      } catch {
        return .damaged(header, error)
      }
    case .done(let step): return step
    }
  }

  /// Says that no bytes follow.
  /// - Returns: `.end` for a complete segment, or `.torn`.
  public mutating func finish() -> Step {
    if case .done(let step) = part { return step }
    return finish(.torn(CaptureError(.damaged, "segment: expected its trailer, found its end after block \(blocks)")))
  }

  private mutating func finish(_ step: Step) -> Step {
    part = .done(step)
    pending = []
    return step
  }

  private mutating func begin(_ header: BlockHeader) throws(CaptureError) -> Step {
    guard header.sequence == blocks else {
      throw CaptureError(.damaged, "segment: expected block \(blocks), found block \(header.sequence)")
    }
    guard header.kind == .trailer else {
      blocks += 1
      calls += header.calls
      part = .frame(header)
      return missing(header.frameBytes)
    }
    guard UInt32(truncatingIfNeeded: calls) == UInt32(truncatingIfNeeded: header.calls) else {
      throw CaptureError(.damaged, "trailer: expected \(calls) calls, found \(header.calls)")
    }
    wholeBytes += CaptureFormat.headerBytes
    return finish(.end)
  }

  private func missing(_ count: Int) -> Step { .moreBytes(max(0, count - pending.count)) }

  private mutating func take(_ count: Int) -> [UInt8]? {
    guard pending.count >= count else { return nil }
    let bytes = Array(pending[..<count])
    pending.removeFirst(count)
    return bytes
  }

  /// Unpacks a frame into memory of the promised size, which the header's checksum covers and a limit bounds.
  private static func records(in frame: [UInt8], _ header: BlockHeader) throws(CaptureError) -> [UInt8] {
    guard CaptureFormat.checksum(frame) == header.checksum else {
      throw CaptureError(.damaged, "block \(header.sequence): expected the checksum of its header, found another")
    }
    var found = 0
    let records = [UInt8](unsafeUninitializedCapacity: header.rawBytes) { buffer, count in
      found = ZSTD_decompress(buffer.baseAddress, header.rawBytes, frame, frame.count)
      count = ZSTD_isError(found) == 0 ? found : 0
    }
    guard ZSTD_isError(found) == 0, found == header.rawBytes else {
      throw CaptureError(
        .damaged,
        "block \(header.sequence): expected a zstd frame of \(header.rawBytes) bytes, found "
          + (ZSTD_isError(found) == 0 ? "\(found)" : String(cString: ZSTD_getErrorName(found))))
    }
    return records
  }
}

/// What a record of a segment says.
public enum CapturedRecord: Sendable, Equatable {
  case call(CapturedCall)
  case outcome(CapturedOutcome)
}

/// Records of one block.
public enum BlockRecords {
  /// Visits the records of a block in their order. Records of a kind that this reader does not know are passed over.
  ///
  /// - Parameter body: returns false to stop.
  /// - Returns: false if `body` stopped.
  /// - Throws: `.damaged` for bytes that no writer makes; the records before them were visited.
  public static func forEach(
    in records: [UInt8], _ body: (CapturedRecord) -> Bool
  ) throws(CaptureError) -> Bool {
    try records.lend { (bytes) throws(CaptureError) in
      var models: [UInt32: CapturedModel] = [:]
      var cursor = RecordCursor(bytes)
      while cursor.left > 0 {
        let count = Int(try cursor.integer(UInt32.self, "length"))
        let record = try cursor.take(count, "record")
        switch record.first {
        case ModelRecord.kind:
          let (source, model) = try ModelRecord.decode(record)
          models[source] = model
        case CallRecordHead.kind, CallRecordHead.namedKind:
          let head = try CallRecordHead(reading: record)
          guard let model = models[head.source] else {
            throw CaptureError(.damaged, "record: expected the description of model \(head.source), found none")
          }
          var call = RecordCursor(record)
          guard body(.call(try call.call(head, of: model))) else { return false }
        case CapturedOutcome.kind: guard body(.outcome(try CapturedOutcome(reading: record))) else { return false }
        default: break
        }
      }
      return true
    }
  }
}
