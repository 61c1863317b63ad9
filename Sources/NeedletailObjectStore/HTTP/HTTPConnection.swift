internal import Glibc
internal import NIOCore
internal import NeedletailCore
internal import NeedletailSystem
internal import NeedletailTLS

/// One connection to a server of HTTP/1.1, plain or encrypted. Calls block until they are done, time is up, or nothing
/// has moved for ``idleSeconds``.
///
/// `@unchecked Sendable`: one thread at a time uses a connection; a client's pool hands it from one to the next.
package final class HTTPConnection: @unchecked Sendable {
  /// Gets the bytes of a body piece by piece.
  package typealias Sink = (UnsafeRawBufferPointer) throws(ObjectStoreError) -> Void

  private let endpoint: HTTPEndpoint
  private let socket: NeedletailSystem.FileDescriptor
  private var session: TLSSession?
  /// Bytes as they came from the network, before decryption.
  private var sealed = [UInt8](repeating: 0, count: HTTPConnection.readBytes)
  /// Bytes of answers that were not taken yet.
  private var plain = ByteBuffer()
  private var isInputEnded = false
  private var deadline = Instant(nanoseconds: .max)
  /// Whether a byte of the answer to the last request has arrived.
  private(set) var hasAnswered = false
  /// Whether the next request may be sent here.
  private(set) var isReusable = false

  private static let readBytes = 128 << 10
  /// Time for one address to accept a connection.
  private static let connectSeconds: UInt64 = 3
  /// Time in which at least one byte has to move.
  static let idleSeconds: UInt64 = 10
  private static let lineBytesMax = 1 << 10
  private static let interimMax = 8

  /// Connects, and shakes hands where the endpoint is encrypted.
  ///
  /// - Parameter tls: settings of an encrypted endpoint.
  /// - Throws: `.unreachable` or `.timeout`.
  init(to endpoint: HTTPEndpoint, tls: TLSContext?, deadline: Instant) throws(ObjectStoreError) {
    self.endpoint = endpoint
    self.deadline = deadline
    socket = try Self.connect(to: endpoint, deadline: deadline)
    guard endpoint.isEncrypted, let tls else { return }
    do throws(TLSError) {
      session = try TLSSession(.client(tls, serverName: endpoint.host))
    } catch {
      throw Self.unreachable(endpoint, "no TLS: \(error)")
    }
    while session?.isReady == false {
      try send([])
      if session?.isReady == false, try !receive() {
        throw Self.unreachable(endpoint, "the connection ended during the TLS handshake")
      }
    }
  }

  private static func unreachable(_ endpoint: HTTPEndpoint, _ found: String) -> ObjectStoreError {
    ObjectStoreError(.unreachable, "\(endpoint): expected a connection, found: \(found)")
  }

  // MARK: requests

  /// Sends a request and receives its answer.
  ///
  /// - Parameters:
  ///   - deadline: the latest end of all of it.
  ///   - bodyBytesMax: largest body that is kept in memory.
  ///   - sink: gets the body of a successful answer instead; decides itself how much is too much.
  /// - Throws: what went wrong; the connection is of no use afterwards.
  func perform(
    _ request: HTTPRequest, deadline: Instant, bodyBytesMax: Int, sink: Sink?
  ) throws(ObjectStoreError) -> HTTPResponse {
    self.deadline = deadline
    isReusable = false
    hasAnswered = false
    var sendError: ObjectStoreError?
    do throws(ObjectStoreError) {
      try send(request.head[...])
      try send(request.body)
    } catch {
      // A server may answer and close before it has read everything: its words say more than a broken pipe.
      guard error.reason == .unreachable else { throw error }
      sendError = error
    }
    do throws(ObjectStoreError) {
      let head = try receiveHead(method: request.method)
      var response = HTTPResponse(head: head)
      let isSuccess = (200..<300).contains(head.status)
      // Half of such a body would look like the whole.
      guard head.framing != .untilClose || !isSuccess else {
        throw ObjectStoreError(.malformed, "response: expected the length of its body, found none")
      }
      let isSunk = sink != nil && isSuccess
      var body: [UInt8] = []
      let collect: Sink = { (bytes) throws(ObjectStoreError) in
        guard bytes.count <= bodyBytesMax - body.count else {
          throw ObjectStoreError(.oversized, "response: expected at most \(bodyBytesMax) bytes, found more")
        }
        body += bytes
      }
      try receiveBody(head.framing, isSunk ? sink ?? collect : collect)
      response.body = body
      isReusable = head.keepsAlive && sendError == nil && plain.readableBytes == 0
      return response
    } catch {
      throw hasAnswered ? error : sendError ?? error
    }
  }

  private func receiveHead(method: String) throws(ObjectStoreError) -> HTTPResponseHead {
    for _ in 0...Self.interimMax {
      let bytes = try takeHead()
      let head = try HTTPResponseHead(bytes, method: method)
      if head.status >= 200 { return head }
    }
    throw ObjectStoreError(.malformed, "response: expected an answer, found interim ones only")
  }

  /// Bytes up to the next empty line, without it.
  private func takeHead() throws(ObjectStoreError) -> [UInt8] {
    let end = Array("\r\n\r\n".utf8)
    while true {
      let view = plain.readableBytesView
      if let found = view.firstRange(of: end) {
        let head = Array(view[view.startIndex..<found.lowerBound])
        plain.moveReaderIndex(forwardBy: head.count + end.count)
        return head
      }
      guard view.count < HTTPResponseHead.bytesMax else {
        throw ObjectStoreError(
          .malformed, "response: expected at most \(HTTPResponseHead.bytesMax) bytes of fields, found more")
      }
      guard try receive() else {
        throw ObjectStoreError(
          hasAnswered ? .torn : .unreachable, "\(endpoint): expected an answer, found the connection closed")
      }
    }
  }

  private func receiveBody(_ framing: HTTPResponseHead.Framing, _ sink: Sink) throws(ObjectStoreError) {
    switch framing {
    case .none: return
    case .length(let count): try take(count, sink)
    case .untilClose:
      repeat { try take(plain.readableBytes, sink) } while try receive()
    case .chunked:
      while true {
        let digits = try line().prefix { $0 != ";" }.trimmingBlanks
        guard digits.utf8.count <= 8, !digits.hasPrefix("+"), !digits.hasPrefix("-"),
          let count = Int(digits, radix: 16)
        else { throw ObjectStoreError(.malformed, "response: expected the size of a chunk, found something else") }
        if count == 0 { break }
        try take(count, sink)
        guard try line().isEmpty else {
          throw ObjectStoreError(.malformed, "response: expected the end of a chunk, found something else")
        }
      }
      var trailers = 0
      while try !line().isEmpty {
        trailers += 1
        guard trailers <= 100 else { throw ObjectStoreError(.malformed, "response: expected few trailers, found many") }
      }
    }
  }

  private func take(_ count: Int, _ sink: Sink) throws(ObjectStoreError) {
    var left = count
    while left > 0 {
      if plain.readableBytes == 0, try !receive() {
        throw ObjectStoreError(.torn, "response: expected \(count) bytes, found \(count - left)")
      }
      let piece = min(left, plain.readableBytes)
      try plain.withUnsafeReadableBytes { bytes in
        Result { () throws(ObjectStoreError) in try sink(UnsafeRawBufferPointer(rebasing: bytes.prefix(piece))) }
      }.get()
      plain.moveReaderIndex(forwardBy: piece)
      left -= piece
    }
  }

  private func line() throws(ObjectStoreError) -> Substring {
    while true {
      let view = plain.readableBytesView
      if let found = view.firstRange(of: Array("\r\n".utf8)) {
        let bytes = Array(view[view.startIndex..<found.lowerBound])
        plain.moveReaderIndex(forwardBy: bytes.count + 2)
        return String(decoding: bytes, as: UTF8.self)[...]
      }
      guard view.count < Self.lineBytesMax else {
        throw ObjectStoreError(
          .malformed, "response: expected a short line, found more than \(Self.lineBytesMax) bytes")
      }
      guard try receive() else {
        throw ObjectStoreError(.torn, "response: expected the rest of its chunks, found the connection closed")
      }
    }
  }

  // MARK: bytes

  private func send(_ bytes: ArraySlice<UInt8>) throws(ObjectStoreError) {
    guard let session else { return try write(bytes) }
    var start = bytes.startIndex
    repeat {
      let end = min(start + Self.readBytes, bytes.endIndex)
      var buffer = ByteBuffer()
      bytes[start..<end].withUnsafeBytes { session.seal($0, into: &buffer) }
      if let failure = session.failure { throw Self.unreachable(endpoint, "\(failure)") }
      try write(Array(buffer.readableBytesView)[...])
      start = end
    } while start < bytes.endIndex
  }

  private func write(_ bytes: ArraySlice<UInt8>) throws(ObjectStoreError) {
    var rest = bytes
    while !rest.isEmpty {
      let number = socket.number
      let count = rest.withUnsafeBytes { bytes in
        SystemError.retrying { Glibc.send(number, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL)) }
      }
      if count >= 0 {
        rest = rest.dropFirst(count)
      } else {
        let error = SystemError("send")
        guard error.code == EAGAIN else { throw Self.unreachable(endpoint, error.reason) }
        try Self.wait(number, POLLOUT, endpoint, until: deadline)
      }
    }
  }

  /// Receives at least one byte of an answer, or of a handshake.
  ///
  /// - Returns: false at the end of the stream.
  private func receive() throws(ObjectStoreError) -> Bool {
    if isInputEnded { return false }
    let number = socket.number
    while true {
      let count = sealed.withUnsafeMutableBytes { buffer in
        SystemError.retrying { recv(number, buffer.baseAddress, buffer.count, 0) }
      }
      if count < 0 {
        let error = SystemError("receive")
        guard error.code == EAGAIN else {
          throw ObjectStoreError(
            hasAnswered ? .torn : .unreachable, "\(endpoint): expected an answer, found: \(error.reason)")
        }
        try Self.wait(number, POLLIN, endpoint, until: deadline)
        continue
      }
      guard count > 0 else {
        isInputEnded = true
        return false
      }
      guard let session else {
        hasAnswered = true
        sealed.withUnsafeBytes { _ = plain.writeBytes(UnsafeRawBufferPointer(rebasing: $0.prefix(count))) }
        return true
      }
      let before = plain.readableBytes
      try decrypt(count, session)
      if plain.readableBytes > before || !session.isReady || session.isInputEnded {
        hasAnswered = hasAnswered || plain.readableBytes > before
        isInputEnded = session.isInputEnded
        return plain.readableBytes > before || !session.isInputEnded
      }
      // A handshake that has just become complete is what was waited for; tickets and updates of keys are not.
      if !isHandshakeSeen {
        isHandshakeSeen = true
        return true
      }
    }
  }

  private var isHandshakeSeen = false

  private func decrypt(_ count: Int, _ session: TLSSession) throws(ObjectStoreError) {
    let failure: TLSError? = sealed.withUnsafeBytes { bytes in
      do throws(TLSError) {
        try session.open(UnsafeRawBufferPointer(rebasing: bytes.prefix(count)), into: &plain)
        return nil
      } catch {
        return error
      }
    }
    guard let failure else { return }
    var alert = ByteBuffer()
    session.seal(UnsafeRawBufferPointer(start: nil, count: 0), into: &alert)
    // The reason is known; whether the alert arrives is not.
    try? write(Array(alert.readableBytesView)[...])
    throw Self.unreachable(endpoint, "\(failure)")
  }

  // MARK: socket

  private static func connect(
    to endpoint: HTTPEndpoint, deadline: Instant
  ) throws(ObjectStoreError) -> NeedletailSystem.FileDescriptor {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var found: UnsafeMutablePointer<addrinfo>?
    let status = getaddrinfo(endpoint.host, String(endpoint.port), &hints, &found)
    guard status == 0 else {
      throw unreachable(endpoint, "no address: \(String(cString: gai_strerror(status)).lowercased())")
    }
    defer { freeaddrinfo(found) }
    var last = unreachable(endpoint, "no address")
    var next = found
    while let address = next?.pointee {
      do throws(ObjectStoreError) {
        return try connect(address, endpoint, deadline: deadline)
      } catch {
        last = error
      }
      next = address.ai_next
    }
    throw last
  }

  private static func connect(
    _ address: addrinfo, _ endpoint: HTTPEndpoint, deadline: Instant
  ) throws(ObjectStoreError) -> NeedletailSystem.FileDescriptor {
    let number = Glibc.socket(
      address.ai_family, address.ai_socktype | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard number >= 0 else { throw ObjectStoreError(.io, SystemError("socket").description) }
    let socket = NeedletailSystem.FileDescriptor(owning: number, path: "socket")
    var one: Int32 = 1
    setsockopt(number, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
    if Glibc.connect(number, address.ai_addr, address.ai_addrlen) != 0 {
      let error = SystemError("connect")
      guard error.code == EINPROGRESS else { throw unreachable(endpoint, error.reason) }
      let limit = Instant.now().advanced(byMicroseconds: connectSeconds * 1_000_000)
      try wait(number, POLLOUT, endpoint, until: min(deadline, limit))
      var code: Int32 = 0
      var size = socklen_t(MemoryLayout<Int32>.size)
      getsockopt(number, SOL_SOCKET, SO_ERROR, &code, &size)
      guard code == 0 else { throw unreachable(endpoint, SystemError(code: code, "").reason) }
    }
    return socket
  }

  private static func wait(
    _ number: Int32, _ events: Int32, _ endpoint: HTTPEndpoint, until deadline: Instant
  ) throws(ObjectStoreError) {
    let now = Instant.now()
    let limit = min(deadline, now.advanced(byMicroseconds: idleSeconds * 1_000_000))
    let milliseconds = limit > now ? (limit.nanoseconds - now.nanoseconds) / 1_000_000 + 1 : 0
    var entry = pollfd(fd: number, events: Int16(events), revents: 0)
    let ready = SystemError.retrying { poll(&entry, 1, Int32(clamping: milliseconds)) }
    guard ready > 0 else {
      throw ObjectStoreError(.timeout, "\(endpoint): expected an answer in time, found none")
    }
  }
}
