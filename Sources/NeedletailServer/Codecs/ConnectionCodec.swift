internal import NIOCore
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailModels
internal import NeedletailProtobuf
internal import NeedletailServing
internal import NeedletailWire

/// The protocol that one connection speaks: bytes become calls, and answers become bytes. A subclass per protocol:
/// ``BinaryCodec`` and ``OpenInferenceCodec``. Confined to its connection's loop.
///
/// A protocol whose answers must come in the order of its calls, such as HTTP/1.1, keeps that order here: it numbers
/// its calls itself and holds back an answer until all earlier ones are written. A codec knows no sockets and no clock.
///
/// This is a class and not a Swift protocol for openness and for speed. A loop serves connections of several protocols
/// and makes one batch of their calls, so that neither it nor ``Connection`` can be generic over the codec. An
/// existential would go through witness tables and could allocate. A class costs one indirect call each for the call,
/// its tensors and its answer, and everything below these three is specialised. A new protocol is one file with one
/// subclass, and a port that names it (``Listener/serve(_:codec:)``).
///
/// ``OpenInferenceCodec`` speaks HTTP/1.1 like this: `next` reads a request's head and body and numbers it; a body that
/// is not yet complete is `wait`, `Expect: 100-continue` is answered through `output`, and `Connection: close` is `end`
/// after the call. A bearer token is yielded as an `authenticate` call before the call that it came with; its good answer
/// writes no bytes. While a call is in flight `next` says `hold`. GoAway becomes `Connection: close` in the next answer.
class ConnectionCodec {
  /// Most bytes of one call. It rises when a peer has authenticated.
  final var callBytesMax: Int
  /// Most bytes of an answer that is written at once, whatever ``stream(_:memory:)`` could do. A protocol that formats
  /// numbers has less time than bytes.
  final let wholeAnswerBytesMax: UInt32

  required init(callBytesMax: Int) {
    self.callBytesMax = callBytesMax
    wholeAnswerBytesMax = Self.wholeAnswerBytesMax
  }

  /// Value of the instance's property.
  class var wholeAnswerBytesMax: UInt32 { .max }

  /// Protocol as spans of calls name it.
  class var wire: WireProtocol { .binary }

  // MARK: from bytes to calls

  /// Number of bytes of an unfinished call that the codec took out of the input and keeps. They count for the time
  /// that a peer has for a call. A codec that leaves unfinished calls in the input keeps none.
  var bytesPending: Int { 0 }

  /// Takes the next call out of `input`.
  /// - Parameters:
  ///   - input: bytes that arrived; the codec consumes those that it has read. A call borrows them.
  ///   - arena: memory for what the call points to beside its bytes, valid until the next call is taken.
  ///   - output: for interim answers that a protocol sends before a call is complete.
  func next(_ input: inout ReceiveBuffer, _ arena: MessageArena, _ output: inout ByteBuffer) -> CodecEvent {
    preconditionFailure("a codec must implement this method")
  }

  /// Puts the call that ``next(_:_:_:)`` gave out last back to the front of `input`: it is taken again when its
  /// connection has room for its answer.
  func putBack(_ input: inout ReceiveBuffer) {
    preconditionFailure("a codec must implement this method")
  }

  /// Reads the tensors of the predict call that ``next(_:_:_:)`` gave out last. Only admitted calls come this far.
  /// - Throws: `.invalidArgument` naming the field; the call fails and the connection goes on.
  func body(
    _ arena: MessageArena
  ) throws(ServingError) -> (
    tensors: UnsafeBufferPointer<TensorView>, outputs: UnsafeBufferPointer<UnsafeRawBufferPointer>
  ) {
    preconditionFailure("a codec must implement this method")
  }

  // MARK: from answers to bytes

  /// Whether answers must leave in the order in which they are written, large ones too.
  class var isOrdered: Bool { false }

  /// Writes the answer to a predict call.
  func write(_ answer: PredictAnswer, to output: inout ByteBuffer) {
    preconditionFailure("a codec must implement this method")
  }

  /// A large answer to a predict call, to be written piece by piece; nothing else is written before its end.
  /// - Parameter memory: memory of the answer's values, which may be kept; nil: they must be copied.
  /// - Returns: nil if this protocol writes it as a whole.
  func stream(_ answer: PredictAnswer, memory: CallMemory?) -> AnswerStream? { nil }

  /// Encodes the answer to a call that is no prediction, on any thread.
  /// - Returns: nil if this protocol writes it on the loop, by `write`.
  class func encode(_ answer: ControlAnswer, id: UInt64) -> ByteBuffer? { nil }

  /// Writes an error in place of an answer; id 0 stands for an error about the connection.
  func write(_ error: ServingError, id: UInt64, to output: inout ByteBuffer) {
    preconditionFailure("a codec must implement this method")
  }

  /// Writes the answer to a call that is no prediction.
  func write(_ answer: ControlAnswer, id: UInt64, to output: inout ByteBuffer) {
    preconditionFailure("a codec must implement this method")
  }

  /// Writes the answer to a call about a job, or its head.
  /// - Returns: what follows it; nil: it is whole.
  func write(_ answer: JobAnswer, id: UInt64, to output: inout ByteBuffer) -> AnswerStream? {
    preconditionFailure("a codec that gives out calls about jobs must implement this method")
  }

  /// Takes the body of the job whose head it gave out last.
  func accept(_ upload: JobUpload) {
    preconditionFailure("a codec that gives out calls about jobs must implement this method")
  }

  /// Writes the answer to a call that showed a good key.
  /// - Parameter principal: name of the key.
  func writeAuthenticated(id: UInt64, principal: String, to output: inout ByteBuffer) {
    preconditionFailure("a codec must implement this method")
  }

  /// Announces that the server stops: calls after `lastID` are not executed.
  func writeGoAway(lastID: UInt64, to output: inout ByteBuffer) {
    preconditionFailure("a codec must implement this method")
  }
}

/// The finding of a codec at the front of the bytes that arrived.
enum CodecEvent {
  /// A call. Its views are valid until the next call is taken.
  case call(RequestView)
  /// A call about a job, or the head of one.
  case job(JobCall)
  /// A call that cannot be read. It gets this error and the connection goes on.
  case malformed(id: UInt64, ServingError)
  /// No whole call: more bytes are needed.
  case wait
  /// A whole call that may not be taken before an answer to an earlier one is written. At least one call must be in
  /// flight.
  case hold
  /// The peer has announced that this was its last call.
  case end
  /// The boundary of calls is lost: the peer gets an error and the connection ends.
  case fail(CodecFailure)
}

/// Reason why the boundary of calls is lost on a connection.
struct CodecFailure: Error {
  /// Value of the metric label `reason`.
  enum Reason: String, CaseIterable {
    case emptyFrame = "empty_frame"
    case tooLong = "too_long"
    case undecodable
  }

  let reason: Reason
  /// Sentence for the peer.
  let message: String
  /// What it is about, for programs.
  var detail: ErrorDetail?
}

/// The answer to one predict call, as codecs write it.
struct PredictAnswer {
  let id: UInt64
  let schema: AnswerSchema
  let rows: Int
  /// For every output its `rows × columns` floats; a class output has one index per row. Behind them, where an output is
  /// places in texts, the places of the rows' texts. Valid during the call.
  let values: UnsafeBufferPointer<UnsafePointer<Float>>
  /// Outputs wanted, one bit each.
  let selection: UInt64
  let timing: AnswerTiming
}

/// Facts of a model version that codecs need to write its answers; made once per loop and version.
final class AnswerSchema {
  let model: String
  let version: UInt64
  /// Outputs in the order of the plan, and behind them parts of those that are places in texts.
  let tensors: [AnswerTensor]
  /// Output that parts show.
  let spans: SpanOutput?
  /// Text of every class or kind of entity, by its index.
  let labels: [String]
  /// The answer's constant bytes in the binary protocol, encoded beforehand.
  let binary: PredictResponseEncoder
  /// The same for the Open Inference Protocol, made when the first call of it is answered.
  private(set) lazy var openInference = InferAnswerEncoder(
    model: model, version: version, tensors: tensors, spans: spans, labels: labels)

  init(_ live: LiveModel) {
    model = live.model.name
    version = live.version.number
    tensors = live.compiled.plan.answerTensors
    spans = live.compiled.plan.spans
    labels = live.compiled.definition.labels
    binary = PredictResponseEncoder(
      model: model, version: version, tensors: tensors, spans: spans, labels: labels)
  }
}
