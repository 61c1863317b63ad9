internal import CZstd
internal import NeedletailCore

/// Makes the bytes of one segment, without I/O: records go in, blocks come out. One thread uses it.
public struct SegmentEncoder: ~Copyable {
  private let context: OpaquePointer
  private let header: SegmentHeader
  private var raw: [UInt8] = []
  private var described: Set<UInt32> = []
  /// Calls of the block that is being filled.
  public private(set) var calls = 0
  private var first = UInt64.max
  private var last: UInt64 = 0
  private var blocks = 0
  private var callsTotal = 0
  private var firstOfAll = UInt64.max
  private var lastOfAll: UInt64 = 0

  /// zstd's own default level: some 300 MB/s.
  private static let level: Int32 = 3

  /// - Throws: `.io` if there is no memory to compress in.
  public init(_ header: SegmentHeader) throws(CaptureError) {
    guard let context = ZSTD_createCCtx() else {
      throw CaptureError(.io, "zstd: expected memory for a context, found none")
    }
    self.context = context
    ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, Self.level)
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 1)
    self.header = header
  }

  deinit { ZSTD_freeCCtx(context) }

  /// First bytes of the segment.
  public var headerBytes: [UInt8] { header.encoded }

  /// Whether the block has as many bytes as a block should have.
  public var isFull: Bool { raw.count >= Limits.captureBlockBytes }

  /// Whether the block has no records.
  public var isEmpty: Bool { raw.isEmpty }

  /// Adds a call to the block. Its model is described first, once a block.
  ///
  /// - Parameters:
  ///   - head: with the time of the wall clock.
  ///   - request: as ``RequestRecord`` writes it.
  ///   - answer: its floats.
  /// - Throws: `.damaged` for a call or a model that is larger than any may be; then nothing was added.
  public mutating func append(
    _ head: CallRecordHead, request: UnsafeRawBufferPointer, answer: UnsafeRawBufferPointer,
    of model: @autoclosure () -> CapturedModel
  ) throws(CaptureError) {
    let bytes = head.bytes + request.count + answer.count
    guard bytes <= Limits.captureRecordBytesMax else {
      throw CaptureError(.damaged, "call: expected at most \(Limits.captureRecordBytesMax) bytes, found \(bytes)")
    }
    if !described.contains(head.source) {
      let model = model()
      guard ModelRecord.isWithinBounds(model) else {
        throw CaptureError(
          .damaged, "model: expected at most \(ModelRecord.columnsMax) columns of all outputs, found more")
      }
      let record = ModelRecord.encode(model, source: head.source)
      guard record.count <= Limits.captureRecordBytesMax else {
        throw CaptureError(
          .damaged,
          "model: expected a description of at most \(Limits.captureRecordBytesMax) bytes, found \(record.count)")
      }
      raw.append(littleEndian: UInt32(record.count))
      raw += record
      described.insert(head.source)
    }
    raw.append(littleEndian: UInt32(bytes))
    withUnsafeTemporaryAllocation(byteCount: head.bytes, alignment: 8) { place in
      if let base = place.baseAddress { head.write(to: base) }
      raw.append(contentsOf: place)
    }
    raw.append(contentsOf: request)
    raw.append(contentsOf: answer)
    calls += 1
    first = min(first, head.time)
    last = max(last, head.time)
  }

  /// Adds an outcome to the block.
  public mutating func append(_ outcome: CapturedOutcome) {
    let record = outcome.encoded
    raw.append(littleEndian: UInt32(record.count))
    raw += record
  }

  /// Ends the block.
  /// - Returns: its bytes, header included; empty if it has no records.
  /// - Throws: `.io` if it cannot be compressed; then the block is lost.
  public mutating func takeBlock() throws(CaptureError) -> [UInt8] {
    guard !isEmpty else { return [] }
    defer {
      raw.removeAll(keepingCapacity: true)
      described.removeAll(keepingCapacity: true)
      calls = 0
      (first, last) = (.max, 0)
    }
    let bound = ZSTD_compressBound(raw.count)
    var result = 0
    var frame = [UInt8](unsafeUninitializedCapacity: bound) { buffer, count in
      result = raw.withUnsafeBytes { raw in
        ZSTD_compress2(context, buffer.baseAddress, buffer.count, raw.baseAddress, raw.count)
      }
      count = ZSTD_isError(result) == 0 ? result : 0
    }
    guard ZSTD_isError(result) == 0 else {
      throw CaptureError(
        .io, "zstd: expected a block to be compressed, found: \(String(cString: ZSTD_getErrorName(result)))")
    }
    let header = BlockHeader(
      kind: .block, frameBytes: frame.count, rawBytes: raw.count, calls: calls, first: first, last: last,
      checksum: CaptureFormat.checksum(frame), sequence: blocks)
    frame.insert(contentsOf: header.encoded, at: 0)
    blocks += 1
    callsTotal += calls
    firstOfAll = min(firstOfAll, first)
    lastOfAll = max(lastOfAll, last)
    return frame
  }

  /// Last bytes of the segment, behind its last block.
  public var trailerBytes: [UInt8] {
    BlockHeader(
      kind: .trailer, frameBytes: 0, rawBytes: 0, calls: callsTotal, first: blocks == 0 ? 0 : firstOfAll,
      last: lastOfAll, checksum: 0, sequence: blocks
    ).encoded
  }
}

extension SegmentEncoder {
  /// Trailer for a segment that its writer did not end.
  static func trailer(of blocks: [BlockHeader]) -> [UInt8] {
    BlockHeader(
      kind: .trailer, frameBytes: 0, rawBytes: 0, calls: blocks.reduce(0) { $0 + $1.calls },
      first: blocks.map(\.first).min() ?? 0, last: blocks.map(\.last).max() ?? 0, checksum: 0, sequence: blocks.count
    ).encoded
  }
}
