internal import NIOCore
internal import NIOHTTP1
internal import NeedletailCore
internal import NeedletailTLS

/// One connection to the admin port: the last handler of its pipeline. Confined to its loop.
///
/// `HTTPServerPipelineHandler` before it holds back a second request until the first is answered, and ends
/// the connection after the current answer when the server stops.
final class AdminConnection: ChannelInboundHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  private enum State {
    /// The first request, and the TLS handshake before it, or the next one.
    case waiting
    case receiving(HTTPRequestHead, bodyBytes: Int)
    /// An answer is on its way to the socket.
    case answering(isKeepAlive: Bool)
    /// The last answer is sent. What still arrives is read and thrown away: closing a socket with unread bytes resets the
    /// connection, and the reset overtakes the answer.
    case lingering
    case ended
  }

  private let routes: AdminRoutes
  private let connections: AdminConnections
  private var state = State.waiting
  private var deadline: Scheduled<Void>?
  /// Names in the client's certificate; nil: it showed none.
  private var certificateNames: [String]?

  init(_ routes: AdminRoutes, _ connections: AdminConnections) {
    self.routes = routes
    self.connections = connections
  }

  /// Adds TLS, HTTP with its limits, and a connection to a channel that was just accepted.
  /// - Parameter tls: nil: not encrypted.
  static func configure(
    _ channel: any Channel, tls: TLSSource?, routes: AdminRoutes, connections: AdminConnections
  ) throws {
    let pipeline = channel.pipeline.syncOperations
    // The certificate that is in force now, not the one with which the server started.
    if let tls { try pipeline.addHandler(TLSHandler(.server(tls.context))) }
    var limits = NIOHTTPDecoderLimitConfiguration()
    limits.maxHeaderFieldSize = Limits.adminHeaderBytesMax
    limits.maxHeaderListSize = Limits.adminHeaderBytesMax
    limits.maxHeaderFieldCount = Limits.adminHeadersMax
    try pipeline.configureHTTPServerPipeline(
      withEncoderConfiguration: .init(), withDecoderLimitConfiguration: limits)
    try pipeline.addHandler(AdminConnection(routes, connections))
  }

  func handlerAdded(context: ChannelHandlerContext) { arm(.seconds(Limits.adminRequestSeconds), context) }

  func handlerRemoved(context: ChannelHandlerContext) { end() }

  /// Gives the peer time for its next step; then the connection is closed.
  private func arm(_ time: TimeAmount, _ context: ChannelHandlerContext) {
    deadline?.cancel()
    deadline = context.eventLoop.assumeIsolated().scheduleTask(in: time) { context.close(promise: nil) }
  }

  private func end() {
    state = .ended
    deadline?.cancel()
    deadline = nil
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch (unwrapInboundIn(data), state) {
    case (.head(let head), .waiting):
      state = .receiving(head, bodyBytes: 0)
      connections.setIdle(context.channel, false)
      arm(.seconds(Limits.adminRequestSeconds), context)
    case (.body(let bytes), .receiving(let head, let count)):
      // No request here means anything by its body: what some clients send beside a GET is skipped.
      let total = count + bytes.readableBytes
      state = .receiving(head, bodyBytes: total)
      if total > Limits.adminBodyBytesMax {
        let limit = Limits.adminBodyBytesMax
        answer(
          .failure(.payloadTooLarge, "body: expected at most \(limit) bytes, found more"), to: head, isLast: true,
          context)
      }
    case (.end, .receiving(let head, _)):
      let response = routes.response(to: head.method, head.uri, certificateNames: certificateNames)
      answer(response, to: head, isLast: !head.isKeepAlive, context)
    default: break
    }
  }

  private func answer(
    _ response: AdminResponse, to request: HTTPRequestHead, isLast: Bool, _ context: ChannelHandlerContext
  ) {
    state = .answering(isKeepAlive: !isLast)
    let seconds = Int64(response.body.readableBytes / Limits.frameBytesPerSecondMin)
    arm(.seconds(Limits.adminRequestSeconds + seconds), context)
    let head = response.head(of: request.version, isKeepAlive: !isLast)
    let sent = context.eventLoop.makePromise(of: Void.self)
    if request.method == .HEAD || response.body.readableBytes == 0 {
      context.writeAndFlush(wrapOutboundOut(.head(head)), promise: sent)
    } else {
      context.write(wrapOutboundOut(.head(head)), promise: nil)
      context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(response.body))), promise: sent)
    }
    // The end lets the next request in. It waits until the socket has taken the answer: a peer that asks
    // without reading then holds one answer of the server's memory, not as many as it asks for.
    sent.futureResult.assumeIsolated().whenSuccess { [self] in finish(context) }
  }

  private func finish(_ context: ChannelHandlerContext) {
    guard case .answering(let isKeepAlive) = state else { return }
    state = .waiting
    context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    guard isKeepAlive else { return linger(context) }
    // The next request may have come with the end of this one.
    guard case .waiting = state else { return }
    connections.setIdle(context.channel, true)
    arm(.seconds(Limits.adminIdleSeconds), context)
  }

  /// Ends our side, and waits a moment for the peer to end its own.
  private func linger(_ context: ChannelHandlerContext) {
    state = .lingering
    arm(.milliseconds(Int64(Limits.lingerMilliseconds)), context)
    context.close(mode: .output, promise: nil)
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    switch event {
    case let event as TLSHandler.HandshakeCompleted: certificateNames = event.certificateNames
    // A peer that ended its side gets the answer that it waits for, as `curl` behind a pipe may.
    case let event as ChannelEvent where event == .inputClosed:
      switch state {
      case .waiting, .lingering: context.close(promise: nil)
      case .answering: state = .answering(isKeepAlive: false)
      case .receiving, .ended: break
      }
    default: break
    }
    context.fireUserInboundEventTriggered(event)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    switch (state, error) {
    // Further bytes behind those that were no HTTP.
    case (.lingering, _ as ByteToMessageDecoderError): break
    // What cannot be read as HTTP was answered with 400 by then.
    case (.waiting, _ as HTTPParserError), (.receiving, _ as HTTPParserError): linger(context)
    default:
      end()
      context.close(promise: nil)
    }
  }
}
