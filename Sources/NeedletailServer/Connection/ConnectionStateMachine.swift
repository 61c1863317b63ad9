internal import NeedletailCore

/// State of one connection. Pure: events and time go in, decisions come out; ``Connection`` and its loop carry them
/// out. Bytes are the codec's business, sockets the connection's.
///
/// Two states stand beside each other. The phase says where the connection is between its first byte and its end:
///
///     open → draining → ending → finishing → lingering → closed
///
/// The intake says whether calls are taken, and if not, what ends the pause:
///
/// | intake   | entered when                                      | left when                                      |
/// |----------|---------------------------------------------------|------------------------------------------------|
/// | reading  | the connection is made                            |                                                |
/// | paused   | admission asked for a read pause                  | the loop's timer ends it                       |
/// | heldBack | enough calls in flight, or enough answers written | a flush finds fewer calls in flight            |
/// | roomless | a call's answer finds no room beside the others   | a flush finds room for it                      |
/// | blocked  | a flush leaves too much with the connection       | a flush leaves a quarter of that               |
///
/// Each leads back to `reading`; `blocked` replaces any other.
struct ConnectionStateMachine: ~Copyable {
  /// Bounds in the units of the clock.
  struct Bounds: Sendable {
    var frameBytesMax: Int
    var callsInFlightMax: Int
    var outputBytesMax: Int
    var idleNanoseconds: UInt64
    var frameNanoseconds: UInt64
    var stallNanoseconds: UInt64
    var handshakeNanoseconds: UInt64

    init(_ limits: ServerConfiguration.ConnectionLimits) {
      frameBytesMax = limits.frameBytesMax
      callsInFlightMax = limits.callsInFlightMax
      outputBytesMax = limits.outputBytesMax
      idleNanoseconds = UInt64(clamping: limits.idle.nanoseconds)
      frameNanoseconds = UInt64(clamping: limits.frame.nanoseconds)
      stallNanoseconds = UInt64(clamping: limits.stall.nanoseconds)
      handshakeNanoseconds = UInt64(clamping: limits.handshake.nanoseconds)
    }
  }

  private enum Phase {
    /// Calls are executed. Next: any later phase.
    case open
    /// GoAway was sent: calls are rejected. Next: `ending`, `closed`.
    case draining
    /// No more calls are taken; some are not answered, or their answers not encoded. Next: `finishing`, `closed`.
    case ending
    /// All calls are answered; bytes wait for the socket. Next: `lingering`, `closed`.
    case finishing
    /// This side has ended its stream; the peer has not. Next: `closed`.
    case lingering(since: Instant)
    case closed
  }

  private enum Intake {
    /// The socket is read and calls are taken.
    case reading
    /// The peer goes unread for a moment.
    case paused(ReadPause)
    /// No call is taken before fewer than so many are in flight.
    case heldBack(below: Int)
    /// The call that is next has an answer of so many bytes, for which there is no room beside those of earlier calls.
    case roomless(bytes: Int)
    /// The peer does not read its answers.
    case blocked
  }

  /// Times of a call that was taken.
  struct CallTimes: Equatable {
    /// Time at which the call's first byte arrived.
    var began: Instant
    /// Time at which its last byte arrived. A call that had to wait for its turn keeps this time, or has that of bytes
    /// that arrived later.
    var arrived: Instant
  }

  /// Reason why a connection is closed from this side; the value of a metric label.
  enum CloseReason: String, CaseIterable {
    case idle
    /// The peer stopped, or trickled, within a frame.
    case stalledFrame = "stalled_frame"
    /// The peer takes nothing of its answers, or less than the slowest rate.
    case slowReader = "slow_reader"
    /// The peer has taken nothing for a second, while all answers that wait take too much memory.
    case outputBytesTotal = "output_bytes_total"
    /// The peer has all its answers and does not close its side.
    case lingering
    /// The peer did not authenticate.
    case unauthenticated
  }

  /// The way in which a connection ends.
  enum EndAction {
    case wait
    /// Add the last bytes of encryption, then ask again.
    case endEncryption
    /// End this side of the stream, then ask again.
    case endOutput
    case close
  }

  private let bounds: Bounds
  private var phase = Phase.open
  private var intake = Intake.reading
  /// Nil: the socket takes what there is.
  private var backlog: PeerProgress?
  private var isInputEnded = false
  /// Time at which the unfinished call began to arrive; nil between calls.
  private var callStart: Instant?
  private var lastActivity: Instant
  /// Time at which bytes came last.
  private var lastReceived: Instant
  /// Time since which the peer is expected to authenticate; nil once it has, and where no key is needed.
  private var unknownSince: Instant?
  private(set) var callsInFlight = 0
  /// Number of calls in flight that are no predictions.
  private var controlCallsInFlight = 0
  /// The largest id taken.
  private var lastID: UInt64 = 0

  /// - Parameter isAuthenticated: false if the peer must authenticate before it may send long calls.
  init(bounds: Bounds, isAuthenticated: Bool = true, now: Instant) {
    self.bounds = bounds
    unknownSince = isAuthenticated ? nil : now
    lastActivity = now
    lastReceived = now
  }

  /// Most bytes of one call.
  var callBytesMax: Int {
    unknownSince == nil ? bounds.frameBytesMax : min(bounds.frameBytesMax, Limits.frameBytesMaxUnauthenticated)
  }

  // MARK: reading

  /// Whether bytes that arrive are calls; otherwise they are read and thrown away, so that the peer reads our answer.
  var takesCalls: Bool {
    switch phase {
    case .open, .draining: true
    case .ending, .finishing, .lingering, .closed: false
    }
  }

  /// Whether calls are rejected because the server stops.
  var isDraining: Bool { if case .draining = phase { true } else { false } }

  var isClosed: Bool { if case .closed = phase { true } else { false } }

  /// Whether the socket should be read now.
  var wantsBytes: Bool { if case .reading = intake { !isInputEnded } else { false } }

  mutating func received(now: Instant) {
    lastActivity = now
    lastReceived = now
  }

  /// Notes that the peer sends no more. Calls that it sent before are still taken.
  mutating func endInput() { isInputEnded = true }

  // MARK: taking calls

  /// Whether another call may be taken now. If not, a later ``flushed(unsentBytes:heldBytes:isMemoryShort:)`` says when
  /// to go on.
  /// - Parameter outputBytes: bytes of answers written and not yet handed to the socket.
  mutating func mayTakeCall(outputBytes: Int) -> Bool {
    guard takesCalls, case .reading = intake else { return false }
    guard callsInFlight < bounds.callsInFlightMax else {
      intake = .heldBack(below: bounds.callsInFlightMax)
      return false
    }
    // Answers much larger than their calls go out before the next call is taken.
    guard outputBytes < Limits.outputBytesHighWater else {
      intake = .heldBack(below: .max)
      return false
    }
    return true
  }

  /// Notes that a whole call was taken out of the bytes.
  mutating func takeCall() -> CallTimes {
    let began = callStart ?? lastReceived
    callStart = nil
    return CallTimes(began: began, arrived: lastReceived)
  }

  /// Notes that the next call must wait for the answer to an earlier one.
  mutating func holdBack() {
    assert(callsInFlight > 0, "a codec held back a call that nothing could release")
    intake = .heldBack(below: callsInFlight)
  }

  /// Whether an answer of `bytes` bytes fits beside the others of the connection. An answer alone may be of any size.
  /// - Parameter heldBytes: bytes of answers that are expected or wait.
  func hasRoom(for bytes: Int, heldBytes: Int) -> Bool {
    heldBytes == 0 || heldBytes + bytes <= bounds.outputBytesMax
  }

  /// Notes that a call was put back because there is no room for its answer.
  /// - Parameter times: from ``takeCall()``; its first byte came when it came.
  mutating func putBack(_ times: CallTimes, answerBytes: Int) {
    callStart = times.began
    intake = .roomless(bytes: answerBytes)
  }

  /// Notes that no whole call is left.
  /// - Parameter hasPart: whether a part of a call is there.
  /// - Returns: whether the peer ended its stream within a call.
  mutating func ranDry(hasPart: Bool) -> Bool {
    if isInputEnded {
      phase = .ending
      return hasPart
    }
    if !hasPart {
      callStart = nil
    } else if callStart == nil {
      callStart = lastReceived
    }
    return false
  }

  /// Takes no further call: the peer announced its last one, its bytes make no sense, or it showed too many wrong keys.
  mutating func endCalls() {
    if takesCalls { phase = .ending }
  }

  /// Notes that the peer has authenticated.
  mutating func authenticate() { unknownSince = nil }

  // MARK: calls in flight

  mutating func accept(id: UInt64) {
    callsInFlight += 1
    lastID = max(lastID, id)
  }

  /// - Returns: false if as many calls other than predict are in flight as may be.
  mutating func acceptControl(id: UInt64) -> Bool {
    guard controlCallsInFlight < Limits.controlCallsInFlightMax else { return false }
    controlCallsInFlight += 1
    accept(id: id)
    return true
  }

  mutating func answered(now: Instant) {
    callsInFlight -= 1
    lastActivity = now
  }

  mutating func answeredControl(now: Instant) {
    controlCallsInFlight -= 1
    answered(now: now)
  }

  // MARK: read pauses

  /// Leaves the peer unread until the loop's timer ends the pause.
  /// - Returns: false if the connection is not read anyway.
  mutating func pauseReading(_ pause: ReadPause) -> Bool {
    guard wantsBytes, !isClosed else { return false }
    intake = .paused(pause)
    return true
  }

  /// Ends a read pause.
  /// - Returns: the pause that was; nil: there was none, or the connection closed meanwhile. The socket of a closed
  ///   connection must not be read: its number may belong to another one by now.
  mutating func endPause() -> ReadPause? {
    guard case .paused(let pause) = intake, !isClosed else { return nil }
    intake = .reading
    return pause
  }

  // MARK: flushes

  /// Notes what a flush left behind. A peer that asks and does not read must not fill the server's memory: no call of
  /// it is taken before it has read most of its answers, for it is not to be let in for every packet that it takes.
  /// - Parameters:
  ///   - unsentBytes: bytes of whole answers that the socket did not take; large ones wait where they were computed.
  ///   - heldBytes: bytes of all answers that are expected or wait.
  ///   - isMemoryShort: whether the answers of all connections are above their total.
  /// - Returns: whether calls can be taken again that had to wait.
  mutating func flushed(unsentBytes: Int, heldBytes: Int = 0, isMemoryShort: Bool = false) -> Bool {
    let high = isMemoryShort ? 0 : Limits.outputBytesHighWater
    switch intake {
    case .blocked:
      if unsentBytes > high / 4 { return false }
    case .reading, .paused, .heldBack, .roomless:
      if unsentBytes > high {
        intake = .blocked
        return false
      }
      switch intake {
      case .heldBack(let below) where callsInFlight < below: break
      case .roomless(let bytes) where hasRoom(for: bytes, heldBytes: heldBytes): break
      default: return false
      }
    }
    intake = .reading
    return takesCalls
  }

  // MARK: progress of the peer

  /// Whether the socket has been full since the last ``outputFlows(now:)``.
  var isBehind: Bool { backlog != nil }

  /// Notes that the socket is full, or how much the peer has taken since.
  /// - Parameter taken: bytes that the peer has taken since the connection was made.
  mutating func outputWaits(taken: Int, now: Instant) {
    if backlog == nil {
      backlog = PeerProgress(taken: taken, stallNanoseconds: bounds.stallNanoseconds, now: now)
    } else {
      backlog?.update(taken: taken, now: now)
    }
  }

  /// Notes that the socket takes what there is.
  mutating func outputFlows(now: Instant) {
    guard backlog != nil else { return }
    backlog = nil
    lastActivity = now
  }

  // MARK: ends

  /// - Returns: the id to announce with GoAway; nil: the connection is ending anyway.
  mutating func goAway() -> UInt64? {
    guard case .open = phase else { return nil }
    phase = .draining
    return lastID
  }

  /// Lets the connection close as soon as all accepted calls are answered, whatever the peer does.
  mutating func leave() {
    guard takesCalls else { return }
    isInputEnded = true
    phase = .ending
  }

  /// Next step towards the end; asked after every flush.
  /// - Parameters:
  ///   - queuedBytes: bytes of answers that are not encrypted, or not encoded; without TLS those that were not sent.
  ///   - unsentBytes: bytes that the socket did not take, the queued ones included.
  mutating func end(queuedBytes: Int = 0, unsentBytes: Int, now: Instant) -> EndAction {
    switch phase {
    case .open, .draining, .closed: return .wait
    case .ending:
      guard callsInFlight == 0, queuedBytes == 0 else { return .wait }
      phase = .finishing
      return .endEncryption
    case .finishing:
      guard unsentBytes == 0 else { return .wait }
      if isInputEnded { return .close }
      phase = .lingering(since: now)
      return .endOutput
    case .lingering: return isInputEnded ? .close : .wait
    }
  }

  mutating func close() { phase = .closed }

  // MARK: time

  /// Reason to close the connection because a time limit has passed; nil: there is none.
  /// - Parameters:
  ///   - bytesBuffered: bytes of an unfinished call.
  ///   - isMemoryShort: whether the answers of all connections are above their total.
  func overdue(bytesBuffered: Int = 0, isMemoryShort: Bool = false, now: Instant) -> CloseReason? {
    if let backlog {
      if backlog.isTooSlow(at: now) { return .slowReader }
      return isMemoryShort && backlog.hasStopped(at: now) ? .outputBytesTotal : nil
    }
    switch phase {
    case .closed, .ending, .finishing: return nil
    case .lingering(let since):
      return now.hasPassed(bounds.stallNanoseconds, since: since) ? .lingering : nil
    case .open, .draining: break
    }
    // While this side does not read, a call cannot arrive further.
    if let callStart, wantsBytes {
      // A long call over a slow line is no attack as long as it moves.
      let earned = UInt64(bytesBuffered) * 1_000_000_000 / UInt64(Limits.frameBytesPerSecondMin)
      if now.hasPassed(bounds.frameNanoseconds + earned, since: callStart) { return .stalledFrame }
    }
    if let unknownSince, now.hasPassed(bounds.handshakeNanoseconds, since: unknownSince) {
      return .unauthenticated
    }
    // A call that waits for room waits for this side too.
    if case .roomless = intake { return nil }
    guard callsInFlight == 0 else { return nil }
    return now.hasPassed(bounds.idleNanoseconds, since: lastActivity) ? .idle : nil
  }

  /// Whether the peer has been quiet for a second: memory kept for its next burst may go.
  func isQuiet(now: Instant) -> Bool { now.hasPassed(1_000_000_000, since: lastActivity) }
}
