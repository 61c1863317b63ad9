internal import FoundationEssentials
internal import Glibc
internal import Logging
internal import NIOCore
internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailSecurity
internal import NeedletailSockets
internal import NeedletailSystem
internal import ServiceLifecycle
internal import Synchronization

/// Takes connections, hands them to the event loops, and drains them when the server stops.
final class Listener: Service {
  private let configuration: ServerConfiguration
  private let shared: SharedServices
  private let loops: [ServingLoop]
  private let acceptor: Acceptor
  private let tls: TLSSource?
  private let turn = Turn()
  private let isEnded = Atomic(false)
  /// Address of calls over TCP, with port 0 resolved.
  let tcpAddress: ListenAddress?
  /// Address of calls by the Open Inference Protocol, with port 0 resolved.
  let httpAddress: ListenAddress?

  /// Binds the addresses of the configuration: from here on connections are taken.
  /// - Parameter threads: number of event loops.
  /// - Throws: `ConfigurationError` naming the address that cannot be listened on.
  init(
    configuration: ServerConfiguration, threads: Int, registry: ModelRegistry, tls: TLSSource?,
    shared: SharedServices
  ) throws(ConfigurationError) {
    self.configuration = configuration
    self.shared = shared
    self.tls = tls
    do throws(SystemError) {
      var loops: [ServingLoop] = []
      for shard in 0..<threads {
        loops.append(
          try ServingLoop(
            shard: shard, reader: registry.reader(shard), limits: configuration.limits, serving: configuration.serving,
            shared: shared))
      }
      self.loops = loops
      acceptor = try Acceptor { error, inRow in
        shared.connectionCounters.acceptFailures.add()
        guard inRow == 1 else { return }
        shared.logger.warning("cannot accept connections; trying again", metadata: ["error": "\(error)"])
      }
    } catch {
      throw ConfigurationError("threads: cannot start \(threads) event loops: \(error)")
    }
    var sockets: [(socket: ListeningSocket, codec: ConnectionCodec.Type)] = []
    var addresses: (tcp: ListenAddress?, http: ListenAddress?)
    func listen(_ flag: String, _ address: ListenAddress) throws(ConfigurationError) -> ListeningSocket {
      try Self.bind("\(flag) \(address)") { try .makeAddressResolvingHost(address.host, port: address.port) }
    }
    do throws(ConfigurationError) {
      if let address = configuration.listen {
        let socket = try listen("--listen", address)
        sockets.append((socket, BinaryCodec.self))
        addresses.tcp = ListenAddress(host: address.host, port: socket.port ?? address.port)
      }
      if let address = configuration.http {
        let socket = try listen("--http", address)
        sockets.append((socket, OpenInferenceCodec.self))
        addresses.http = ListenAddress(host: address.host, port: socket.port ?? address.port)
      }
      if let path = configuration.unix {
        try UnixSocketFile.prepare(path)
        let socket = try Self.bind("--unix \(path)", mode: configuration.unixMode) {
          try SocketAddress(unixDomainSocketPath: path)
        }
        sockets.append((socket, BinaryCodec.self))
      }
    } catch {
      for entry in sockets { entry.socket.close() }
      throw error
    }
    (tcpAddress, httpAddress) = addresses
    for loop in loops { loop.start() }
    NativeThread.start(name: "nt-accept", niceness: 0) { [acceptor] in acceptor.run() }
    for (socket, codec) in sockets { serve(socket, codec: codec) }
  }

  /// Binds a socket.
  /// - Parameters:
  ///   - what: the setting that wants it, for the error.
  ///   - mode: permissions of a Unix socket; nil: those that the umask leaves.
  /// - Throws: `ConfigurationError` with a sentence about the setting.
  static func bind(
    _ what: String, mode: UInt32? = nil, _ address: () throws -> SocketAddress
  ) throws(ConfigurationError) -> ListeningSocket {
    do {
      return try ListeningSocket(try address(), mode: mode)
    } catch let error as SystemError where error.code == EADDRINUSE {
      throw ConfigurationError("\(what): expected a free address, found it in use", mayPass: true)
    } catch let error as SystemError {
      // An address or a name of the network may come up after the server.
      throw ConfigurationError("\(what): cannot listen: \(error.reason)", mayPass: error.code == EADDRNOTAVAIL)
    } catch {
      throw ConfigurationError("\(what): cannot listen: expected an address of this machine, found none")
    }
  }

  /// Takes connections from a bound socket, and serves them with a protocol.
  func serve(_ socket: ListeningSocket, codec: ConnectionCodec.Type) {
    // Bytes of a Unix socket do not leave the machine and are never encrypted.
    let tls = socket.isTCP ? tls : nil
    let isTCP = socket.isTCP
    acceptor.listen(socket) { [loops, shared, turn] connection in
      guard shared.gate.enter() else {
        shared.connectionCounters.refused.add()
        Self.refuse(connection, codec: tls == nil ? codec : nil, connectionsMax: shared.gate.connectionsMax)
        return
      }
      if isTCP {
        var one: Int32 = 1
        setsockopt(connection, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
      }
      let loop = loops[turn.next() % loops.count]
      loop.execute { loop.adopt(connection, codec: codec, tls: tls?.context) }
    }
  }

  /// Closes a connection that is one too many.
  /// - Parameter codec: writes the reason; nil: none is given, because a TLS handshake only for that would cost more
  ///   than what the limit protects.
  private static func refuse(_ connection: Int32, codec: ConnectionCodec.Type?, connectionsMax: Int) {
    var socket = ConnectionSocket(connection, token: 0)
    if let codec {
      var buffer = ByteBuffer()
      codec.init(callBytesMax: 0).write(
        ServingError(
          .overloaded, "connections: expected at most \(connectionsMax), found one more",
          retryAfterMicroseconds: Limits.connectionRetryMicroseconds), id: 0, to: &buffer)
      // A socket that was just made has room for it.
      _ = buffer.withUnsafeReadableBytes { socket.send($0) }
    }
    socket.close()
  }

  /// Checks calls against other keys from now on.
  func setKeys(_ ring: KeyRing) {
    for loop in loops { loop.execute { loop.setKeys(ring) } }
  }

  // MARK: the end

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

  /// Serves until the server is told to stop, then drains: the server is not ready at once, still answers for the grace
  /// time, then sends GoAway and finishes accepted calls.
  func run() async throws {
    try await gracefulShutdown()
    let clock = ContinuousClock()
    let start = clock.now
    let waiting = shared.jobs?.drain() ?? 0
    shared.control.readiness.stop()
    shared.control.eventLog.emit(
      .server, .info, "stopping", [.init("grace_seconds", configuration.grace.seconds)])
    if waiting > 0 {
      shared.control.eventLog.emit(
        .server, .warning, "jobs failed because the server stops", [.init("jobs", UInt64(waiting))])
    }
    // Cancelled only if the process is to end at once.
    try? await clock.sleep(for: configuration.grace)
    shared.jobs?.endRunning()
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
    shared.logger.info("stopped", metadata: ["seconds": .stringConvertible((clock.now - start).seconds)])
  }
}

/// Counts connections, so that each goes to the next loop.
private final class Turn: Sendable {
  private let count = Atomic(0)

  func next() -> Int { count.add(1, ordering: .relaxed).oldValue }
}

/// The file of a Unix socket. A file that a killed server left behind is removed; one that is in use is not.
enum UnixSocketFile {
  /// Longest path: `sun_path` of Linux has 108 bytes with its terminator; this is what other systems allow too.
  static let pathBytesMax = 103

  /// Checks that `path` is free or can be made so.
  /// - Returns: whether a stale socket stands there.
  /// - Throws: if a file of another kind, or a socket that a process listens on, stands there.
  static func check(_ path: String) throws(ConfigurationError) -> Bool {
    guard path.utf8.count <= pathBytesMax else {
      throw ConfigurationError("--unix: expected a path of at most \(pathBytesMax) bytes, found \(path.utf8.count)")
    }
    guard let attributes = try? FileManager.default.attributesOfItem(atPath: path) else { return false }
    guard attributes[.type] as? FileAttributeType == .typeSocket else {
      throw ConfigurationError("--unix \(path): expected no file or a stale socket, found a file of another kind")
    }
    if let address = try? SocketAddress(unixDomainSocketPath: path), ListeningSocket.isListening(address) {
      throw ConfigurationError(
        "--unix \(path): expected a free path, found a socket that another process listens on", mayPass: true)
    }
    return true
  }

  /// Makes `path` free.
  /// - Throws: as ``check(_:)`` does.
  static func prepare(_ path: String) throws(ConfigurationError) {
    guard try check(path) else { return }
    do {
      try FileManager.default.removeItem(atPath: path)
    } catch {
      throw ConfigurationError("--unix \(path): expected a free path, found a stale socket that cannot be removed")
    }
  }

  static func remove(_ path: String) { try? FileManager.default.removeItem(atPath: path) }
}
