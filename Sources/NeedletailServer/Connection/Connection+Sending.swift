internal import NIOCore
internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailSockets
internal import NeedletailTLS

/// The way of answers from a connection's queue to its socket.
extension Connection {
  /// The result of a flush.
  enum Flushed {
    /// Nothing that concerns the loop.
    case done
    /// Calls that arrived earlier can be taken now.
    case resumed
    case closed
  }

  /// Notes that the poller reported room in the socket.
  /// - Returns: whether the connection waited for it.
  func hasRoom() -> Bool {
    guard !state.isClosed, socket.isFull else { return false }
    socket.hasRoom()
    return true
  }

  /// Hands to the socket what has gathered, takes the next step towards the connection's end, and tells the poller what
  /// to wait for. The loop calls it at the end of a tick for each connection that it touched.
  /// - Parameter allowance: bytes of large answers that may be sent; reduced by those that were.
  func flush(_ poller: borrowing Poller, allowance: inout Int, now: Instant) -> Flushed {
    pump(&allowance)
    measureUnsent()
    guard !state.isClosed else { return .closed }
    let isMemoryShort = bytesCharged > 0 && context.outputBudget.isShort
    let isResumed = state.flushed(
      unsentBytes: unsentBytes - queue.largeBytes, heldBytes: bytesHeld, isMemoryShort: isMemoryShort)
    finish(now: now)
    guard !state.isClosed else { return .closed }
    noteProgress(now: now)
    socket.want(bytes: state.wantsBytes, poller)
    return isResumed ? .resumed : .done
  }

  /// Hands to the socket what has gathered and nothing else: before work that takes long.
  func send() {
    var allowance = 0
    pump(&allowance)
    measureUnsent()
  }

  /// Whether there are bytes to send that the socket has room for: the tick's allowance was used up.
  var hasMore: Bool {
    !state.isClosed && !socket.isFull && (!queue.isEmpty || sealed.readableBytes > 0)
  }

  /// Notes that the loop goes on sending in the next tick.
  /// - Returns: false if it has noted that before.
  func startSending() -> Bool {
    defer { isSending = true }
    return !isSending
  }

  /// Bytes on their way out that the kernel has not taken.
  var unsentBytes: Int { queue.bytes + sealed.readableBytes }

  /// Bytes of answers that are expected or wait.
  var bytesHeld: Int { bytesExpected + unsentBytes }

  /// Sends until the socket is full, nothing is left, or the allowance is used up. Small answers of an ordinary tick
  /// need none.
  private func pump(_ allowance: inout Int) {
    guard !state.isClosed else { return }
    encryption?.collect(into: &sealed)
    if let failure = encryption?.failure { return failSession(failure) }
    var free = Limits.contiguousAnswerBytesMax
    // A socket that is full reports when it has room.
    while !socket.isFull {
      queue.encode(&allowance)
      guard sealed.readableBytes > 0 || queue.hasEncoded else { return }
      // Pieces of large answers were paid for when they were encoded, and encrypted bytes when they were encrypted.
      let isPaid = sealed.readableBytes > 0 || queue.isLargeNext
      guard isPaid || free > 0 || allowance > 0 else { return }
      let before = queue.encodedBytes
      if isEncrypted {
        guard sealNext() else { return }
        send(&sealed)
      } else {
        queue.take { send($0) }
      }
      if let failure = sendFailure { return fail(failure) }
      guard !isPaid else { continue }
      let bytes = before - queue.encodedBytes
      if free > 0 { free -= bytes } else { allowance = max(0, allowance - bytes) }
    }
  }

  /// Encrypts the next piece, where none waits.
  /// - Returns: false if the session has failed.
  private func sealNext() -> Bool {
    guard sealed.readableBytes == 0 else { return true }
    queue.take { plain in
      let piece = UnsafeRawBufferPointer(rebasing: plain.prefix(Limits.largeAnswerPieceBytes))
      encryption?.seal(piece, into: &sealed)
      return piece.count
    }
    guard let failure = encryption?.failure else { return true }
    failSession(failure)
    return false
  }

  private func send(_ bytes: inout ByteBuffer) {
    let count = bytes.withUnsafeReadableBytes { send($0) }
    if count == bytes.readableBytes { return bytes.clear() }
    bytes.moveReaderIndex(forwardBy: count)
    if bytes.readerIndex > bytes.readableBytes { bytes.discardReadBytes() }
  }

  /// - Returns: bytes that the socket took.
  private func send(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard bytes.count > 0 else { return 0 }
    switch socket.send(UnsafeRawBufferPointer(rebasing: bytes.prefix(Limits.contiguousAnswerBytesMax))) {
    case .failure(let error):
      // The caller holds the queue, which closing empties.
      sendFailure = error
      return 0
    case .bytes(let count):
      context.counters.sentBytes.add(UInt64(count), shard: context.shard)
      return count
    }
  }

  /// Counts the bytes that wait in the budget of all connections.
  private func measureUnsent() {
    let unsent = unsentBytes
    guard unsent != bytesCharged, !state.isClosed else { return }
    context.outputBudget.move(by: unsent - bytesCharged)
    bytesCharged = unsent
  }

  private func noteProgress(now: Instant) {
    if !socket.isFull {
      state.outputFlows(now: now)
    } else if !state.isBehind {
      state.outputWaits(taken: socket.bytesTaken, now: now)
    }
  }

  private func finish(now: Instant) {
    while true {
      switch state.end(queuedBytes: queue.bytes, unsentBytes: unsentBytes, now: now) {
      case .wait: return
      case .endEncryption:
        guard encryption != nil else { continue }
        encryption?.end(into: &sealed)
        encryption = nil
        if !socket.isFull, sealed.readableBytes > 0 { send(&sealed) }
        if let failure = sendFailure { return fail(failure) }
      case .endOutput: socket.endOutput()
      case .close: return close()
      }
    }
  }
}
