internal import NIOCore
internal import NeedletailCore
internal import NeedletailProtobuf
internal import NeedletailServing
internal import NeedletailWire

/// The binary protocol of `proto/`: frames of a big-endian length and a protobuf message. Answers carry the id of
/// their call and may come in any order.
final class BinaryCodec: ConnectionCodec {
  /// Tensors of the call that was given out last.
  private var pending = PredictBody()
  /// Bytes of the frame that was taken last.
  private var frameBytes = 0

  override func next(
    _ input: inout ReceiveBuffer, _ arena: MessageArena, _ output: inout ByteBuffer
  ) -> CodecEvent {
    let frame: UnsafeRawBufferPointer
    do throws(FrameError) {
      guard let whole = try FrameDecoder.frame(in: input.unread, frameBytesMax: callBytesMax) else { return .wait }
      frame = whole
    } catch {
      return .fail(CodecFailure(error))
    }
    frameBytes = 4 + frame.count
    input.consume(frameBytes)
    do throws(ServingError) {
      let (view, body) = try RequestDecoder.decodeHead(frame, arena: arena)
      guard view.id != 0 else {
        return .malformed(id: 0, .invalidArgument("id: expected a number other than 0, found 0"))
      }
      pending = body
      return .call(view)
    } catch {
      return .malformed(id: RequestDecoder.peekID(frame), error)
    }
  }

  override func putBack(_ input: inout ReceiveBuffer) { input.unconsume(frameBytes) }

  override func body(
    _ arena: MessageArena
  ) throws(ServingError) -> (
    tensors: UnsafeBufferPointer<TensorView>, outputs: UnsafeBufferPointer<UnsafeRawBufferPointer>
  ) {
    try pending.decode(arena: arena)
  }

  override func write(_ answer: PredictAnswer, to output: inout ByteBuffer) {
    answer.schema.binary.append(
      id: answer.id, rows: answer.rows, values: answer.values, selection: answer.selection,
      timing: ResponseTiming(answer.timing), to: &output)
  }

  override func stream(_ answer: PredictAnswer, memory: CallMemory?) -> AnswerStream? {
    memory.flatMap { BinaryAnswerStream(answer, memory: $0) }
  }

  override class func encode(_ answer: ControlAnswer, id: UInt64) -> ByteBuffer? {
    var frame = ByteBuffer()
    answer.append(id: id, to: &frame)
    return frame
  }

  override func write(_ error: ServingError, id: UInt64, to output: inout ByteBuffer) {
    ResponseEncoder.appendError(id: id, error, to: &output)
  }

  override func write(_ answer: ControlAnswer, id: UInt64, to output: inout ByteBuffer) {
    answer.append(id: id, to: &output)
  }

  override func writeAuthenticated(id: UInt64, principal: String, to output: inout ByteBuffer) {
    ResponseEncoder.appendAuthenticated(id: id, principal: principal, to: &output)
  }

  override func writeGoAway(lastID: UInt64, to output: inout ByteBuffer) {
    ResponseEncoder.appendGoAway(lastID: lastID, to: &output)
  }
}

extension CodecFailure {
  init(_ error: FrameError) {
    switch error {
    case .emptyFrame: reason = .emptyFrame
    case .tooLong(let found, let limit):
      reason = .tooLong
      detail = ErrorDetail(
        limit: .init("request_bytes_max", maximum: UInt64(clamping: limit), found: UInt64(clamping: found)))
    }
    message = error.description
  }
}
