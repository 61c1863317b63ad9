internal import CNeedletailSystem
internal import COpenSSL
internal import Glibc
internal import NeedletailCore
internal import NeedletailCrypto

/// Settings that the connections of one side share: own certificate, trusted CAs, versions and ciphers.
///
/// A context does not change after `init`, and OpenSSL lets all threads make sessions of it. New
/// certificates are a new context: sessions keep the one that they began with.
public final class TLSContext: @unchecked Sendable {
  let pointer: OpaquePointer

  /// A certificate with those between it and its root, and its private key.
  public struct Identity: Sendable {
    /// The own certificate first.
    public var chain: [TLSCertificate]
    public var key: TLSPrivateKey

    public init(chain: [TLSCertificate], key: TLSPrivateKey) {
      self.chain = chain
      self.key = key
    }
  }

  /// Ciphers of TLS 1.2: forward secrecy and authenticated encryption only. TLS 1.3 has nothing else.
  private static let ciphers = [
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
  ].joined(separator: ":")

  /// Ciphers of TLS 1.3, AES-128 first: it takes the least time of those that are secure.
  private static let suites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

  /// The context of a server.
  /// - Parameter clientRoots: CAs that must have issued the certificate which a client shows; nil: clients
  ///   show none. Which of their names may do what is for the caller to decide.
  /// - Parameter revocations: lists of certificates that no longer count, one of each CA; none: no certificate is looked up.
  /// - Throws: ``TLSError`` if the key is not that of the certificate.
  public init(
    server identity: Identity, clientRoots: [TLSCertificate]?, revocations: [TLSRevocationList] = []
  ) throws(TLSError) {
    pointer = try Self.make(TLS_server_method())
    try Self.check(SSL_CTX_set_cipher_list(pointer, Self.ciphers))
    try use(identity)
    if let clientRoots {
      try trust(clientRoots)
      try refuse(revocations)
      SSL_CTX_set_verify(pointer, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
    }
  }

  /// The context of a client.
  /// - Parameters:
  ///   - roots: CAs that must have issued the server's certificate; nil: those that the system trusts.
  ///   - identity: what the client shows to a server that asks for a certificate; nil: none.
  /// - Throws: ``TLSError`` if the key is not that of the certificate.
  public init(clientTrusting roots: [TLSCertificate]?, identity: Identity?) throws(TLSError) {
    pointer = try Self.make(TLS_client_method())
    if let roots {
      try trust(roots)
    } else {
      try Self.check(SSL_CTX_set_default_verify_paths(pointer))
    }
    SSL_CTX_set_verify(pointer, SSL_VERIFY_PEER, nil)
    if let identity { try use(identity) }
  }

  deinit { SSL_CTX_free(pointer) }

  private static func make(_ method: OpaquePointer?) throws(TLSError) -> OpaquePointer {
    CryptoLibrary.prepare()
    guard let context = SSL_CTX_new(method) else { throw TLSError(takingQueuedWithVerification: Int(X509_V_OK)) }
    do throws(TLSError) {
      try check(nt_ssl_ctx_set_min_tls_1_2(context))
      try check(SSL_CTX_set_ciphersuites(context, suites))
    } catch {
      SSL_CTX_free(context)
      throw error
    }
    nt_ssl_ctx_restrict(context)
    // Connections live long, and a resumed session would not have its certificate verified again: every
    // connection makes a full handshake, and the server keeps no ticket keys.
    nt_ssl_ctx_never_resume(context)
    // The two buffers of a session, 16 KiB each, are freed while nothing waits in them.
    nt_ssl_ctx_release_idle_buffers(context)
    return context
  }

  private func use(_ identity: Identity) throws(TLSError) {
    guard let own = identity.chain.first else { throw TLSError(.other, "expected a certificate, found none") }
    try Self.check(SSL_CTX_use_certificate(pointer, own.pointer))
    for certificate in identity.chain.dropFirst() {
      try Self.check(nt_ssl_ctx_add_chain_certificate(pointer, certificate.pointer))
    }
    try Self.check(SSL_CTX_use_PrivateKey(pointer, identity.key.pointer))
    try Self.check(SSL_CTX_check_private_key(pointer))
  }

  private func trust(_ roots: [TLSCertificate]) throws(TLSError) {
    let store = SSL_CTX_get_cert_store(pointer)
    for root in roots { try Self.check(X509_STORE_add_cert(store, root.pointer)) }
  }

  private func refuse(_ revocations: [TLSRevocationList]) throws(TLSError) {
    guard !revocations.isEmpty else { return }
    let store = SSL_CTX_get_cert_store(pointer)
    for list in revocations { try Self.check(X509_STORE_add_crl(store, list.pointer)) }
    // The client's own certificate is looked up. Without a list of its CA, or after its end, it does not count.
    try Self.check(X509_STORE_set_flags(store, UInt(X509_V_FLAG_CRL_CHECK)))
  }

  private static func check(_ status: Int32) throws(TLSError) {
    guard status == 1 else { throw TLSError(takingQueuedWithVerification: Int(X509_V_OK)) }
  }
}

/// An X.509 certificate. Immutable: OpenSSL lets all threads read it.
public final class TLSCertificate: @unchecked Sendable {
  let pointer: OpaquePointer

  /// - Parameter pointer: an `X509`, which this object frees at its end.
  init(owning pointer: OpaquePointer) { self.pointer = pointer }

  deinit { X509_free(pointer) }

  /// Reads all certificates of a PEM file, in their order.
  /// - Returns: nil if the file cannot be read, holds no certificate, or holds one that is malformed.
  public static func read(path: String) -> [TLSCertificate]? {
    PEMFile.read(path) { file in
      var certificates: [TLSCertificate] = []
      while let pointer = PEM_read_bio_X509(file, nil, PEMFile.noPassword, nil) {
        certificates.append(TLSCertificate(owning: pointer))
      }
      let isAtEnd = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE
      return isAtEnd && !certificates.isEmpty ? certificates : nil
    }
  }

  /// Time at which the certificate ends, in Unix seconds.
  public var notAfter: Int {
    var time = tm()
    // A time that cannot be read counts as long past.
    return ASN1_TIME_to_tm(X509_get0_notAfter(pointer), &time) == 1 ? timegm(&time) : 0
  }

  /// DNS names and URIs (SPIFFE) among the alternative names, in their order.
  ///
  /// The common name does not count: RFC 6125 deprecates it, and not every CA checks what stands there.
  public var names: [String] {
    guard let names = X509_get_ext_d2i(pointer, NID_subject_alt_name, nil, nil).map(OpaquePointer.init) else {
      ERR_clear_error()
      return []
    }
    defer { GENERAL_NAMES_free(names) }
    return (0..<nt_general_name_count(names)).compactMap { index in
      guard let name = nt_general_name_text(nt_general_name(names, index)) else { return nil }
      return Self.text(
        UnsafeBufferPointer(start: ASN1_STRING_get0_data(name), count: Int(ASN1_STRING_length(name))))
    }
  }

  /// The text of a name, or nil for bytes that are no name: a NUL inside must not shorten it to another one.
  private static func text(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    guard bytes.count <= Limits.certificateNameBytesMax, bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
      return nil
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// A CA's list of certificates that it has revoked. Immutable: OpenSSL lets all threads read it.
public final class TLSRevocationList: @unchecked Sendable {
  let pointer: OpaquePointer

  private init(owning pointer: OpaquePointer) { self.pointer = pointer }

  deinit { X509_CRL_free(pointer) }

  /// Reads all revocation lists of a PEM file.
  /// - Returns: nil if the file cannot be read, holds no list, or holds one that is malformed.
  public static func read(path: String) -> [TLSRevocationList]? {
    PEMFile.read(path) { file in
      var lists: [TLSRevocationList] = []
      while let pointer = PEM_read_bio_X509_CRL(file, nil, PEMFile.noPassword, nil) {
        lists.append(TLSRevocationList(owning: pointer))
      }
      let isAtEnd = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE
      return isAtEnd && !lists.isEmpty ? lists : nil
    }
  }
}

/// The private key of a certificate. Immutable: OpenSSL lets all threads read it.
public final class TLSPrivateKey: @unchecked Sendable {
  let pointer: OpaquePointer

  private init(owning pointer: OpaquePointer) { self.pointer = pointer }

  deinit { EVP_PKEY_free(pointer) }

  /// Reads the first private key of a PEM file.
  /// - Returns: nil if the file cannot be read, or holds no private key or one that needs a password.
  public static func read(path: String) -> TLSPrivateKey? {
    PEMFile.read(path) { file in
      PEM_read_bio_PrivateKey(file, nil, PEMFile.noPassword, nil).map(TLSPrivateKey.init(owning:))
    }
  }
}

private enum PEMFile {
  /// Answers the question for a password. OpenSSL's own answer would be to ask at the terminal.
  static let noPassword:
    @convention(c) (UnsafeMutablePointer<CChar>?, Int32, Int32, UnsafeMutableRawPointer?) -> Int32 = {
      _, _, _, _ in 0
    }

  static func read<Value>(_ path: String, _ body: (OpaquePointer) -> Value?) -> Value? {
    CryptoLibrary.prepare()
    ERR_clear_error()
    defer { ERR_clear_error() }
    guard let file = BIO_new_file(path, "r") else { return nil }
    defer { BIO_free(file) }
    return body(file)
  }
}

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

/// Memory of OpenSSL.
public enum TLSMemory {
  /// Has each thread keep the blocks that OpenSSL frees and hand them out again: a call over TLS asks for seven and gives
  /// them back at once. A thread keeps at most `NT_BLOCK_CACHE_BYTES_MAX` bytes; keys and secrets are overwritten by
  /// OpenSSL before it frees them, as ever.
  ///
  /// - Returns: false where OpenSSL has allocated already and keeps to the C library. Call it first thing in `main`.
  @discardableResult
  public static func keepFreedBlocks() -> Bool {
    CRYPTO_set_mem_functions(nt_block_cache_malloc, nt_block_cache_realloc, nt_block_cache_free) == 1
  }
}
