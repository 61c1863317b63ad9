/// Where the certificate of a server lies.
public struct TLSFiles: Equatable, Sendable {
  /// PEM, the server's own certificate first, then those between it and the root.
  public var certificate: String
  /// PEM.
  public var key: String
  /// PEM: who must have issued the certificate that a client shows; nil: clients need none.
  public var clientCA: String?

  public init(certificate: String, key: String, clientCA: String? = nil) {
    self.certificate = certificate
    self.key = key
    self.clientCA = clientCA
  }

  var paths: [String] { [certificate, key] + (clientCA.map { [$0] } ?? []) }
}
