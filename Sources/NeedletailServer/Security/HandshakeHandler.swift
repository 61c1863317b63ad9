internal import NeedletailMetrics
internal import Logging
internal import NIOCore
internal import NIOSSL
internal import NIOTLS

/// Stands between TLS and a ``ConnectionHandler``: ends handshakes that fail or take too long, and tells
/// the connection whose certificate it was.
///
/// Confined to its event loop.
final class HandshakeHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer

  private let tls: NIOSSLServerHandler
  private let connection: ConnectionHandler
  private let loop: ServingLoop
  private var timer: Scheduled<Void>?
  private var isDone = false

  init(tls: NIOSSLServerHandler, connection: ConnectionHandler, loop: ServingLoop) {
    self.tls = tls
    self.connection = connection
    self.loop = loop
  }

  func handlerAdded(context: ChannelHandlerContext) {
    let limit = TimeAmount.nanoseconds(Int64(clamping: loop.bounds.handshakeNanoseconds))
    timer = context.eventLoop.assumeIsolated().scheduleTask(in: limit) { [self] in
      fail(.timeout, "no end within the time given", context)
    }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .handshakeCompleted? = event as? TLSUserEvent {
      isDone = true
      timer?.cancel()
      timer = nil
      // A server without a client CA asks for no certificate.
      if let certificate = tls.peerCertificate { connection.present(certificate: CertificateNames.of(certificate)) }
    }
    context.fireUserInboundEventTriggered(event)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    guard isDone else { return fail(TLSFailure(error), TLSFailure.reason(of: error), context) }
    // The end without a farewell. Frames tell where they end, so that nothing was cut off unseen; it
    // goes on as the end of the input.
    if case NIOSSLError.uncleanShutdown? = error as? NIOSSLError { return }
    context.fireErrorCaught(error)
  }

  func channelInactive(context: ChannelHandlerContext) {
    timer?.cancel()
    timer = nil
    context.fireChannelInactive()
  }

  private func fail(_ failure: TLSFailure, _ reason: String, _ context: ChannelHandlerContext) {
    guard !isDone else { return }
    isDone = true
    timer?.cancel()
    timer = nil
    loop.tlsCounters.failed(failure).add(shard: loop.shard)
    loop.logger.debug("handshake failed", metadata: ["reason": "\(failure.rawValue)", "error": "\(reason)"])
    context.close(promise: nil)
  }
}
