internal import COpenSSL
internal import Glibc
public import NIOCore

/// TLS of one connection without a socket: bytes go in, bytes come out. Confined to its thread.
///
/// ```swift
/// let session = try TLSSession(.client(context, serverName: "models.internal"))
/// session.seal(request, into: &sealed)         // sealed: what goes to the socket, handshake first
/// try session.open(arrived, into: &plain)      // plain: what the peer said
/// ```
/// After every call there may be something to send, an alert included: ``seal(_:into:)`` collects it.
/// OpenSSL reads and writes the caller's buffers through a `BIO` of its own kind: a memory BIO would copy
/// every byte once more.
public final class TLSSession {
  public enum Role: Sendable {
    case server(TLSContext)
    /// - serverName: host name or IP address that the server's certificate must carry.
    case client(TLSContext, serverName: String)
  }

  private let session: OpaquePointer
  /// Bytes that arrived and were not read by OpenSSL; valid during ``open(_:into:)``.
  private var arrived = UnsafeRawBufferPointer(start: nil, count: 0)
  /// Bytes to send.
  private var output = ByteBuffer()
  /// Plain bytes that were to be sent before the handshake was complete.
  private var early = ByteBuffer()
  /// Reason why the session has failed; nil: it has not. A failed write shows here only.
  public private(set) var failure: TLSError?
  /// Whether the handshake is complete.
  public private(set) var isReady = false
  /// Whether the peer has said that it sends no more.
  public private(set) var isInputEnded = false

  /// Room that one read of decrypted bytes gets at least; a record has at most 16 KiB.
  private static let readBytes = 4 << 10

  /// Begins a handshake.
  public init(_ role: Role) throws(TLSError) {
    let context: TLSContext
    switch role {
    case .server(let its), .client(let its, _): context = its
    }
    guard let session = SSL_new(context.pointer) else { throw TLSError(takingQueuedWithVerification: Int(X509_V_OK)) }
    self.session = session
    guard let channel = BIO_new(Self.method.pointer) else {
      throw TLSError(takingQueuedWithVerification: Int(X509_V_OK))
    }
    BIO_set_data(channel, Unmanaged.passUnretained(self).toOpaque())
    BIO_set_init(channel, 1)
    // The session owns the channel from here on.
    SSL_set_bio(session, channel, channel)
    switch role {
    case .server: SSL_set_accept_state(session)
    case .client(_, let name):
      SSL_set_connect_state(session)
      try expect(name)
    }
    try shakeHands()
  }

  deinit { SSL_free(session) }

  /// Sets the name that the server's certificate must carry, and that the handshake asks for.
  private func expect(_ name: String) throws(TLSError) {
    var address = in6_addr()
    let isAddress = inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1
    let isSet =
      isAddress
      ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session), name) == 1
        // RFC 6066 knows host names only, no addresses.
      : SSL_set1_host(session, name) == 1 && nt_ssl_set_server_name(session, name) == 1
    guard isSet else { throw TLSError(takingQueuedWithVerification: Int(X509_V_OK)) }
    SSL_set_hostflags(session, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT))
  }

  /// Decrypts what the socket brought, at the end of `plain`.
  /// - Throws: why the handshake, or the session, failed. An alert may have to be sent still.
  public func open(_ bytes: UnsafeRawBufferPointer, into plain: inout ByteBuffer) throws(TLSError) {
    if let failure { throw failure }
    arrived = bytes
    defer { arrived = UnsafeRawBufferPointer(start: nil, count: 0) }
    if !isReady { try shakeHands() }
    while isReady, !isInputEnded {
      var count = 0
      var status: Int32 = 0
      plain.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.readBytes) { room in
        ERR_clear_error()
        status = SSL_read_ex(session, room.baseAddress, room.count, &count)
        return count
      }
      if status != 1 { return try stop(status) }
    }
  }

  /// Encrypts `plain` at the end of `sealed`, behind what TLS itself has to send.
  ///
  /// Before the handshake is complete, plain bytes wait here and only its own bytes come out.
  public func seal(_ plain: UnsafeRawBufferPointer, into sealed: inout ByteBuffer) {
    if !isReady {
      early.writeBytes(plain)
    } else if plain.count > 0, failure == nil {
      sealed.writeBuffer(&output)
      swap(&sealed, &output)
      write(plain)
      swap(&sealed, &output)
      return
    }
    if output.readableBytes > 0 {
      sealed.writeBuffer(&output)
      output.clear()
    }
  }

  /// Tells the peer that nothing follows. Nothing can be sealed or opened afterwards.
  public func end() {
    guard isReady, failure == nil else { return }
    ERR_clear_error()
    _ = SSL_shutdown(session)
    ERR_clear_error()
  }

  /// The certificate that the peer showed; nil if it showed none.
  public var peerCertificate: TLSCertificate? { SSL_get1_peer_certificate(session).map(TLSCertificate.init(owning:)) }

  private func shakeHands() throws(TLSError) {
    ERR_clear_error()
    let status = SSL_do_handshake(session)
    guard status == 1 else { return try stop(status) }
    isReady = true
    if early.readableBytes > 0 {
      early.withUnsafeReadableBytes { write($0) }
      early = ByteBuffer()
    }
  }

  private func write(_ plain: UnsafeRawBufferPointer) {
    var count = 0
    ERR_clear_error()
    // The channel takes everything, and renegotiation is off. A write fails while the peer's change of keys (TLS 1.3)
    // is half read: its record was cut within the message, which no honest peer does.
    if SSL_write_ex(session, plain.baseAddress, plain.count, &count) != 1 { failure = queuedError }
  }

  /// Handles the end of a call of OpenSSL that did not succeed: more bytes are needed, the peer's end, or an error.
  private func stop(_ status: Int32) throws(TLSError) {
    switch SSL_get_error(session, status) {
    case SSL_ERROR_WANT_READ: return
    case SSL_ERROR_ZERO_RETURN where isReady: isInputEnded = true
    case SSL_ERROR_ZERO_RETURN: throw fail(.closed)
    default: throw fail(queuedError)
    }
  }

  private var queuedError: TLSError { TLSError(takingQueuedWithVerification: SSL_get_verify_result(session)) }

  private func fail(_ error: TLSError) -> TLSError {
    failure = error
    return error
  }

  // MARK: - the channel below OpenSSL

  /// Never changed nor freed, so that all threads may read it.
  private struct ChannelMethod: @unchecked Sendable {
    let pointer: OpaquePointer?
  }

  private static let method: ChannelMethod = {
    let method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "needletail")
    BIO_meth_set_read(method) { channel, destination, room in
      nt_bio_clear_retry(channel)
      guard let destination, room > 0 else { return 0 }
      return TLSSession.of(channel).take(into: UnsafeMutableRawBufferPointer(start: destination, count: Int(room))) {
        nt_bio_set_retry_read(channel)
      }
    }
    BIO_meth_set_write(method) { channel, source, count in
      nt_bio_clear_retry(channel)
      TLSSession.of(channel).output.writeBytes(UnsafeRawBufferPointer(start: source, count: Int(count)))
      return count
    }
    BIO_meth_set_ctrl(method) { _, command, _, _ in command == BIO_CTRL_FLUSH ? 1 : 0 }
    return ChannelMethod(pointer: method)
  }()

  private static func of(_ channel: OpaquePointer?) -> TLSSession {
    guard let data = BIO_get_data(channel) else { preconditionFailure("a channel without its session") }
    return Unmanaged<TLSSession>.fromOpaque(data).takeUnretainedValue()
  }

  /// Gives OpenSSL bytes that arrived.
  /// - Parameter setRetry: called when there are none.
  /// - Returns: their count; -1 for none.
  private func take(into room: UnsafeMutableRawBufferPointer, setRetry: () -> Void) -> Int32 {
    let count = min(room.count, arrived.count)
    guard count > 0 else {
      setRetry()
      return -1
    }
    room.copyMemory(from: UnsafeRawBufferPointer(rebasing: arrived[..<count]))
    arrived = UnsafeRawBufferPointer(rebasing: arrived[count...])
    return Int32(count)
  }
}
