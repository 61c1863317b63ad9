public import NIOCore

/// TLS of a connection of NIO: the first handler of its pipeline.
///
/// It fires ``HandshakeCompleted`` once, and a ``TLSError`` through `errorCaught` if the handshake or the
/// session fails, after which it closes the connection.
public final class TLSHandler: ChannelDuplexHandler {
  public typealias InboundIn = ByteBuffer
  public typealias InboundOut = ByteBuffer
  public typealias OutboundIn = ByteBuffer
  public typealias OutboundOut = ByteBuffer

  /// The event that says that the connection is encrypted.
  public struct HandshakeCompleted: Sendable {
    /// Names in the peer's certificate, see ``TLSCertificate/names``; nil: it showed none.
    public let certificateNames: [String]?
  }

  private let role: TLSSession.Role
  private var session: TLSSession?
  private var wasReady = false
  private var hasFailed = false

  public init(_ role: TLSSession.Role) { self.role = role }

  public func handlerAdded(context: ChannelHandlerContext) {
    if context.channel.isActive { begin(context) }
  }

  public func channelActive(context: ChannelHandlerContext) {
    begin(context)
    context.fireChannelActive()
  }

  private func begin(_ context: ChannelHandlerContext) {
    guard session == nil else { return }
    do throws(TLSError) {
      let session = try TLSSession(role)
      self.session = session
      send(session, context)
    } catch {
      fail(error, context)
    }
  }

  public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard let session, !hasFailed else { return }
    var plain = ByteBuffer()
    do throws(TLSError) {
      try unwrapInboundIn(data).withUnsafeReadableBytes { bytes throws(TLSError) in
        try session.open(bytes, into: &plain)
      }
    } catch {
      send(session, context)
      return fail(error, context)
    }
    send(session, context)
    if session.isReady, !wasReady {
      wasReady = true
      context.fireUserInboundEventTriggered(HandshakeCompleted(certificateNames: session.peerCertificate?.names))
    }
    if plain.readableBytes > 0 { context.fireChannelRead(wrapInboundOut(plain)) }
    if session.isInputEnded { context.close(promise: nil) }
  }

  public func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    guard let session, !hasFailed else {
      promise?.fail(ChannelError.ioOnClosedChannel)
      return
    }
    var sealed = ByteBuffer()
    unwrapOutboundIn(data).withUnsafeReadableBytes { session.seal($0, into: &sealed) }
    if let failure = session.failure {
      promise?.fail(failure)
      return fail(failure, context)
    }
    context.write(wrapOutboundOut(sealed), promise: promise)
  }

  public func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
    if mode != .input, let session, !hasFailed {
      session.end()
      send(session, context)
    }
    context.close(mode: mode, promise: promise)
  }

  public func channelInactive(context: ChannelHandlerContext) {
    if !wasReady, !hasFailed {
      hasFailed = true
      context.fireErrorCaught(TLSError.closed)
    }
    context.fireChannelInactive()
  }

  /// Sends what TLS itself has to say.
  private func send(_ session: TLSSession, _ context: ChannelHandlerContext) {
    var sealed = ByteBuffer()
    session.seal(UnsafeRawBufferPointer(start: nil, count: 0), into: &sealed)
    if sealed.readableBytes > 0 { context.writeAndFlush(wrapOutboundOut(sealed), promise: nil) }
  }

  private func fail(_ error: TLSError, _ context: ChannelHandlerContext) {
    hasFailed = true
    context.fireErrorCaught(error)
    context.close(promise: nil)
  }
}
