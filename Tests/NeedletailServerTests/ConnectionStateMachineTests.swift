import NIOCore
import NeedletailCore
import NeedletailWire
import Testing

@testable import NeedletailServer

@Suite("Connection state machine")
struct ConnectionStateMachineTests {
  /// Moved by hand; starts at a second.
  private struct Clock {
    var now = Instant(nanoseconds: 1_000_000_000)
    mutating func pass(milliseconds: UInt64) { now.nanoseconds += milliseconds * 1_000_000 }
  }

  private static var bounds: ConnectionStateMachine.Bounds {
    var limits = ServerConfiguration.ConnectionLimits()
    limits.frameBytesMax = 1024
    limits.callsInFlightMax = 2
    limits.idle = .milliseconds(3000)
    limits.frame = .milliseconds(1000)
    limits.stall = .milliseconds(500)
    return .init(limits)
  }

  private static func frame(_ length: Int) -> [UInt8] {
    withUnsafeBytes(of: UInt32(length).bigEndian) { Array($0) } + [UInt8](repeating: 7, count: length)
  }

  private static func receive(_ bytes: [UInt8], _ state: inout ConnectionStateMachine, _ clock: Clock) {
    var buffer = ByteBuffer(bytes: bytes)
    state.receive(&buffer, now: clock.now)
  }

  /// The action's name, for comparison; an executed frame with its length.
  private static func next(_ state: inout ConnectionStateMachine, _ clock: Clock) -> String {
    switch state.next(now: clock.now) {
    case .execute(let frame): "execute \(frame.bytes.readableBytes)"
    case .refuse: "refuse"
    case .settle: "settle"
    case .fail(let error): "fail \(error.reason)"
    case .wait: "wait"
    }
  }

  // MARK: frames

  @Test func givesOutWholeFramesInOrderAndThenWaits() {
    let clock = Clock()
    var state = ConnectionStateMachine(bounds: Self.bounds, now: clock.now)
    Self.receive(Self.frame(3) + Self.frame(5) + [0, 0], &state, clock)
    #expect(Self.next(&state, clock) == "execute 3")
    #expect(Self.next(&state, clock) == "execute 5")
    #expect(Self.next(&state, clock) == "wait")
    Self.receive([0, 1, 9], &state, clock)
    #expect(Self.next(&state, clock) == "execute 1")
  }

  @Test func knowsWhenAFrameBeganAndWhenItWasWhole() throws {
    var clock = Clock()
    var state = ConnectionStateMachine(bounds: Self.bounds, now: clock.now)
    let bytes = Self.frame(8)
    let began = clock.now
    Self.receive(Array(bytes[..<6]), &state, clock)
    #expect(Self.next(&state, clock) == "wait")
    clock.pass(milliseconds: 40)
    let arrived = clock.now
    Self.receive(Array(bytes[6...]) + Self.frame(2), &state, clock)
    // Taken later than it came: a budget counts from its arrival.
    clock.pass(milliseconds: 7)
    guard case .execute(let first) = state.next(now: clock.now), case .execute(let second) = state.next(now: clock.now)
    else {
      Issue.record("two frames had arrived")
      return
    }
    #expect(first.began == began && first.arrived == arrived)
    #expect(second.began == arrived && second.arrived == arrived)
  }

  @Test func takesNoMoreCallsThanMayBeInFlight() {
    let clock = Clock()
    var state = ConnectionStateMachine(bounds: Self.bounds, now: clock.now)
    Self.receive(Self.frame(1) + Self.frame(1) + Self.frame(1), &state, clock)
    for id in 1...2 as ClosedRange<UInt64> {
      #expect(Self.next(&state, clock) == "execute 1")
      state.accept(id: id)
    }
    #expect(Self.next(&state, clock) == "settle")
    state.settle(now: clock.now)
    #expect(Self.next(&state, clock) == "execute 1")
  }

  @Test(arguments: [([0, 0, 0, 0] as [UInt8], "fail empty_frame"), (Array("GET / HTTP/1.1".utf8), "fail too_long")])
  func failsOnceWhereTheBoundaryOfFramesIsLostAndTakesNothingAfter(bytes: [UInt8], expected: String) {
    let clock = Clock()
    var state = ConnectionStateMachine(bounds: Self.bounds, now: clock.now)
    Self.receive(bytes, &state, clock)
    #expect(Self.next(&state, clock) == expected)
    Self.receive(Self.frame(1), &state, clock)
    #expect(Self.next(&state, clock) == "wait")
    #expect(state.end() == .endOutput)
    #expect(state.end() == .wait, "the end is ordered once")
  }

  // MARK: slow peers

  @Test func takesNoCallWhileThePeerDoesNotRead() {
    let clock = Clock()
    var state = ConnectionStateMachine(bounds: Self.bounds, now: clock.now)
    state.writability(false, now: clock.now)
    #expect(state.isBlocked == true)
    #expect(state.wantsBytes == false)
    Self.receive(Self.frame(1), &state, clock)
    #expect(Self.next(&state, clock) == "wait")
    state.writability(true, now: clock.now)
    #expect(state.isBlocked == false)
    #expect(state.wantsBytes == true)
    #expect(Self.next(&state, clock) == "execute 1")
  }

  @Test func aPeerThatTakesNoAnswerIsOverdueAfterTheStallTime() {
    var clock = Clock()
    var state = ConnectionStateMachine(bounds: Self.bounds, now: clock.now)
    state.writability(false, now: clock.now)
    clock.pass(milliseconds: 499)
    state.writability(false, now: clock.now)
    #expect(state.overdue(now: clock.now) == nil)
    clock.pass(milliseconds: 1)
    #expect(state.overdue(now: clock.now) == .slowReader)
  }

  @Test func halfAFrameAndSilenceIsAStalledPeer() {
    var clock = Clock()
    var state = ConnectionStateMachine(bounds: Self.bounds, now: clock.now)
    Self.receive([0, 0, 0, 9, 1], &state, clock)
    #expect(Self.next(&state, clock) == "wait")
    clock.pass(milliseconds: 999)
    #expect(state.overdue(now: clock.now) == nil)
    // A byte now and then does not help: the time is that of the whole frame.
    Self.receive([1], &state, clock)
    #expect(Self.next(&state, clock) == "wait")
    clock.pass(milliseconds: 2)
    #expect(state.overdue(now: clock.now) == .stalledFrame)
  }

  @Test func aConnectionIsIdleOnlyWhileNothingIsOwedToIt() {
    var clock = Clock()
    var state = ConnectionStateMachine(bounds: Self.bounds, now: clock.now)
    Self.receive(Self.frame(1), &state, clock)
    _ = state.next(now: clock.now)
    state.accept(id: 1)
    clock.pass(milliseconds: 5000)
    #expect(state.overdue(now: clock.now) == nil)
    state.settle(now: clock.now)
    clock.pass(milliseconds: 2999)
    #expect(state.overdue(now: clock.now) == nil)
    clock.pass(milliseconds: 1)
    #expect(state.overdue(now: clock.now) == .idle)
  }

  @Test func aClockThatStandsBeforeTheStartIsNoTimeout() {
    var clock = Clock()
    clock.pass(milliseconds: 60_000)
    let state = ConnectionStateMachine(bounds: Self.bounds, now: clock.now)
    #expect(state.overdue(now: Instant(nanoseconds: 0)) == nil)
  }

  // MARK: ends

  @Test func goAwayNamesTheLargestIdTakenAndCallsAfterItAreRefused() {
    let clock = Clock()
    var state = ConnectionStateMachine(bounds: Self.bounds, now: clock.now)
    Self.receive(Self.frame(1), &state, clock)
    _ = state.next(now: clock.now)
    state.accept(id: 9)
    #expect(state.goAway() == 9)
    #expect(state.goAway() == nil, "told once")
    Self.receive(Self.frame(1), &state, clock)
    #expect(Self.next(&state, clock) == "refuse")
    #expect(state.end() == .wait, "the client closes, for it may still read")
  }

  @Test func aPeerThatEndedItsSideGetsItsAnswersBeforeTheEnd() {
    let clock = Clock()
    var state = ConnectionStateMachine(bounds: Self.bounds, now: clock.now)
    Self.receive(Self.frame(1), &state, clock)
    _ = state.next(now: clock.now)
    state.accept(id: 1)
    #expect(state.endInput(now: clock.now) == false)
    #expect(state.end() == .wait)
    state.settle(now: clock.now)
    #expect(state.end() == .close)
  }

  @Test func aPeerThatEndsWithinAFrameIsTold() {
    let clock = Clock()
    var state = ConnectionStateMachine(bounds: Self.bounds, now: clock.now)
    Self.receive([0, 0, 0], &state, clock)
    #expect(Self.next(&state, clock) == "wait")
    #expect(state.endInput(now: clock.now) == true)
  }

  @Test func aPeerThatWasToldEverythingAndStaysIsLingering() {
    var clock = Clock()
    var state = ConnectionStateMachine(bounds: Self.bounds, now: clock.now)
    Self.receive([0, 0, 0, 0], &state, clock)
    _ = state.next(now: clock.now)
    clock.pass(milliseconds: 500)
    #expect(state.overdue(now: clock.now) == .lingering)
    state.close()
    #expect(state.overdue(now: clock.now) == nil)
  }
}
