internal import Logging
internal import NIOCore
internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailSecurity
internal import NeedletailServing
internal import NeedletailWire

/// One connection, at the end of its pipeline: carries out what its ``ConnectionStateMachine`` orders.
///
/// Confined to its event loop. Answers gather in one buffer, which goes to the socket once per tick.
final class ConnectionHandler: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  let loop: ServingLoop
  private let isEncrypted: Bool
  var state: ConnectionStateMachine
  /// Who calls, and what it may call.
  var access: ConnectionAccess
  private var output = ByteBuffer()
  private var context: ChannelHandlerContext?
  /// Where the output goes first; nil where TLS stands between.
  private var socket: PlainSocket?
  /// Writes that the channel has not done with: nothing may overtake them.
  private var writesWaiting = 0
  /// Where the loop keeps this connection; answers come back by it.
  private var address = ReplyAddress(slot: 0, generation: 0, id: 0)
  /// Whether it stands in the loop's list of connections with something to send.
  private var isDirty = false
  /// Frames are being taken: what happens meanwhile must not start to take them again.
  private var isTaking = false
  /// The output is being handed over: whatever NIO tells meanwhile must not touch it.
  private var isFlushing = false
  /// The socket took bytes again while it was being written to.
  private var wasUnblocked = false
  /// Frames may wait for calls in flight to end.
  private var isHeldBack = false
  /// NIO asked to read while nothing was wanted.
  private var isReadHeld = false
  private var controlCallsInFlight = 0
  /// What of the answers the socket does not take, as last told to the budget of all connections.
  private var bytesWaiting = 0
  /// This side has ended; the peer has all that it will get.
  private var isOutputClosed = false

  /// - Parameter isEncrypted: TLS stands between this handler and the socket.
  init(loop: ServingLoop, isEncrypted: Bool) {
    self.loop = loop
    self.isEncrypted = isEncrypted
    access = ConnectionAccess(isRequired: loop.keys != nil)
    state = ConnectionStateMachine(bounds: loop.bounds, isAuthenticated: loop.keys == nil, now: loop.now())
  }

  // MARK: events of the channel

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    if !isEncrypted { socket = PlainSocket(context.channel) }
    let slot = loop.add(self)
    address = ReplyAddress(slot: slot.index, generation: slot.generation, id: 0)
  }

  func handlerRemoved(context: ChannelHandlerContext) { forget() }

  func channelActive(context: ChannelHandlerContext) {
    if loop.isStopping { goAway() }
    context.fireChannelActive()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var bytes = unwrapInboundIn(data)
    loop.counters.receivedBytes.add(UInt64(bytes.readableBytes), shard: loop.shard)
    let now = loop.now()
    loop.beginRead()
    state.receive(&bytes, now: now)
    takeFrames(now)
  }

  func channelReadComplete(context: ChannelHandlerContext) { loop.endRead() }

  func read(context: ChannelHandlerContext) {
    if state.wantsBytes {
      context.read()
    } else {
      isReadHeld = true
    }
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    let now = loop.now()
    let isUnblocked = state.writability(context.channel.isWritable, now: now)
    measureWaiting()
    guard isUnblocked else { return }
    if isFlushing {
      wasUnblocked = true
    } else {
      takeFrames(now)
      resumeReading()
    }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    guard let event = event as? ChannelEvent, event == .inputClosed else {
      context.fireUserInboundEventTriggered(event)
      return
    }
    if state.endInput(now: loop.now()) { loop.counters.torn.add(shard: loop.shard) }
    if isOutputClosed {
      context.close(promise: nil)
    } else {
      // What was accepted is answered before this side closes too.
      closeIfFinished()
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    forget()
    context.fireChannelInactive()
  }

  /// A reset by the peer and the like: nobody is left to answer.
  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    loop.logger.debug("connection failed", metadata: ["error": "\(error)"])
    context.close(promise: nil)
  }

  private func forget() {
    guard context != nil else { return }
    context = nil
    socket = nil
    _ = loop.outputBudget.move(by: -bytesWaiting)
    bytesWaiting = 0
    state.close()
    loop.remove(address)
    loop.dropRead()
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
      case .wait: return
      }
      // Answers much larger than their calls: out with them before the next call is taken.
      if output.readableBytes >= Limits.outputBytesHighWater { flush() }
    }
  }

  private func execute(_ frame: ConnectionStateMachine.ArrivedFrame) {
    frame.bytes.withUnsafeReadableBytes { bytes in
      if loop.isUnderPressure, let peek = RequestDecoder.peekPredict(bytes), mayHear(of: peek.model),
        let error = loop.refusal(of: peek)
      {
        refuse(id: peek.id, error)
        return
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
  func settle(_ write: (inout ByteBuffer) -> Void) {
    write(&output)
    state.settle(now: loop.time)
    access.settle()
    markDirty()
  }

  /// The answer to a control call; sends at once, for no tick may follow.
  func settleControl(_ write: (inout ByteBuffer) -> Void) {
    controlCallsInFlight -= 1
    let now = loop.now()
    settle(write)
    flush()
    takeFrames(now)
    resumeReading()
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
    guard context != nil, !isFlushing else { return }
    send()
    if wasUnblocked || (isHeldBack && state.callsInFlight < loop.bounds.callsInFlightMax) {
      wasUnblocked = false
      isHeldBack = false
      takeFrames(loop.time)
      resumeReading()
    }
    closeIfFinished()
  }

  /// Hands to the socket what has gathered, and takes no frames: the loop calls it amid a tick.
  func send() {
    guard let context, !isFlushing, output.readableBytes > 0 else { return }
    isFlushing = true
    loop.counters.sentBytes.add(UInt64(output.readableBytes), shard: loop.shard)
    if let socket, writesWaiting == 0 {
      output.moveReaderIndex(forwardBy: output.withUnsafeReadableBytes { socket.write($0) })
    }
    if output.readableBytes > 0 { write(output, context) }
    // NIO lets go of the buffer where the socket took it whole; then its memory is used again.
    output.clear()
    isFlushing = false
    closeIfTooMuchWaits()
  }

  private func write(_ bytes: ByteBuffer, _ context: ChannelHandlerContext) {
    guard socket != nil else { return context.writeAndFlush(wrapOutboundOut(bytes), promise: nil) }
    writesWaiting += 1
    let written = context.eventLoop.makePromise(of: Void.self)
    written.futureResult.assumeIsolated().whenComplete { [self] _ in writesWaiting -= 1 }
    context.writeAndFlush(wrapOutboundOut(bytes), promise: written)
  }

  /// Peers that ask and do not read must not fill the server's memory, neither one nor many together.
  private func closeIfTooMuchWaits() {
    let isAboveTotal = measureWaiting()
    if bytesWaiting > loop.outputBytesMax {
      evict(.slowReader)
    } else if isAboveTotal, bytesWaiting > 0 {
      evict(.outputBytesTotal)
    }
  }

  /// Tells the budget of all connections what waits in this one's socket; nothing, while the socket takes
  /// what it is given.
  /// - Returns: whether all connections together are above their bound.
  @discardableResult
  private func measureWaiting() -> Bool {
    guard bytesWaiting > 0 || state.isBlocked, let context else { return false }
    let waiting =
      state.isBlocked ? (try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0 : 0
    let change = waiting - bytesWaiting
    bytesWaiting = waiting
    return loop.outputBudget.move(by: change)
  }

  private func closeIfFinished() {
    guard let context, output.readableBytes == 0 else { return }
    let mode: CloseMode
    switch state.end() {
    case .wait: return
    case .endOutput: mode = .output
    case .close: mode = .all
    }
    // Writes complete in order: behind this empty one, everything has gone out.
    let sent = context.eventLoop.makePromise(of: Void.self)
    sent.futureResult.assumeIsolated().whenSuccess { [self] in
      isOutputClosed = true
      self.context?.close(mode: mode, promise: nil)
    }
    context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: sent)
  }

  private func resumeReading() {
    guard isReadHeld, state.wantsBytes else { return }
    isReadHeld = false
    context?.read()
  }

  // MARK: orders of the loop

  /// Announces the end: calls after the last one taken are not executed.
  func goAway() {
    guard let lastID = state.goAway() else { return }
    ResponseEncoder.appendGoAway(lastID: lastID, to: &output)
    flush()
  }

  func close() { context?.close(promise: nil) }

  /// Closes as soon as nothing is owed to the peer any more.
  func leave() {
    state.leave(now: loop.time)
    flush()
  }

  /// Called once in every round of the loop's ``Patrol``.
  func checkTime(_ now: Instant) {
    measureWaiting()
    if let reason = state.overdue(now: now) {
      evict(reason)
    } else if output.readableBytes == 0, output.capacity > Limits.idleOutputBytesMax, state.isQuiet(now: now) {
      output = ByteBuffer()
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
    context?.close(promise: nil)
  }
}
