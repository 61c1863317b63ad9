import NeedletailCore
import Testing

@testable import NeedletailServer

@Suite("Connection state machine")
struct ConnectionStateMachineTests {
  /// A machine with a clock that is moved by hand and starts at one second.
  fileprivate struct Bench: ~Copyable {
    var state: ConnectionStateMachine
    var now = Instant(nanoseconds: 1_000_000_000)

    init(isAuthenticated: Bool = true) {
      var limits = ServerConfiguration.ConnectionLimits()
      limits.frameBytesMax = 1 << 20
      limits.callsInFlightMax = 2
      limits.outputBytesMax = 1000
      limits.idle = .milliseconds(3000)
      limits.frame = .milliseconds(1000)
      limits.stall = .milliseconds(500)
      limits.handshake = .milliseconds(700)
      state = ConnectionStateMachine(
        bounds: .init(limits), isAuthenticated: isAuthenticated, now: Instant(nanoseconds: 1_000_000_000))
    }

    mutating func pass(milliseconds: UInt64) { now.nanoseconds += milliseconds * 1_000_000 }

    /// Takes a call that is accepted; nil: none may be taken now.
    @discardableResult
    mutating func take(id: UInt64 = 1, outputBytes: Int = 0) -> ConnectionStateMachine.CallTimes? {
      guard state.mayTakeCall(outputBytes: outputBytes) else { return nil }
      let times = state.takeCall()
      state.accept(id: id)
      return times
    }

    mutating func answer() { state.answered(now: now) }

    mutating func flush(unsentBytes: Int = 0, heldBytes: Int = 0, isMemoryShort: Bool = false) -> Bool {
      state.flushed(unsentBytes: unsentBytes, heldBytes: heldBytes, isMemoryShort: isMemoryShort)
    }

    /// All steps towards the end that follow a flush.
    mutating func end(queuedBytes: Int = 0, unsentBytes: Int = 0) -> [ConnectionStateMachine.EndAction] {
      var actions: [ConnectionStateMachine.EndAction] = []
      while true {
        let action = state.end(queuedBytes: queuedBytes, unsentBytes: unsentBytes, now: now)
        actions.append(action)
        if action == .wait || action == .close { return actions }
      }
    }
  }

  /// What leads a connection into a state in which it takes no calls, and what leads out of it.
  fileprivate enum Step: String, CaseIterable {
    case paused
    case heldBackByCallsInFlight
    case heldBackByOutput
    case heldBackByCodec
    case roomless
    case blocked
  }

  private static let high = Limits.outputBytesHighWater

  private static func enter(_ step: Step, _ bench: inout Bench) {
    switch step {
    case .paused: #expect(bench.state.pauseReading(ReadPause(nanoseconds: 1000)) == true)
    case .heldBackByCallsInFlight:
      bench.take(id: 1)
      bench.take(id: 2)
      #expect(bench.take(id: 3) == nil)
    case .heldBackByOutput: #expect(bench.take(outputBytes: high) == nil)
    case .heldBackByCodec:
      bench.take()
      bench.state.holdBack()
    case .roomless:
      let times = bench.take()!
      bench.state.answered(now: bench.now)
      #expect(bench.state.hasRoom(for: 600, heldBytes: 401) == false)
      bench.state.putBack(times, answerBytes: 600)
      #expect(bench.flush(heldBytes: 401) == false)
    case .blocked: #expect(bench.flush(unsentBytes: high + 1) == false)
    }
  }

  /// - Returns: whether the machine says that calls can be taken again.
  private static func leave(_ step: Step, _ bench: inout Bench) -> Bool {
    switch step {
    case .paused: return bench.state.endPause() != nil
    case .heldBackByCallsInFlight, .heldBackByCodec:
      bench.answer()
      return bench.flush()
    case .roomless: return bench.flush(heldBytes: 400)
    case .heldBackByOutput, .blocked: return bench.flush()
    }
  }

  // MARK: states of the intake

  @Test(arguments: Step.allCases)
  fileprivate func aConnectionThatTakesNoCallsIsNotReadUntilTheStateEnds(_ step: Step) {
    var bench = Bench()
    #expect(bench.state.wantsBytes == true)
    Self.enter(step, &bench)
    #expect(bench.state.wantsBytes == false)
    #expect(bench.take(id: 9) == nil)
    #expect(Self.leave(step, &bench) == true)
    #expect(bench.state.wantsBytes == true)
    #expect(bench.take(id: 9) != nil)
  }

  @Test(arguments: Step.allCases)
  fileprivate func aPeerThatDoesNotReadBlocksTheConnectionWhateverItsState(_ step: Step) {
    var bench = Bench()
    Self.enter(step, &bench)
    #expect(bench.flush(unsentBytes: Self.high + 1) == false)
    #expect(bench.state.endPause() == nil, "being blocked replaces a pause")
    bench.answerAll()
    #expect(bench.flush(unsentBytes: Self.high / 4 + 1) == false, "it must fall far below what blocked it")
    #expect(bench.state.wantsBytes == false)
    #expect(bench.flush(unsentBytes: Self.high / 4) == true)
    #expect(bench.take(id: 9) != nil)
  }

  @Test(arguments: Step.allCases)
  fileprivate func goAwayLetsCallsThatHadToWaitBeRejected(_ step: Step) {
    var bench = Bench()
    Self.enter(step, &bench)
    #expect(bench.state.goAway() != nil)
    #expect(bench.state.isDraining == true)
    #expect(Self.leave(step, &bench) == true)
    #expect(bench.state.mayTakeCall(outputBytes: 0) == true)
  }

  @Test(arguments: Step.allCases)
  fileprivate func callsThatArrivedBeforeTheEndOfTheStreamAreTakenAfterTheWait(_ step: Step) {
    var bench = Bench()
    Self.enter(step, &bench)
    bench.state.endInput()
    #expect(bench.end() == [.wait], "calls may be left")
    #expect(Self.leave(step, &bench) == true)
    #expect(bench.take(id: 9) != nil)
    #expect(bench.state.ranDry(hasPart: false) == false)
    #expect(bench.take(id: 10) == nil)
    bench.answerAll()
    #expect(bench.end() == [.endEncryption, .close])
  }

  @Test func aFlushThatLeavesCallsInFlightAtTheirLimitDoesNotResume() {
    var bench = Bench()
    Self.enter(.heldBackByCallsInFlight, &bench)
    #expect(bench.flush() == false)
    bench.answer()
    #expect(bench.flush() == true)
    #expect(bench.flush() == false, "it is said once")
  }

  @Test func aPauseIsNotMadeWhereTheConnectionIsNotReadAnyway() {
    for step in [Step.heldBackByCallsInFlight, .heldBackByOutput, .roomless, .blocked] {
      var bench = Bench()
      Self.enter(step, &bench)
      #expect(bench.state.pauseReading(ReadPause(nanoseconds: 1)) == false)
      #expect(Self.leave(step, &bench) == true)
    }
    var ended = Bench()
    ended.state.endInput()
    #expect(ended.state.pauseReading(ReadPause(nanoseconds: 1)) == false)
  }

  @Test func aConnectionThatClosesDuringAPauseIsNotReadAtItsEnd() {
    var bench = Bench()
    Self.enter(.paused, &bench)
    bench.state.close()
    #expect(bench.state.endPause() == nil)
  }

  @Test func aPauseKeepsTheNumberOfEmptyReads() {
    var bench = Bench()
    #expect(bench.state.pauseReading(ReadPause(nanoseconds: 7, emptyReads: 3)) == true)
    #expect(bench.state.endPause() == ReadPause(nanoseconds: 7, emptyReads: 3))
    #expect(bench.state.endPause() == nil)
  }

  // MARK: calls

  @Test func aCallHasTheTimesOfItsFirstAndLastByte() {
    var bench = Bench()
    let began = bench.now
    bench.state.received(now: bench.now)
    #expect(bench.state.ranDry(hasPart: true) == false)
    bench.pass(milliseconds: 40)
    let arrived = bench.now
    bench.state.received(now: bench.now)
    // Taken later than it came: a budget counts from the arrival.
    bench.pass(milliseconds: 7)
    #expect(bench.take() == .init(began: began, arrived: arrived))
    #expect(bench.take() == .init(began: arrived, arrived: arrived))
  }

  @Test func callsOtherThanPredictHaveALimitOfTheirOwn() {
    var limits = ServerConfiguration.ConnectionLimits()
    limits.callsInFlightMax = 100
    let now = Instant(nanoseconds: 0)
    var state = ConnectionStateMachine(bounds: .init(limits), now: now)
    for id in 1...Limits.controlCallsInFlightMax { #expect(state.acceptControl(id: UInt64(id)) == true) }
    #expect(state.acceptControl(id: 99) == false)
    state.answeredControl(now: now)
    #expect(state.acceptControl(id: 99) == true)
    #expect(state.callsInFlight == Limits.controlCallsInFlightMax)
  }

  @Test func onlyAnAuthenticatedPeerMaySendLongCalls() {
    var bench = Bench(isAuthenticated: false)
    #expect(bench.state.callBytesMax == Limits.frameBytesMaxUnauthenticated)
    bench.pass(milliseconds: 700)
    #expect(bench.state.overdue(now: bench.now) == .unauthenticated)
    bench.state.authenticate()
    #expect(bench.state.callBytesMax == 1 << 20)
    #expect(bench.state.overdue(now: bench.now) == nil)
  }

  // MARK: time limits

  @Test func whileMemoryIsShortAPeerWithUnsentAnswersIsNotRead() {
    var bench = Bench()
    #expect(bench.flush(unsentBytes: 1, isMemoryShort: true) == false)
    #expect(bench.state.wantsBytes == false)
    #expect(bench.flush(unsentBytes: 1, isMemoryShort: true) == false)
    #expect(bench.flush(unsentBytes: 0, isMemoryShort: true) == true)
  }

  @Test func aPeerThatReadsItsLastAnswersIsNeitherIdleNorLingering() {
    var bench = Bench()
    bench.take()
    bench.state.endInput()
    _ = bench.state.ranDry(hasPart: false)
    bench.answer()
    bench.state.outputWaits(taken: 0, now: bench.now)
    for step in 1...100 {
      bench.pass(milliseconds: 100)
      bench.state.outputWaits(taken: step * Limits.answerBytesPerSecondMin, now: bench.now)
      #expect(bench.state.overdue(now: bench.now) == nil)
    }
    #expect(bench.end(queuedBytes: 1, unsentBytes: 2) == [.wait], "what is not encoded precedes the end")
    #expect(bench.end(unsentBytes: 1) == [.endEncryption, .wait])
    bench.state.outputFlows(now: bench.now)
    #expect(bench.end() == [.close])
  }

  // MARK: room for answers

  @Test func anAnswerWaitsForRoomBesideOthersAndAloneMayBeOfAnySize() {
    let bench = Bench()
    #expect(bench.state.hasRoom(for: 600, heldBytes: 400) == true)
    #expect(bench.state.hasRoom(for: 601, heldBytes: 400) == false)
    #expect(bench.state.hasRoom(for: 64 << 20, heldBytes: 0) == true)
  }

  @Test func aCallThatIsPutBackKeepsItsTimes() {
    var bench = Bench()
    let began = bench.now
    bench.state.received(now: bench.now)
    _ = bench.state.ranDry(hasPart: true)
    bench.pass(milliseconds: 40)
    bench.state.received(now: bench.now)
    let times = bench.state.takeCall()
    bench.state.putBack(times, answerBytes: 1000)
    bench.pass(milliseconds: 5000)
    #expect(bench.state.overdue(bytesBuffered: 9, now: bench.now) == nil, "it waits for this side")
    #expect(bench.flush(heldBytes: 0) == true)
    #expect(bench.take() == times)
    #expect(times.began == began)
  }

  @Test func halfACallAndSilenceIsAStalledPeer() {
    var bench = Bench()
    bench.state.received(now: bench.now)
    _ = bench.state.ranDry(hasPart: true)
    bench.pass(milliseconds: 999)
    #expect(bench.state.overdue(bytesBuffered: 5, now: bench.now) == nil)
    // A byte now and then does not help: the time is that of the whole call.
    bench.state.received(now: bench.now)
    _ = bench.state.ranDry(hasPart: true)
    bench.pass(milliseconds: 2)
    #expect(bench.state.overdue(bytesBuffered: 6, now: bench.now) == .stalledFrame)
    #expect(
      bench.state.overdue(bytesBuffered: Limits.frameBytesPerSecondMin, now: bench.now) == nil,
      "a long call that moves has more time")
  }

  @Test func aCallCannotStallWhileThisSideDoesNotRead() {
    var bench = Bench()
    bench.state.received(now: bench.now)
    bench.take(id: 1)
    _ = bench.state.ranDry(hasPart: true)
    bench.take(id: 2)
    #expect(bench.take(id: 3) == nil)
    bench.pass(milliseconds: 5000)
    #expect(bench.state.overdue(bytesBuffered: 5, now: bench.now) == nil)
  }

  @Test func aConnectionIsIdleOnlyWhileNothingIsOwedToIt() {
    var bench = Bench()
    bench.take()
    bench.pass(milliseconds: 5000)
    #expect(bench.state.overdue(now: bench.now) == nil)
    bench.answer()
    bench.pass(milliseconds: 2999)
    #expect(bench.state.overdue(now: bench.now) == nil)
    bench.pass(milliseconds: 1)
    #expect(bench.state.overdue(now: bench.now) == .idle)
  }

  @Test func aClockThatStandsBeforeTheStartIsNoTimeout() {
    let bench = Bench()
    #expect(bench.state.overdue(now: Instant(nanoseconds: 0)) == nil)
  }

  // MARK: ends

  @Test func goAwayNamesTheLargestIdTaken() {
    var bench = Bench()
    bench.take(id: 9)
    bench.answer()
    bench.take(id: 4)
    #expect(bench.state.goAway() == 9)
    #expect(bench.state.goAway() == nil, "announced once")
    #expect(bench.end() == [.wait], "the client closes, for it may still read")
  }

  @Test func aPeerThatEndedItsSideGetsItsAnswersBeforeTheEnd() {
    var bench = Bench()
    bench.take()
    bench.state.endInput()
    #expect(bench.state.ranDry(hasPart: false) == false)
    #expect(bench.end() == [.wait])
    bench.answer()
    #expect(bench.end(unsentBytes: 10) == [.endEncryption, .wait], "bytes wait for the socket")
    #expect(bench.end() == [.close])
  }

  @Test func aPeerThatEndsWithinACallIsReported() {
    var bench = Bench()
    bench.state.received(now: bench.now)
    bench.state.endInput()
    #expect(bench.state.ranDry(hasPart: true) == true)
  }

  @Test func afterTheLastCallThisSideEndsAndWaitsForThePeer() {
    var bench = Bench()
    bench.take()
    bench.state.endCalls()
    #expect(bench.take() == nil)
    #expect(bench.state.wantsBytes == true, "bytes are read and thrown away, so that the peer reads the answer")
    #expect(bench.state.takesCalls == false)
    #expect(bench.end() == [.wait])
    bench.answer()
    #expect(bench.end() == [.endEncryption, .endOutput, .wait])
    bench.pass(milliseconds: 500)
    #expect(bench.state.overdue(now: bench.now) == .lingering)
    bench.state.endInput()
    #expect(bench.end() == [.close])
    bench.state.close()
    #expect(bench.state.overdue(now: bench.now) == nil)
  }

  @Test func aConnectionThatIsMadeToLeaveClosesWhenItsCallsAreAnswered() {
    var bench = Bench()
    bench.take()
    _ = bench.state.goAway()
    bench.state.leave()
    #expect(bench.end() == [.wait])
    bench.answer()
    #expect(bench.end() == [.endEncryption, .close])
  }
}

extension ConnectionStateMachineTests.Bench {
  mutating func answerAll() {
    while state.callsInFlight > 0 { answer() }
  }
}
