public import NIOCore
internal import NIOEmbedded
internal import NIOTLS

/// TLS of one connection without a socket of its own: bytes go in, bytes come out. Confined to its thread.
///
/// After every call there may be something to send: ``nextSealed()``.
public final class TLSSession {
  private let channel: EmbeddedChannel
  private let observer = SessionObserver()

  /// Begins a handshake.
  /// - Parameter handler: `NIOSSLClientHandler` or `NIOSSLServerHandler`.
  public init(_ handler: some ChannelHandler) throws {
    channel = EmbeddedChannel(handlers: [handler, observer])
    // The end of the peer's side is no end of ours.
    channel.allowRemoteHalfClosure = true
    // Where to does not matter: nothing is connected, but handlers begin when told that it is.
    channel.connect(to: try SocketAddress(ipAddress: "127.0.0.1", port: 1), promise: nil)
  }

  deinit {
    // With its transport gone it says no farewell and waits for none.
    channel.pipeline.fireChannelInactive()
    _ = try? channel.finish(acceptAlreadyClosed: true)
  }

  /// Whether the handshake has come to its end: what is sealed may go.
  public var isReady: Bool { observer.isReady }

  /// Whether the peer has said that it sends no more.
  public var isInputEnded: Bool { observer.isInputEnded }

  /// Decrypts what the socket brought; ``nextPlain()`` has it then.
  /// - Throws: why the handshake, or the session, has failed; there may be an alert to send still.
  public func open(_ bytes: ByteBuffer) throws {
    try channel.writeInbound(bytes)
    guard channel.isActive else { throw ChannelError.eof }
  }

  public func nextPlain() throws -> ByteBuffer? { try channel.readInbound(as: ByteBuffer.self) }

  /// Encrypts `bytes`, once the handshake has ended.
  public func seal(_ bytes: ByteBuffer) { channel.writeAndFlush(bytes, promise: nil) }

  /// - Returns: what is to be sent, in this order.
  public func nextSealed() throws -> ByteBuffer? { try channel.readOutbound(as: ByteBuffer.self) }

  /// - Throws: what has gone wrong since the last call.
  public func check() throws { try channel.throwIfErrorCaught() }

  /// Says farewell. Nothing can be sealed or opened afterwards.
  public func end() { channel.close(promise: nil) }
}

private final class SessionObserver: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  private(set) var isReady = false
  private(set) var isInputEnded = false

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .handshakeCompleted? = event as? TLSUserEvent { isReady = true }
    if case .inputClosed? = event as? ChannelEvent { isInputEnded = true }
    context.fireUserInboundEventTriggered(event)
  }
}
