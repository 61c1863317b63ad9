package import NeedletailTLS

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
  /// What went wrong, in a sentence for people.
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
