internal import Glibc
internal import NIOCore
internal import NeedletailCore
internal import NeedletailSockets
internal import NeedletailTLS

/// One connection of a load thread: socket, buffers, calls in flight. Confined to its thread.
struct LoadConnection: ~Copyable {
  enum State {
    case connecting
    /// The socket is connected, and the TLS handshake goes on.
    case securing
    case open
    /// The connection is closed until the time at which it is tried again.
    case closed(retryNanoseconds: UInt64)
  }

  /// Place of a call in flight; id 0 marks a free place.
  struct Slot {
    var id: UInt64
    var intendedNanoseconds: UInt64
    var frame: Int
  }

  var state = State.closed(retryNanoseconds: 0)
  var descriptor: Int32 = -1
  /// Whether the poller waits for room in the socket.
  var isWaitingForRoom = false
  /// Whether the connection is on the thread's list of those with bytes to send.
  var isDirty = false
  /// Whether the server has announced its end.
  var isGoingAway = false
  private(set) var inFlight = 0
  /// Calls that were given up and may still be answered.
  var abandoned = 0

  private let depth: Int
  private let slotMask: UInt64
  private let slots: UnsafeMutablePointer<Slot>
  private var lastID: UInt64 = 0
  private var tls: TLSSession?
  /// Encrypted bytes to send; empty without TLS.
  private var sealed = ByteBuffer()
  /// Memory for the decrypted bytes of one read.
  private var plain = ByteBuffer()
  private(set) var output: ByteQueue
  private(set) var input: ByteQueue

  /// Bytes that may wait for the socket; with more, the server counts as one that does not read.
  private static let outputBytesMax = 1 << 20
  private static let receiveBytes = 256 << 10
  /// Bytes of one read.
  private static let readBytes = receiveBytes / 4

  init(depth: Int) {
    self.depth = depth
    // Twice the depth: a free place is always near.
    var capacity: UInt64 = 2
    while capacity < UInt64(depth) * 2 { capacity *= 2 }
    slotMask = capacity - 1
    slots = .allocate(capacity: Int(capacity))
    slots.initialize(repeating: Slot(id: 0, intendedNanoseconds: 0, frame: 0), count: Int(capacity))
    output = ByteQueue(capacity: 64 << 10)
    input = ByteQueue(capacity: Self.receiveBytes)
  }

  deinit {
    if descriptor >= 0 { _ = Glibc.close(descriptor) }
    slots.deallocate()
  }

  var hasRoom: Bool {
    guard case .open = state else { return false }
    return inFlight < depth && !isGoingAway && output.count + sealed.readableBytes < Self.outputBytesMax
  }

  /// Begins the TLS handshake.
  mutating func secure(_ role: TLSSession.Role) throws(TLSError) {
    tls = try TLSSession(role)
    state = .securing
  }

  /// Whether the TLS handshake is complete.
  var isSecured: Bool { tls?.isReady ?? true }

  /// Queues one call.
  /// - Precondition: ``hasRoom``.
  @inline(__always)
  mutating func enqueue(
    _ frame: RequestFrames.Frame, index: Int, in bytes: UnsafeRawBufferPointer, intendedNanoseconds: UInt64
  ) {
    repeat {
      lastID = lastID == RequestFrames.idMax ? 1 : lastID + 1
    } while slots[Int(lastID & slotMask)].id != 0
    slots[Int(lastID & slotMask)] = Slot(id: lastID, intendedNanoseconds: intendedNanoseconds, frame: index)
    inFlight += 1
    let start = output.append(UnsafeRawBufferPointer(rebasing: bytes[frame.offset..<(frame.offset + frame.count)]))
    RequestFrames.patch(id: lastID, at: start)
  }

  /// Queues bytes that precede the first call, whose answer belongs to none of the calls.
  mutating func greet(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { _ = output.append($0) }
    abandoned += 1
  }

  /// Ends the call `id`.
  /// - Returns: nil if no such call is in flight.
  @inline(__always)
  mutating func take(id: UInt64) -> Slot? {
    let slot = slots[Int(id & slotMask)]
    guard id != 0, slot.id == id else { return nil }
    slots[Int(id & slotMask)].id = 0
    inFlight -= 1
    return slot
  }

  /// Whether an answer to no call may belong to a call that was given up.
  mutating func forgiveAbandoned() -> Bool {
    guard abandoned > 0 else { return false }
    abandoned -= 1
    return true
  }

  /// Ends all calls for which `condition` is true.
  mutating func takeAll(where condition: (Slot) -> Bool, _ body: (Slot) -> Void) {
    for index in 0...Int(slotMask) where slots[index].id != 0 && condition(slots[index]) {
      body(slots[index])
      slots[index].id = 0
      inFlight -= 1
    }
  }

  enum Flow {
    case done
    case wouldBlock
    case failed
  }

  mutating func flush() -> Flow {
    let queued = UnsafeRawBufferPointer(start: output.start, count: output.count)
    guard let tls else {
      let (sent, flow) = Self.write(queued, to: descriptor)
      output.consume(sent)
      return flow
    }
    tls.seal(queued, into: &sealed)
    output.consume(output.count)
    let (sent, flow) = sealed.withUnsafeReadableBytes { Self.write($0, to: descriptor) }
    sealed.moveReaderIndex(forwardBy: sent)
    if sealed.readableBytes == 0 { sealed.clear() }
    return flow
  }

  /// Writes until all is written or the socket is full.
  private static func write(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) -> (sent: Int, flow: Flow) {
    var sent = 0
    while sent < bytes.count {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[sent...])
      let written = send(descriptor, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
      guard written >= 0 else {
        if errno == EINTR { continue }
        return (sent, errno == EAGAIN ? .wouldBlock : .failed)
      }
      sent += written
    }
    return (sent, .done)
  }

  /// Reads once; if there is more, the poller reports the socket again.
  mutating func receive() -> Flow {
    guard let tls else { return Self.receive(into: &input, from: descriptor) }
    var arrived = ByteQueue(capacity: Self.readBytes)
    let flow = Self.receive(into: &arrived, from: descriptor)
    guard case .done = flow else { return flow }
    let bytes = UnsafeRawBufferPointer(start: arrived.start, count: arrived.count)
    do {
      try tls.open(bytes, into: &plain)
      plain.withUnsafeReadableBytes { _ = input.append($0) }
      plain.clear()
    } catch {
      return .failed
    }
    return tls.isInputEnded ? .failed : .done
  }

  private static func receive(into queue: inout ByteQueue, from descriptor: Int32) -> Flow {
    queue.makeRoom(Self.readBytes)
    while true {
      let count = recv(descriptor, queue.end, queue.room, 0)
      if count > 0 {
        queue.produced(count)
        return .done
      }
      if count < 0, errno == EINTR { continue }
      return count < 0 && errno == EAGAIN ? .wouldBlock : .failed
    }
  }

  enum Frame {
    case payload(UnsafeRawBufferPointer)
    case incomplete
    case malformed
  }

  /// The next whole frame; borrowed until ``receive()`` is called again.
  @inline(__always)
  mutating func nextFrame() -> Frame {
    guard input.count >= 4 else { return .incomplete }
    let length = Int(UInt32(bigEndian: input.start.loadUnaligned(as: UInt32.self)))
    guard length > 0, length <= Limits.frameBytesHardCap else { return .malformed }
    guard input.count - 4 >= length else {
      input.makeRoom(length + 4 - input.count)
      return .incomplete
    }
    let payload = UnsafeRawBufferPointer(start: input.start + 4, count: length)
    input.consume(length + 4)
    return .payload(payload)
  }

  mutating func close(retryNanoseconds: UInt64) {
    if descriptor >= 0 { _ = Glibc.close(descriptor) }
    descriptor = -1
    state = .closed(retryNanoseconds: retryNanoseconds)
    isWaitingForRoom = false
    isGoingAway = false
    abandoned = 0
    output.clear()
    input.clear()
    tls = nil
    sealed.clear()
  }
}

/// A queue of bytes in one piece of memory that grows with the bytes in it.
struct ByteQueue: ~Copyable {
  private var base: UnsafeMutableRawPointer
  private var capacity: Int
  private var head = 0
  private var tail = 0

  init(capacity: Int) {
    base = .allocate(byteCount: capacity, alignment: 16)
    self.capacity = capacity
  }

  deinit { base.deallocate() }

  var count: Int { tail - head }
  var start: UnsafeMutableRawPointer { base + head }
  var end: UnsafeMutableRawPointer { base + tail }
  var room: Int { capacity - tail }

  /// - Returns: the address of the copy.
  @inline(__always)
  mutating func append(_ bytes: UnsafeRawBufferPointer) -> UnsafeMutableRawPointer {
    if room < bytes.count { makeRoom(bytes.count) }
    let place = end
    if let source = bytes.baseAddress { place.copyMemory(from: source, byteCount: bytes.count) }
    tail += bytes.count
    return place
  }

  @inline(__always)
  mutating func consume(_ count: Int) {
    head += count
    if head == tail {
      head = 0
      tail = 0
    }
  }

  mutating func produced(_ count: Int) { tail += count }

  mutating func clear() {
    head = 0
    tail = 0
  }

  /// Moves the queued bytes to the front, or to larger memory.
  mutating func makeRoom(_ bytes: Int) {
    guard room < bytes else { return }
    let waiting = count
    if capacity - waiting >= bytes {
      base.copyMemory(from: base + head, byteCount: waiting)
    } else {
      capacity = max(capacity * 2, waiting + bytes)
      let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
      larger.copyMemory(from: base + head, byteCount: waiting)
      base.deallocate()
      base = larger
    }
    head = 0
    tail = waiting
  }
}
