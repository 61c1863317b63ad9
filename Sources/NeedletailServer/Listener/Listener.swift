internal import Glibc
internal import Logging
internal import NIOCore
internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailSecurity
internal import NeedletailSockets
internal import NeedletailSystem
internal import NeedletailWire
internal import ServiceLifecycle
internal import Synchronization

/// Takes connections and drains them when the server stops.
final class Listener: Service {
  private let configuration: ServerConfiguration
  private let shared: SharedServices
  private let loops: [ServingLoop]
  private let acceptor: Acceptor
  private let isEnded = Atomic(false)
  /// Where calls over TCP arrive, port 0 resolved.
  let tcpAddress: ListenAddress?

  /// Binds: from here on connections are taken.
  /// - Parameter threads: event loops.
  /// - Throws: `ConfigurationError` naming the address that cannot be listened on.
  init(
    configuration: ServerConfiguration, threads: Int, registry: ModelRegistry, tls: TLSSource?,
    shared: SharedServices
  ) throws(ConfigurationError) {
    self.configuration = configuration
    self.shared = shared
    do {
      let loops = try (0..<threads).map { shard in
        try ServingLoop(
          shard: shard, reader: registry.reader(shard), limits: configuration.limits, serving: configuration.serving,
          shared: shared)
      }
      acceptor = try Acceptor(Self.reception(loops, tls: tls, shared: shared))
      self.loops = loops
    } catch {
      throw ConfigurationError("threads: cannot start \(threads) event loops: \(error)")
    }
    var sockets: [ListeningSocket] = []
    var tcpAddress: ListenAddress?
    do throws(ConfigurationError) {
      if let address = configuration.listen {
        let socket = try Self.listen("--listen \(address)") {
          try .makeAddressResolvingHost(address.host, port: address.port)
        }
        sockets.append(socket)
        tcpAddress = ListenAddress(host: address.host, port: socket.port ?? address.port)
      }
      if let path = configuration.unix {
        try UnixSocketFile.prepare(path)
        sockets.append(try Self.listen("--unix \(path)") { try SocketAddress(unixDomainSocketPath: path) })
      }
    } catch {
      for socket in sockets { socket.close() }
      throw error
    }
    self.tcpAddress = tcpAddress
    for loop in loops { loop.start() }
    NativeThread.start(name: "nt-accept", niceness: 0) { [acceptor] in acceptor.run() }
    acceptor.listen(sockets)
  }

  /// Hands connections to the loops, each in its turn; one too many is told so and closed.
  private static func reception(_ loops: [ServingLoop], tls: TLSSource?, shared: SharedServices) -> Acceptor.Handler {
    let turn = Atomic(0)
    return Acceptor.Handler(
      accepted: { connection, isTCP in
        // What reaches a Unix socket does not leave the machine: it is never encrypted.
        let tls = isTCP ? tls : nil
        guard shared.gate.enter() else {
          shared.connectionCounters.refused.add(shard: 0)
          // A handshake only to say no would cost more than what it protects.
          refuse(connection, connectionsMax: tls == nil ? shared.gate.connectionsMax : nil)
          return
        }
        if isTCP {
          var one: Int32 = 1
          setsockopt(connection, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
        }
        let loop = loops[turn.add(1, ordering: .relaxed).oldValue % loops.count]
        loop.execute { loop.adopt(connection, tls: tls?.context) }
      },
      failed: { error, inRow in
        shared.connectionCounters.acceptFailures.add(shard: 0)
        guard inRow == 1 else { return }
        shared.logger.warning("cannot accept connections; trying again", metadata: ["error": "\(error)"])
      })
  }

  /// - Parameter connectionsMax: nil: it is not told.
  private static func refuse(_ connection: Int32, connectionsMax: Int?) {
    var socket = ConnectionSocket(connection, token: 0)
    if let connectionsMax {
      var buffer = ByteBuffer()
      ResponseEncoder.appendError(
        id: 0,
        ServingError(
          .overloaded, "connections: expected at most \(connectionsMax), found one more",
          retryAfterMicroseconds: Limits.connectionRetryMicroseconds), to: &buffer)
      // A socket that was just made has room for it.
      _ = buffer.withUnsafeReadableBytes { socket.send($0) }
    }
    socket.close()
  }

  /// Makes of a socket's error a sentence about the setting behind it.
  private static func listen(
    _ what: String, _ address: () throws -> SocketAddress
  ) throws(ConfigurationError) -> ListeningSocket {
    do {
      return try ListeningSocket(try address())
    } catch let error as SocketError where error.code == EADDRINUSE {
      throw ConfigurationError("\(what): expected a free address, found it in use")
    } catch let error as SocketError {
      throw ConfigurationError("\(what): cannot listen: \(error.reason)")
    } catch {
      throw ConfigurationError("\(what): cannot listen: expected an address of this machine, found none")
    }
  }

  /// Holds calls against these keys from now on.
  func setKeys(_ ring: KeyRing) {
    for loop in loops { loop.execute { loop.setKeys(ring) } }
  }

  /// Ends what `init` began, where the server does not get as far as running, or fails.
  func abandon() async {
    await end()
    if let path = configuration.unix { UnixSocketFile.remove(path) }
  }

  /// Ends all threads, once.
  private func end() async {
    guard !isEnded.exchange(true, ordering: .relaxed) else { return }
    acceptor.stop()
    for loop in loops { await loop.stop() }
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
    await acceptor.drain()
    if let path = configuration.unix { UnixSocketFile.remove(path) }
    let limit = Task { [loops, configuration] in
      try await clock.sleep(until: start + configuration.stopLimit)
      for loop in loops { loop.closeAll() }
    }
    await withDiscardingTaskGroup { group in
      for loop in loops { group.addTask { await loop.goAway() } }
    }
    limit.cancel()
    await end()
    shared.logger.info("stopped", metadata: ["seconds": "\((clock.now - start).seconds)"])
  }
}
