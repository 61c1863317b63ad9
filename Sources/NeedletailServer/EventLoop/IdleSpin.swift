internal import NeedletailCore
internal import NeedletailSockets
internal import NeedletailSystem

/// Whether an event loop that has nothing to do goes on looking for a while before it waits. Pure.
///
/// Waking a thread whose processor was asleep takes some 13 µs, more than a small call takes. Looking
/// costs a processor instead, so it is by choice, bounded, and given up for a while where others want the processor: between
/// two looks time has passed, and the system has taken the processor away. Time alone proves nothing: a
/// virtual machine had 400 to 600 gaps of 20 µs a second, by its host and by interrupts, and three of them by other threads.
struct IdleSpin {
  /// Longest time without an event; 0: never look.
  private let nanoseconds: UInt64
  private var start = Instant(nanoseconds: 0)
  private var lastLook = Instant(nanoseconds: 0)
  private var givenUpUntil = Instant(nanoseconds: 0)
  private var preemptionsKnown: UInt64 = 0

  init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

  var isOn: Bool { nanoseconds > 0 }

  /// Begins to look.
  /// - Returns: whether to look at all.
  mutating func begins(at now: Instant) -> Bool {
    guard isOn, now >= givenUpUntil else { return false }
    start = now
    lastLook = now
    return true
  }

  /// Notes a look that found nothing.
  ///
  /// - Parameter preemptions: how often others have taken the processor from this thread so far; asked only after a gap,
  ///   for asking is a system call.
  /// - Returns: whether to look again.
  mutating func foundNothing(at now: Instant, preemptions: () -> UInt64) -> Bool {
    if now.nanoseconds &- lastLook.nanoseconds >= Limits.spinGapNanosecondsMax {
      let count = preemptions()
      if count != preemptionsKnown {
        preemptionsKnown = count
        givenUpUntil = Instant(nanoseconds: now.nanoseconds &+ Limits.spinGivenUpNanoseconds)
        return false
      }
    }
    lastLook = now
    return now.nanoseconds &- start.nanoseconds < nanoseconds
  }
}

extension IdleSpin {
  /// Waits until something has happened, after looking for a while where that is configured.
  /// - Returns: how many events there are.
  mutating func wait(_ poller: borrowing Poller) -> Int {
    guard isOn, begins(at: .now()) else { return poller.wait() }
    repeat {
      let events = poller.look()
      if events > 0 { return events }
    } while foundNothing(at: .now(), preemptions: NativeThread.preemptions)
    return poller.wait()
  }
}
