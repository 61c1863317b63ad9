internal import NeedletailCore

/// The address of a server.
public enum ServerAddress: Sendable, Hashable, CustomStringConvertible {
  case tcp(host: String, port: Int)
  case unix(path: String)

  /// The address at which a server listens by default, 127.0.0.1:6470.
  public static let standard = ServerAddress.tcp(host: "127.0.0.1", port: 6470)

  /// Parses an address.
  /// - Parameter text: `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`.
  /// - Throws: A ``ClientError`` with the origin `.invalidInput` that quotes the text.
  public init(_ text: String) throws(ClientError) {
    if text.hasPrefix("unix:") {
      let path = String(text.dropFirst("unix:".count))
      guard !path.isEmpty else { throw Self.malformed(text) }
      self = .unix(path: path)
      return
    }
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0 else {
      throw Self.malformed(text)
    }
    var host = text[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = host.dropFirst().dropLast()
    } else if host.contains(":") {
      throw Self.malformed(text)
    }
    guard !host.isEmpty else { throw Self.malformed(text) }
    self = .tcp(host: String(host), port: Int(port))
  }

  private static func malformed(_ text: String) -> ClientError {
    ClientError(
      .invalidArgument, origin: .invalidInput,
      "server address: expected HOST:PORT or unix:PATH, found \(text.quotedForMessage)")
  }

  public var description: String {
    switch self {
    case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    case .unix(let path): "unix:\(path)"
    }
  }
}
