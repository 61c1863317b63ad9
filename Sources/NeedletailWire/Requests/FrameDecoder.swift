public import NIOCore

/// A decoder that cuts a stream of bytes into frames: `u32 length, big-endian`, then `length` bytes.
///
/// Its input may be cut anywhere. Its buffer grows with the bytes that arrive, never with the length that a frame
/// promises, and shrinks again after a long frame. Confined to its connection's loop.
public struct FrameDecoder {
  /// Largest frame in bytes; a length word above it is refused as soon as its fourth byte arrives.
  public var frameBytesMax: Int

  private var buffer = ByteBuffer()
  /// Whether the storage belongs to the caller of ``append(_:)``.
  private var isBorrowed = false

  /// Bytes of storage that an idle connection keeps at most.
  private static let idleBytesMax = 64 << 10

  public init(frameBytesMax: Int) {
    self.frameBytesMax = frameBytesMax
  }

  /// Takes all readable bytes of `bytes`. If no bytes are left from before, the storage is shared and not copied.
  public mutating func append(_ bytes: inout ByteBuffer) {
    guard bytes.readableBytes > 0 else { return }
    if buffer.readableBytes == 0 {
      buffer = bytes
      isBorrowed = true
      bytes.moveReaderIndex(to: bytes.writerIndex)
    } else {
      // The rest of a frame moves to the front; otherwise the storage would grow without end.
      if buffer.readerIndex > buffer.readableBytes { buffer.discardReadBytes() }
      buffer.writeBuffer(&bytes)
    }
  }

  /// Copies the bytes that are left in storage of ``append(_:)``, so that its caller can fill the same memory again.
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
    // The storage of a long frame is freed with the frame.
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

  /// Bytes that were appended and are not yet part of a returned frame.
  public var bytesBuffered: Int { buffer.readableBytes }

  /// Bytes of storage behind the decoder, for tests of its bounds.
  public var capacityBytes: Int { buffer.storageCapacity }

  /// Whether a frame has begun and not ended, so that a silent peer has stalled.
  public var isMidFrame: Bool { bytesBuffered > 0 }
}

/// The fault for which bytes are no frames. After it the boundary of frames is lost.
public enum FrameError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The length word is 0.
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
