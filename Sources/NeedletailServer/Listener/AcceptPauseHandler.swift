internal import Logging
internal import NIOCore
internal import NeedletailCore
internal import NeedletailMetrics

/// Stops accepting for a moment when no connection can be accepted, out of descriptors or memory.
///
/// Sits in the pipeline of a listening socket. NIO's own `AcceptBackoffHandler` delays the next read, but
/// the failed one is still pending, so that the selector reports the socket again at once: a processor
/// spins until a descriptor is free (`Tests/reliability/descriptor-limit`). Switching automatic reading
/// off takes the socket out of the selector.
final class AcceptPauseHandler: ChannelInboundHandler {
  typealias InboundIn = any Channel

  private let failures: Counter
  private let logger: Logger
  private var isPaused = false
  /// Since a connection was last accepted; the first one is logged.
  private var failuresInRow = 0

  init(failures: Counter, logger: Logger) {
    self.failures = failures
    self.logger = logger
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    failuresInRow = 0
    context.fireChannelRead(data)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    guard error is IOError else {
      context.fireErrorCaught(error)
      return
    }
    failures.add(shard: 0)
    failuresInRow += 1
    if failuresInRow == 1 {
      logger.warning("cannot accept connections; trying again", metadata: ["error": "\(error)"])
    }
    guard !isPaused, let options = context.channel.syncOptions, (try? options.setOption(.autoRead, value: false)) != nil
    else { return }
    isPaused = true
    context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(Limits.acceptPauseMilliseconds)) { [self] in
      isPaused = false
      // Fails once the socket is closed, when there is nothing to go on with.
      try? options.setOption(.autoRead, value: true)
    }
  }
}
