import Foundation
import NeedletailCore
import Synchronization
import Testing

@testable import NeedletailSockets

@Suite("Timer", .timeLimit(.minutes(10)))
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

@Suite("Inbox", .timeLimit(.minutes(10)))
struct InboxTests {
  /// A thread that waits and runs tasks.
  private final class Sleeper: Sendable {
    let inbox: Inbox
    let order = Mutex<[Int]>([])

    init() throws { inbox = try Inbox() }

    func run(until count: Int) throws {
      let poller = try Poller()
      try inbox.attach(to: poller, token: 7)
      var tasks: [Inbox.Task] = []
      while order.withLock({ $0.count < count }) {
        let events = inbox.sleep() ? poller.wait() : poller.look()
        for index in 0..<events { #expect(poller.event(index).token == 7) }
        guard inbox.awake() else { continue }
        inbox.take(into: &tasks)
        for task in tasks { task() }
      }
    }

    func note(_ number: Int) { order.withLock { $0.append(number) } }
  }

  @Test func postedTasksRunInTheirOrderAndNoWakeUpIsLost() async throws {
    let sleeper = try Sleeper()
    let posted = 20_000
    async let done: Void = Task.detached { try sleeper.run(until: posted) }.value
    for number in 0..<posted {
      sleeper.inbox.post { sleeper.note(number) }
      // Sometimes it is busy, sometimes it falls asleep.
      if number % 64 == 0 { usleep(50) }
    }
    try await done
    #expect(sleeper.order.withLock { $0 } == Array(0..<posted))
  }

  @Test func aThreadThatIsAwakeIsNotWokenByTheKernel() throws {
    let inbox = try Inbox()
    let poller = try Poller()
    try inbox.attach(to: poller, token: 0)
    inbox.wake()
    #expect(poller.look() == 0)
    #expect(!inbox.sleep(), "a wake-up that came before must not be slept through")
    #expect(inbox.awake())
    #expect(inbox.sleep())
    inbox.wake()
    #expect(poller.look() == 1)
    #expect(inbox.awake())
    #expect(poller.look() == 0, "reported once")
  }
}
