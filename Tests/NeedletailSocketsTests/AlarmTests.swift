import NeedletailCore
import Testing

@testable import NeedletailSockets

@Suite("Alarm", .timeLimit(.minutes(1)))
struct AlarmTests {
  @Test func ringsAtItsTimeEachTimeItIsSet() throws {
    let poller = try Poller()
    let alarm = try Alarm(poller, token: 3)
    for _ in 0..<3 {
      let due = Instant.now().advanced(byMicroseconds: 2000)
      alarm.set(nanoseconds: due.nanoseconds)
      #expect(poller.look() == 0)
      #expect(poller.wait() == 1)
      #expect(poller.event(0).token == 3)
      #expect(Instant.now() >= due)
    }
  }

  @Test func ringsAtOnceForATimeThatHasPassed() throws {
    let poller = try Poller()
    let alarm = try Alarm(poller, token: 0)
    alarm.set(nanoseconds: 0)
    #expect(poller.wait() == 1)
    alarm.set(nanoseconds: Instant.now().nanoseconds - 1_000_000)
    #expect(poller.wait() == 1)
  }
}
