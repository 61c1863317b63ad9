public import NIOCore

/// Cuts a stream of bytes into frames: `u32 length, big-endian`, then `length` bytes.
///
/// Pure and incremental: it may be fed bytes cut anywhere. Its buffer grows with what arrives, never
/// with what a length promises, and shrinks again after a long frame. Confined to its connection's loop.
public struct FrameDecoder {
  /// A length word above this is refused as soon as its fourth byte is there.
  public var frameBytesMax: Int

  private var buffer = ByteBuffer()
  /// The storage came with ``append(_:)``, whose caller may want it back.
  private var isBorrowed = false

  /// An idle connection holds no more than this.
  private static let idleBytesMax = 64 << 10

  public init(frameBytesMax: Int) {
    self.frameBytesMax = frameBytesMax
  }

  /// Takes all readable bytes of `bytes`. The storage is taken over, not copied, where nothing waits.
  public mutating func append(_ bytes: inout ByteBuffer) {
    guard bytes.readableBytes > 0 else { return }
    if buffer.readableBytes == 0 {
      buffer = bytes
      isBorrowed = true
      bytes.moveReaderIndex(to: bytes.writerIndex)
    } else {
      // Moves the rest of a frame to the front instead of growing for ever.
      if buffer.readerIndex > buffer.readableBytes { buffer.discardReadBytes() }
      buffer.writeBuffer(&bytes)
    }
  }

  /// Lets go of storage that ``append(_:)`` took over: what is left in it is copied. A caller that then clears
  /// its buffer can fill the same memory again.
  public mutating func keepRest() {
    guard isBorrowed else { return }
    isBorrowed = false
    buffer = buffer.readableBytes == 0 ? ByteBuffer() : ByteBuffer(bytes: buffer.readableBytesView)
  }

  /// The next whole frame without its length word, or nil until more bytes arrive.
  ///
  /// After an error the boundary of frames is lost: the connection must be closed.
  /// - Complexity: O(1); the frame shares the decoder's storage.
  public mutating func next() throws(FrameError) -> ByteBuffer? {
    guard let word = buffer.getInteger(at: buffer.readerIndex, endianness: .big, as: UInt32.self) else { return nil }
    let length = try Self.length(word, frameBytesMax: frameBytesMax)
    guard buffer.readableBytes - 4 >= length else { return nil }
    buffer.moveReaderIndex(forwardBy: 4)
    let frame = buffer.readSlice(length: length)
    // A long frame's storage leaves with the frame.
    if buffer.readableBytes == 0, buffer.storageCapacity > Self.idleBytesMax { buffer = ByteBuffer() }
    return frame
  }

  /// First whole frame in `bytes` without its length word; nil until more bytes arrive. The frame is followed by the
  /// next one: the caller skips `4 + frame.count` bytes.
  /// - Throws: where the boundary of frames is lost; the connection must be closed.
  @inlinable
  public static func frame(
    in bytes: UnsafeRawBufferPointer, frameBytesMax: Int
  ) throws(FrameError) -> UnsafeRawBufferPointer? {
    guard bytes.count >= 4 else { return nil }
    let length = try length(
      UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)), frameBytesMax: frameBytesMax)
    guard bytes.count - 4 >= length else { return nil }
    return UnsafeRawBufferPointer(rebasing: bytes[4..<4 + length])
  }

  @inlinable
  static func length(_ word: UInt32, frameBytesMax: Int) throws(FrameError) -> Int {
    let length = Int(word)
    guard length > 0 else { throw .emptyFrame }
    guard length <= frameBytesMax else { throw .tooLong(found: length, limit: frameBytesMax) }
    return length
  }

  /// Bytes taken and not yet given out.
  public var bytesBuffered: Int { buffer.readableBytes }

  /// Bytes of storage behind the decoder, for tests of its bounds.
  public var capacityBytes: Int { buffer.storageCapacity }

  /// True while a frame has begun and not ended: silence now is a stalled peer.
  public var isMidFrame: Bool { bytesBuffered > 0 }
}

/// Why a stream of bytes is no stream of frames. The frame boundary is lost.
public enum FrameError: Error, Equatable, Sendable, CustomStringConvertible {
  /// A length word of 0.
  case emptyFrame
  case tooLong(found: Int, limit: Int)

  public var description: String {
    switch self {
    case .emptyFrame: "frame length: expected at least 1 byte, found 0"
    case .tooLong(let found, let limit): "frame length: expected at most \(limit) bytes, found \(found)"
    }
  }

  /// Value of the metric label `reason`.
  public var reason: String {
    switch self {
    case .emptyFrame: "empty_frame"
    case .tooLong: "too_long"
    }
  }
}
