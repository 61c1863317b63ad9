internal import NIOCore
internal import NeedletailCore
internal import NeedletailTLS
internal import NeedletailWire
internal import Synchronization

/// A caller that waits for its answer.
struct PendingCall {
  /// Identity of the call on its caller's side.
  var ticket: CallTicket
  var continuation: CheckedContinuation<CallTable<PendingCall>.Outcome, Never>
  var timer: Scheduled<Void>?

  func finish(_ outcome: CallTable<PendingCall>.Outcome) {
    timer?.cancel()
    continuation.resume(returning: outcome)
  }
}

/// Mark of a call that its caller's task, which may be cancelled on any thread, shares with the loop.
final class CallTicket: Sendable {
  let isCancelled = Atomic(false)
}

/// The end of a client's pipeline: performs what ``CallTable`` decides. Confined to its loop.
final class ClientConnection: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private var frames: FrameDecoder
  private var calls = CallTable<PendingCall>()
  private var context: ChannelHandlerContext?
  /// Reason for which the connection will end; nil while none is known.
  private var reason: ClientError?

  init(frameBytesMax: Int) {
    frames = FrameDecoder(frameBytesMax: frameBytesMax)
  }

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    self.context = nil
  }

  // MARK: calls

  func send(
    _ call: RequestEncoder.Call, timeout: Duration?, ticket: CallTicket,
    continuation: CheckedContinuation<CallTable<PendingCall>.Outcome, Never>
  ) {
    guard !ticket.isCancelled.load(ordering: .relaxed) else {
      return continuation.resume(returning: .failure(Self.cancelled))
    }
    guard let context else {
      let (_, error) = calls.end(Self.lost)
      return continuation.resume(returning: .failure(error))
    }
    let id: UInt64
    switch calls.admit(PendingCall(ticket: ticket, continuation: continuation)) {
    case .success(let admitted): id = admitted
    case .failure(let error): return continuation.resume(returning: .failure(error))
    }
    var buffer = context.channel.allocator.buffer(capacity: 256)
    do {
      try RequestEncoder.append(
        id: id, timeoutMicroseconds: timeout.map(\.wholeMicroseconds) ?? 0, call,
        frameBytesMax: Limits.frameBytesHardCap, to: &buffer)
    } catch {
      let message = "request: expected at most \(error.limit) bytes, found \(error.bytes)"
      calls.remove(id: id)?.finish(.failure(ClientError(.invalidArgument, origin: .invalidInput, message)))
      return
    }
    if let timeout { arm(id: id, timeout: timeout, on: context.eventLoop) }
    context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
  }

  func cancel(_ ticket: CallTicket) {
    guard let id = calls.id(where: { $0.ticket === ticket }) else { return }
    calls.remove(id: id)?.finish(.failure(Self.cancelled))
    closeIfDrained()
  }

  /// Ends the connection because the caller closed it.
  func close() {
    end(ClientError(.unavailable, origin: .closed, "the client was closed"))
  }

  private func arm(id: UInt64, timeout: Duration, on loop: any EventLoop) {
    let timer = loop.assumeIsolated().scheduleTask(in: TimeAmount(timeout)) { [self] in
      let message = "no answer within \(timeout.formattedForMessage)"
      // Whether the server executed it is unknown.
      calls.remove(id: id)?.finish(.failure(ClientError(.deadlineExceeded, origin: .deadline, message)))
      closeIfDrained()
    }
    calls.update(id: id) { $0.timer = timer }
  }

  // MARK: answers

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var bytes = unwrapInboundIn(data)
    frames.append(&bytes)
    do throws(FrameError) {
      while let frame = try frames.next() {
        do throws(ServingError) {
          perform(calls.receive(try ResponseDecoder.decode(frame)))
        } catch {
          // The frame's boundary is known, but not whose answer it was.
          return violate("an answer cannot be decoded: \(error.message)")
        }
      }
    } catch {
      violate("\(error)")
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    end(reason ?? Self.lost)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if reason == nil, let error = error as? TLSError {
      reason = ClientError(.unauthenticated, origin: .connectionLost, error.sentence, isSafeToRetry: false)
    } else if reason == nil {
      reason = ClientError(
        .unavailable, origin: .connectionLost, "the connection failed: \(error)", isSafeToRetry: false)
    }
    context.close(promise: nil)
  }

  private func perform(_ action: CallTable<PendingCall>.Action) {
    switch action {
    case .complete(let call, let outcome): call.finish(outcome)
    case .fail(let calls, let error): for call in calls { call.finish(.failure(error)) }
    case .ignore: break
    }
    closeIfDrained()
  }

  private func closeIfDrained() {
    guard calls.isDrained else { return }
    end(ClientError(.unavailable, origin: .goAway, "the server stopped", isSafeToRetry: true))
  }

  private func violate(_ message: String) {
    end(ClientError(.internal, origin: .protocolViolation, message))
  }

  private func end(_ error: ClientError) {
    let (callers, told) = calls.end(error)
    for call in callers { call.finish(.failure(told)) }
    context?.close(promise: nil)
  }

  /// Whether the server executed the calls in flight is unknown.
  private static let lost = ClientError(
    .unavailable, origin: .connectionLost, "the server closed the connection", isSafeToRetry: false)
  private static let cancelled = ClientError(
    .unavailable, origin: .cancelled, "the call was cancelled", isSafeToRetry: false)
}

extension Duration {
  /// Whole microseconds: at least 1, because 0 stands for no budget, and at most `UInt32.max`.
  var wholeMicroseconds: UInt32 {
    let (seconds, attoseconds) = components
    let microseconds = Double(seconds) * 1e6 + Double(attoseconds) / 1e12
    return microseconds < 1 ? 1 : UInt32(exactly: microseconds.rounded()) ?? .max
  }

  var formattedForMessage: String {
    let microseconds = Double(wholeMicroseconds)
    return microseconds < 1e3
      ? "\(Int(microseconds)) µs" : microseconds < 1e6 ? "\(microseconds / 1e3) ms" : "\(microseconds / 1e6) s"
  }
}

/// The handler that completes a future when a connection is encrypted, or fails it. Confined to its loop.
final class ClientHandshake: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  /// Completes when the connection is encrypted.
  let done: EventLoopFuture<Void>
  private var promise: EventLoopPromise<Void>?
  private let limit: TimeAmount
  private var timer: Scheduled<Void>?

  init(on loop: any EventLoop, within limit: TimeAmount) {
    let promise = loop.makePromise(of: Void.self)
    self.promise = promise
    self.limit = limit
    done = promise.futureResult
  }

  func channelActive(context: ChannelHandlerContext) {
    timer = context.eventLoop.assumeIsolated().scheduleTask(in: limit) { [self] in
      end(.failure(ChannelError.connectTimeout(limit)))
      context.close(promise: nil)
    }
    context.fireChannelActive()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if event is TLSHandler.HandshakeCompleted { end(.success(())) }
    context.fireUserInboundEventTriggered(event)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    end(.failure(error))
    context.fireErrorCaught(error)
  }

  func channelInactive(context: ChannelHandlerContext) {
    end(.failure(ChannelError.eof))
    context.fireChannelInactive()
  }

  func handlerRemoved(context: ChannelHandlerContext) { end(.failure(ChannelError.eof)) }

  private func end(_ result: Result<Void, any Error>) {
    timer?.cancel()
    timer = nil
    promise?.completeWith(result)
    promise = nil
  }
}

/// The connections of one attempt to connect: a host may have several addresses, and a connection that fails at once
/// takes its handlers with it.
final class Attempts: Sendable {
  struct Attempt: Sendable {
    var connection: NIOLoopBound<ClientConnection>
    /// End of the TLS handshake; nil for a connection that is not encrypted.
    var handshake: EventLoopFuture<Void>?
  }

  private let attempts = Mutex<[ObjectIdentifier: Attempt]>([:])

  func add(_ attempt: Attempt, of channel: any Channel) {
    attempts.withLock { $0[ObjectIdentifier(channel)] = attempt }
  }

  /// - Precondition: this attempt to connect opened the channel.
  func attempt(of channel: any Channel) -> Attempt {
    guard let attempt = attempts.withLock({ $0[ObjectIdentifier(channel)] }) else {
      preconditionFailure("a channel of another attempt to connect")
    }
    return attempt
  }
}

/// The calls in flight on one connection: their ids, their callers, and the end of each. A state machine without I/O,
/// confined to the connection's loop.
///
/// A call is admitted, gets its id, and leaves once: by its answer, its timer, its caller's
/// cancellation, a GoAway that names it as not executed, or the end of the connection.
struct CallTable<Caller> {
  typealias Outcome = Result<ResponseMessage.Result, ClientError>

  /// An order to the connection that received a response.
  enum Action {
    case complete(Caller, Outcome)
    /// Fail these calls, which a server that stops did not execute. Close the connection once no call is in flight.
    case fail([Caller], ClientError)
    /// Do nothing: the caller no longer waits for the answer.
    case ignore
  }

  private enum State {
    case open
    /// The server stops: no new calls are admitted; those up to `lastID` still get their answers.
    case goingAway
    /// The connection is gone; the error says why.
    case ended(ClientError)
  }

  private var state = State.open
  private var callers: [UInt64: Caller] = [:]
  private var lastID: UInt64 = 0
  /// Error that the server sent about the connection itself, before it closed it.
  private var complaint: ServingError?

  var inFlight: Int { callers.count }

  /// Whether the server stops and no call is in flight any more.
  var isDrained: Bool {
    if case .goingAway = state { callers.isEmpty } else { false }
  }

  /// Admits a call.
  /// - Returns: the call's id, rising from 1 in the order of admission, which is the order on the wire.
  mutating func admit(_ caller: Caller) -> Result<UInt64, ClientError> {
    switch state {
    case .open:
      lastID += 1
      callers[lastID] = caller
      return .success(lastID)
    case .goingAway:
      return .failure(Self.goAway("the server is stopping and takes no new calls"))
    case .ended(let error):
      return .failure(error)
    }
  }

  mutating func receive(_ response: ResponseMessage) -> Action {
    if case .goAway(let lastExecuted) = response.result {
      if case .open = state { state = .goingAway }
      let refused = callers.keys.filter { $0 > lastExecuted }.sorted()
      let callers = refused.compactMap { self.callers.removeValue(forKey: $0) }
      return .fail(callers, Self.goAway("the server stopped before it executed this call"))
    }
    if response.id == 0, case .failed(let error) = response.result {
      complaint = error
      return .ignore
    }
    guard let caller = callers.removeValue(forKey: response.id) else { return .ignore }
    switch response.result {
    case .failed(let error):
      return .complete(
        caller,
        .failure(
          ClientError(
            error.code, origin: .server, error.message, retryAfterMicroseconds: error.retryAfterMicroseconds,
            detail: error.detail)))
    case let result:
      return .complete(caller, .success(result))
    }
  }

  /// Removes a call whose timer ran out or whose caller gave up: an answer is ignored from now on.
  mutating func remove(id: UInt64) -> Caller? {
    callers.removeValue(forKey: id)
  }

  mutating func update(id: UInt64, _ change: (inout Caller) -> Void) {
    if var caller = callers[id] {
      change(&caller)
      callers[id] = caller
    }
  }

  func id(where matches: (Caller) -> Bool) -> UInt64? {
    callers.first { matches($0.value) }?.key
  }

  /// Ends the table with its connection. Later calls fail with the same reason.
  /// - Returns: the callers that were waiting, and their error.
  mutating func end(_ error: ClientError) -> ([Caller], ClientError) {
    if case .ended(let first) = state { return ([], first) }
    let told =
      complaint.map {
        ClientError($0.code, origin: .server, $0.message, retryAfterMicroseconds: $0.retryAfterMicroseconds)
      } ?? error
    // A call made from now on never reaches the server.
    state = .ended(ClientError(told.code, origin: told.origin, told.message, isSafeToRetry: true))
    defer { callers.removeAll() }
    return (Array(callers.values), told)
  }

  private static func goAway(_ message: String) -> ClientError {
    ClientError(.unavailable, origin: .goAway, message, isSafeToRetry: true)
  }
}
