internal import NIOCore
internal import NIOSSL
internal import NeedletailCore
internal import NeedletailSockets

/// TLS of one connection, seen from the server. Confined to its loop.
struct EncryptedSession {
  private let handler: NIOSSLServerHandler
  private let session: TLSSession
  private let began: Instant
  private(set) var isHandshakeDone = false

  /// Begins to wait for the client's first words.
  init(_ context: NIOSSLContext, now: Instant) throws {
    handler = NIOSSLServerHandler(context: context)
    session = try TLSSession(handler)
    began = now
  }

  /// Decrypts what the socket brought. There may be something to send afterwards, an alert if it throws.
  /// - Returns: whether the handshake has ended with these bytes.
  mutating func open(_ bytes: ByteBuffer) throws -> Bool {
    try session.open(bytes)
    guard !isHandshakeDone, session.isReady else { return false }
    isHandshakeDone = true
    return true
  }

  func nextPlain() throws -> ByteBuffer? { try session.nextPlain() }

  /// Encrypts `plain` and moves it to the end of `sealed`, behind what TLS itself has to say.
  func seal(_ plain: inout ByteBuffer, into sealed: inout ByteBuffer) {
    if plain.readableBytes > 0 {
      session.seal(plain)
      plain.clear()
    }
    collect(into: &sealed)
  }

  /// Says farewell at the end of `sealed`.
  func end(into sealed: inout ByteBuffer) {
    session.end()
    collect(into: &sealed)
  }

  private func collect(into sealed: inout ByteBuffer) {
    while var record = try? session.nextSealed() { sealed.writeBuffer(&record) }
  }

  /// Whether the peer has said that it sends no more.
  var isInputEnded: Bool { session.isInputEnded }

  /// In the certificate that the client showed; a server without a client CA asks for none.
  var certificateNames: [String]? { handler.peerCertificate.map(CertificateNames.of) }

  /// Whether the handshake takes longer than it may.
  func isOverdue(_ nanoseconds: UInt64, now: Instant) -> Bool {
    !isHandshakeDone && now.nanoseconds >= began.nanoseconds && now.nanoseconds - began.nanoseconds >= nanoseconds
  }
}
