internal import Logging
internal import NIOCore
internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailSecurity
internal import NeedletailServing
internal import NeedletailSockets
internal import NeedletailTLS
internal import NeedletailWire

/// One connection: carries out what its ``ConnectionStateMachine`` orders.
///
/// Confined to its loop. Answers gather in one buffer, which goes to the socket once per tick; what the socket does
/// not take stays there, in front of later ones.
final class Connection {
  let loop: ServingLoop
  var state: ConnectionStateMachine
  /// Who calls, and what it may call.
  var access: ConnectionAccess
  private var socket: ConnectionSocket
  /// Where the loop keeps this connection; answers come back by it.
  private let address: ReplyAddress
  /// Nil without TLS, and once it has said farewell.
  private var encryption: EncryptedSession?
  private let isEncrypted: Bool
  private var output = ByteBuffer()
  /// What of the output is encrypted and not sent; unused without TLS.
  private var sealed = ByteBuffer()
  /// Whether it stands in the loop's list of connections with something to send.
  private var isDirty = false
  /// Frames are being taken: what happens meanwhile must not start to take them again.
  private var isTaking = false
  /// Frames may wait: for calls in flight to end, or for the peer to take its answers.
  private var isHeldBack = false
  /// How long the peer may go unread, by the calls of the last read; `.max` if none of them told.
  private var restNanoseconds = UInt64.max
  /// The peer goes unread; the loop ends it.
  private var isResting = false
  /// Rests in a row at whose end there was nothing to read.
  private var idleRests = 0
  private var controlCallsInFlight = 0
  /// What of the answers the socket does not take, as last told to the budget of all connections.
  private var bytesWaiting = 0
  /// What is to be done when all has been sent.
  private var end = ConnectionStateMachine.EndAction.wait
  /// The peer sends no more.
  private var isInputEnded = false
  /// This side has ended; the peer has all that it will get.
  private var isOutputEnded = false
  private var isClosed = false

  /// - Parameter tls: nil: what arrives is not encrypted.
  init(
    _ socket: ConnectionSocket, address: ReplyAddress, loop: ServingLoop, tls: TLSContext?, now: Instant
  ) throws {
    self.socket = socket
    self.address = address
    self.loop = loop
    isEncrypted = tls != nil
    encryption = try tls.map { try EncryptedSession($0, now: now) }
    access = ConnectionAccess(isRequired: loop.keys != nil)
    state = ConnectionStateMachine(bounds: loop.bounds, isAuthenticated: loop.keys == nil, now: now)
  }

  // MARK: events of the socket

  func handle(_ event: Poller.Event) {
    var hasFailed = event.hasFailed
    if event.canRead, socket.wantsBytes {
      // What came before the failure is read first, and reading tells of it.
      if receive() { hasFailed = false }
    }
    if event.canWrite, !isClosed, socket.isFull {
      socket.hasRoom()
      _ = loop.now()
      flush()
    }
    if hasFailed { close() }
  }

  /// - Returns: false if there was nothing to read.
  private func receive() -> Bool {
    let now = loop.now()
    switch socket.receive(into: &loop.arrived) {
    case .bytes(let count):
      loop.counters.receivedBytes.add(UInt64(count), shard: loop.shard)
      restNanoseconds = .max
      if isEncrypted { decrypt(now) } else { state.receive(&loop.arrived, now: now) }
      takeFrames(now)
      state.keepRest()
      loop.arrived.clear()
      rest()
      if let encryption, encryption.isInputEnded { endInput(now) } else { wantMore() }
    case .end:
      if let encryption, !encryption.isHandshakeDone {
        failHandshake(.closed, "the client has gone")
      } else {
        endInput(now)
      }
    case .nothing: return false
    // A reset by the peer and the like: nobody is left to answer.
    case .failure(let error): fail(error)
    }
    return true
  }

  private func decrypt(_ now: Instant) {
    do throws(TLSError) {
      if try encryption?.open(loop.arrived, into: &loop.decrypted) == true, let names = encryption?.certificateNames {
        present(certificate: names)
      }
      state.receive(&loop.decrypted, now: now)
      loop.decrypted.clear()
    } catch {
      loop.decrypted.clear()
      return failSession(error)
    }
    // TLS itself may have something to say.
    markDirty()
  }

  private func failSession(_ error: TLSError) {
    // Its reason may still reach the client.
    encryption?.seal(&output, into: &sealed)
    if case .bytes(let count) = sealed.withUnsafeReadableBytes({ socket.send($0) }) {
      loop.counters.sentBytes.add(UInt64(count), shard: loop.shard)
    }
    if encryption?.isHandshakeDone == false {
      failHandshake(TLSFailure(error), error.text)
    } else {
      fail(error)
    }
  }

  private func failHandshake(_ failure: TLSFailure, _ reason: String) {
    loop.tlsCounters.failed(failure).add(shard: loop.shard)
    loop.logger.debug("handshake failed", metadata: ["reason": "\(failure.rawValue)", "error": "\(reason)"])
    close()
  }

  private func fail(_ error: any Error) {
    if let encryption, !encryption.isHandshakeDone { return failHandshake(.closed, "\(error)") }
    loop.logger.debug("connection failed", metadata: ["error": "\(error)"])
    close()
  }

  private func endInput(_ now: Instant) {
    guard !isClosed, !isInputEnded else { return }
    isInputEnded = true
    if state.endInput(now: now) { loop.counters.torn.add(shard: loop.shard) }
    if isOutputEnded { return close() }
    wantMore()
    // What was accepted is answered before this side closes too.
    closeIfFinished()
  }

  /// Has the poller tell what this connection waits for now.
  private func wantMore() {
    guard !isClosed else { return }
    socket.want(bytes: state.wantsBytes && !isInputEnded && !isResting, loop.poller)
  }

  /// Leaves the peer unread for a while, as the loop allows.
  private func rest() {
    guard restNanoseconds > 0, restNanoseconds < .max, !isClosed, !isResting else { return }
    isResting = true
    loop.rest(address, nanoseconds: restNanoseconds)
  }

  /// Reads what came meanwhile. To look in vain now and then costs less than to be woken for every call.
  func endRest() {
    isResting = false
    guard state.wantsBytes, !isInputEnded else { return wantMore() }
    if receive() {
      idleRests = 0
    } else if idleRests < Limits.idleRestsMax {
      idleRests += 1
      rest()
    } else {
      idleRests = 0
      wantMore()
    }
  }

  func close() {
    guard !isClosed else { return }
    isClosed = true
    encryption = nil
    _ = loop.outputBudget.move(by: -bytesWaiting)
    bytesWaiting = 0
    state.close()
    socket.close()
    loop.remove(address)
  }

  // MARK: calls

  private func takeFrames(_ now: Instant) {
    guard !isTaking else { return }
    isTaking = true
    defer { isTaking = false }
    while true {
      switch state.next(now: now) {
      case .execute(let frame): execute(frame)
      case .refuse(let frame):
        let id = frame.withUnsafeReadableBytes { RequestDecoder.peekID($0) }
        refuse(id: id, .unavailable("the server is stopping and did not execute this call"))
      case .settle:
        loop.runTick()
        // Those that are left are with the workers or the control plane and come back by themselves.
        guard state.callsInFlight < loop.bounds.callsInFlightMax else {
          isHeldBack = true
          return
        }
      case .fail(let error):
        loop.counters.frameError(error).add(shard: loop.shard)
        refuse(id: 0, fault(of: error))
        return
      case .wait:
        isHeldBack = !state.wantsBytes
        return
      }
      // Answers much larger than their calls: out with them before the next call is taken.
      if output.readableBytes >= Limits.outputBytesHighWater { flush() }
    }
  }

  private func execute(_ frame: ConnectionStateMachine.ArrivedFrame) {
    frame.bytes.withUnsafeReadableBytes { bytes in
      if loop.isUnderPressure {
        var outlook = EarlyOutlook.unknown
        if let peek = RequestDecoder.peekPredict(bytes), mayHear(of: peek.model) {
          outlook = loop.outlook(of: peek)
          if let error = outlook.refusal { refuse(id: peek.id, error) }
        }
        restNanoseconds = min(restNanoseconds, outlook.restNanoseconds)
        if outlook.refusal != nil { return }
      }
      do throws(ServingError) {
        let request = try RequestDecoder.decode(bytes, arena: loop.arena)
        guard request.id != 0 else {
          throw ServingError.invalidArgument("id: expected a number other than 0, found 0")
        }
        dispatch(request, of: frame)
      } catch {
        loop.counters.undecodable.add(shard: loop.shard)
        refuse(id: RequestDecoder.peekID(bytes), error)
      }
    }
  }

  private func dispatch(_ request: RequestView, of frame: ConnectionStateMachine.ArrivedFrame) {
    switch request.call {
    case .predict(let predict):
      // Whatever a call declares beyond this, it fails when it is bound.
      let rows = predict.tensors.first?.shape.first ?? 0
      guard isAdmitted(request.id, .predict, model: predict.model, rows: rows, now: frame.arrived) else { return }
      state.accept(id: request.id)
      loop.admit(
        PredictCall(
          address: replyAddress(request.id), arrival: frame.arrived,
          receiveMicroseconds: frame.arrived.microseconds(since: frame.began),
          timeoutMicroseconds: request.timeoutMicroseconds, model: predict.model, selector: predict.selector,
          tensors: predict.tensors, outputs: predict.outputs, routingKey: predict.routingKey,
          priority: predict.priority))
    case .health:
      guard isAdmitted(request.id, .health, now: frame.arrived) else { return }
      control(request.id, .health)
    case .metrics:
      guard isAdmitted(request.id, .metrics, now: frame.arrived) else { return }
      control(request.id, .metrics)
    case .listModels:
      guard isAdmitted(request.id, .list, now: frame.arrived) else { return }
      control(request.id, .listModels)
    case .describeModel(let describe):
      guard isAdmitted(request.id, .describe, model: describe.model, now: frame.arrived) else { return }
      control(request.id, .describeModel(ModelReference(describe)))
    case .events(let after, let limit):
      guard isAdmitted(request.id, .list, now: frame.arrived) else { return }
      control(request.id, .events(after: after, limit: limit))
    case .rollout(let model, let isUndo):
      guard isAdmitted(request.id, isUndo ? .rollout : .list, model: model, now: frame.arrived) else { return }
      control(request.id, .rollout(ModelReference.text(model), isUndo: isUndo))
    case .authenticate(let key): authenticate(id: request.id, key: key)
    case .none:
      refuse(id: request.id, .unimplemented("call: expected one that this server knows, found none"))
    }
  }

  /// Everything but predictions runs off the loop: it makes text and takes locks.
  private func control(_ id: UInt64, _ call: ControlCall) {
    guard controlCallsInFlight < Limits.controlCallsInFlightMax else {
      let limit = Limits.controlCallsInFlightMax
      access.settle()
      refuse(
        id: id,
        ServingError(
          .overloaded,
          "calls other than predict: expected at most \(limit) in flight on a connection, found \(limit + 1)",
          retryAfterMicroseconds: Limits.controlRetryMicroseconds))
      return
    }
    controlCallsInFlight += 1
    state.accept(id: id)
    loop.runControl(call, visible: access.visibleModels, for: replyAddress(id))
  }

  private func replyAddress(_ id: UInt64) -> ReplyAddress {
    ReplyAddress(slot: address.slot, generation: address.generation, id: id)
  }

  // MARK: answers

  /// An answer, or an error, to an accepted predict call. Only gathers: the loop flushes.
  @inline(__always)
  func settle(_ write: (inout ByteBuffer) -> Void) {
    write(&output)
    state.settle(now: loop.time)
    access.settle()
    markDirty()
  }

  /// The answer to a control call; sends at once, for no tick may follow.
  func settleControl(_ write: (inout ByteBuffer) -> Void) {
    controlCallsInFlight -= 1
    _ = loop.now()
    settle(write)
    flush()
  }

  /// A call that was not accepted.
  func refuse(id: UInt64, _ error: ServingError) {
    ResponseEncoder.appendError(id: id, error, to: &output)
    markDirty()
  }

  func answerAuthenticated(id: UInt64, principal: String) {
    ResponseEncoder.appendAuthenticated(id: id, principal: principal, to: &output)
    markDirty()
  }

  /// No further call is taken; what was said goes out, then the connection ends.
  func giveUp() { state.giveUp(now: loop.now()) }

  private func markDirty() {
    guard !isDirty else { return }
    isDirty = true
    loop.markDirty(self)
  }

  /// Hands to the socket what has gathered, and goes on with frames that had to wait. The loop calls it
  /// at the end of a tick.
  func flush() {
    isDirty = false
    guard !isClosed else { return }
    send()
    if isHeldBack, state.wantsBytes {
      isHeldBack = false
      takeFrames(loop.time)
    }
    wantMore()
    closeIfFinished()
  }

  /// Hands to the socket what has gathered, and takes no frames: the loop calls it amid a tick.
  func send() {
    guard !isClosed else { return }
    encryption?.seal(&output, into: &sealed)
    // A socket that is full says when it has room.
    if !socket.isFull { sendUnsent() }
    measureUnsent()
  }

  /// On their way out, and not with the kernel yet.
  private var unsentBytes: Int { isEncrypted ? sealed.readableBytes : output.readableBytes }

  private func sendUnsent() {
    if isEncrypted { send(&sealed) } else { send(&output) }
  }

  private func send(_ bytes: inout ByteBuffer) {
    guard bytes.readableBytes > 0 else { return }
    switch bytes.withUnsafeReadableBytes({ socket.send($0) }) {
    case .failure(let error): fail(error)
    case .bytes(let count):
      loop.counters.sentBytes.add(UInt64(count), shard: loop.shard)
      if count == bytes.readableBytes { return bytes.clear() }
      bytes.moveReaderIndex(forwardBy: count)
      // So that what waits takes no more than twice its room.
      if bytes.readerIndex > bytes.readableBytes { bytes.discardReadBytes() }
    }
  }

  /// Peers that ask and do not read must not fill the server's memory, neither one nor many together.
  private func measureUnsent() {
    let unsent = unsentBytes
    guard unsent > 0 || bytesWaiting > 0, !isClosed else { return }
    let isAboveTotal = loop.outputBudget.move(by: unsent - bytesWaiting)
    bytesWaiting = unsent
    if unsent > loop.outputBytesMax { return evict(.slowReader) }
    if isAboveTotal, unsent > 0 { return evict(.outputBytesTotal) }
    // Once above, it must fall far below: the peer is not to be let in for every packet that it takes.
    let high = Limits.outputBytesHighWater
    state.writability(unsent <= (state.isBlocked ? high / 4 : high), now: loop.time)
  }

  private func closeIfFinished() {
    guard !isClosed, output.readableBytes == 0 else { return }
    if case .wait = end {
      end = state.end()
      if case .wait = end { return }
      encryption?.end(into: &sealed)
      encryption = nil
      sendUnsent()
      wantMore()
    }
    guard !isClosed, unsentBytes == 0, !isOutputEnded else { return }
    if case .close = end { return close() }
    isOutputEnded = true
    socket.endOutput()
    if isInputEnded { close() }
  }

  // MARK: orders of the loop

  /// Announces the end: calls after the last one taken are not executed.
  func goAway() {
    guard let lastID = state.goAway() else { return }
    ResponseEncoder.appendGoAway(lastID: lastID, to: &output)
    flush()
  }

  /// Closes as soon as nothing is owed to the peer any more.
  func leave() {
    state.leave(now: loop.time)
    flush()
  }

  /// Called once in every round of the loop's ``Patrol``.
  func checkTime(_ now: Instant) {
    if let encryption, encryption.isOverdue(loop.bounds.handshakeNanoseconds, now: now) {
      failHandshake(.timeout, "no end within the time given")
    } else if let reason = state.overdue(now: now) {
      evict(reason)
    } else if unsentBytes == 0, output.capacity + sealed.capacity > Limits.idleOutputBytesMax,
      state.isQuiet(now: now)
    {
      output = ByteBuffer()
      sealed = ByteBuffer()
    }
  }

  private func evict(_ reason: ConnectionStateMachine.CloseReason) {
    loop.counters.evicted(reason).add(shard: loop.shard)
    if reason == .stalledFrame {
      loop.counters.stalled.add(shard: loop.shard)
      refuse(id: 0, .invalidArgument("frame: expected its end in time, found silence"))
      flush()
    }
    loop.logger.debug("connection evicted", metadata: ["reason": "\(reason.rawValue)"])
    close()
  }
}
