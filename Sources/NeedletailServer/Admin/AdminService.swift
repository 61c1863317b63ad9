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
  let connectionsMax: Int
  /// Nil: not encrypted.
  let tls: TLSSource?
  /// The pages that client certificates may read; nil: everybody who gets a connection reads everything.
  let keys: KeySource?
  let control: ControlPlane
  let group: any EventLoopGroup
  let logger: Logger
  /// Called with the address once it is bound, port 0 resolved.
  let onBound: @Sendable (ListenAddress) -> Void

  /// Serves until the server is told to stop.
  /// - Throws: `ConfigurationError` if the address cannot be listened on.
  func run() async throws {
    let connections = AdminConnections(connectionsMax: connectionsMax)
    let listener = try await listen(connections)
    onBound(ListenAddress(host: address.host, port: listener.localAddress?.port ?? address.port))
    // Cancelled only if the process is to end at once: then too, what was bound is closed.
    try? await gracefulShutdown()
    try? await listener.close()
    await connections.end(within: .milliseconds(Limits.lingerMilliseconds))
  }

  private func listen(_ connections: AdminConnections) async throws(ConfigurationError) -> any Channel {
    let routes = AdminRoutes(control: control, keys: keys)
    do {
      return try await ServerBootstrap(group: group)
        .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
        .childChannelInitializer { [tls, logger] channel in
          channel.eventLoop.makeCompletedFuture {
            guard connections.add(channel) else {
              logger.debug(
                "admin connection refused", metadata: ["connections": .stringConvertible(connections.connectionsMax)])
              throw ChannelError.operationUnsupported
            }
            try AdminConnection.configure(channel, tls: tls, routes: routes, connections: connections)
          }
        }
        .childChannelOption(.allowRemoteHalfClosure, value: true)
        .bind(host: address.host, port: address.port).get()
    } catch let error as IOError {
      let isInUse = error.errnoCode == EADDRINUSE
      throw ConfigurationError(
        "--admin \(address): \(isInUse ? "expected a free address, found it in use" : "cannot listen")",
        mayPass: isInUse)
    } catch {
      throw ConfigurationError("--admin \(address): cannot listen: \(error)")
    }
  }
}

/// The connections to the admin port that are open.
final class AdminConnections: Sendable {
  private struct State {
    var channels: [ObjectIdentifier: any Channel] = [:]
    /// Connections between two requests, the one that has waited longest first.
    var idle: [ObjectIdentifier] = []
    var isStopping = false
  }

  let connectionsMax: Int
  private let state = Mutex(State())

  init(connectionsMax: Int) { self.connectionsMax = connectionsMax }

  /// Takes a connection. Where there are as many as there may be, the one that has been idle longest makes way: whoever
  /// keeps connections open without a request must not keep others out.
  /// - Returns: false if all others have a request under way, or if the server stops.
  func add(_ channel: any Channel) -> Bool {
    let id = ObjectIdentifier(channel)
    let (isAdded, leaving) = state.withLock { state -> (Bool, (any Channel)?) in
      guard !state.isStopping else { return (false, nil) }
      var leaving: (any Channel)?
      if state.channels.count >= connectionsMax {
        guard let oldest = state.idle.first else { return (false, nil) }
        state.idle.removeFirst()
        leaving = state.channels.removeValue(forKey: oldest)
      }
      state.channels[id] = channel
      return (true, leaving)
    }
    leaving?.close(promise: nil)
    if isAdded {
      channel.closeFuture.whenComplete { [self] _ in
        state.withLock { state in
          state.channels[id] = nil
          state.idle.removeAll { $0 == id }
        }
      }
    }
    return isAdded
  }

  /// Notes that a connection has its answer and has asked for nothing more, or no longer.
  func setIdle(_ channel: any Channel, _ isIdle: Bool) {
    let id = ObjectIdentifier(channel)
    state.withLock { state in
      state.idle.removeAll { $0 == id }
      if isIdle, state.channels[id] != nil { state.idle.append(id) }
    }
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
