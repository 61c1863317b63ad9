internal import NIOCore
internal import NeedletailCore

/// Answers of one connection on their way to its socket: whole frames in one buffer, and large answers that wait for
/// their turn.
///
/// Frames go first, because they are small; a large answer that has begun goes on to its end before anything else,
/// because a frame cannot be interrupted. Confined to the connection's loop.
struct SendQueue: ~Copyable {
  /// Whole frames, of which the first may have been sent in part.
  var frames = ByteBuffer()
  /// Encoded bytes of the large answer that is being sent.
  private var piece = ByteBuffer()
  /// Large answers in their order. The first one may have begun.
  private var large: [AnswerStream] = []
  private var hasBegun = false
  /// Whether answers must leave in the order in which they were written.
  private let isOrdered: Bool
  /// Bytes of large answers that are not encoded.
  private(set) var largeBytes = 0

  /// - Parameter isOrdered: false where small answers may overtake large ones.
  init(isOrdered: Bool) { self.isOrdered = isOrdered }

  /// Bytes that are encoded and were not sent.
  var encodedBytes: Int { frames.readableBytes + piece.readableBytes }

  var bytes: Int { encodedBytes + largeBytes }

  var capacity: Int { frames.capacity + piece.capacity }

  mutating func append(_ stream: AnswerStream) {
    guard isOrdered else { return add(stream) }
    // What was written before goes first, and what will be written waits for the stream's end.
    if frames.readableBytes > 0 {
      add(EncodedAnswerStream(frames))
      frames = ByteBuffer()
    }
    add(stream)
    hasBegun = true
  }

  private mutating func add(_ stream: AnswerStream) {
    large.append(stream)
    largeBytes += stream.bytesLeft
  }

  /// Encodes the next piece of a large answer if nothing encoded may go before it.
  /// - Parameter allowance: bytes of large answers that may be encoded; reduced by those that were.
  mutating func encode(_ allowance: inout Int) {
    guard !large.isEmpty, allowance > 0, piece.readableBytes == 0, hasBegun || frames.readableBytes == 0 else { return }
    piece.clear()
    let stream = large[0]
    let (before, weight) = (stream.bytesLeft, stream.weight)
    stream.write(bytes: max(1, min(allowance, Limits.largeAnswerPieceBytes) / weight), to: &piece)
    let written = before - stream.bytesLeft
    allowance -= written * weight
    largeBytes -= written
    hasBegun = stream.bytesLeft > 0
    guard !hasBegun else { return }
    large.removeFirst()
    hasBegun = isOrdered && !large.isEmpty
  }

  /// Sends, or encrypts, bytes of the buffer whose turn it is.
  /// - Parameter body: takes bytes and returns how many of them are done.
  mutating func take(_ body: (UnsafeRawBufferPointer) -> Int) {
    // A piece precedes frames that were written after its answer began.
    if isLargeNext {
      Self.take(&piece, body)
    } else {
      Self.take(&frames, body)
    }
  }

  private static func take(_ buffer: inout ByteBuffer, _ body: (UnsafeRawBufferPointer) -> Int) {
    let count = buffer.withUnsafeReadableBytes(body)
    if count == buffer.readableBytes { return buffer.clear() }
    buffer.moveReaderIndex(forwardBy: count)
    // The bytes that wait take no more than twice their size.
    if buffer.readerIndex > buffer.readableBytes { buffer.discardReadBytes() }
  }

  /// Whether bytes can be sent, or encoded with an allowance.
  var isEmpty: Bool { frames.readableBytes == 0 && piece.readableBytes == 0 && large.isEmpty }

  /// Whether the next bytes belong to a large answer.
  var isLargeNext: Bool { piece.readableBytes > 0 || hasBegun }

  /// Whether bytes can be sent without encoding more of a large answer.
  var hasEncoded: Bool { piece.readableBytes > 0 || (!hasBegun && frames.readableBytes > 0) }

  /// Frees memory that holds nothing.
  mutating func trim() {
    if frames.readableBytes == 0 { frames = ByteBuffer() }
    if piece.readableBytes == 0 { piece = ByteBuffer() }
  }
}
