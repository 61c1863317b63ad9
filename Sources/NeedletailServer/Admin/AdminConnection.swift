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
    /// A request is awaited or under way.
    case waiting
    case receiving(HTTPRequestHead, bodyBytes: Int)
    /// An answer is on its way to the socket.
    case answering(isKeepAlive: Bool)
    /// Nothing that still arrives counts.
    case ended
  }

  private let routes: AdminRoutes
  private var state = State.waiting
  private var deadline: Scheduled<Void>?

  init(_ routes: AdminRoutes) { self.routes = routes }

  /// Adds TLS, HTTP with its limits, and a connection to a channel that was just accepted.
  /// - Parameter tls: nil: not encrypted.
  static func configure(_ channel: any Channel, tls: TLSSource?, routes: AdminRoutes) throws {
    let pipeline = channel.pipeline.syncOperations
    // The certificate that is in force now, not the one with which the server started.
    if let tls { try pipeline.addHandler(TLSHandler(.server(tls.context))) }
    var limits = NIOHTTPDecoderLimitConfiguration()
    limits.maxHeaderFieldSize = Limits.adminHeaderBytesMax
    limits.maxHeaderListSize = Limits.adminHeaderBytesMax
    limits.maxHeaderFieldCount = Limits.adminHeadersMax
    try pipeline.configureHTTPServerPipeline(
      withEncoderConfiguration: .init(), withDecoderLimitConfiguration: limits)
    try pipeline.addHandler(AdminConnection(routes))
  }

  func handlerAdded(context: ChannelHandlerContext) { arm(context) }

  func handlerRemoved(context: ChannelHandlerContext) { end() }

  /// Gives the peer time for its next step: a whole request, or the reading of an answer.
  private func arm(_ context: ChannelHandlerContext) {
    deadline?.cancel()
    deadline = context.eventLoop.assumeIsolated().scheduleTask(in: .seconds(Limits.adminIdleSeconds)) {
      context.close(promise: nil)
    }
  }

  private func end() {
    state = .ended
    deadline?.cancel()
    deadline = nil
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch (unwrapInboundIn(data), state) {
    case (.head(let head), .waiting): state = .receiving(head, bodyBytes: 0)
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
      answer(routes.response(to: head.method, head.uri), to: head, isLast: !head.isKeepAlive, context)
    default: break
    }
  }

  private func answer(
    _ response: AdminResponse, to request: HTTPRequestHead, isLast: Bool, _ context: ChannelHandlerContext
  ) {
    state = .answering(isKeepAlive: !isLast)
    arm(context)
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
    arm(context)
    context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    if !isKeepAlive {
      end()
      context.close(promise: nil)
    }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    // A peer that ended its side gets the answer that it waits for, as `curl` behind a pipe may.
    if case .inputClosed? = event as? ChannelEvent {
      switch state {
      case .waiting: context.close(promise: nil)
      case .answering: state = .answering(isKeepAlive: false)
      case .receiving, .ended: break
      }
    }
    context.fireUserInboundEventTriggered(event)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // What cannot be read as HTTP was answered with 400 by then.
    end()
    context.close(promise: nil)
  }
}
