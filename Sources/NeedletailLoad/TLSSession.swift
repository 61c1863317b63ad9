internal import NIOCore
internal import NIOEmbedded
internal import NIOSSL
internal import NIOTLS

/// TLS of one connection without a socket of its own: bytes go in, bytes come out. Confined to its thread.
final class TLSSession {
  /// What every connection of a run has in common.
  struct Settings: Sendable {
    var context: NIOSSLContext
    /// That the server's certificate must carry; nil: its address.
    var hostname: String?
  }

  private let channel: EmbeddedChannel
  private let observer = HandshakeObserver()

  /// Begins a handshake: its first bytes are ready for ``seal(_:into:)``.
  init(_ settings: Settings) throws {
    channel = EmbeddedChannel(handlers: [
      try NIOSSLClientHandler(context: settings.context, serverHostname: settings.hostname), observer,
    ])
    // Where to does not matter: nothing is connected, but handlers begin when told that it is.
    channel.connect(to: try NIOCore.SocketAddress(ipAddress: "127.0.0.1", port: 1), promise: nil)
  }

  deinit {
    // With its transport gone it says no farewell and waits for none.
    channel.pipeline.fireChannelInactive()
    _ = try? channel.finish(acceptAlreadyClosed: true)
  }

  /// Whether calls may go.
  var isReady: Bool { observer.isDone }

  /// Encrypts all of `plain`, and appends it to `sealed` behind what TLS itself has to say.
  func seal(_ plain: inout ByteQueue, into sealed: inout ByteQueue) throws {
    if plain.count > 0 {
      let bytes = UnsafeRawBufferPointer(start: plain.start, count: plain.count)
      channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
      plain.consume(bytes.count)
    }
    while let record = try channel.readOutbound(as: ByteBuffer.self) {
      record.withUnsafeReadableBytes { _ = sealed.append($0) }
    }
    try channel.throwIfErrorCaught()
  }

  /// Decrypts what the socket brought.
  func open(_ bytes: UnsafeRawBufferPointer, into plain: inout ByteQueue) throws {
    try channel.writeInbound(ByteBuffer(bytes: bytes))
    while let data = try channel.readInbound(as: ByteBuffer.self) {
      data.withUnsafeReadableBytes { _ = plain.append($0) }
    }
    guard channel.isActive else { throw ChannelError.eof }
  }
}

private final class HandshakeObserver: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  private(set) var isDone = false

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .handshakeCompleted? = event as? TLSUserEvent { isDone = true }
    context.fireUserInboundEventTriggered(event)
  }
}
