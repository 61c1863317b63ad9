internal import CZlib

/// Reason why captured bytes cannot be read, or a capture cannot be written.
public struct CaptureError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Reason: Sendable, Equatable {
    /// The bytes are no segment.
    case foreign
    /// The segment was written in a later, incompatible form.
    case version
    /// A length or a checksum is wrong.
    case damaged
    /// A file or the disk did not do as asked.
    case io
    /// The file is not there, or not any more.
    case missing
    /// Rules or key cannot be used.
    case rules
  }

  public let reason: Reason
  /// One sentence for people.
  public let message: String

  public init(_ reason: Reason, _ message: String) {
    self.reason = reason
    self.message = message
  }

  public var description: String { message }
}

/// Constants of the format of capture segments, which the handbook's page on capturing describes.
///
/// A segment is a header, blocks and, once it is complete, a trailer. Each of the three begins with 48 bytes that end
/// with their own checksum, so that a reader trusts no length before it was checked. A block is one zstd frame of
/// records, and needs no other block: what one damaged block holds is all that is lost.
public enum CaptureFormat {
  /// First bytes of a segment.
  static let magic: [UInt8] = Array("NTCAPTUR".utf8)
  static let blockMagic: [UInt8] = Array("NTCB".utf8)
  static let trailerMagic: [UInt8] = Array("NTCE".utf8)
  /// A reader refuses another one.
  public static let major: UInt16 = 1
  /// Raised for what older readers may skip.
  public static let minor: UInt16 = 1
  /// Bytes of a segment's header, of a block's header and of a trailer.
  public static let headerBytes = 48
  /// Ending of a complete segment.
  public static let suffix = ".ntcap"
  /// Ending of a segment that is being written.
  public static let openSuffix = ".ntcap.open"

  /// CRC-32 of zlib (ISO 3309).
  static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    var sum = crc32(0, nil, 0)
    guard let start = bytes.bindMemory(to: UInt8.self).baseAddress else { return UInt32(truncatingIfNeeded: sum) }
    sum = crc32_z(sum, start, bytes.count)
    return UInt32(truncatingIfNeeded: sum)
  }

  static func checksum(_ bytes: [UInt8]) -> UInt32 { bytes.withUnsafeBytes { checksum($0) } }
}

/// Why a call was captured. A call may have several reasons.
public struct CaptureReasons: OptionSet, Sendable, Hashable, CustomStringConvertible {
  public let rawValue: UInt16

  public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// It was drawn.
  public static let rate = CaptureReasons(rawValue: 1)
  /// It ended in an error.
  public static let error = CaptureReasons(rawValue: 2)
  /// The largest probability of one of its rows was low.
  public static let confidence = CaptureReasons(rawValue: 4)
  /// It took long.
  public static let slow = CaptureReasons(rawValue: 8)

  private static let names: [(CaptureReasons, String)] = [
    (.rate, "rate"), (.error, "error"), (.confidence, "confidence"), (.slow, "slow"),
  ]

  /// Names of the reasons, for example `rate` and `slow`.
  public var names: [String] { Self.names.filter { contains($0.0) }.map(\.1) }

  public var description: String { names.joined(separator: " ") }
}

extension [UInt8] {
  /// Lends the bytes to a body whose errors have a type.
  func lend<Result, Fault: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Fault) -> Result
  ) throws(Fault) -> Result {
    try withUnsafeBufferPointer { (bytes) throws(Fault) in try body(UnsafeRawBufferPointer(bytes)) }
  }

  mutating func append(littleEndian value: some FixedWidthInteger) {
    Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
  }

  /// Text behind its length in two bytes; longer texts are cut.
  mutating func append(short text: String) {
    let bytes = text.utf8.prefix(Int(UInt16.max))
    append(littleEndian: UInt16(bytes.count))
    append(contentsOf: bytes)
  }
}
