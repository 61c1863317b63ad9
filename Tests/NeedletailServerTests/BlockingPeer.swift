import Foundation
import Glibc
import NIOCore
import NeedletailClient
import NeedletailCore
import NeedletailSystem
import NeedletailWire

@testable import NeedletailServer

/// A client with a blocking socket, which reads when and as slowly as a test wants. Its socket takes little before it is
/// read, so that the server sees how slow it is. Used by one thread at a time; see ``BlockingPeer/run(_:)``.
final class BlockingPeer {
  private let descriptor: CInt
  private var buffer = ByteBuffer()

  /// - Parameter receiveBytes: memory that the kernel may use for what was not read; 0: as it wants.
  init(port: Int, receiveBytes: CInt = 64 << 10) throws {
    descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
    var patience = timeval(tv_sec: 50, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    var bytes = receiveBytes
    if bytes > 0 { setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, socklen_t(MemoryLayout<CInt>.size)) }
    let address = try SocketAddress(ipAddress: "127.0.0.1", port: port)
    let status = address.withSockAddr { connect(descriptor, $0, socklen_t($1)) }
    guard status == 0 else { throw SystemError("connect") }
  }

  deinit { close(descriptor) }

  /// Runs a peer's blocking code on a thread of its own, so that it holds up no other test.
  static func run<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
      Thread { continuation.resume(with: Swift.Result { try body() }) }.start()
    }
  }

  func send(_ bytes: [UInt8]) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL)) }
      guard count > 0 else { throw SystemError("send") }
      rest = rest.dropFirst(count)
    }
  }

  /// Ends this side of the stream.
  func endOutput() { shutdown(descriptor, CInt(SHUT_WR)) }

  /// Reads once.
  /// - Returns: bytes; none at the end of the stream.
  /// - Throws: also where the server has reset the connection.
  func read(atMost count: Int = 1 << 20) throws -> [UInt8] {
    var received = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { memory, filled in
      received = recv(descriptor, memory.baseAddress, count, 0)
      filled = max(0, received)
    }
    guard received >= 0 else { throw SystemError("recv") }
    return bytes
  }

  /// The next response; nil once the server has ended the connection between two of them.
  /// - Parameters:
  ///   - bytesAtOnce: most bytes of one read.
  ///   - pauseMicroseconds: time before each read.
  func next(bytesAtOnce: Int = 1 << 20, pauseMicroseconds: UInt32 = 0) throws -> ResponseMessage? {
    while true {
      if let length = buffer.getInteger(at: buffer.readerIndex, endianness: .big, as: UInt32.self),
        buffer.readableBytes >= 4 + Int(length)
      {
        buffer.moveReaderIndex(forwardBy: 4)
        let frame = buffer.readSlice(length: Int(length))!
        if buffer.readableBytes == 0 { buffer = ByteBuffer() }
        return try ResponseDecoder.decode(frame)
      }
      if pauseMicroseconds > 0 { usleep(pauseMicroseconds) }
      let bytes = try read(atMost: bytesAtOnce)
      if bytes.isEmpty { return nil }
      buffer.writeBytes(bytes)
    }
  }
}

extension TestServer {
  var port: Int {
    guard let tcp = server.tcpAddress else { preconditionFailure("this server has no TCP") }
    return tcp.port
  }

  /// Sum of all series of a metric, without a call over a connection.
  func figure(_ name: String, _ labels: [String: String] = [:]) -> Double {
    Self.sum(of: name, labels, in: server.metricsText)
  }

  /// Returns when a figure is as a test waits for.
  func wait(for name: String, _ labels: [String: String] = [:], _ isReached: (Double) -> Bool) async throws {
    while !isReached(figure(name, labels)) { try await Task.sleep(for: .milliseconds(2)) }
  }
}
