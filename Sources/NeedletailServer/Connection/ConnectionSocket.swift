internal import Glibc
internal import NIOCore
internal import NeedletailSockets

/// The socket of one connection, non-blocking, and what its loop's poller is to tell of it.
struct ConnectionSocket {
  enum Arrival {
    case bytes(Int)
    /// The peer sends no more.
    case end
    case nothing
    case failure(SocketError)
  }

  enum Departure {
    /// So many bytes; none where the socket is full.
    case bytes(Int)
    case failure(SocketError)
  }

  let descriptor: Int32
  /// What the poller tells with its events.
  let token: UInt64
  private(set) var wantsBytes = true
  private var wantsRoom = false
  /// It took less than it was given, and has not said since that it has room.
  private(set) var isFull = false

  init(_ descriptor: Int32, token: UInt64) {
    self.descriptor = descriptor
    self.token = token
  }

  /// One read into the room that `buffer` has: what is left is told again.
  /// - Precondition: there is room.
  func receive(into buffer: inout ByteBuffer) -> Arrival {
    var count = 0
    buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: 0) { room in
      count = recv(descriptor, room.baseAddress, room.count, 0)
      return max(0, count)
    }
    if count > 0 { return .bytes(count) }
    if count == 0 { return .end }
    let code = errno
    return code == EAGAIN || code == EINTR ? .nothing : .failure(SocketError("recv", code: code))
  }

  mutating func send(_ bytes: UnsafeRawBufferPointer) -> Departure {
    let sent = Glibc.send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
    isFull = sent < bytes.count
    if sent >= 0 { return .bytes(sent) }
    let code = errno
    return code == EAGAIN || code == EINTR ? .bytes(0) : .failure(SocketError("send", code: code))
  }

  /// The poller has said so.
  mutating func hasRoom() { isFull = false }

  /// Has the poller tell of bytes, if they are wanted, and of room, if there is none.
  mutating func want(bytes: Bool, _ poller: borrowing Poller) {
    guard bytes != wantsBytes || isFull != wantsRoom else { return }
    wantsBytes = bytes
    wantsRoom = isFull
    poller.modify(descriptor, token: token, wantsBytes: bytes, wantsRoom: isFull)
  }

  /// The peer reads the end of the stream behind what was sent.
  func endOutput() { _ = shutdown(descriptor, Int32(SHUT_WR)) }

  func close() { _ = Glibc.close(descriptor) }
}
