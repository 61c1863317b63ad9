import Dispatch
import Foundation
import Glibc
import NIOCore
import NeedletailSockets
import NeedletailSystem
import Synchronization
import Testing

@Suite("Acceptor", .timeLimit(.minutes(1)))
struct AcceptorTests {
  private static let greeting: UInt8 = 0x2A

  /// Sends a byte and closes.
  private static func greet(_ connection: Int32) {
    var byte = greeting
    _ = send(connection, &byte, 1, 0)
    _ = close(connection)
  }

  private static func started(
    accepted: @escaping Acceptor.Accepted
  ) throws -> (Acceptor, port: Int) {
    let acceptor = try Acceptor { error, _ in Issue.record(error) }
    let socket = try ListeningSocket(SocketAddress(ipAddress: "127.0.0.1", port: 0))
    Thread { acceptor.run() }.start()
    acceptor.listen(socket, accepted: accepted)
    return (acceptor, try #require(socket.port))
  }

  @Test func connectionsThatTheKernelAcceptedAreTakenBeforeTheSocketCloses() async throws {
    // The thread is held up by its first connection, so that all others wait in the kernel's queue when it is
    // told to close.
    let gate = DispatchSemaphore(value: 0)
    let taken = Atomic(0)
    let (acceptor, port) = try Self.started { connection in
      if taken.add(1, ordering: .relaxed).oldValue == 0 { gate.wait() }
      Self.greet(connection)
    }
    let peers = try (0..<100).map { _ in try Peer(port: port) }
    async let drained: Void = acceptor.drain()
    try await Task.sleep(for: .milliseconds(20))
    gate.signal()
    await drained

    #expect(peers.count { $0.receive() == Self.greeting } == peers.count)
    #expect(throws: SystemError.self) { try Peer(port: port) }
    acceptor.stop()
  }
}

/// A blocking socket: connected as soon as the kernel at the other end says so.
private final class Peer {
  private let descriptor: CInt

  init(port: Int) throws {
    descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
    var patience = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    let address = try SocketAddress(ipAddress: "127.0.0.1", port: port)
    let status = address.withSockAddr { connect(descriptor, $0, socklen_t($1)) }
    guard status == 0 else { throw SystemError("connect") }
  }

  /// The first byte; nil if the connection ended instead.
  func receive() -> UInt8? {
    var byte: UInt8 = 0
    return recv(descriptor, &byte, 1, 0) == 1 ? byte : nil
  }

  deinit { close(descriptor) }
}
