internal import CNeedletailSockets
internal import Glibc
public import NIOCore
public import NeedletailSystem

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
  /// - Throws: the kernel's reason why not.
  public init(_ address: SocketAddress) throws(SystemError) {
    let isTCP = address.pathname == nil
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let descriptor = try SystemError.check("socket") { socket(address.protocol.rawValue, type, 0) }
    do throws(SystemError) {
      var one: Int32 = 1
      if isTCP { setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size)) }
      try SystemError.check("bind") { address.withSockAddr { bind(descriptor, $0, socklen_t($1)) } }
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
