import Glibc
import NeedletailCore
import Synchronization
import Testing

@testable import NeedletailSystem

/// Work of low priority, and how it ages.
@Suite("Background threads", .timeLimit(.minutes(10)))
struct BackgroundThreadsTests {
  /// Scheduling policy and niceness of the calling thread.
  private static func priority() -> (policy: Int32, niceness: Int32) {
    (sched_getscheduler(0), getpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0))
  }

  /// SCHED_IDLE of sched(7), whose name Swift's Glibc module does not have.
  private static let idlePolicy: Int32 = 5

  @Test func workBeginsAtIdlePriorityAndItsCallerKeepsIts() {
    let threads = BackgroundThreads(name: "nt-test")
    let before = Self.priority()
    let found = threads.run { Self.priority() }
    #expect(found.policy == Self.idlePolicy)
    #expect(Self.priority() == before)
  }

  @Test func anErrorOfTheWorkReachesTheCaller() {
    struct Fault: Error, Equatable {}
    let threads = BackgroundThreads(name: "nt-test")
    #expect(throws: Fault()) { try threads.run { () throws(Fault) in throw Fault() } }
    #expect(threads.run { 7 } == 7)
  }

  @Test func agedWorkGoesOnAtAHigherPriorityInOrderAndWithoutLoss() {
    let threads = BackgroundThreads(name: "nt-test")
    threads.startAll()
    var found: [(policy: Int32, niceness: Int32)] = []
    var sum = 0
    threads.run {
      Pieces.forEach(10, size: 1) { range in
        found.append(Self.priority())
        sum = sum * 10 + range.lowerBound
        if [1, 4, 6].contains(range.lowerBound) { threads.raiseLevel() }
      }
    }
    #expect(sum == 123_456_789)
    #expect(found.prefix(2).allSatisfy { $0.policy == Self.idlePolicy })
    #expect(found[2..<5].allSatisfy { $0.policy == 0 && $0.niceness == 19 })
    #expect(found[5..<7].allSatisfy { $0.niceness == 10 })
    #expect(found[7...].allSatisfy { $0.niceness == Self.priority().niceness })
    #expect(threads.run { Self.priority().niceness } == Self.priority().niceness, "the next step goes on there")
    threads.begin()
    #expect(threads.run { Self.priority().niceness } == 10, "the next load begins one level below")
    for _ in 0..<3 { threads.begin() }
    #expect(threads.run { Self.priority().policy } == Self.idlePolicy)
  }

  @Test func urgentWorkRunsAtTheCallersPriorityAndLeavesTheLevelAsItWas() {
    let threads = BackgroundThreads(name: "nt-test")
    threads.begin(isUrgent: true)
    #expect(threads.run { Self.priority().policy } == 0)
    #expect(threads.run { Self.priority().niceness } == Self.priority().niceness)
    threads.end()
    #expect(threads.run { Self.priority().policy } == Self.idlePolicy)
    threads.begin()
    #expect(threads.run { Self.priority().policy } == Self.idlePolicy)
  }

  @Test func aLoopThatEndsEarlyEndsEarlyOnEveryThread() {
    let threads = BackgroundThreads(name: "nt-test")
    threads.startAll()
    var last = -1
    let isWhole = threads.run {
      Pieces.whileTrue(10, size: 3) { range in
        last = range.lowerBound
        if threads.level == 0 { threads.raiseLevel() }
        return range.upperBound < 6
      }
    }
    #expect(!isWhole && last == 3)
  }

  @Test(arguments: [0, 1, 127, 128, 129, 1000])
  func piecesCoverAllOnceAndInOrder(count: Int) {
    var next = 0
    Pieces.forEach(count, size: 128) { range in
      #expect(range.lowerBound == next && range.count <= 128 && !range.isEmpty)
      next = range.upperBound
    }
    #expect(next == count)
  }

  @Test func mappedMemoryIsZero() throws {
    let bytes = (5 << 20) + 12_345
    let block = try #require(PageMemory.map(bytes: bytes))
    PageMemory.touch(block, bytes: bytes)
    #expect(UnsafeRawBufferPointer(start: block, count: bytes).allSatisfy { $0 == 0 })
    PageMemory.unmap(block, bytes: bytes)
  }

  // MARK: starvation

  private static let look: UInt64 = 25_000_000

  /// Looks at a thread for a while: `share` of its time it runs, and it is runnable every `nth` look.
  private func ages(share: Double, runnableEvery nth: Int = 1, looks: Int = 30) -> Int {
    var starvation = Starvation()
    return (0...looks).filter { index in
      let now = UInt64(index) * Self.look
      return starvation.look(
        processorNanoseconds: UInt64(Double(now) * share), isRunnable: index % nth == 0,
        now: Instant(nanoseconds: 1_000 + now))
    }.count
  }

  @Test func aThreadThatGetsNoProcessorStarvesOnceAWindow() {
    // 750 ms.
    #expect(ages(share: 0) == 3)
    #expect(ages(share: 0.1) == 3)
    #expect(ages(share: 0, looks: 7) == 0, "the first 200 ms are not over")
  }

  @Test func anHourWithoutWorkIsNoStarvation() {
    var starvation = Starvation()
    var now: UInt64 = 1_000
    func look() -> Bool {
      now += Self.look
      return starvation.look(processorNanoseconds: 0, isRunnable: true, now: Instant(nanoseconds: now))
    }
    var found = [look()]
    starvation.pause(at: Instant(nanoseconds: now))
    now += 3_600_000_000_000
    starvation.resume(at: Instant(nanoseconds: now))
    for _ in 0..<8 { found.append(look()) }
    #expect(found == [Bool](repeating: false, count: 8) + [true], "only after 200 ms with work")
  }

  @Test func aThreadThatProgressesOrWaitsForADiskDoesNot() {
    #expect(ages(share: 0.5) == 0)
    #expect(ages(share: 0.01, runnableEvery: 3) == 0)
  }
}
