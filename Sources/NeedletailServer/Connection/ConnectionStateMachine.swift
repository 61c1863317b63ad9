internal import NIOCore
internal import NeedletailCore
internal import NeedletailWire

/// Where one connection stands. Pure: bytes and time in, orders out; ``Connection`` carries them
/// out.
struct ConnectionStateMachine: ~Copyable {
  /// Bounds in the units of the clock.
  struct Bounds: Sendable {
    var frameBytesMax: Int
    var callsInFlightMax: Int
    var idleNanoseconds: UInt64
    var frameNanoseconds: UInt64
    var stallNanoseconds: UInt64
    var handshakeNanoseconds: UInt64

    init(_ limits: ServerConfiguration.ConnectionLimits) {
      frameBytesMax = limits.frameBytesMax
      callsInFlightMax = limits.callsInFlightMax
      idleNanoseconds = UInt64(clamping: limits.idle.nanoseconds)
      frameNanoseconds = UInt64(clamping: limits.frame.nanoseconds)
      stallNanoseconds = UInt64(clamping: limits.stall.nanoseconds)
      handshakeNanoseconds = UInt64(clamping: limits.handshake.nanoseconds)
    }
  }

  private enum Phase {
    /// Calls are taken. Next: `draining`, `ending`, `closed`.
    case open
    /// GoAway was sent: calls are refused. Next: `ending`, `closed`.
    case draining
    /// Calls are taken no more; closed once all that was accepted is answered. Next: `closed`.
    case ending(since: Instant)
    case closed
  }

  /// What to do with the bytes that have arrived.
  enum NextAction {
    /// Decode and run it.
    case execute(ArrivedFrame)
    /// Decode its id and answer UNAVAILABLE.
    case refuse(ByteBuffer)
    /// Run what is pending: no further call is taken before.
    case settle
    /// The boundary of frames is lost: say so and close.
    case fail(FrameError)
    case wait
  }

  /// A whole frame and when it came.
  struct ArrivedFrame {
    var bytes: ByteBuffer
    /// Of its first byte.
    var began: Instant
    /// Of its last byte; of later ones too, where it had to wait for its turn.
    var arrived: Instant
  }

  /// Why a connection is closed from this side; the label of a counter.
  enum CloseReason: String {
    case idle
    /// Stopped within a frame.
    case stalledFrame = "stalled_frame"
    /// Takes no answers.
    case slowReader = "slow_reader"
    /// Takes its answers too slowly, and all such peers together take too much memory.
    case outputBytesTotal = "output_bytes_total"
    /// Was told everything and does not go.
    case lingering
    /// Did not say who it is.
    case unauthenticated
  }

  /// What to do about the end of a connection.
  enum EndAction {
    /// Something is owed to the peer still, or it may still call.
    case wait
    /// Send what has gathered, then end this side and let the peer read it.
    case endOutput
    /// Send what has gathered, then close.
    case close
  }

  private let bounds: Bounds
  private var phase = Phase.open
  private var decoder: FrameDecoder
  private var isInputEnded = false
  private var isEndOrdered = false
  /// When the frame that is arriving began; nil between frames.
  private var frameStart: Instant?
  private var lastActivity: Instant
  /// When bytes came last.
  private var lastReceived: Instant
  /// Since when the socket takes no more bytes; nil while it does.
  private var blockedSince: Instant?
  /// Since when the peer is to say who it is; nil once it has, and where nobody asks.
  private var unknownSince: Instant?
  private(set) var callsInFlight = 0
  /// The largest id taken.
  private(set) var lastID: UInt64 = 0

  /// - Parameter isAuthenticated: false if the peer must say who it is before it may send long frames.
  init(bounds: Bounds, isAuthenticated: Bool = true, now: Instant) {
    self.bounds = bounds
    unknownSince = isAuthenticated ? nil : now
    decoder = FrameDecoder(
      frameBytesMax: isAuthenticated
        ? bounds.frameBytesMax : min(bounds.frameBytesMax, Limits.frameBytesMaxUnauthenticated))
    lastActivity = now
    lastReceived = now
  }

  /// Calls come in, whether they are executed or refused.
  private var takesFrames: Bool {
    switch phase {
    case .open, .draining: true
    case .ending, .closed: false
    }
  }

  // MARK: bytes

  mutating func receive(_ bytes: inout ByteBuffer, now: Instant) {
    lastActivity = now
    lastReceived = now
    // What comes after the boundary was lost is thrown away: read, so that the peer reads our answer.
    if takesFrames { decoder.append(&bytes) }
  }

  /// The storage of what ``receive(_:now:)`` was given is wanted back.
  mutating func keepRest() { decoder.keepRest() }

  mutating func next(now: Instant) -> NextAction {
    guard takesFrames, blockedSince == nil else { return .wait }
    guard callsInFlight < bounds.callsInFlightMax else { return .settle }
    do throws(FrameError) {
      if let frame = try decoder.next() {
        let began = frameStart ?? lastReceived
        frameStart = nil
        guard case .open = phase else { return .refuse(frame) }
        return .execute(ArrivedFrame(bytes: frame, began: began, arrived: lastReceived))
      }
    } catch {
      phase = .ending(since: now)
      return .fail(error)
    }
    if !decoder.isMidFrame {
      frameStart = nil
    } else if frameStart == nil {
      frameStart = lastReceived
    }
    return .wait
  }

  // MARK: calls

  /// The peer has said who it is.
  mutating func authenticate() {
    unknownSince = nil
    decoder.frameBytesMax = bounds.frameBytesMax
  }

  /// The peer has tried too often: no further frame is taken.
  mutating func giveUp(now: Instant) {
    if takesFrames { phase = .ending(since: now) }
  }

  mutating func accept(id: UInt64) {
    callsInFlight += 1
    lastID = max(lastID, id)
  }

  mutating func settle(now: Instant) {
    callsInFlight -= 1
    lastActivity = now
  }

  // MARK: the socket

  /// Whether bytes should be read from the socket now: neither while the peer takes no answers, nor while
  /// it has as many calls in flight as it may, for its next ones would only pile up here.
  var wantsBytes: Bool { blockedSince == nil && callsInFlight < bounds.callsInFlightMax }

  /// Whether the socket takes no more bytes.
  var isBlocked: Bool { blockedSince != nil }

  /// While the peer takes no answers, none of its frames is taken.
  mutating func writability(_ isWritable: Bool, now: Instant) {
    blockedSince = isWritable ? nil : (blockedSince ?? now)
  }

  /// The peer will send no more.
  /// - Returns: whether it stopped within a frame.
  mutating func endInput(now: Instant) -> Bool {
    isInputEnded = true
    guard takesFrames else { return false }
    phase = .ending(since: now)
    return decoder.isMidFrame && blockedSince == nil
  }

  /// - Returns: the id to announce, or nil if there is nobody to tell.
  mutating func goAway() -> UInt64? {
    guard case .open = phase else { return nil }
    phase = .draining
    return lastID
  }

  /// Orders the end once; asked after every answer.
  mutating func end() -> EndAction {
    guard case .ending = phase, callsInFlight == 0, !isEndOrdered else { return .wait }
    isEndOrdered = true
    return isInputEnded ? .close : .endOutput
  }

  /// The server goes: the connection closes once all that was accepted is answered, whatever the peer does.
  mutating func leave(now: Instant) {
    guard takesFrames else { return }
    isInputEnded = true
    phase = .ending(since: now)
  }

  mutating func close() { phase = .closed }

  // MARK: time

  /// Whether patience with the peer has ended.
  func overdue(now: Instant) -> CloseReason? {
    if let blockedSince {
      return Self.hasPassed(bounds.stallNanoseconds, since: blockedSince, now: now) ? .slowReader : nil
    }
    switch phase {
    case .closed: return nil
    case .ending(let since):
      return callsInFlight == 0 && Self.hasPassed(bounds.stallNanoseconds, since: since, now: now) ? .lingering : nil
    case .open, .draining: break
    }
    // While this side does not read, a frame cannot go on.
    if let frameStart, wantsBytes {
      // A long frame over a slow line is no attack as long as it moves.
      let earned = UInt64(decoder.bytesBuffered) * 1_000_000_000 / UInt64(Limits.frameBytesPerSecondMin)
      if Self.hasPassed(bounds.frameNanoseconds + earned, since: frameStart, now: now) { return .stalledFrame }
    }
    if let unknownSince, Self.hasPassed(bounds.handshakeNanoseconds, since: unknownSince, now: now) {
      return .unauthenticated
    }
    guard callsInFlight == 0 else { return nil }
    return Self.hasPassed(bounds.idleNanoseconds, since: lastActivity, now: now) ? .idle : nil
  }

  private static func hasPassed(_ nanoseconds: UInt64, since start: Instant, now: Instant) -> Bool {
    now.nanoseconds >= start.nanoseconds && now.nanoseconds - start.nanoseconds >= nanoseconds
  }

  /// Whether the peer has been quiet for a second: memory kept for its next burst may go.
  func isQuiet(now: Instant) -> Bool { Self.hasPassed(1_000_000_000, since: lastActivity, now: now) }
}
