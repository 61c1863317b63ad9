internal import NIOCore
internal import NeedletailCore
internal import NeedletailServing
internal import NeedletailWire

/// One large answer on its way out, written piece by piece as its peer takes it. A subclass per kind of answer; confined
/// to its connection's loop.
class AnswerStream {
  /// Bytes that were not written yet; 0 at its end.
  var bytesLeft: Int { preconditionFailure("a stream must implement this property") }

  /// Times that a byte of the next piece takes the time of one that is copied.
  var weight: Int { 1 }

  /// Appends the next piece.
  /// - Parameter bytes: size of the piece; a few more may come, or none yet.
  func write(bytes: Int, to output: inout ByteBuffer) {
    preconditionFailure("a stream must implement this method")
  }
}

/// The answer to a predict call in the binary protocol. It keeps the memory that the values were computed in, and gives
/// back what it has written.
final class BinaryAnswerStream: AnswerStream {
  private let encoder: PredictResponseEncoder
  private let memory: CallMemory
  private let values: [UnsafePointer<Float>]
  private var pieces: PredictResponseEncoder.Pieces

  /// - Returns: nil for an answer too long for any frame.
  init?(_ answer: PredictAnswer, memory: CallMemory) {
    encoder = answer.schema.binary
    self.memory = memory
    values = Array(answer.values)
    guard
      let pieces = encoder.pieces(
        id: answer.id, rows: answer.rows, values: answer.values, selection: answer.selection,
        timing: ResponseTiming(answer.timing))
    else { return nil }
    self.pieces = pieces
  }

  override var bytesLeft: Int { pieces.bytesLeft }

  override func write(bytes: Int, to output: inout ByteBuffer) {
    values.withUnsafeBufferPointer { encoder.append(&pieces, values: $0, bytes: bytes, to: &output) }
    if let (output, element) = pieces.position { memory.discard(before: values[output] + element) }
  }
}

/// An answer that was encoded as a whole, off the loop.
final class EncodedAnswerStream: AnswerStream {
  private var bytes: ByteBuffer

  init(_ bytes: ByteBuffer) { self.bytes = bytes }

  override var bytesLeft: Int { bytes.readableBytes }

  override func write(bytes count: Int, to output: inout ByteBuffer) {
    guard var piece = bytes.readSlice(length: min(count, bytes.readableBytes)) else { return }
    output.writeBuffer(&piece)
  }
}

extension ResponseTiming {
  init(_ timing: AnswerTiming) {
    self.init(
      queueMicroseconds: timing.queueMicroseconds, computeMicroseconds: timing.computeMicroseconds,
      batchRows: timing.batchRows)
  }
}
