internal import Logging
internal import NIOCore
internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailProtobuf
internal import NeedletailSecurity
internal import NeedletailServing
internal import NeedletailSockets
internal import NeedletailSystem
internal import NeedletailTLS
internal import NeedletailWire

/// One connection: a socket, perhaps encryption, a codec, and the buffers between them. What may happen when is
/// decided by its ``ConnectionStateMachine``.
///
/// The loop drives it: every method says what happened and none calls the loop. Answers gather in a ``SendQueue``, which
/// goes to the socket once per tick, large ones piece by piece in as many ticks as it takes. Confined to its loop.
final class Connection {
  /// Place of the connection in its loop's table.
  let address: ReplyAddress
  let codec: ConnectionCodec
  /// Who calls, and which calls are allowed.
  var access: ConnectionAccess
  var state: ConnectionStateMachine
  let context: ConnectionContext
  var socket: ConnectionSocket
  /// Nil without TLS, and after its end was sent.
  var encryption: EncryptedSession?
  let isEncrypted: Bool
  private var input = ReceiveBuffer()
  var queue: SendQueue
  /// Encrypted bytes that were not sent; unused without TLS.
  var sealed = ByteBuffer()
  /// Bytes that the connection counts for in the budget of all connections: its waiting answers.
  var bytesCharged = 0
  /// Bytes that the answers to the calls in flight may take.
  var bytesExpected = 0
  private var jobCall: JobCall?
  /// Failure of the socket that a send met and did not handle yet.
  var sendFailure: SystemError?
  /// Whether the loop has noted that it goes on sending in the next tick.
  var isSending = false

  /// - Parameter tls: nil: bytes are not encrypted.
  /// - Throws: the reason why encryption cannot begin.
  init(
    _ socket: ConnectionSocket, address: ReplyAddress, codec: ConnectionCodec.Type, tls: TLSContext?,
    isKeyRequired: Bool, context: ConnectionContext, now: Instant
  ) throws {
    self.socket = socket
    self.address = address
    self.context = context
    isEncrypted = tls != nil
    encryption = try tls.map { try EncryptedSession($0, now: now) }
    access = ConnectionAccess(isRequired: isKeyRequired)
    state = ConnectionStateMachine(bounds: context.bounds, isAuthenticated: !isKeyRequired, now: now)
    queue = SendQueue(isOrdered: codec.isOrdered)
    self.codec = codec.init(callBytesMax: state.callBytesMax)
  }

  // MARK: bytes

  /// The result of one read of the socket.
  enum Received {
    /// Bytes of calls.
    case bytes
    /// Decrypted bytes of calls; the names in the client's certificate, if the handshake ended with these bytes.
    case decrypted(certificateNames: [String]?)
    /// The peer has ended its side, or the connection has failed and was closed.
    case end
    case nothing
  }

  /// Whether the poller was asked for bytes.
  var isRead: Bool { socket.wantsBytes && !state.isClosed }

  /// Reads the socket once. The bytes are then in the loop's memory: see ``append(borrowing:)``.
  /// - Parameters:
  ///   - arrived: gets the bytes of the socket, as many as it has room for.
  ///   - decrypted: gets what they decrypt to.
  func receive(into arrived: inout ByteBuffer, _ decrypted: inout ByteBuffer, now: Instant) -> Received {
    switch socket.receive(into: &arrived) {
    case .bytes(let count):
      context.counters.receivedBytes.add(UInt64(count), shard: context.shard)
      state.received(now: now)
      return isEncrypted ? decrypt(arrived, into: &decrypted) : .bytes
    case .end:
      if let encryption, !encryption.isHandshakeDone {
        failHandshake(.closed, "the client has gone")
      } else {
        state.endInput()
      }
      return .end
    case .nothing: return .nothing
    // A reset by the peer and the like: no peer is left to answer.
    case .failure(let error):
      fail(error)
      return .end
    }
  }

  private func decrypt(_ arrived: ByteBuffer, into decrypted: inout ByteBuffer) -> Received {
    do throws(TLSError) {
      let isHandshakeEnd = try encryption?.open(arrived, into: &decrypted) == true
      if encryption?.isInputEnded == true { state.endInput() }
      return .decrypted(certificateNames: isHandshakeEnd ? encryption?.certificateNames : nil)
    } catch {
      failSession(error)
      return .end
    }
  }

  /// Takes bytes that stay valid until ``keepInput()``.
  @inline(__always)
  func append(borrowing bytes: UnsafeRawBufferPointer) {
    // Bytes after the last call are thrown away: they are read so that the peer reads our answer.
    if state.takesCalls { input.append(borrowing: bytes) }
  }

  /// Copies bytes that were not read yet: the loop's memory is used again.
  @inline(__always)
  func keepInput() { input.keepUnread() }

  // MARK: calls

  enum NextCall {
    case call(RequestView, ConnectionStateMachine.CallTimes)
    /// A call about a job: see ``takeJobCall()``.
    case job
    /// No call can be taken now.
    case wait
  }

  /// Takes the next call. Calls that cannot be read, or that come after GoAway, are answered here.
  /// - Parameter arena: memory for the call's views, valid until the next call is taken.
  @inline(__always)
  func next(_ arena: MessageArena) -> NextCall {
    while state.mayTakeCall(outputBytes: queue.frames.readableBytes) {
      switch codec.next(&input, arena, &queue.frames) {
      case .call(let request):
        let times = state.takeCall()
        guard state.isDraining else { return .call(request, times) }
        reject(id: request.id, .unavailable("the server is stopping and did not execute this call"))
      case .job(let call):
        // The head of a submission is no call yet.
        if case .begin = call {} else { _ = state.takeCall() }
        guard state.isDraining else {
          jobCall = call
          return .job
        }
        if case .submit(let upload) = call { JobUpload.drop(upload) }
        reject(id: call.callID, .unavailable("the server is stopping and did not execute this call"))
      case .malformed(let id, let error):
        _ = state.takeCall()
        context.counters.frameError(.undecodable).add(shard: context.shard)
        reject(id: id, error)
      case .wait:
        if state.ranDry(hasPart: !input.isEmpty || codec.bytesPending > 0) {
          context.counters.torn.add(shard: context.shard)
        }
        return .wait
      case .hold:
        state.holdBack()
        return .wait
      case .end: state.endCalls()
      case .fail(let failure):
        context.counters.frameError(failure.reason).add(shard: context.shard)
        reject(id: 0, error(of: failure))
        input.removeAll()
        state.endCalls()
      }
    }
    return .wait
  }

  /// The call about a job that was taken last. It is no part of ``NextCall``, which is moved about without reference counts.
  func takeJobCall() -> JobCall? {
    defer { jobCall = nil }
    return jobCall
  }

  private func error(of failure: CodecFailure) -> ServingError {
    guard access.isAuthenticated else {
      return .unauthenticated(
        "authenticate: expected an API key before any other call, found a frame: \(failure.message)")
    }
    return .invalidArgument(failure.message, failure.detail)
  }

  /// Who makes the calls of the connection. Allocates: for calls that change something, and refusals.
  var caller: Caller {
    let certificate = encryption?.certificateNames?.first.map { "certificate \($0.quotedForMessage)" }
    return Caller(name: access.principal ?? certificate ?? "anyone", peer: socket.peer)
  }

  /// Whether the answer to a call fits beside the others of the connection; an answer alone always does.
  @inline(__always)
  func hasRoom(for answerBytes: Int) -> Bool { state.hasRoom(for: answerBytes, heldBytes: bytesHeld) }

  /// Puts the call that was taken last back, until there is room for its answer.
  func putBack(_ times: ConnectionStateMachine.CallTimes, answerBytes: Int) {
    codec.putBack(&input)
    state.putBack(times, answerBytes: answerBytes)
  }

  /// Notes that a predict call will be answered by ``answer(_:_:memory:now:)`` or ``answer(_:_:now:)``.
  func accept(_ address: ReplyAddress) {
    state.accept(id: address.id)
    bytesExpected += Int(address.answerBytes)
  }

  /// Notes that a control call will be answered by ``answerControl(id:_:now:)``.
  /// - Returns: false if there are too many.
  func acceptControl(id: UInt64) -> Bool { state.acceptControl(id: id) }

  /// Lets long calls in: the peer has authenticated.
  func authenticated() {
    state.authenticate()
    codec.callBytesMax = state.callBytesMax
  }

  /// Takes no further call; answers still go out, then the connection ends.
  func endCalls() { state.endCalls() }

  // MARK: answers

  /// - Parameter memory: memory of a large answer's values; nil: it is written now.
  @inline(__always)
  func answer(_ answer: PredictAnswer, _ address: ReplyAddress, memory: CallMemory?, now: Instant) {
    if memory != nil || address.answerBytes > codec.wholeAnswerBytesMax {
      queueLarge(answer, memory)
    } else {
      codec.write(answer, to: &queue.frames)
    }
    answered(address, now: now)
  }

  @inline(never)
  private func queueLarge(_ answer: PredictAnswer, _ memory: CallMemory?) {
    if let stream = codec.stream(answer, memory: memory) {
      queue.append(stream)
    } else {
      codec.write(answer, to: &queue.frames)
    }
  }

  func answer(_ address: ReplyAddress, _ error: ServingError, now: Instant) {
    codec.write(error, id: address.id, to: &queue.frames)
    answered(address, now: now)
  }

  @inline(__always)
  private func answered(_ address: ReplyAddress, now: Instant) {
    bytesExpected -= Int(address.answerBytes)
    // The next flush corrects the estimate that the answer was admitted with.
    if address.isLarge { bytesCharged += Int(address.answerBytes) }
    state.answered(now: now)
    access.settle()
  }

  func answerControl(id: UInt64, _ answer: ControlAnswer, now: Instant) {
    codec.write(answer, id: id, to: &queue.frames)
    state.answeredControl(now: now)
    access.settle()
  }

  /// Queues an answer that was encoded off the loop. Where all answers that wait leave no room for it, the call is
  /// rejected instead.
  func answerControl(id: UInt64, encoded: ByteBuffer, now: Instant) {
    let bytes = encoded.readableBytes
    if bytes <= Limits.contiguousAnswerBytesMax {
      queue.frames.writeImmutableBuffer(encoded)
    } else if context.outputBudget.reserve(bytes) {
      bytesCharged += bytes
      queue.append(EncodedAnswerStream(encoded))
    } else {
      codec.write(context.outputBudget.rejection(of: bytes), id: id, to: &queue.frames)
    }
    state.answeredControl(now: now)
    access.settle()
  }

  /// Queues the answer to a call about a job. Where all answers that wait leave no room for a result, the call is rejected
  /// instead.
  func answerJob(id: UInt64, _ answer: JobAnswer, now: Instant) {
    var answer = answer
    if case .result(let result) = answer {
      let bytes = result.body.readableBytes
      if context.outputBudget.reserve(bytes) {
        bytesCharged += bytes
      } else {
        answer = .error(context.outputBudget.rejection(of: bytes))
      }
    }
    if let stream = codec.write(answer, id: id, to: &queue.frames) { queue.append(stream) }
    state.answeredControl(now: now)
    access.settle()
  }

  func answerAuthenticated(id: UInt64, principal: String) {
    codec.writeAuthenticated(id: id, principal: principal, to: &queue.frames)
  }

  /// Answers a call that was not accepted.
  func reject(id: UInt64, _ error: ServingError) { codec.write(error, id: id, to: &queue.frames) }

  // MARK: read pauses

  /// Leaves the peer unread until ``endPause()``.
  /// - Returns: false if it is not read anyway.
  func pauseReading(_ pause: ReadPause) -> Bool { state.pauseReading(pause) }

  /// - Returns: the pause that was; nil: there was none.
  func endPause() -> ReadPause? { state.endPause() }

  // MARK: ends

  /// Announces the end: calls after the last one taken are not executed.
  func goAway() {
    guard let lastID = state.goAway() else { return }
    codec.writeGoAway(lastID: lastID, to: &queue.frames)
  }

  /// Lets the connection close as soon as nothing is owed to the peer.
  func leave() { state.leave() }

  /// Closes the connection if a time limit has passed, and frees memory of a quiet one. Called once in every round of
  /// the loop's ``TimeoutSweep``.
  func checkTimeouts(now: Instant) {
    if state.isBehind { state.outputWaits(taken: socket.bytesTaken, now: now) }
    if let encryption, encryption.isOverdue(context.bounds.handshakeNanoseconds, now: now) {
      failHandshake(.timeout, "no end within the time given")
    } else if let reason = state.overdue(
      bytesBuffered: input.unread.count + codec.bytesPending, isMemoryShort: context.outputBudget.isShort, now: now)
    {
      if reason == .stalledFrame {
        context.counters.stalled.add(shard: context.shard)
        reject(id: 0, .invalidArgument("frame: expected its end in time, found silence"))
        send()
      }
      evict(reason)
    } else if unsentBytes == 0, state.isQuiet(now: now) {
      input.trim()
      guard queue.capacity + sealed.capacity > Limits.idleOutputBytesMax else { return }
      queue.trim()
      sealed = ByteBuffer()
    }
  }

  private func evict(_ reason: ConnectionStateMachine.CloseReason) {
    guard !state.isClosed else { return }
    context.counters.evicted(reason).add(shard: context.shard)
    context.logger.debug("connection evicted", metadata: ["reason": "\(reason.rawValue)"])
    close()
  }

  func failSession(_ error: TLSError) {
    // An alert with the reason may still reach the client.
    encryption?.collect(into: &sealed)
    if case .bytes(let count) = sealed.withUnsafeReadableBytes({ socket.send($0) }) {
      context.counters.sentBytes.add(UInt64(count), shard: context.shard)
    }
    if encryption?.isHandshakeDone == false {
      failHandshake(TLSFailure(error), error.text)
    } else {
      fail(error)
    }
  }

  private func failHandshake(_ failure: TLSFailure, _ reason: String) {
    context.tlsCounters.failed(failure).add(shard: context.shard)
    if failure == .clientCertificate { context.audit.refusedCertificate(socket.peer, reason: reason, now: .now()) }
    context.logger.debug("handshake failed", metadata: ["reason": "\(failure.rawValue)", "error": "\(reason)"])
    close()
  }

  func fail(_ error: any Error) {
    if let encryption, !encryption.isHandshakeDone { return failHandshake(.closed, "\(error)") }
    context.logger.debug("connection failed", metadata: ["error": "\(error)"])
    close()
  }

  /// Closes the socket. The loop removes the connection at the next flush.
  func close() {
    guard !state.isClosed else { return }
    state.close()
    encryption = nil
    context.outputBudget.move(by: -bytesCharged)
    bytesCharged = 0
    // Memory of large answers must not wait for the loop to let go of the connection.
    queue = SendQueue(isOrdered: false)
    socket.close()
  }
}
