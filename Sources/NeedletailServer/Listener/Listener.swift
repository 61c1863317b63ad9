internal import Logging
internal import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailSecurity
internal import NeedletailWire
internal import ServiceLifecycle

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Takes connections and drains them when the server stops.
final class Listener: Service {
  private let configuration: ServerConfiguration
  private let shared: SharedServices
  private let group: MultiThreadedEventLoopGroup
  private let loops: [ServingLoop]
  private let channels: [any Channel]
  /// Where calls over TCP arrive, port 0 resolved.
  let tcpAddress: ListenAddress?

  /// Binds: from here on connections are taken.
  /// - Throws: `ConfigurationError` naming the address that cannot be listened on.
  init(
    configuration: ServerConfiguration, group: MultiThreadedEventLoopGroup, acceptGroup: any EventLoopGroup,
    registry: ModelRegistry, tls: TLSSource?, shared: SharedServices
  ) async throws {
    self.configuration = configuration
    self.shared = shared
    self.group = group
    var loops: [ServingLoop] = []
    for (shard, eventLoop) in group.makeIterator().enumerated() {
      let loop = ServingLoop(
        eventLoop: eventLoop, shard: shard, reader: registry.reader(shard), limits: configuration.limits,
        serving: configuration.serving, shared: shared
      )
      try await eventLoop.submit { loop.start() }.get()
      loops.append(loop)
    }
    self.loops = loops
    // What reaches a Unix socket does not leave the machine: it is never encrypted.
    func bootstrap(_ tls: TLSSource?) -> ServerBootstrap {
      Self.bootstrap(acceptGroup: acceptGroup, group: group, loops: loops, tls: tls, shared: shared)
    }
    var channels: [any Channel] = []
    var tcpAddress: ListenAddress?
    do {
      if let address = configuration.listen {
        let channel = try await Self.named("--listen \(address)") {
          try await bootstrap(tls).bind(host: address.host, port: address.port).get()
        }
        channels.append(channel)
        try await AcceptQueueHandler.start(channel)
        tcpAddress = ListenAddress(host: address.host, port: channel.localAddress?.port ?? address.port)
      }
      if let path = configuration.unix {
        try await UnixSocketFile.prepare(path, group: acceptGroup)
        let channel = try await Self.named("--unix \(path)") {
          try await bootstrap(nil).bind(unixDomainSocketPath: path).get()
        }
        channels.append(channel)
        try await AcceptQueueHandler.start(channel)
      }
    } catch {
      for channel in channels { try? await channel.close() }
      for loop in loops { try? await loop.eventLoop.submit { loop.stop() }.get() }
      throw error
    }
    self.channels = channels
    self.tcpAddress = tcpAddress
  }

  private static func bootstrap(
    acceptGroup: any EventLoopGroup, group: MultiThreadedEventLoopGroup, loops: [ServingLoop], tls: TLSSource?,
    shared: SharedServices
  ) -> ServerBootstrap {
    ServerBootstrap(group: acceptGroup, childGroup: group)
      .serverChannelOption(.backlog, value: 1024)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .serverChannelOption(.autoRead, value: false)
      .serverChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandlers(
            AcceptQueueHandler(),
            AcceptPauseHandler(failures: shared.connectionCounters.acceptFailures, logger: shared.logger))
        }
      }
      // A client may end its side and still wait for its answers.
      .childChannelOption(.allowRemoteHalfClosure, value: true)
      // However much waits in one socket, the others have their turn after two reads of it. Not one: NIO
      // keeps as many buffers as reads, and the last read's may still hold the bytes of a frame.
      .childChannelOption(.maxMessagesPerRead, value: 2)
      .childChannelOption(
        .writeBufferWaterMark,
        value: .init(low: Limits.outputBytesHighWater / 4, high: Limits.outputBytesHighWater)
      )
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          guard let loop = loops.first(where: { $0.eventLoop === channel.eventLoop }) else {
            preconditionFailure("a connection on a loop that is none of ours")
          }
          if shared.gate.enter() {
            if channel.localAddress?.port != nil {
              try channel.syncOptions?.setOption(.tcpOption(.tcp_nodelay), value: 1)
            }
            let connection = ConnectionHandler(loop: loop, isEncrypted: tls != nil)
            if let tls {
              let encryption = NIOSSLServerHandler(context: tls.context)
              try channel.pipeline.syncOperations.addHandlers(
                encryption, HandshakeHandler(tls: encryption, connection: connection, loop: loop))
            }
            try channel.pipeline.syncOperations.addHandler(connection)
          } else {
            shared.connectionCounters.refused.add(shard: loop.shard)
            // A handshake only to say no would cost more than what it protects.
            try channel.pipeline.syncOperations.addHandler(
              RefusingHandler(connectionsMax: tls == nil ? shared.gate.connectionsMax : nil))
          }
        }
      }
  }

  /// Makes of a socket's error a sentence about the setting behind it.
  private static func named(
    _ what: String, _ bind: () async throws -> any Channel
  ) async throws(ConfigurationError) -> any Channel {
    do {
      return try await bind()
    } catch let error as IOError where error.errnoCode == EADDRINUSE {
      throw ConfigurationError("\(what): expected a free address, found it in use")
    } catch let error as IOError {
      throw ConfigurationError("\(what): cannot listen: \(String(cString: strerror(error.errnoCode)))")
    } catch {
      throw ConfigurationError("\(what): cannot listen: expected an address of this machine, found none")
    }
  }

  /// Holds calls against these keys from now on.
  func setKeys(_ ring: KeyRing) {
    for loop in loops { loop.eventLoop.execute { loop.setKeys(ring) } }
  }

  /// Ends what `init` began, where the server does not get as far as running.
  func abandon() async {
    for channel in channels { try? await channel.close() }
    for loop in loops { try? await loop.eventLoop.submit { loop.stop() }.get() }
    if let path = configuration.unix { UnixSocketFile.remove(path) }
  }

  /// Serves until the server is told to stop, then drains: not ready at once, still answering for the
  /// grace time, then GoAway, then what was accepted is finished.
  func run() async throws {
    try await gracefulShutdown()
    let clock = ContinuousClock()
    let start = clock.now
    shared.control.readiness.stop()
    shared.control.eventLog.emit(
      .server, .info, "stopping", [.init("grace_seconds", "\(configuration.grace.seconds)")])
    // Cancelled only if the process is to end at once.
    try? await clock.sleep(for: configuration.grace)
    for channel in channels { await AcceptQueueHandler.close(channel) }
    if let path = configuration.unix { UnixSocketFile.remove(path) }
    let drained = loops.map { loop in loop.eventLoop.flatSubmit { loop.goAway() } }
    let limit = Task { [loops, configuration] in
      try await clock.sleep(until: start + configuration.stopLimit)
      for loop in loops { loop.eventLoop.execute { loop.closeAll() } }
    }
    for future in drained { try await future.get() }
    limit.cancel()
    for loop in loops { try await loop.eventLoop.submit { loop.stop() }.get() }
    shared.logger.info("stopped", metadata: ["seconds": "\((clock.now - start).seconds)"])
  }
}

/// Tells a connection that is one too many so, and closes it.
private final class RefusingHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  /// Nil: it is not told.
  private let connectionsMax: Int?

  init(connectionsMax: Int?) { self.connectionsMax = connectionsMax }

  func channelActive(context: ChannelHandlerContext) {
    guard let connectionsMax else { return context.close(promise: nil) }
    var buffer = ByteBuffer()
    ResponseEncoder.appendError(
      id: 0,
      ServingError(
        .overloaded, "connections: expected at most \(connectionsMax), found one more",
        retryAfterMicroseconds: Limits.connectionRetryMicroseconds), to: &buffer)
    context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    context.close(promise: nil)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
