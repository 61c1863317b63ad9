internal import NIOCore
internal import NeedletailTLS
internal import Synchronization

/// Tells when a connection is encrypted, or why it will not be. Confined to its loop.
final class ClientHandshake: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  /// Comes true when the connection is encrypted.
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

/// The connections that one attempt to connect has begun: a host may have several addresses, and one
/// that fails at once takes its handlers with it.
final class Attempts: Sendable {
  struct Attempt: Sendable {
    var connection: NIOLoopBound<ClientConnection>
    /// Nil where the connection is not encrypted.
    var handshake: EventLoopFuture<Void>?
  }

  private let attempts = Mutex<[ObjectIdentifier: Attempt]>([:])

  func add(_ attempt: Attempt, of channel: any Channel) {
    attempts.withLock { $0[ObjectIdentifier(channel)] = attempt }
  }

  /// - Precondition: the channel came of this attempt to connect.
  func attempt(of channel: any Channel) -> Attempt {
    guard let attempt = attempts.withLock({ $0[ObjectIdentifier(channel)] }) else {
      preconditionFailure("a connection that nobody made")
    }
    return attempt
  }
}
