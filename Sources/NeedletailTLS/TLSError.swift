internal import COpenSSL

/// Why a handshake, a session or the loading of a certificate failed.
public struct TLSError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Reason: Equatable, Sendable {
    /// The peer showed no certificate although one is required.
    case noCertificate
    /// The peer's certificate was not issued by a trusted CA, or is not valid now.
    case untrustedCertificate
    /// The peer's certificate is for another name or address.
    case wrongName
    /// The peer ended the session with this alert (RFC 8446, section 6).
    case alert(UInt8)
    /// The peer does not speak TLS, or has no version or cipher in common with this side.
    case protocolMismatch
    /// The peer closed the connection before the handshake was complete.
    case closed
    /// Anything else: ``TLSError/text`` has the library's own words.
    case other
  }

  public let reason: Reason
  /// The cause in OpenSSL's words, without its files and lines.
  public let text: String

  public init(_ reason: Reason, _ text: String) {
    self.reason = reason
    self.text = text
  }

  public var description: String { text }

  public static let closed = TLSError(.closed, "the connection ended during the handshake")

  /// The alert by which a TLS 1.3 server says that it requires a certificate.
  public static let alertCertificateRequired: UInt8 = 116
  /// The alert by which a peer says that it supports no version that was offered.
  public static let alertProtocolVersion: UInt8 = 70

  /// Takes the reasons of the last failure from the thread's error queue, and empties it.
  /// - Parameter verification: result of verifying the peer's certificate, a constant `X509_V_…`.
  init(takingQueuedWithVerification verification: Int = Int(X509_V_OK)) {
    var first: UInt = 0
    var words: [String] = []
    while true {
      let code = ERR_get_error()
      guard code != 0 else { break }
      if first == 0 { first = code }
      words.append(ERR_reason_error_string(code).map { String(cString: $0) } ?? "error \(code)")
    }
    if verification != Int(X509_V_OK), let text = X509_verify_cert_error_string(verification) {
      words.append(String(cString: text))
    }
    reason = Self.reason(of: first, verification: verification)
    text = words.isEmpty ? "unknown error of the TLS library" : words.joined(separator: ": ")
  }

  private static func reason(of code: UInt, verification: Int) -> Reason {
    guard code != 0, ERR_GET_LIB(code) == ERR_LIB_SSL else { return .other }
    let reason = ERR_GET_REASON(code)
    switch reason {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return .noCertificate
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
      let names = [X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH]
      return names.contains { Int($0) == verification } ? .wrongName : .untrustedCertificate
    case SSL_R_WRONG_VERSION_NUMBER, SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST, SSL_R_UNSUPPORTED_PROTOCOL,
      SSL_R_VERSION_TOO_LOW, SSL_R_UNKNOWN_PROTOCOL, SSL_R_UNEXPECTED_RECORD, SSL_R_UNEXPECTED_MESSAGE,
      SSL_R_NO_SHARED_CIPHER, SSL_R_BAD_RECORD_TYPE, SSL_R_PACKET_LENGTH_TOO_LONG:
      return .protocolMismatch
    // OpenSSL reports an alert of the peer as a reason of its own: the alert's number plus 1000.
    case SSL_AD_REASON_OFFSET...SSL_AD_REASON_OFFSET + 255: return .alert(UInt8(reason - SSL_AD_REASON_OFFSET))
    default: return .other
    }
  }
}
