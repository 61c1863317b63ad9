import Dispatch
import Foundation
import Glibc
import NIOCore
import NeedletailCore
import NeedletailSystem
import Synchronization
import Testing

@testable import NeedletailSockets

@Suite("Acceptor", .timeLimit(.minutes(10)))
struct AcceptorTests {
  private static let greeting: UInt8 = 0x2A

  /// Sends a byte and closes.
  private static func greet(_ connection: Int32) {
    var byte = greeting
    _ = send(connection, &byte, 1, 0)
    _ = close(connection)
  }

  private static func started(
    failed: @escaping Acceptor.Failed = { error, _ in Issue.record(error) }, accepted: @escaping Acceptor.Accepted
  ) throws -> (Acceptor, ListeningSocket, port: Int) {
    let acceptor = try Acceptor(failed: failed)
    let socket = try ListeningSocket(SocketAddress(ipAddress: "127.0.0.1", port: 0))
    Thread { acceptor.run() }.start()
    acceptor.listen(socket, accepted: accepted)
    return (acceptor, socket, try #require(socket.port))
  }

  /// A process has one limit of descriptors, which other tests need: so the socket is made to fail in another way, and
  /// `Tests/reliability/descriptor-limit` has a server without descriptors.
  @Test func aSocketThatCannotAcceptIsTriedAgainAfterAPauseAndServesWhenItCan() async throws {
    let failures = Mutex<[(time: Instant, inRow: Int)]>([])
    let (acceptor, socket, port) = try Self.started(
      failed: { _, inRow in failures.withLock { $0.append((.now(), inRow)) } }, accepted: Self.greet)
    #expect(try Peer(port: port).receive() == Self.greeting)
    // From here on the poller reports the socket all the time, and every attempt fails.
    shutdown(socket.descriptor, CInt(SHUT_RD))
    while failures.withLock({ $0.count }) < 4 { try await Task.sleep(for: .milliseconds(5)) }
    let seen = failures.withLock { $0 }
    #expect(seen.map(\.inRow).prefix(4) == [1, 2, 3, 4])
    for (earlier, later) in zip(seen, seen.dropFirst()) {
      let pause = later.time.microseconds(since: earlier.time)
      #expect(pause >= UInt32(Limits.acceptPauseMilliseconds) * 1000 - 1000, "the processor must not be kept busy")
    }
    #expect(listen(socket.descriptor, 8) == 0)
    // The kernel gave the port back and chose another.
    #expect(try Peer(port: Self.port(of: socket)).receive() == Self.greeting)
    acceptor.stop()
  }

  private static func port(of socket: ListeningSocket) -> Int {
    var address = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    _ = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(socket.descriptor, $0, &length) }
    }
    return withUnsafeBytes(of: &address) {
      Int(UInt16(bigEndian: $0.loadUnaligned(fromByteOffset: 2, as: UInt16.self)))
    }
  }

  @Test func connectionsThatTheKernelAcceptedAreTakenBeforeTheSocketCloses() async throws {
    // The thread is held up by its first connection, so that all others wait in the kernel's queue when it is
    // told to close.
    let gate = DispatchSemaphore(value: 0)
    let taken = Atomic(0)
    let (acceptor, _, port) = try Self.started { connection in
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
