internal import NeedletailCore

/// First 48 bytes of a segment.
public struct SegmentHeader: Sendable, Equatable {
  public var major = CaptureFormat.major
  public var minor = CaptureFormat.minor
  /// Time of creation, in microseconds since 1970 (UTC).
  public var microseconds: UInt64
  /// Sixteen random bytes.
  public var id: [UInt8]

  public init(microseconds: UInt64, id: [UInt8]) {
    precondition(id.count == 16, "a segment's id has 16 bytes")
    self.microseconds = microseconds
    self.id = id
  }

  var encoded: [UInt8] {
    var bytes = CaptureFormat.magic
    bytes.append(littleEndian: major)
    bytes.append(littleEndian: minor)
    bytes.append(littleEndian: UInt32(CaptureFormat.headerBytes))
    bytes.append(littleEndian: microseconds)
    bytes += id
    bytes.append(littleEndian: UInt32(0))
    bytes.append(littleEndian: CaptureFormat.checksum(bytes))
    return bytes
  }

  /// - Throws: `.foreign`, `.version` or `.damaged`.
  init(decoding bytes: UnsafeRawBufferPointer) throws(CaptureError) {
    guard bytes.count >= CaptureFormat.headerBytes else {
      throw CaptureError(
        .damaged, "segment: expected \(CaptureFormat.headerBytes) bytes of header, found \(bytes.count)")
    }
    guard bytes.starts(with: CaptureFormat.magic) else {
      throw CaptureError(.foreign, "segment: expected its first bytes to be NTCAPTUR, found others")
    }
    var cursor = RecordCursor(bytes)
    _ = try cursor.take(CaptureFormat.magic.count, "magic")
    major = try cursor.integer(UInt16.self, "version")
    minor = try cursor.integer(UInt16.self, "version")
    // Before the checksum, whose place another version may have moved.
    guard major == CaptureFormat.major else {
      throw CaptureError(
        .version, "segment: expected version \(CaptureFormat.major) of the format, found \(major).\(minor)")
    }
    try HeaderChecksum.check(bytes, "header of the segment")
    _ = try cursor.integer(UInt32.self, "header")
    microseconds = try cursor.integer(UInt64.self, "time")
    id = Array(try cursor.take(16, "id"))
  }
}

/// The 48 bytes before a block's frame, or the trailer of a complete segment.
public struct BlockHeader: Sendable, Equatable {
  public enum Kind: Sendable { case block, trailer }

  public var kind: Kind
  /// Bytes of the zstd frame that follows; 0 in a trailer.
  public var frameBytes: Int
  /// Bytes of its records, unpacked; 0 in a trailer.
  public var rawBytes: Int
  /// Calls of the block; in a trailer of the whole segment, modulo 2³².
  public var calls: Int
  /// Earliest and latest arrival of its calls, in microseconds since 1970 (UTC).
  public var first: UInt64
  public var last: UInt64
  /// CRC-32 of the frame; 0 in a trailer.
  public var checksum: UInt32
  /// Number of the block in its segment, from 0; in a trailer the number of blocks.
  public var sequence: Int

  var encoded: [UInt8] {
    var bytes = kind == .block ? CaptureFormat.blockMagic : CaptureFormat.trailerMagic
    bytes.append(littleEndian: UInt32(frameBytes))
    bytes.append(littleEndian: UInt32(rawBytes))
    bytes.append(littleEndian: UInt32(truncatingIfNeeded: calls))
    bytes.append(littleEndian: first)
    bytes.append(littleEndian: last)
    bytes.append(littleEndian: checksum)
    bytes.append(littleEndian: UInt32(sequence))
    bytes.append(littleEndian: UInt32(0))
    bytes.append(littleEndian: CaptureFormat.checksum(bytes))
    return bytes
  }

  init(
    kind: Kind, frameBytes: Int, rawBytes: Int, calls: Int, first: UInt64, last: UInt64, checksum: UInt32,
    sequence: Int
  ) {
    self.kind = kind
    self.frameBytes = frameBytes
    self.rawBytes = rawBytes
    self.calls = calls
    self.first = first
    self.last = last
    self.checksum = checksum
    self.sequence = sequence
  }

  /// - Throws: `.damaged`, also for lengths that no writer makes.
  init(decoding bytes: UnsafeRawBufferPointer) throws(CaptureError) {
    try HeaderChecksum.check(bytes, "header of a block")
    var cursor = RecordCursor(bytes)
    let magic = try cursor.take(4, "magic")
    if magic.elementsEqual(CaptureFormat.blockMagic) {
      kind = .block
    } else if magic.elementsEqual(CaptureFormat.trailerMagic) {
      kind = .trailer
    } else {
      throw CaptureError(.damaged, "block: expected its first bytes to be NTCB or NTCE, found others")
    }
    frameBytes = Int(try cursor.integer(UInt32.self, "frame"))
    rawBytes = Int(try cursor.integer(UInt32.self, "raw"))
    calls = Int(try cursor.integer(UInt32.self, "calls"))
    first = try cursor.integer(UInt64.self, "first")
    last = try cursor.integer(UInt64.self, "last")
    checksum = try cursor.integer(UInt32.self, "checksum")
    sequence = Int(try cursor.integer(UInt32.self, "sequence"))
    guard rawBytes <= Limits.captureBlockBytesMax, frameBytes <= Limits.captureBlockBytesMax + 4096 else {
      throw CaptureError(
        .damaged,
        "block: expected at most \(Limits.captureBlockBytesMax) bytes of records, found \(max(rawBytes, frameBytes))")
    }
    guard kind == .block || frameBytes == 0 else {
      throw CaptureError(.damaged, "trailer: expected no bytes behind it, found \(frameBytes)")
    }
  }
}

/// Checksum at the end of the 48 bytes of a header.
private enum HeaderChecksum {
  static func check(_ bytes: UnsafeRawBufferPointer, _ what: String) throws(CaptureError) {
    let end = CaptureFormat.headerBytes - 4
    guard bytes.count >= CaptureFormat.headerBytes else {
      throw CaptureError(.damaged, "\(what): expected \(CaptureFormat.headerBytes) bytes, found \(bytes.count)")
    }
    let stored = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: end, as: UInt32.self))
    guard stored == CaptureFormat.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<end])) else {
      throw CaptureError(.damaged, "\(what): expected the checksum that it names, found another")
    }
  }
}
