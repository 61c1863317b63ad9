import NIOCore
import NIOPosix
import NeedletailClient
import NeedletailCore
import NeedletailWire

/// A client that sends what a test wants, right or wrong, and gives out what comes back.
final class RawConnection {
  /// Decoding megabytes must not hold up the loops that the clients of other tests share.
  private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

  private let channel: any Channel
  private var responses: AsyncStream<ResponseMessage>.Iterator

  private init(channel: any Channel, responses: AsyncStream<ResponseMessage>) {
    self.channel = channel
    self.responses = responses.makeAsyncIterator()
  }

  static func connect(to address: ServerAddress, autoRead: Bool = true) async throws -> RawConnection {
    let (stream, continuation) = AsyncStream.makeStream(of: ResponseMessage.self)
    let bootstrap = ClientBootstrap(group: Self.group)
      .channelOption(.allowRemoteHalfClosure, value: true)
      .channelOption(.autoRead, value: autoRead)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(ResponseCollector(continuation))
        }
      }
    let channel =
      switch address {
      case .tcp(let host, let port): try await bootstrap.connect(host: host, port: port).get()
      case .unix(let path): try await bootstrap.connect(unixDomainSocketPath: path).get()
      }
    return RawConnection(channel: channel, responses: stream)
  }

  func send(_ bytes: [UInt8]) async throws { try await channel.writeAndFlush(ByteBuffer(bytes: bytes)) }

  /// Reads from here on, where it was made not to.
  func resume() async throws {
    try await channel.setOption(.autoRead, value: true).get()
  }

  /// Hands bytes to the socket without waiting until it took them.
  func push(_ bytes: [UInt8]) { channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }

  func send(id: UInt64, timeoutMicroseconds: UInt32 = 0, _ call: RequestEncoder.Call) async throws {
    try await send(Self.frame(id: id, timeoutMicroseconds: timeoutMicroseconds, call))
  }

  static func frame(id: UInt64, timeoutMicroseconds: UInt32 = 0, _ call: RequestEncoder.Call) throws -> [UInt8] {
    var buffer = ByteBuffer()
    try RequestEncoder.append(
      id: id, timeoutMicroseconds: timeoutMicroseconds, call, frameBytesMax: Limits.frameBytesHardCap, to: &buffer)
    return Array(buffer.readableBytesView)
  }

  /// A frame around any bytes.
  static func frame(_ message: [UInt8]) -> [UInt8] {
    withUnsafeBytes(of: UInt32(message.count).bigEndian) { Array($0) } + message
  }

  func endOutput() async throws { try await channel.close(mode: .output) }

  /// Nil once the server has ended the connection.
  func next() async -> ResponseMessage? { await responses.next() }

  /// All responses until the server ends the connection.
  func rest() async -> [ResponseMessage] {
    var all: [ResponseMessage] = []
    while let response = await next() { all.append(response) }
    return all
  }

  func close() async { try? await channel.close() }
}

private final class ResponseCollector: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  private var frames = FrameDecoder(frameBytesMax: Limits.frameBytesHardCap)
  private let continuation: AsyncStream<ResponseMessage>.Continuation

  init(_ continuation: AsyncStream<ResponseMessage>.Continuation) { self.continuation = continuation }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var bytes = unwrapInboundIn(data)
    frames.append(&bytes)
    while let frame = try? frames.next() {
      guard let response = try? ResponseDecoder.decode(frame) else { return context.close(promise: nil) }
      continuation.yield(response)
    }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if let event = event as? ChannelEvent, event == .inputClosed {
      continuation.finish()
      context.close(promise: nil)
    }
  }

  func channelInactive(context: ChannelHandlerContext) { continuation.finish() }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
