internal import Glibc
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import NeedletailCore
internal import ServiceLifecycle
internal import Synchronization

/// HTTP for Prometheus, for load balancers and for people, on an address of its own.
struct AdminService: Service {
  let address: ListenAddress
  /// Nil: not encrypted.
  let tls: TLSSource?
  let control: ControlPlane
  let group: any EventLoopGroup
  let logger: Logger
  /// Called with the address once it is bound, port 0 resolved.
  let onBound: @Sendable (ListenAddress) -> Void

  /// Serves until the server is told to stop.
  /// - Throws: `ConfigurationError` if the address cannot be listened on.
  func run() async throws {
    let connections = AdminConnections()
    let listener = try await listen(connections)
    onBound(ListenAddress(host: address.host, port: listener.localAddress?.port ?? address.port))
    // Cancelled only if the process is to end at once: then too, what was bound is closed.
    try? await gracefulShutdown()
    try? await listener.close()
    await connections.end(within: .milliseconds(Limits.lingerMilliseconds))
  }

  private func listen(_ connections: AdminConnections) async throws(ConfigurationError) -> any Channel {
    let routes = AdminRoutes(control: control)
    do {
      return try await ServerBootstrap(group: group)
        .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
        .childChannelInitializer { [tls, logger] channel in
          channel.eventLoop.makeCompletedFuture {
            guard connections.add(channel) else {
              logger.debug("admin connection refused", metadata: ["connections": "\(Limits.adminConnectionsMax)"])
              throw ChannelError.operationUnsupported
            }
            try AdminConnection.configure(channel, tls: tls, routes: routes)
          }
        }
        .childChannelOption(.allowRemoteHalfClosure, value: true)
        .bind(host: address.host, port: address.port).get()
    } catch let error as IOError {
      let reason = error.errnoCode == EADDRINUSE ? "expected a free address, found it in use" : "cannot listen"
      throw ConfigurationError("--admin \(address): \(reason)")
    } catch {
      throw ConfigurationError("--admin \(address): cannot listen: \(error)")
    }
  }
}

/// The connections to the admin port that are open.
private final class AdminConnections: Sendable {
  private struct State {
    var channels: [ObjectIdentifier: any Channel] = [:]
    var isStopping = false
  }

  private let state = Mutex(State())

  /// - Returns: false if there are as many as there may be, or if the server stops.
  func add(_ channel: any Channel) -> Bool {
    let isAdded = state.withLock { state in
      guard !state.isStopping, state.channels.count < Limits.adminConnectionsMax else { return false }
      state.channels[ObjectIdentifier(channel)] = channel
      return true
    }
    if isAdded {
      channel.closeFuture.whenComplete { [self] _ in
        state.withLock { _ = $0.channels.removeValue(forKey: ObjectIdentifier(channel)) }
      }
    }
    return isAdded
  }

  /// Ends each connection after the answer that is under way, and all when the time is over.
  func end(within limit: Duration) async {
    let open = state.withLock { state in
      state.isStopping = true
      return Array(state.channels.values)
    }
    for channel in open {
      channel.eventLoop.execute { channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent()) }
    }
    let overtime = Task {
      try await Task.sleep(for: limit)
      for channel in open { channel.close(promise: nil) }
    }
    for channel in open { try? await channel.closeFuture.get() }
    overtime.cancel()
  }
}
