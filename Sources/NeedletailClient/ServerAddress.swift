internal import NeedletailCore
package import NeedletailTLS

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

/// How a client makes sure of its server, and shows who it is itself.
///
/// ```swift
/// var configuration = NeedletailClient.Configuration()
/// configuration.tls = ClientTLS(ca: "/etc/needletail/ca.pem")
/// configuration.apiKey = key
/// ```
public struct ClientTLS: Sendable, Equatable {
  /// PEM file of the CAs that must have issued the server's certificate; nil: those that the system trusts.
  public var ca: String?
  /// PEM file of the client's own certificate, for servers that ask for one (mTLS).
  public var certificate: String?
  /// PEM file of that certificate's private key.
  public var key: String?
  /// The name or IP address that the server's certificate must carry; nil: the host of the address.
  public var serverName: String?

  public init(
    ca: String? = nil, certificate: String? = nil, key: String? = nil, serverName: String? = nil
  ) {
    self.ca = ca
    self.certificate = certificate
    self.key = key
    self.serverName = serverName
  }

  /// Reads the files and makes of them what sessions with the server at `host` begin with.
  /// - Throws: `.invalidInput`, naming the file that cannot be used.
  package func role(for host: String) throws(ClientError) -> TLSSession.Role {
    let roots = try ca.map { path throws(ClientError) in
      guard let roots = TLSCertificate.read(path: path) else {
        throw Self.unusable("CA file \(path): expected readable certificates (PEM), found none")
      }
      return roots
    }
    let identity = try identity()
    do throws(TLSError) {
      return .client(try TLSContext(clientTrusting: roots, identity: identity), serverName: serverName ?? host)
    } catch {
      throw Self.unusable("TLS: expected a certificate and its own key, found others: \(error)")
    }
  }

  private func identity() throws(ClientError) -> TLSContext.Identity? {
    if certificate == nil, key == nil { return nil }
    guard let certificate, let key else {
      throw Self.unusable("client certificate: expected a certificate and its key, found one of them")
    }
    guard let chain = TLSCertificate.read(path: certificate) else {
      throw Self.unusable("certificate \(certificate): expected a readable certificate (PEM), found none")
    }
    guard let secret = TLSPrivateKey.read(path: key) else {
      throw Self.unusable("key \(key): expected a readable private key (PEM), found none")
    }
    return TLSContext.Identity(chain: chain, key: secret)
  }

  private static func unusable(_ message: String) -> ClientError {
    ClientError(.invalidArgument, origin: .invalidInput, message)
  }
}

extension TLSError {
  /// Sentence for people that says what went wrong.
  var sentence: String {
    switch reason {
    case .alert(Self.alertCertificateRequired): "the server asks for a client certificate"
    case .alert: "the server refused the client's certificate (\(text))"
    case .noCertificate, .untrustedCertificate:
      "the server's certificate was not issued by a trusted CA, or is not valid now"
    case .wrongName: "the server's certificate is for another name"
    case .protocolMismatch, .closed: "the server does not speak TLS here"
    case .other: "TLS failed: \(text)"
    }
  }
}
