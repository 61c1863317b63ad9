import Dispatch
import NIOCore
import NIOPosix
import Testing

@testable import NeedletailServer

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

@Suite("Accept queue", .timeLimit(.minutes(1)))
struct AcceptQueueTests {
  @Test func whomTheKernelHasAcceptedIsTakenBeforeTheSocketCloses() async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let children = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let channel = try await ServerBootstrap(group: group, childGroup: children)
      .serverChannelOption(.backlog, value: 1024)
      .serverChannelOption(.autoRead, value: false)
      .serverChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(AcceptQueueHandler())
        }
      }
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Greeter()) }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    try await AcceptQueueHandler.start(channel)
    let port = try #require(channel.localAddress?.port)

    // The loop is held up, so that all of these wait in the kernel's queue when it is told to close.
    let gate = DispatchSemaphore(value: 0)
    channel.eventLoop.execute { gate.wait() }
    let peers = try (0..<100).map { _ in try Peer(port: port) }
    async let closed: Void = AcceptQueueHandler.close(channel)
    try await Task.sleep(for: .milliseconds(20))
    gate.signal()
    await closed

    #expect(!channel.isActive)
    let greeted = peers.count { $0.receive() == Greeter.greeting }
    #expect(greeted == peers.count)
    try await group.shutdownGracefully()
    try await children.shutdownGracefully()
  }
}

/// Says a byte to whoever comes.
private final class Greeter: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  static let greeting: UInt8 = 0x2A

  func channelActive(context: ChannelHandlerContext) {
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: [Self.greeting])), promise: nil)
  }
}

/// A blocking socket: connected as soon as the kernel at the other end says so.
private final class Peer {
  private let descriptor: CInt

  init(port: Int) throws {
    descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var patience = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    let status = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    try #require(status == 0, "connect: errno \(errno)")
  }

  /// The first byte; nil if the connection ended instead.
  func receive() -> UInt8? {
    var byte: UInt8 = 0
    return recv(descriptor, &byte, 1, 0) == 1 ? byte : nil
  }

  deinit { close(descriptor) }
}
