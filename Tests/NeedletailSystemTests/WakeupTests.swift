import Foundation
import Glibc
import NeedletailCore
import NeedletailSystem
import Synchronization
import Testing

@Suite("Waking a thread")
struct WakeupTests {
  private static func soon(milliseconds: UInt64) -> Instant {
    Instant.now().advanced(byMicroseconds: milliseconds * 1000)
  }

  @Test func aSignalBeforeTheWaitIsRemembered() {
    let wakeup = Wakeup()
    wakeup.signal()
    #expect(wakeup.wait(until: Self.soon(milliseconds: 0)))
  }

  @Test func severalSignalsBeforeTheWaitAreOne() {
    let wakeup = Wakeup()
    for _ in 0..<3 { wakeup.signal() }
    #expect(wakeup.wait(until: Self.soon(milliseconds: 0)))
    #expect(!wakeup.wait(until: Self.soon(milliseconds: 0)))
  }

  @Test func aWaitEndsAtItsDeadline() {
    let wakeup = Wakeup()
    let start = Instant.now()
    #expect(!wakeup.wait(until: Self.soon(milliseconds: 20)))
    #expect(Instant.now().microseconds(since: start) >= 20_000)
    wakeup.signal()
    #expect(wakeup.wait())
  }

  @Test func noSignalIsLostBetweenTwoThreads() {
    let ping = Wakeup()
    let pong = Wakeup()
    let count = Atomic(0)
    let rounds = 20_000
    let thread = NativeThread.start(name: "nt-test") {
      for _ in 0..<rounds {
        ping.wait()
        count.wrappingAdd(1, ordering: .relaxed)
        pong.signal()
      }
    }
    for _ in 0..<rounds {
      ping.signal()
      guard pong.wait(until: Self.soon(milliseconds: 10_000)) else {
        Issue.record("no answer after \(count.load(ordering: .relaxed)) rounds")
        return
      }
    }
    thread.join()
    let counted = count.load(ordering: .relaxed)
    #expect(counted == rounds)
  }

  /// Whether the descriptor becomes readable within the time.
  private static func isReadable(_ descriptor: Int32, milliseconds: Int32) -> Bool {
    var source = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&source, 1, milliseconds) == 1
  }

  @Test func aSleepingPollerBecomesReadableAndABusyOneDoesNot() throws {
    let wakeup = try PollerWakeup()
    wakeup.signal()
    #expect(!Self.isReadable(wakeup.descriptor, milliseconds: 0))
    #expect(!wakeup.mayBlock())
    #expect(wakeup.takeSignal())
    #expect(!wakeup.takeSignal())
    #expect(wakeup.mayBlock())
    wakeup.signal()
    #expect(Self.isReadable(wakeup.descriptor, milliseconds: 0))
    #expect(wakeup.takeSignal())
    wakeup.clear()
    #expect(!Self.isReadable(wakeup.descriptor, milliseconds: 0))
  }

  @Test func aMonitorWakesEveryWaiterAndEndsAtADeadline() {
    let monitor = Monitor()
    let isOpen = Atomic(false)
    let threads = (0..<4).map { _ in
      NativeThread.start(name: "nt-test") {
        monitor.lock()
        while !isOpen.load(ordering: .relaxed) { monitor.wait() }
        monitor.unlock()
      }
    }
    monitor.lock()
    monitor.wait(until: Self.soon(milliseconds: 5))
    isOpen.store(true, ordering: .relaxed)
    monitor.signalAll()
    monitor.unlock()
    for thread in threads { thread.join() }
  }
}

@Suite("Threads")
struct NativeThreadTests {
  @Test func aThreadHasItsNameNicenessAndProcessors() throws {
    let allowed = try #require(Self.field("Cpus_allowed_list", of: "/proc/self/status"))
    let first = try #require(UInt32(allowed.prefix { $0.isNumber }))
    let found = Mutex<[String]>([])
    NativeThread.start(.init(name: "nt-named-thread-too-long", niceness: 3, processors: [first])) {
      let path = "/proc/thread-self/status"
      let stat = (try? String(contentsOfFile: "/proc/thread-self/stat", encoding: .utf8)) ?? ""
      let fields = stat.drop { $0 != ")" }.split(separator: " ")
      found.withLock {
        $0 = [
          Self.field("Name", of: path) ?? "", fields.count > 17 ? String(fields[17]) : "",
          Self.field("Cpus_allowed_list", of: path) ?? "",
        ]
      }
    }.join()
    // The niceness is field 19 of proc(5), the 17th after the name.
    #expect(found.withLock { $0 } == ["nt-named-thread", "3", "\(first)"])
  }

  @Test func missingProcessorsDoNotStopAThread() {
    let isRun = Atomic(false)
    NativeThread.start(.init(name: "nt-test", processors: [100_000])) { isRun.store(true, ordering: .relaxed) }.join()
    let wasRun = isRun.load(ordering: .relaxed)
    #expect(wasRun)
  }

  @Test func processorTimeCountsWorkAndNotSleep() {
    let before = NativeThread.processorNanoseconds
    usleep(30_000)
    #expect(NativeThread.processorNanoseconds - before < 20_000_000)
    var sum: UInt64 = 0
    while NativeThread.processorNanoseconds - before < 5_000_000 { sum &+= 1 }
    #expect(sum > 0)
  }

  private static func field(_ name: String, of path: String) -> String? {
    try? String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
      .first { $0.hasPrefix(name + ":") }?.dropFirst(name.count + 1).trimmingCharacters(in: .whitespaces)
  }
}
