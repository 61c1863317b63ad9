internal import CZlib
internal import CZstd
internal import NeedletailCore

/// Encoding of the characters of a file.
public enum TextEncoding: String, CaseIterable, Sendable {
  case utf8 = "utf-8"
  /// The byte order mark says which byte of a unit comes first; without one, the first character does.
  case utf16 = "utf-16"
  /// Latin-1, in which Windows has characters where ISO has control codes.
  case windows1252 = "windows-1252"
}

/// Turns the bytes of a file into UTF-8, without I/O: gzip and zstd are unpacked, other encodings translated.
///
/// Memory is bounded by two buffers, however much a stream unpacks to.
public final class TextInput {
  /// Fault of a packed stream or of an encoding, without the file's name.
  public struct Failure: Error, Equatable, Sendable {
    public let message: String
  }

  private enum Packing {
    case undecided
    case none
    case gzip(UnsafeMutablePointer<z_stream>)
    case zstd(OpaquePointer)
  }

  private static let bufferBytes = 1 << 18

  /// Encoding asked for; nil: UTF-8, or UTF-16 where the first bytes say so.
  private let wanted: TextEncoding?
  /// Encoding found; nil before the first bytes.
  public private(set) var encoding: TextEncoding?
  /// `gzip` or `zstd`; nil for a file that is not packed.
  public private(set) var packing: String?
  private var unpacker = Packing.undecided
  private var unpacked = [UInt8](repeating: 0, count: TextInput.bufferBytes)
  private var translated: [UInt8] = []
  /// First bytes that are too few to tell anything.
  private var head: [UInt8] = []
  /// True where a packed stream has ended, and so may the file.
  private var isAtStreamEnd = true
  private var isBigEndian = false
  /// Byte of a unit of UTF-16 whose other byte is in the next piece.
  private var oddByte: UInt8?
  /// First unit of a surrogate pair.
  private var highSurrogate: UInt32?

  public init(_ encoding: TextEncoding? = nil) { wanted = encoding }

  deinit {
    switch unpacker {
    case .gzip(let stream):
      inflateEnd(stream)
      stream.deallocate()
    case .zstd(let stream): ZSTD_freeDStream(stream)
    case .undecided, .none: break
    }
  }

  /// Takes the next bytes of the file; none at its end.
  ///
  /// - Parameter body: takes UTF-8; returns false to stop.
  /// - Returns: false where `body` stopped.
  public func decode<Fault: Error>(
    _ chunk: UnsafeBufferPointer<UInt8>, failure: (Failure) -> Fault,
    _ body: (UnsafeBufferPointer<UInt8>) throws(Fault) -> Bool
  ) throws(Fault) -> Bool {
    let isEnd = chunk.isEmpty
    if case .undecided = unpacker {
      head += chunk
      guard head.count >= 4 || isEnd else { return true }
      let bytes = head
      head = []
      do throws(Failure) { try choosePacking(bytes) } catch { throw failure(error) }
      let goesOn = try bytes.withUnsafeBufferPointer { (bytes) throws(Fault) in
        bytes.isEmpty ? true : try unpack(bytes, failure, body)
      }
      guard goesOn, isEnd else { return goesOn }
    } else if !isEnd {
      return try unpack(chunk, failure, body)
    }
    guard isAtStreamEnd else {
      throw failure(Failure(message: "expected the rest of its \(packing ?? "") stream, found the end of the file"))
    }
    guard oddByte == nil, highSurrogate == nil else {
      throw failure(Failure(message: "expected whole characters of UTF-16, found half of one at the end of the file"))
    }
    return true
  }

  // MARK: - packing

  private func choosePacking(_ bytes: [UInt8]) throws(Failure) {
    unpacker = .none
    if bytes.starts(with: [0x1F, 0x8B]) {
      let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
      stream.initialize(to: z_stream())
      // 16: a gzip header is expected.
      guard inflateInit2_(stream, 16 + MAX_WBITS, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
        stream.deallocate()
        throw Failure(message: "expected memory for unpacking gzip, found none")
      }
      (unpacker, packing) = (.gzip(stream), "gzip")
    } else if bytes.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) {
      guard let stream = ZSTD_createDStream() else {
        throw Failure(message: "expected memory for unpacking zstd, found none")
      }
      (unpacker, packing) = (.zstd(stream), "zstd")
    }
  }

  private func unpack<Fault: Error>(
    _ chunk: UnsafeBufferPointer<UInt8>, _ failure: (Failure) -> Fault,
    _ body: (UnsafeBufferPointer<UInt8>) throws(Fault) -> Bool
  ) throws(Fault) -> Bool {
    if case .none = unpacker { return try translate(chunk, failure, body) }
    var taken = 0
    // A full buffer may leave output behind in the stream after all input was taken.
    var isFull = false
    while taken < chunk.count || isFull {
      let made: Int
      do throws(Failure) { made = try step(chunk, &taken) } catch { throw failure(error) }
      isFull = made == unpacked.count
      let goesOn = try unpacked.withUnsafeBufferPointer { (bytes) throws(Fault) in
        made == 0 ? true : try translate(UnsafeBufferPointer(rebasing: bytes[..<made]), failure, body)
      }
      if !goesOn { return false }
    }
    return true
  }

  /// Unpacks as much as fits the buffer.
  ///
  /// - Parameter taken: bytes of the chunk used so far.
  /// - Returns: the number of bytes made.
  private func step(_ chunk: UnsafeBufferPointer<UInt8>, _ taken: inout Int) throws(Failure) -> Int {
    let fault = Failure(message: "expected a whole \(packing ?? "") stream, found damaged bytes in it")
    switch unpacker {
    case .gzip(let stream):
      // Several streams one after the other are one file, as gzip itself has it.
      if isAtStreamEnd, taken > 0 || stream.pointee.total_out > 0 { inflateReset(stream) }
      stream.pointee.next_in = UnsafeMutablePointer(mutating: chunk.baseAddress).map { $0 + taken }
      stream.pointee.avail_in = UInt32(chunk.count - taken)
      let status = unpacked.withUnsafeMutableBufferPointer { buffer in
        stream.pointee.next_out = buffer.baseAddress
        stream.pointee.avail_out = UInt32(buffer.count)
        return inflate(stream, Z_NO_FLUSH)
      }
      guard status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR else { throw fault }
      taken = chunk.count - Int(stream.pointee.avail_in)
      isAtStreamEnd = status == Z_STREAM_END
      return unpacked.count - Int(stream.pointee.avail_out)
    case .zstd(let stream):
      var input = ZSTD_inBuffer(src: chunk.baseAddress, size: chunk.count, pos: taken)
      let (left, made) = unpacked.withUnsafeMutableBufferPointer { buffer in
        var output = ZSTD_outBuffer(dst: buffer.baseAddress, size: buffer.count, pos: 0)
        return (ZSTD_decompressStream(stream, &output, &input), output.pos)
      }
      guard ZSTD_isError(left) == 0 else { throw fault }
      taken = input.pos
      isAtStreamEnd = left == 0
      return made
    case .undecided, .none: preconditionFailure("nothing to unpack")
    }
  }

  // MARK: - encoding

  private func translate<Fault: Error>(
    _ bytes: UnsafeBufferPointer<UInt8>, _ failure: (Failure) -> Fault,
    _ body: (UnsafeBufferPointer<UInt8>) throws(Fault) -> Bool
  ) throws(Fault) -> Bool {
    guard let first = bytes.first else { return true }
    if encoding == nil { chooseEncoding(bytes, first) }
    switch encoding {
    case .utf16:
      translated.removeAll(keepingCapacity: true)
      do throws(Failure) { try translateUTF16(bytes) } catch { throw failure(error) }
    case .windows1252:
      translated.removeAll(keepingCapacity: true)
      for byte in bytes { append(byte < 0x80 || byte > 0x9F ? UInt32(byte) : Self.windows[Int(byte) - 0x80]) }
    default: return try body(bytes)
    }
    return try translated.withUnsafeBufferPointer { (text) throws(Fault) in try body(text) }
  }

  private func chooseEncoding(_ bytes: UnsafeBufferPointer<UInt8>, _ first: UInt8) {
    let second = bytes.count > 1 ? bytes[1] : first
    let hasMark = (first == 0xFF && second == 0xFE) || (first == 0xFE && second == 0xFF)
    let hasZero = bytes.count > 1 && (first == 0) != (second == 0)
    encoding = wanted ?? (hasMark || hasZero ? .utf16 : .utf8)
    isBigEndian = first == 0xFE || first == 0
  }

  private func translateUTF16(_ bytes: UnsafeBufferPointer<UInt8>) throws(Failure) {
    for byte in bytes {
      guard let other = oddByte else {
        oddByte = byte
        continue
      }
      oddByte = nil
      let unit = UInt32(isBigEndian ? other : byte) << 8 | UInt32(isBigEndian ? byte : other)
      switch (unit, highSurrogate) {
      case (0xD800..<0xDC00, nil): highSurrogate = unit
      case (0xDC00..<0xE000, .some(let high)):
        highSurrogate = nil
        append(0x10000 + ((high - 0xD800) << 10) + (unit - 0xDC00))
      case (0xDC00..<0xE000, nil), (_, .some):
        throw Failure(message: "expected UTF-16, found half of a surrogate pair")
      default: append(unit)
      }
    }
  }

  private func append(_ scalar: UInt32) {
    switch scalar {
    case ..<0x80: translated.append(UInt8(scalar))
    case ..<0x800: translated += [UInt8(0xC0 | scalar >> 6), UInt8(0x80 | scalar & 0x3F)]
    case ..<0x10000:
      translated += [UInt8(0xE0 | scalar >> 12), UInt8(0x80 | scalar >> 6 & 0x3F), UInt8(0x80 | scalar & 0x3F)]
    default:
      translated += [
        UInt8(0xF0 | scalar >> 18), UInt8(0x80 | scalar >> 12 & 0x3F), UInt8(0x80 | scalar >> 6 & 0x3F),
        UInt8(0x80 | scalar & 0x3F),
      ]
    }
  }

  /// Characters 80 to 9F of Windows-1252; five are not used and stay control codes, as the WHATWG's standard has them.
  private static let windows: [UInt32] = [
    0x20AC, 0x81, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8D, 0x017D,
    0x8F, 0x90, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D,
    0x017E, 0x0178,
  ]
}
