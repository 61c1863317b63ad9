internal import NIOCore
package import NIOSSL

/// How a client makes sure of its server, and shows who it is itself.
///
/// ```swift
/// var configuration = NeedletailClient.Configuration()
/// configuration.tls = ClientTLS(ca: "/etc/needletail/ca.pem")
/// configuration.apiKey = key
/// ```
public struct ClientTLS: Sendable, Equatable {
  /// PEM file of who must have issued the server's certificate; nil: whom the system trusts.
  public var ca: String?
  /// PEM files of the client's own certificate and its key, for servers that ask for one (mTLS).
  public var certificate: String?
  public var key: String?
  /// The name that the server's certificate must carry; nil: the host of the address.
  public var serverName: String?

  public init(
    ca: String? = nil, certificate: String? = nil, key: String? = nil, serverName: String? = nil
  ) {
    self.ca = ca
    self.certificate = certificate
    self.key = key
    self.serverName = serverName
  }

  /// - Throws: `.invalidInput`, naming the file that cannot be used.
  package func context() throws(ClientError) -> NIOSSLContext {
    var configuration = TLSConfiguration.makeClientConfiguration()
    configuration.minimumTLSVersion = .tlsv12
    if let ca {
      let roots = (try? NIOSSLCertificate.fromPEMFile(ca)) ?? []
      guard !roots.isEmpty else {
        throw Self.unusable("CA file \(ca): expected readable certificates (PEM), found none")
      }
      configuration.trustRoots = .certificates(roots)
    }
    switch (certificate, key) {
    case (nil, nil): break
    case (let certificate?, let key?):
      let chain = (try? NIOSSLCertificate.fromPEMFile(certificate)) ?? []
      guard !chain.isEmpty else {
        throw Self.unusable("certificate \(certificate): expected a readable certificate (PEM), found none")
      }
      guard let secret = try? NIOSSLPrivateKey(file: key, format: .pem) else {
        throw Self.unusable("key \(key): expected a readable private key (PEM), found none")
      }
      configuration.certificateChain = chain.map { .certificate($0) }
      configuration.privateKey = .privateKey(secret)
    default: throw Self.unusable("client certificate: expected a certificate and its key, found one of them")
    }
    do {
      return try NIOSSLContext(configuration: configuration)
    } catch {
      throw Self.unusable("TLS: expected a certificate and its own key, found others: \(TLSReason.text(of: error))")
    }
  }

  /// What stands in the handshake and is looked for in the certificate; nil: the address that answered.
  package func hostname(for host: String) -> String? {
    let name = serverName ?? host
    return (try? SocketAddress(ipAddress: name, port: 0)) == nil ? name : nil
  }

  private static func unusable(_ message: String) -> ClientError {
    ClientError(.invalidArgument, origin: .invalidInput, message)
  }
}

/// Says in words what went wrong with TLS.
enum TLSReason {
  /// A sentence where the cause is known.
  static func sentence(of error: any Error) -> String? {
    guard error is NIOSSLError || error is BoringSSLError || error is NIOSSLExtraError else { return nil }
    let text = text(of: error)
    func says(_ words: String...) -> Bool { words.contains { text.contains($0) } }
    if says("CERTIFICATE_REQUIRED") { return "the server asks for a client certificate" }
    if says("ALERT") { return "the server refused the client's certificate (\(text))" }
    if says("CERTIFICATE_VERIFY_FAILED", "unableToValidateCertificate") {
      return "the server's certificate was not issued by a trusted CA, or is not valid now"
    }
    if says("failedToValidateHostname") { return "the server's certificate is for another name" }
    if says("WRONG_VERSION_NUMBER", "EOF during handshake") { return "the server does not speak TLS here" }
    return "TLS failed: \(text)"
  }

  /// BoringSSL's names of its errors, without its files and lines.
  static func text(of error: any Error) -> String {
    switch error {
    case NIOSSLError.handshakeFailed(let error): text(of: error)
    case BoringSSLError.sslError(let stack), BoringSSLError.unknownError(let stack):
      stack.map { entry in
        let line = "\(entry)".split(separator: " at ").first.map(String.init) ?? "\(entry)"
        return line.contains("error:") ? line.split(separator: ":").last.map(String.init) ?? line : line
      }.joined(separator: ", ")
    default: "\(error)"
    }
  }
}
