public import NIOCore

/// Cuts a stream of bytes into frames: `u32 length, big-endian`, then `length` bytes.
///
/// Pure and incremental: it may be fed bytes cut anywhere. Its buffer grows with what arrives, never
/// with what a length promises. Confined to its connection's loop.
public struct FrameDecoder {
  /// A length word above this is refused as soon as its fourth byte is there.
  public var frameBytesMax: Int

  public init(frameBytesMax: Int) {
    self.frameBytesMax = frameBytesMax
  }

  /// Takes all readable bytes of `bytes`.
  public mutating func append(_ bytes: inout ByteBuffer) { fatalError() }

  /// The next whole frame without its length word, or nil until more bytes arrive.
  ///
  /// After an error the boundary of frames is lost: the connection must be closed.
  public mutating func next() throws(FrameError) -> ByteBuffer? { fatalError() }

  /// Bytes taken and not yet given out.
  public var bytesBuffered: Int { fatalError() }

  /// True while a frame has begun and not ended: silence now is a stalled peer.
  public var isMidFrame: Bool { bytesBuffered > 0 }
}
