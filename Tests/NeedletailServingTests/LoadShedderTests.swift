import NeedletailCore
import NeedletailServing
import Testing

/// A loop that is simulated: calls arrive at a steady rate and cost the same, and a tick takes all that has come.
@Suite("Load shedder")
struct LoadShedderTests {
  private static let target: UInt64 = 5_000_000

  private struct Loop {
    let callNanoseconds: UInt64
    var now: UInt64 = 1_000_000_000
    var shedder: LoadShedder
    /// Arrival of the next call.
    var next: UInt64
    var answered = 0
    var rejected = 0
    /// Longest time from a call's arrival to the end of its tick.
    var longest: UInt64 = 0

    init(callNanoseconds: UInt64) {
      self.callNanoseconds = callNanoseconds
      shedder = LoadShedder(targetNanoseconds: LoadShedderTests.target, now: Instant(nanoseconds: now))
      next = now
    }

    /// Serves calls that arrive at `load` times what the loop can compute, and forgets what it counted before.
    mutating func serve(load: Double, milliseconds: UInt64) {
      (answered, rejected, longest) = (0, 0, 0)
      let end = now + milliseconds * 1_000_000
      let interval = UInt64(Double(callNanoseconds) / load)
      while now < end {
        now = max(now, next)
        shedder.begin(now: Instant(nanoseconds: now))
        var pending: UInt64 = 0
        let first = next
        while next <= now {
          let excess = shedder.excess(
            now: Instant(nanoseconds: now), pendingNanoseconds: pending, workNanoseconds: pending)
          if excess == 0 {
            pending += callNanoseconds
            answered += 1
          } else {
            rejected += 1
          }
          next += interval
        }
        // To read and reject calls takes a moment too.
        now += pending + 1000
        if pending > 0 { longest = max(longest, now - first) }
        shedder.end(now: Instant(nanoseconds: now), workNanoseconds: pending)
      }
    }

    /// Share of its time that the loop has computed answers.
    func goodput(milliseconds: UInt64) -> Double {
      Double(UInt64(answered) * callNanoseconds) / Double(milliseconds * 1_000_000)
    }
  }

  @Test(arguments: [10_000, 50_000, 150_000] as [UInt64], [0.2, 0.5, 0.8, 0.9])
  func nothingIsRejectedBelowTheCapacity(callNanoseconds: UInt64, load: Double) {
    var loop = Loop(callNanoseconds: callNanoseconds)
    loop.serve(load: load, milliseconds: 2000)
    #expect(loop.rejected == 0)
  }

  @Test(arguments: [10_000, 50_000, 150_000] as [UInt64], [1.5, 2, 10])
  func anOverloadedLoopComputesAllTheTimeAndKeepsItsCallersWaitingShort(callNanoseconds: UInt64, load: Double) {
    var loop = Loop(callNanoseconds: callNanoseconds)
    loop.serve(load: load, milliseconds: 200)
    loop.serve(load: load, milliseconds: 2000)
    #expect(loop.goodput(milliseconds: 2000) >= 0.9)
    #expect(loop.rejected > 0)
    #expect(loop.longest <= 2 * Self.target, "\(loop.longest) ns")
  }

  @Test(arguments: [2, 10] as [Double])
  func rejectionsEndSoonAfterTheOverload(load: Double) {
    var loop = Loop(callNanoseconds: 50_000)
    loop.serve(load: load, milliseconds: 1000)
    loop.serve(load: 0.5, milliseconds: 100)
    loop.serve(load: 0.5, milliseconds: 1000)
    #expect(loop.rejected == 0)
  }

  @Test func aBurstIsServedWholeAndALongerOneIsCutAtOnce() {
    for (milliseconds, isCut) in [(30, false), (100, true)] as [(UInt64, Bool)] {
      var loop = Loop(callNanoseconds: 50_000)
      loop.serve(load: 0.1, milliseconds: 100)
      // All calls of the burst have arrived when the loop looks.
      loop.next = loop.now
      loop.now += milliseconds * 1_000_000
      loop.serve(load: 1, milliseconds: 1)
      #expect((loop.rejected > 0) == isCut, "a burst of \(milliseconds) ms")
    }
  }

  @Test func aMachineThatTakesTheProcessorAwayIsNoOverload() {
    var shedder = LoadShedder(targetNanoseconds: Self.target, now: Instant(nanoseconds: 0))
    var now = Instant(nanoseconds: 0)
    for _ in 0..<50 {
      shedder.begin(now: now)
      now.nanoseconds += 20_000_000
      shedder.end(now: now, workNanoseconds: 1_000_000)
    }
    #expect(!shedder.isOverloaded)
  }
}
