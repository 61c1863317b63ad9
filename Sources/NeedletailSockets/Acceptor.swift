internal import CNeedletailSockets
internal import Glibc
public import NIOCore
internal import NeedletailCore
public import NeedletailSystem

/// Who is at the other end of a connection.
public struct Peer: Equatable, Sendable {
  /// `10.0.0.7:41234`, or `uid 1000, pid 42` over a Unix socket; empty if the connection is gone.
  public let text: String
  /// The common part of several connections of one peer: the address without its port, of IPv6 the network of 64 bits,
  /// or the user.
  public let host: String

  public init(text: String, host: String) {
    self.text = text
    self.host = host
  }

  /// Asks the kernel. Allocates: for what is rare.
  public init(of descriptor: Int32) {
    let bytes = Int(NT_PEER_TEXT_BYTES)
    (text, host) = withUnsafeTemporaryAllocation(of: CChar.self, capacity: 2 * bytes) { room in
      guard let peer = room.baseAddress else { return ("", "") }
      nt_peer(descriptor, peer, peer + bytes)
      return (String(cString: peer), String(cString: peer + bytes))
    }
  }
}

/// A socket on which the kernel takes connections.
public struct ListeningSocket: Sendable {
  let descriptor: Int32
  /// Whether it is reached over TCP and not by a file.
  public let isTCP: Bool
  /// TCP port, chosen by the system where 0 was asked for; nil for a Unix socket.
  public let port: Int?

  /// Connections that the kernel keeps until they are accepted; it may allow fewer.
  private static let backlog: Int32 = 1024

  /// Binds and listens.
  /// - Parameter mode: permissions of the file of a Unix socket; nil: those that the umask leaves.
  /// - Throws: the kernel's reason why not.
  public init(_ address: SocketAddress, mode: UInt32? = nil) throws(SystemError) {
    let isTCP = address.pathname == nil
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let descriptor = try SystemError.check("socket") { socket(address.protocol.rawValue, type, 0) }
    do throws(SystemError) {
      var one: Int32 = 1
      if isTCP { setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size)) }
      try SystemError.check("bind") { address.withSockAddr { bind(descriptor, $0, socklen_t($1)) } }
      // Nobody can connect before the socket listens.
      if let path = address.pathname, let mode { try SystemError.check("chmod \(path)") { chmod(path, mode) } }
      try SystemError.check("listen") { listen(descriptor, Self.backlog) }
    } catch {
      _ = Glibc.close(descriptor)
      throw error
    }
    self.descriptor = descriptor
    self.isTCP = isTCP
    port = isTCP ? Self.port(of: descriptor) : nil
  }

  private static func port(of descriptor: Int32) -> Int? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let code = withUnsafeMutablePointer(to: &storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
    }
    guard code == 0 else { return nil }
    // The port stands at the same place for both families.
    return withUnsafeBytes(of: &storage) {
      Int(UInt16(bigEndian: $0.loadUnaligned(fromByteOffset: 2, as: UInt16.self)))
    }
  }

  /// Whether some process takes connections on a Unix socket.
  public static func isListening(_ address: SocketAddress) -> Bool {
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let descriptor = socket(AF_UNIX, type, 0)
    guard descriptor >= 0 else { return false }
    defer { _ = Glibc.close(descriptor) }
    // EAGAIN: a process listens, and its queue is full.
    return address.withSockAddr { connect(descriptor, $0, socklen_t($1)) } == 0 || errno == EAGAIN
  }

  /// - Returns: the descriptor of a connection, non-blocking; nil if none waits.
  /// - Throws: the kernel's reason, such as that no descriptors are left.
  func accept() throws(SystemError) -> Int32? {
    while true {
      let connection = nt_accept(descriptor)
      if connection >= 0 { return connection }
      switch errno {
      case EAGAIN: return nil
      // The client has gone again.
      case EINTR, ECONNABORTED: continue
      case let code: throw SystemError(code: code, "accept")
      }
    }
  }

  /// Takes no more connections; those that were not accepted are reset.
  public func close() { _ = Glibc.close(descriptor) }
}

/// A thread that takes connections from listening sockets and hands them on.
///
/// The thread is its own, so that a storm of connections does not hold up calls on connections that stand. When there
/// are no descriptors or no memory it leaves the sockets alone for a moment: the poller would report each as ready
/// again at once.
///
/// `@unchecked Sendable`: mutable state is touched on its thread only; other threads leave tasks in `inbox`.
public final class Acceptor: @unchecked Sendable {
  /// Takes a connection's descriptor, which it owns from now on. Called on the acceptor's thread.
  public typealias Accepted = @Sendable (_ connection: Int32) -> Void
  /// Learns that no connection can be taken for now, after every attempt.
  /// - Parameter inRow: number of attempts that have failed in a row.
  public typealias Failed = @Sendable (_ error: SystemError, _ inRow: Int) -> Void

  private struct Port {
    let socket: ListeningSocket
    let accepted: Accepted
  }

  private static let inboxToken = UInt64.max
  /// Most connections taken from one socket before others have their turn.
  private static let burst = 64

  private let poller: Poller
  private let inbox: Inbox
  private let failed: Failed
  private var ports: [Port] = []
  private var failuresInRow = 0
  /// Time at which the sockets are watched again after a failure; nil: they are watched.
  private var resumes: Instant?
  private var isStopped = false

  /// - Throws: if there are no descriptors left.
  public init(failed: @escaping Failed) throws(SystemError) {
    poller = try Poller()
    inbox = try Inbox()
    self.failed = failed
    try inbox.attach(to: poller, token: Self.inboxToken)
  }

  /// Takes connections on the calling thread, until ``stop()``.
  public func run() {
    var tasks: [Inbox.Task] = []
    while !isStopped {
      let events = wait()
      if inbox.awake() {
        inbox.take(into: &tasks)
        for task in tasks { task() }
      }
      for index in 0..<events {
        let token = poller.event(index).token
        if token < ports.count, resumes == nil { accept(from: ports[Int(token)], atMost: Self.burst) }
      }
      if let due = resumes, Instant.now() >= due { watch(true) }
    }
  }

  private func wait() -> Int {
    guard inbox.sleep() else { return poller.look() }
    guard let resumes else { return poller.wait() }
    let now = Instant.now()
    return poller.wait(nanoseconds: resumes > now ? resumes.nanoseconds - now.nanoseconds : 0)
  }

  /// - Returns: whether there may be more.
  @discardableResult
  private func accept(from port: Port, atMost count: Int) -> Bool {
    do throws(SystemError) {
      for _ in 0..<count {
        guard let connection = try port.socket.accept() else { return false }
        failuresInRow = 0
        port.accepted(connection)
      }
      return true
    } catch {
      failuresInRow += 1
      failed(error, failuresInRow)
      watch(false)
      return false
    }
  }

  private func watch(_ isWatched: Bool) {
    resumes = isWatched ? nil : Instant.now().advanced(byMicroseconds: UInt64(Limits.acceptPauseMilliseconds) * 1000)
    for (index, port) in ports.enumerated() {
      poller.modify(port.socket.descriptor, token: UInt64(index), wantsBytes: isWatched, wantsRoom: false)
    }
  }

  // MARK: from any thread

  /// Takes connections from a socket, which the acceptor owns from now on.
  public func listen(_ socket: ListeningSocket, accepted: @escaping Accepted) {
    inbox.post { [self] in
      do throws(SystemError) {
        try poller.add(socket.descriptor, token: UInt64(ports.count))
        ports.append(Port(socket: socket, accepted: accepted))
      } catch {
        failed(error, 1)
        socket.close()
      }
    }
  }

  /// Takes the connections that the kernel has accepted, then closes the sockets.
  ///
  /// Clients may have sent a call on them already: when a socket closes, the kernel resets the connections that it
  /// still holds. If ever more come, this gives up after ``Limits/acceptDrainMilliseconds``.
  public func drain() async {
    await withCheckedContinuation { continuation in
      inbox.post { [self] in
        let limit = Instant.now().advanced(byMicroseconds: UInt64(Limits.acceptDrainMilliseconds) * 1000)
        for port in ports {
          while accept(from: port, atMost: Self.burst), Instant.now() < limit {}
          port.socket.close()
        }
        ports = []
        resumes = nil
        continuation.resume()
      }
    }
  }

  /// Closes the sockets, and lets ``run()`` return.
  public func stop() {
    inbox.post { [self] in
      for port in ports { port.socket.close() }
      ports = []
      isStopped = true
    }
  }
}
