import NIOCore
import NIOPosix
import NeedletailCore
import NeedletailTLS
import NeedletailWire
import Synchronization

/// Answers every predict call of one row with version 1 and the number 0.5, in the manner it was told.
final class TinyServer: Sendable {
  enum Manner: Sendable {
    case answering
    case refusing
    case silent
    /// Answers at once, and says that calls waited so long.
    case claiming(queueMicroseconds: UInt32)
    /// Once, between two answers.
    case stalling(after: Int, for: Duration)
    /// Every connection after so many calls.
    case closing(after: Int)
  }

  /// Its own: on the loops that other tests share it would stall them, and they it.
  private let group: MultiThreadedEventLoopGroup
  private let channel: any Channel
  private let seen: Seen

  /// Most calls that one read brought.
  var burstMax: Int { seen.burst.load(ordering: .relaxed) }
  var port: Int { channel.localAddress?.port ?? 0 }

  /// - Parameter tls: nil: not encrypted.
  static func start(_ manner: Manner = .answering, tls: TLSContext? = nil) async throws -> TinyServer {
    let seen = Seen()
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let channel = try await ServerBootstrap(group: group)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          if let tls { try channel.pipeline.syncOperations.addHandler(TLSHandler(.server(tls))) }
          try channel.pipeline.syncOperations.addHandler(Handler(manner, seen: seen))
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    return TinyServer(group: group, channel: channel, seen: seen)
  }

  private init(group: MultiThreadedEventLoopGroup, channel: any Channel, seen: Seen) {
    self.group = group
    self.channel = channel
    self.seen = seen
  }

  func stop() async throws {
    try await channel.close()
    try await group.shutdownGracefully()
  }

  private final class Seen: Sendable {
    let burst = Atomic<Int>(0)
  }

  private final class Handler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let manner: Manner
    private let seen: Seen
    private var frames = FrameDecoder(frameBytesMax: 1 << 20)
    private let encoder = PredictResponseEncoder(
      model: "wine", version: 1, outputs: [.init(name: "prediction", kind: .number, columns: 1)], labels: [])
    private var calls = 0

    init(_ manner: Manner, seen: Seen) {
      self.manner = manner
      self.seen = seen
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      var bytes = unwrapInboundIn(data)
      frames.append(&bytes)
      var output = ByteBuffer()
      var burst = 0
      while let frame = try? frames.next() {
        calls += 1
        burst += 1
        let id = frame.withUnsafeReadableBytes { RequestDecoder.peekID($0) }
        switch manner {
        case .silent: continue
        case .refusing:
          ResponseEncoder.appendError(id: id, ServingError(.overloaded, "no"), to: &output)
          continue
        case .closing(let limit) where calls > limit:
          context.close(promise: nil)
          return
        case .stalling(let limit, let time) where calls == limit: block(for: time)
        default: break
        }
        answer(id, to: &output)
      }
      if burst > seen.burst.load(ordering: .relaxed) { seen.burst.store(burst, ordering: .relaxed) }
      context.writeAndFlush(wrapOutboundOut(output), promise: nil)
    }

    private var timing: ResponseTiming {
      if case .claiming(let queued) = manner { ResponseTiming(queueMicroseconds: queued) } else { ResponseTiming() }
    }

    private func answer(_ id: UInt64, to output: inout ByteBuffer) {
      withUnsafePointer(to: Float(0.5)) { number in
        withUnsafePointer(to: number) { values in
          encoder.append(
            id: id, rows: 1, values: UnsafeBufferPointer(start: values, count: 1), selection: 1,
            timing: timing, to: &output)
        }
      }
    }

    /// Nobody is served meanwhile, as in a real stall.
    private func block(for time: Duration) {
      let end = ContinuousClock.now + time
      while ContinuousClock.now < end {}
    }
  }
}
