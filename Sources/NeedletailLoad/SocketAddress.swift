internal import Glibc

/// The address of a server, resolved once.
struct SocketAddress: Sendable {
  private let bytes: [UInt8]
  private let family: Int32

  init(_ target: LoadTarget) throws(LoadError) {
    switch target {
    case .unix(let path):
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      let room = MemoryLayout.size(ofValue: address.sun_path)
      guard path.utf8.count < room else {
        throw LoadError("socket path: expected at most \(room - 1) bytes, found \(path.utf8.count)")
      }
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
      bytes = withUnsafeBytes(of: address) { Array($0) }
      family = AF_UNIX
    case .tcp(let host, let port):
      var hints = addrinfo()
      hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
      var found: UnsafeMutablePointer<addrinfo>?
      let code = getaddrinfo(host, String(port), &hints, &found)
      guard code == 0, let first = found?.pointee, let address = first.ai_addr else {
        throw LoadError("host \(host): \(String(cString: gai_strerror(code)).lowercased())")
      }
      bytes = Array(UnsafeRawBufferPointer(start: address, count: Int(first.ai_addrlen)))
      family = first.ai_family
      freeaddrinfo(found)
    }
  }

  /// Opens a socket that connects in the background.
  /// - Returns: its descriptor, or -1 if the attempt failed at once.
  func connect() -> Int32 {
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let descriptor = socket(family, type, 0)
    guard descriptor >= 0 else { return -1 }
    var one: Int32 = 1
    if family != AF_UNIX { setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(4)) }
    let code = bytes.withUnsafeBytes { raw in
      raw.baseAddress.map {
        Glibc.connect(descriptor, $0.assumingMemoryBound(to: sockaddr.self), socklen_t(raw.count))
      } ?? -1
    }
    // A Unix socket whose backlog is full says EAGAIN and is not connecting.
    guard code == 0 || errno == EINPROGRESS else {
      _ = close(descriptor)
      return -1
    }
    return descriptor
  }

  static func isConnected(_ descriptor: Int32) -> Bool {
    var failure: Int32 = 0
    var length = socklen_t(4)
    return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &failure, &length) == 0 && failure == 0
  }
}
