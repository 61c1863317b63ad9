internal import COpenSSL
internal import NeedletailCrypto

/// What the connections of one side have in common: own certificate, trusted CAs, versions and ciphers.
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
  /// - Throws: ``TLSError`` if the key is not that of the certificate.
  public init(server identity: Identity, clientRoots: [TLSCertificate]?) throws(TLSError) {
    pointer = try Self.make(TLS_server_method())
    try Self.check(SSL_CTX_set_cipher_list(pointer, Self.ciphers))
    try use(identity)
    if let clientRoots {
      try trust(clientRoots)
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

  private static func check(_ status: Int32) throws(TLSError) {
    guard status == 1 else { throw TLSError(takingQueuedWithVerification: Int(X509_V_OK)) }
  }
}
