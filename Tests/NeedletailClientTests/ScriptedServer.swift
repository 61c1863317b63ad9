import NIOCore
import NIOPosix
import NeedletailCore
import NeedletailProtobuf
import NeedletailWire
import Synchronization

/// A server that speaks frames and does what a test tells it with each request.
final class ScriptedServer: Sendable {
  /// A request as it was, without borrowing.
  struct Received: Sendable {
    var id: UInt64
    var timeoutMicroseconds: UInt32
    var call: String
  }

  /// Called on the connection's loop for every request; what it writes to the buffer is sent.
  typealias Script = @Sendable (Received, _ channel: any Channel) -> Void

  let address: (host: String, port: Int)
  let unixPath: String?
  private let channel: any Channel

  static func start(unixPath: String? = nil, _ script: @escaping Script) async throws -> ScriptedServer {
    let bootstrap = ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(Handler(script: script))
        }
      }
    let channel =
      if let unixPath { try await bootstrap.bind(unixDomainSocketPath: unixPath).get() } else {
        try await bootstrap.bind(host: "127.0.0.1", port: 0).get()
      }
    return ScriptedServer(channel: channel, unixPath: unixPath)
  }

  private init(channel: any Channel, unixPath: String?) {
    self.channel = channel
    self.unixPath = unixPath
    address = ("127.0.0.1", channel.localAddress?.port ?? 0)
  }

  func stop() async throws {
    try await channel.close()
  }

  private final class Handler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private var frames = FrameDecoder(frameBytesMax: 1 << 20)
    private let arena = MessageArena()
    private let script: Script

    init(script: @escaping Script) {
      self.script = script
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      var bytes = unwrapInboundIn(data)
      frames.append(&bytes)
      while let frame = try? frames.next() {
        let received = frame.withUnsafeReadableBytes { bytes -> Received? in
          guard let view = try? RequestDecoder.decode(bytes, arena: arena) else { return nil }
          let call =
            switch view.call {
            case .predict(let predict): "predict " + String(decoding: predict.model, as: UTF8.self)
            case .describeModel(let describe): "describe " + String(decoding: describe.model, as: UTF8.self)
            default: "\(view.call)"
            }
          return Received(id: view.id, timeoutMicroseconds: view.timeoutMicroseconds, call: call)
        }
        if let received { script(received, context.channel) }
      }
    }
  }
}

extension Channel {
  /// Sends what `write` puts into a buffer.
  func send(_ write: (inout ByteBuffer) -> Void) {
    var buffer = ByteBuffer()
    write(&buffer)
    writeAndFlush(buffer, promise: nil)
  }
}

/// The answer of a model named as asked, with version = id.
func echo(_ request: ScriptedServer.Received) -> (inout ByteBuffer) -> Void {
  { buffer in
    let encoder = PredictResponseEncoder(
      model: String(request.call.dropFirst("predict ".count)), version: request.id, outputs: [], labels: [])
    [UnsafePointer<Float>]().withUnsafeBufferPointer {
      encoder.append(id: request.id, rows: 0, values: $0, selection: 0, timing: ResponseTiming(), to: &buffer)
    }
  }
}
