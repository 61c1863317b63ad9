internal import NIOCore
internal import NeedletailCore
internal import NeedletailProtobuf
internal import NeedletailServing
internal import NeedletailWire

/// The Open Inference Protocol, version 2, over HTTP/1.1, as KServe and Triton speak it: JSON, and tensors as bytes behind
/// it (`Inference-Header-Content-Length`). It is a second way into the same batches, not a proxy before them.
///
/// HTTP has no ids, so that answers come in the order of requests: a connection has one call in flight, and what it sends
/// meanwhile waits unread. Clients that want more open more connections, as they all do.
///
/// Sources: the KServe repository, docs/predict-api/v2; the Triton server repository, docs/protocol.
final class OpenInferenceCodec: ConnectionCodec {
  /// Whether a call was given out and not answered.
  var isAnswering = false
  /// Whether the connection ends with the answer to the call in flight, or with the last answer.
  var closes = false
  private var hasEnded = false
  /// Whether the request at the front has been told to send its body.
  private var hasContinued = false
  /// Bytes of a refused request that are still to come, or lie at the front.
  private var bytesToSkip = 0
  private var chunks = ChunkedBody()
  private var sequence: UInt64 = 0

  // The call in flight.
  var route = OpenInferenceRoute.server
  var isHead = false
  private var isHTTP10 = false
  private var requestBytes = 0
  var request = InferRequest()
  /// Status of the next error in place of the one that belongs to its code.
  var errorStatus: Int?

  // Keys.
  /// The last token that was shown and not refused.
  private var token: [UInt8] = []
  private var isChecking = false
  private var hasIdentity = false

  /// Body of the answer that is being written; its memory is kept.
  private var body = ByteBuffer()

  // MARK: from bytes to calls

  // Jobs.
  /// Job whose head asks whether its body may come.
  var isBeginningJob = false
  /// Job whose body arrives.
  var upload: JobUpload?
  /// Bytes of its head that lie at the front.
  var uploadHeadBytes = 0
  /// Whether it waits for leave to send its body.
  var uploadExpectsContinue = false

  override var bytesPending: Int { upload.map { max(1, $0.bytesArrived) } ?? 0 }

  override func next(
    _ input: inout ReceiveBuffer, _ arena: MessageArena, _ output: inout ByteBuffer
  ) -> CodecEvent {
    while true {
      if isAnswering { return .hold }
      if let upload { return take(upload, &input, &output) }
      if joined.count > Limits.contiguousAnswerBytesMax { dropJoined() }
      if hasEnded { return .end }
      if bytesToSkip > 0 {
        let count = min(bytesToSkip, input.unread.count)
        input.consume(count)
        bytesToSkip -= count
        if bytesToSkip > 0 { return .wait }
      }
      input.skipEmptyLines()
      guard !input.unread.isEmpty else { return .wait }
      do throws(HTTPHead.Fault) {
        guard let head = try HTTPHead.parse(input.unread) else { return .wait }
        if let event = try next(head, &input, arena, &output) { return event }
      } catch {
        return fail(error)
      }
    }
  }

  private func fail(_ fault: HTTPHead.Fault) -> CodecEvent {
    errorStatus = fault.status
    closes = true
    isHead = false
    return .fail(CodecFailure(reason: fault.status == 413 ? .tooLong : .undecodable, message: fault.message))
  }

  /// - Returns: nil where the request is answered and the next one may be looked at.
  private func next(
    _ head: HTTPHead, _ input: inout ReceiveBuffer, _ arena: MessageArena, _ output: inout ByteBuffer
  ) throws(HTTPHead.Fault) -> CodecEvent? {
    // The key comes first: it decides how long the body may be.
    if let event = check(head) { return event }
    if let event = beginJob(head) { return event }
    guard head.bodyBytes <= callBytesMax else {
      throw HTTPHead.Fault(
        status: 413, message: "body: expected at most \(callBytesMax) bytes, found \(head.bodyBytes)")
    }
    let arrived = UnsafeRawBufferPointer(rebasing: input.unread[head.bytes...])
    let bodyOnWire: Int
    if head.isChunked {
      guard let bytes = try chunks.read(arrived, bytesMax: callBytesMax) else { return wait(head, arrived, &output) }
      bodyOnWire = bytes
    } else {
      guard arrived.count >= head.bodyBytes else { return wait(head, arrived, &output) }
      bodyOnWire = head.bodyBytes
    }
    hasContinued = false
    closes = head.closes
    isHead = head.method == .head
    isHTTP10 = head.isHTTP10
    requestBytes = head.bytes + bodyOnWire
    defer { chunks.removeAll() }
    // The bytes stay where they are until more arrive, or the call is put back.
    input.consume(requestBytes)
    let plain = UnsafeRawBufferPointer(rebasing: arrived[..<bodyOnWire])
    guard head.isChunked else { return take(head, plain, arena, &output) }
    return chunks.bytes.withUnsafeBytes { chunked in
      // Calls borrow their body, and the chunks are forgotten.
      take(head, body(of: chunked), arena, &output)
    }
  }

  /// Memory of the body of the call in flight, where it came in chunks.
  private var joined = UnsafeMutableRawBufferPointer(start: nil, count: 0)

  deinit {
    joined.deallocate()
    if let upload { JobUpload.drop(upload) }
  }

  private func dropJoined() {
    joined.deallocate()
    joined = UnsafeMutableRawBufferPointer(start: nil, count: 0)
  }

  private func body(of chunked: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    if joined.count < chunked.count {
      joined.deallocate()
      joined = .allocate(byteCount: chunked.count, alignment: 16)
    }
    joined.copyMemory(from: chunked)
    return UnsafeRawBufferPointer(rebasing: joined[..<chunked.count])
  }

  private func wait(
    _ head: HTTPHead, _ arrived: UnsafeRawBufferPointer, _ output: inout ByteBuffer
  ) -> CodecEvent {
    if head.expectsContinue, !hasContinued, arrived.isEmpty {
      hasContinued = true
      output.writeStaticString("HTTP/1.1 100 Continue\r\n\r\n")
    }
    return .wait
  }

  /// Has the key of a request checked, where it is another than that of the request before. Each request counts by its
  /// own key: a proxy may send those of several clients over one connection.
  private func check(_ head: HTTPHead) -> CodecEvent? {
    guard let shown = head.token else {
      guard hasIdentity else { return nil }
      closes = true
      errorStatus = 401
      return refuse(
        head, .unauthenticated("Authorization: expected a bearer token as in the requests before, found none"))
    }
    guard !shown.elementsEqual(token) else { return nil }
    token.removeAll(keepingCapacity: true)
    token.append(contentsOf: shown)
    isChecking = true
    isAnswering = true
    bytesOfRefused = head.isChunked ? nil : head.bytes + head.bodyBytes
    return .call(RequestView(id: nextID(), timeoutMicroseconds: 0, call: .authenticate(shown)))
  }

  /// Bytes of the request whose key, or whose job's head, is being checked; nil where its end is not known.
  var bytesOfRefused: Int?

  private func refuse(_ head: HTTPHead, _ error: ServingError) -> CodecEvent {
    skip(head.isChunked ? nil : head.bytes + head.bodyBytes)
    return malformed(error)
  }

  /// Passes over a request whose end is known; without one the connection ends.
  func skip(_ bytes: Int?) {
    if let bytes, bytes <= callBytesMax { bytesToSkip = bytes } else { closes = true }
  }

  func nextID() -> UInt64 {
    sequence += 1
    return sequence
  }

  func malformed(_ error: ServingError) -> CodecEvent {
    isAnswering = true
    return .malformed(id: nextID(), error)
  }

  override func putBack(_ input: inout ReceiveBuffer) {
    input.unconsume(requestBytes)
    isAnswering = false
  }

  override func body(
    _ arena: MessageArena
  ) throws(ServingError) -> (
    tensors: UnsafeBufferPointer<TensorView>, outputs: UnsafeBufferPointer<UnsafeRawBufferPointer>
  ) {
    try request.tensors(arena: arena)
  }

  // MARK: from answers to bytes

  override class var isOrdered: Bool { true }

  override class var wire: WireProtocol { .openInference }

  /// As many bytes as there are in the elements that one piece may format.
  override class var wholeAnswerBytesMax: UInt32 { UInt32(4 * InferAnswerStream.elementsMax) }

  override func stream(_ answer: PredictAnswer, memory: CallMemory?) -> AnswerStream? {
    guard
      memory != nil || answer.schema.openInference.formattedElements(answer, request) > InferAnswerStream.elementsMax
    else { return nil }
    if isLeaving { closes = true }
    let stream = InferAnswerStream(answer, request, isHTTP10: isHTTP10, closes: closes, memory: memory)
    finish()
    return stream
  }

  override func write(_ answer: PredictAnswer, to output: inout ByteBuffer) {
    body.clear()
    let jsonBytes = answer.schema.openInference.append(answer, request, to: &body)
    writeHead(200, bodyBytes: body.readableBytes, jsonBytes: jsonBytes, to: &output)
    output.writeImmutableBuffer(body)
    if body.capacity > Limits.idleOutputBytesMax { body = ByteBuffer() }
    finish()
  }

  override func write(_ error: ServingError, id: UInt64, to output: inout ByteBuffer) {
    if isChecking {
      isChecking = false
      // A server that asks for no keys has none to compare with.
      if error.code == .unimplemented { return finish() }
      token.removeAll()
      hasIdentity = true
      skip(bytesOfRefused)
    }
    if isBeginningJob {
      isBeginningJob = false
      if error.detail?.limit?.name == JobService.requestBytesLimit { errorStatus = 413 }
      skip(bytesOfRefused)
    }
    // Without a call the error is about the connection, and its last word.
    if id == 0 { closes = true }
    let status = errorStatus ?? HTTPStatus.of(error.code)
    let allow = errorStatus == 405 ? allowed : nil
    errorStatus = nil
    body.clear()
    body.writeString(OpenInferenceReports.error(error))
    writeHead(
      status, bodyBytes: body.readableBytes, retryAfterMicroseconds: error.retryAfterMicroseconds, allow: allow,
      to: &output)
    if !isHead { output.writeImmutableBuffer(body) }
    finish()
  }

  /// Method that a path has, for the answer to another one.
  var allowed: HTTPHead.Method?

  override func write(_ answer: ControlAnswer, id: UInt64, to output: inout ByteBuffer) {
    if case .error(let error) = answer { return write(error, id: id, to: &output) }
    let report = OpenInferenceReports.answer(answer, to: route)
    body.clear()
    body.writeString(report.json)
    writeHead(report.status, bodyBytes: body.readableBytes, to: &output)
    if !isHead { output.writeImmutableBuffer(body) }
    finish()
  }

  override func write(_ answer: JobAnswer, id: UInt64, to output: inout ByteBuffer) -> AnswerStream? {
    switch answer {
    case .error(let error, let status):
      errorStatus = status
      write(error, id: id, to: &output)
      return nil
    case .status(let status, let isNew):
      let json = status.json
      writeHead(
        isNew ? 202 : 200, bodyBytes: json.utf8.count, location: isNew ? "/v2/jobs/\(status.id)" : nil, to: &output)
      if !isHead { output.writeString(json) }
      finish()
      return nil
    case .result(let result):
      writeHead(200, bodyBytes: result.body.readableBytes, jsonBytes: result.jsonBytes, to: &output)
      finish()
      return isHead ? nil : JobResultStream(result)
    }
  }

  override func accept(_ upload: JobUpload) { begin(upload) }

  override func writeAuthenticated(id: UInt64, principal: String, to output: inout ByteBuffer) {
    isChecking = false
    hasIdentity = true
    finish()
  }

  /// There is no word for it between two answers: the next one says that it is the last.
  override func writeGoAway(lastID: UInt64, to output: inout ByteBuffer) { isLeaving = true }

  var isLeaving = false

  func finish() {
    isAnswering = false
    if closes, !isChecking { hasEnded = true }
  }

  func write(_ json: [UInt8], to output: inout ByteBuffer) {
    writeHead(200, bodyBytes: json.count, to: &output)
    if !isHead { output.writeBytes(json) }
    finish()
  }

  func writeHead(
    _ status: Int, bodyBytes: Int, jsonBytes: Int? = nil, retryAfterMicroseconds: UInt32 = 0,
    allow: HTTPHead.Method? = nil, location: String? = nil, to output: inout ByteBuffer
  ) {
    if isLeaving { closes = true }
    HTTPAnswer.writeHead(
      status, .length(bodyBytes, json: jsonBytes), closes: closes, retryAfterMicroseconds: retryAfterMicroseconds,
      allow: allow, location: location, to: &output)
  }
}
