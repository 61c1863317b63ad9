internal import Glibc
internal import NIOCore
internal import NeedletailSockets
internal import NeedletailSystem

/// The non-blocking socket of one connection, and the events that its loop's poller reports about it.
struct ConnectionSocket {
  enum Arrival {
    case bytes(Int)
    /// The peer sends no more.
    case end
    case nothing
    case failure(SystemError)
  }

  enum Departure {
    /// Number of bytes taken; 0 where the socket is full.
    case bytes(Int)
    case failure(SystemError)
  }

  let descriptor: Int32
  /// Token of the poller's events.
  let token: UInt64
  private(set) var wantsBytes = true
  private var wantsRoom = false
  /// Whether the socket took less than it was given and has not reported room since.
  private(set) var isFull = false
  /// Bytes handed to the socket since it was opened.
  private var bytesSent = 0

  init(_ descriptor: Int32, token: UInt64) {
    self.descriptor = descriptor
    self.token = token
  }

  /// Reads once, into the room that `buffer` has. The poller reports again if more bytes wait.
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
    return code == EAGAIN || code == EINTR ? .nothing : .failure(SystemError(code: code, "recv"))
  }

  mutating func send(_ bytes: UnsafeRawBufferPointer) -> Departure {
    let sent = Glibc.send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
    isFull = sent < bytes.count
    if sent >= 0 {
      bytesSent += sent
      return .bytes(sent)
    }
    let code = errno
    return code == EAGAIN || code == EINTR ? .bytes(0) : .failure(SystemError(code: code, "send"))
  }

  /// Notes that the poller reported room.
  mutating func hasRoom() { isFull = false }

  /// Bytes that the peer's side has taken since the socket was opened: the kernel's buffer, megabytes that a slow reader
  /// takes a minute for, is left out. One system call.
  var bytesTaken: Int {
    var queued: CInt = 0
    return ioctl(descriptor, UInt(TIOCOUTQ), &queued) == 0 ? bytesSent - Int(queued) : bytesSent
  }

  /// Asks the poller to report bytes, if they are wanted, and room, if there is none.
  mutating func want(bytes: Bool, _ poller: borrowing Poller) {
    guard bytes != wantsBytes || isFull != wantsRoom else { return }
    wantsBytes = bytes
    wantsRoom = isFull
    poller.modify(descriptor, token: token, wantsBytes: bytes, wantsRoom: isFull)
  }

  /// Who is at the other end.
  var peer: Peer { Peer(of: descriptor) }

  /// Lets the peer read the end of the stream behind the bytes that were sent.
  func endOutput() { _ = shutdown(descriptor, Int32(SHUT_WR)) }

  func close() { _ = Glibc.close(descriptor) }
}
