import NeedletailCore
import Testing

@testable import NeedletailSockets

@Suite("Timer", .timeLimit(.minutes(1)))
struct TimerTests {
  @Test func aTimerFiresAtItsTimeEachTimeItIsSet() throws {
    let poller = try Poller()
    let timer = try Timer(poller, token: 3)
    for _ in 0..<3 {
      let due = Instant.now().advanced(byMicroseconds: 2000)
      timer.set(nanoseconds: due.nanoseconds)
      #expect(poller.look() == 0)
      #expect(poller.wait() == 1)
      #expect(poller.event(0).token == 3)
      #expect(Instant.now() >= due)
    }
  }

  @Test func aTimeThatHasPassedFiresAtOnce() throws {
    let poller = try Poller()
    let timer = try Timer(poller, token: 0)
    timer.set(nanoseconds: 0)
    #expect(poller.wait() == 1)
    timer.set(nanoseconds: Instant.now().nanoseconds - 1_000_000)
    #expect(poller.wait() == 1)
  }
}
