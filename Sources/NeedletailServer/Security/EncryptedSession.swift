internal import NIOCore
internal import NeedletailCore
internal import NeedletailTLS

/// TLS of one connection, seen from the server. Confined to its loop.
struct EncryptedSession {
  private let session: TLSSession
  private let began: Instant
  private(set) var isHandshakeDone = false

  /// Begins to wait for the client's part of the handshake.
  init(_ context: TLSContext, now: Instant) throws(TLSError) {
    session = try TLSSession(.server(context))
    began = now
  }

  /// Decrypts what the socket brought, at the end of `plain`.
  /// - Returns: whether these bytes completed the handshake.
  /// - Throws: why the handshake or the session failed; there may be an alert to send.
  mutating func open(_ bytes: ByteBuffer, into plain: inout ByteBuffer) throws(TLSError) -> Bool {
    try bytes.withUnsafeReadableBytes { bytes throws(TLSError) in try session.open(bytes, into: &plain) }
    guard !isHandshakeDone, session.isReady else { return false }
    isHandshakeDone = true
    return true
  }

  /// Encrypts `plain` at the end of `sealed`, behind what TLS itself has to say.
  func seal(_ plain: UnsafeRawBufferPointer, into sealed: inout ByteBuffer) { session.seal(plain, into: &sealed) }

  /// Moves what TLS itself has to say to the end of `sealed`.
  func collect(into sealed: inout ByteBuffer) {
    session.seal(UnsafeRawBufferPointer(start: nil, count: 0), into: &sealed)
  }

  /// Reason why nothing can be encrypted or decrypted any more; nil: both can.
  var failure: TLSError? { session.failure }

  /// Adds to `sealed` that nothing follows.
  func end(into sealed: inout ByteBuffer) {
    session.end()
    collect(into: &sealed)
  }

  /// Whether the peer has said that it sends no more.
  var isInputEnded: Bool { session.isInputEnded }

  /// Names in the certificate that the client showed. Nil: it showed none, as without a client CA.
  var certificateNames: [String]? { session.peerCertificate?.names }

  /// Whether the handshake takes longer than it may.
  func isOverdue(_ nanoseconds: UInt64, now: Instant) -> Bool {
    !isHandshakeDone && now.nanoseconds >= began.nanoseconds && now.nanoseconds - began.nanoseconds >= nanoseconds
  }
}
