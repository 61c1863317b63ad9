internal import Logging
internal import NIOCore
internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailProtobuf
internal import NeedletailSecurity
internal import NeedletailServing
internal import NeedletailSockets
internal import NeedletailTLS
internal import NeedletailWire

/// One connection: a socket, perhaps encryption, a codec, and the buffers between them. What may happen when is
/// decided by its ``ConnectionStateMachine``.
///
/// The loop drives it: every method says what happened and none calls the loop. Answers gather in one buffer, which
/// goes to the socket once per tick; bytes that the socket does not take stay there, in front of later ones. Confined
/// to its loop.
final class Connection {
  /// Place of the connection in its loop's table.
  let address: ReplyAddress
  let codec: ConnectionCodec
  /// Who calls, and which calls are allowed.
  var access: ConnectionAccess
  private(set) var state: ConnectionStateMachine
  private let context: ConnectionContext
  private var socket: ConnectionSocket
  /// Nil without TLS, and after its end was sent.
  private var encryption: EncryptedSession?
  private let isEncrypted: Bool
  private var input = ReceiveBuffer()
  private var output = ByteBuffer()
  /// Encrypted bytes that were not sent; unused without TLS.
  private var sealed = ByteBuffer()
  /// Bytes that the socket did not take, as last reported to the budget of all connections.
  private var bytesWaiting = 0

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
    self.codec = codec.init(callBytesMax: state.callBytesMax)
  }

  // MARK: bytes

  /// What a read of the socket brought.
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
    /// No call can be taken now.
    case wait
  }

  /// Takes the next call. Calls that cannot be read, or that come after GoAway, are answered here.
  /// - Parameter arena: memory for the call's views, valid until the next call is taken.
  @inline(__always)
  func next(_ arena: MessageArena, now: Instant) -> NextCall {
    while state.mayTakeCall(outputBytes: output.readableBytes) {
      switch codec.next(&input, arena, &output) {
      case .call(let request):
        let times = state.takeCall()
        guard state.isDraining else { return .call(request, times) }
        reject(id: request.id, .unavailable("the server is stopping and did not execute this call"))
      case .malformed(let id, let error):
        _ = state.takeCall()
        context.counters.frameError(.undecodable).add(shard: context.shard)
        reject(id: id, error)
      case .wait:
        if state.ranDry(hasPart: !input.isEmpty || codec.bytesPending > 0, now: now) {
          context.counters.torn.add(shard: context.shard)
        }
        return .wait
      case .hold:
        state.holdBack()
        return .wait
      case .end: state.endCalls(now: now)
      case .fail(let failure):
        context.counters.frameError(failure.reason).add(shard: context.shard)
        reject(id: 0, error(of: failure))
        input.removeAll()
        state.endCalls(now: now)
      }
    }
    return .wait
  }

  private func error(of failure: CodecFailure) -> ServingError {
    guard access.isAuthenticated else {
      return .unauthenticated(
        "authenticate: expected an API key before any other call, found a frame: \(failure.message)")
    }
    return .invalidArgument(failure.message)
  }

  /// Notes that a predict call will be answered by ``answer(_:now:)`` or ``answer(id:_:now:)``.
  func accept(id: UInt64) { state.accept(id: id) }

  /// Notes that a control call will be answered by ``answerControl(id:_:now:)``.
  /// - Returns: false if there are too many.
  func acceptControl(id: UInt64) -> Bool { state.acceptControl(id: id) }

  /// Lets long calls in: the peer has authenticated.
  func authenticated() {
    state.authenticate()
    codec.callBytesMax = state.callBytesMax
  }

  /// Takes no further call; answers still go out, then the connection ends.
  func endCalls(now: Instant) { state.endCalls(now: now) }

  // MARK: answers

  @inline(__always)
  func answer(_ answer: PredictAnswer, now: Instant) {
    codec.write(answer, to: &output)
    state.answered(now: now)
    access.settle()
  }

  func answer(id: UInt64, _ error: ServingError, now: Instant) {
    codec.write(error, id: id, to: &output)
    state.answered(now: now)
    access.settle()
  }

  func answerControl(id: UInt64, _ answer: ControlAnswer, now: Instant) {
    codec.write(answer, id: id, to: &output)
    state.answeredControl(now: now)
    access.settle()
  }

  func answerAuthenticated(id: UInt64, principal: String) {
    codec.writeAuthenticated(id: id, principal: principal, to: &output)
  }

  /// Answers a call that was not accepted.
  func reject(id: UInt64, _ error: ServingError) { codec.write(error, id: id, to: &output) }

  // MARK: sending

  /// What a flush led to.
  enum Flushed {
    /// Nothing that concerns the loop.
    case done
    /// Calls that arrived earlier can be taken now.
    case resumed
    case closed
  }

  /// Notes that the poller reported room in the socket.
  /// - Returns: whether the connection waited for it.
  func hasRoom() -> Bool {
    guard !state.isClosed, socket.isFull else { return false }
    socket.hasRoom()
    return true
  }

  /// Hands to the socket what has gathered, takes the next step towards the connection's end, and tells the poller what
  /// to wait for. The loop calls it once at the end of a tick for each connection that it touched.
  func flush(_ poller: borrowing Poller, now: Instant) -> Flushed {
    send(now: now)
    guard !state.isClosed else { return .closed }
    let isResumed = state.flushed(unsentBytes: unsentBytes, now: now)
    finish()
    guard !state.isClosed else { return .closed }
    socket.want(bytes: state.wantsBytes, poller)
    return isResumed ? .resumed : .done
  }

  /// Hands to the socket what has gathered and nothing else: before work that takes long.
  func send(now: Instant) {
    guard !state.isClosed else { return }
    encryption?.seal(&output, into: &sealed)
    if let failure = encryption?.failure { return failSession(failure) }
    // A socket that is full reports when it has room.
    if !socket.isFull { sendUnsent() }
    measureUnsent()
  }

  /// Bytes on their way out that the kernel has not taken.
  private var unsentBytes: Int { isEncrypted ? sealed.readableBytes : output.readableBytes }

  private func sendUnsent() {
    if isEncrypted { send(&sealed) } else { send(&output) }
  }

  private func send(_ bytes: inout ByteBuffer) {
    guard bytes.readableBytes > 0 else { return }
    switch bytes.withUnsafeReadableBytes({ socket.send($0) }) {
    case .failure(let error): fail(error)
    case .bytes(let count):
      context.counters.sentBytes.add(UInt64(count), shard: context.shard)
      if count == bytes.readableBytes { return bytes.clear() }
      bytes.moveReaderIndex(forwardBy: count)
      // The bytes that wait take no more than twice their size.
      if bytes.readerIndex > bytes.readableBytes { bytes.discardReadBytes() }
    }
  }

  /// Closes a peer that asks and does not read, before it fills the server's memory, alone or together with others.
  private func measureUnsent() {
    let unsent = unsentBytes
    guard unsent > 0 || bytesWaiting > 0, !state.isClosed else { return }
    let isAboveTotal = context.outputBudget.move(by: unsent - bytesWaiting)
    bytesWaiting = unsent
    if unsent > context.outputBytesMax { return evict(.slowReader) }
    if isAboveTotal, unsent > 0 { evict(.outputBytesTotal) }
  }

  private func finish() {
    while true {
      switch state.end(unsentBytes: unsentBytes) {
      case .wait: return
      case .endEncryption:
        guard encryption != nil else { continue }
        encryption?.end(into: &sealed)
        encryption = nil
        if !socket.isFull { sendUnsent() }
      case .endOutput: socket.endOutput()
      case .close: return close()
      }
    }
  }

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
    codec.writeGoAway(lastID: lastID, to: &output)
  }

  /// Lets the connection close as soon as nothing is owed to the peer.
  func leave(now: Instant) { state.leave(now: now) }

  /// Closes the connection if a time limit has passed, and frees memory of a quiet one. Called once in every round of
  /// the loop's ``TimeoutSweep``.
  func checkTimeouts(now: Instant) {
    if let encryption, encryption.isOverdue(context.bounds.handshakeNanoseconds, now: now) {
      failHandshake(.timeout, "no end within the time given")
    } else if let reason = state.overdue(bytesBuffered: input.unread.count + codec.bytesPending, now: now) {
      if reason == .stalledFrame {
        context.counters.stalled.add(shard: context.shard)
        reject(id: 0, .invalidArgument("frame: expected its end in time, found silence"))
        send(now: now)
      }
      evict(reason)
    } else if unsentBytes == 0, state.isQuiet(now: now) {
      input.trim()
      guard output.capacity + sealed.capacity > Limits.idleOutputBytesMax else { return }
      output = ByteBuffer()
      sealed = ByteBuffer()
    }
  }

  private func evict(_ reason: ConnectionStateMachine.CloseReason) {
    guard !state.isClosed else { return }
    context.counters.evicted(reason).add(shard: context.shard)
    context.logger.debug("connection evicted", metadata: ["reason": "\(reason.rawValue)"])
    close()
  }

  private func failSession(_ error: TLSError) {
    // An alert with the reason may still reach the client.
    encryption?.seal(&output, into: &sealed)
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
    context.logger.debug("handshake failed", metadata: ["reason": "\(failure.rawValue)", "error": "\(reason)"])
    close()
  }

  private func fail(_ error: any Error) {
    if let encryption, !encryption.isHandshakeDone { return failHandshake(.closed, "\(error)") }
    context.logger.debug("connection failed", metadata: ["error": "\(error)"])
    close()
  }

  /// Closes the socket. The loop removes the connection at the next flush.
  func close() {
    guard !state.isClosed else { return }
    state.close()
    encryption = nil
    _ = context.outputBudget.move(by: -bytesWaiting)
    bytesWaiting = 0
    socket.close()
  }
}
