internal import NIOSSL

/// Why a handshake failed, in a word for counters and in one for people.
enum TLSFailure: String, CaseIterable {
  /// The client showed none, or one that the client CA did not issue or that is not valid now.
  case clientCertificate = "client_certificate"
  /// The client did not like the server's.
  case serverCertificate = "server_certificate"
  /// What came was no TLS, or too old a one.
  case protocolMismatch = "protocol"
  /// The client went.
  case closed
  case timeout
  case other

  init(_ error: any Error) {
    let text = Self.reason(of: error)
    // BoringSSL's names of its errors; they are part of no interface, so that what is not known is `other`.
    func says(_ words: String...) -> Bool { words.contains { text.contains($0) } }
    if says("PEER_DID_NOT_RETURN_A_CERTIFICATE", "CERTIFICATE_VERIFY_FAILED") {
      self = .clientCertificate
    } else if says("ALERT") {
      self = .serverCertificate
    } else if says(
      "WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "UNSUPPORTED_PROTOCOL", "UNEXPECTED_RECORD",
      "UNEXPECTED_MESSAGE", "NO_SHARED_CIPHER")
    {
      self = .protocolMismatch
    } else if says("EOF during handshake") {
      self = .closed
    } else {
      self = .other
    }
  }

  /// Without files and lines of the library.
  static func reason(of error: any Error) -> String {
    switch error {
    case NIOSSLError.handshakeFailed(let error): reason(of: error)
    case BoringSSLError.sslError(let stack), BoringSSLError.unknownError(let stack):
      stack.map { Self.word(in: "\($0)") }.joined(separator: ", ")
    default: "\(error)"
    }
  }

  /// `Error: 268435703 error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER at …:226`.
  private static func word(in text: String) -> String {
    let line = text.split(separator: " at ", omittingEmptySubsequences: true).first.map(String.init) ?? text
    return line.contains("error:") ? line.split(separator: ":").last.map(String.init) ?? line : line
  }
}
