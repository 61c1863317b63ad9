internal import NeedletailCore

/// How long a call may wait in a queue, by the idea of CoDel (controlled delay): a queue that empties now and then
/// absorbs a burst, while a queue that has not been empty for some time only adds delay.
///
/// A call may wait one interval if the queue was empty within the last interval. Otherwise the queue is overloaded,
/// and a call may wait no longer than the target. The queue also counts as overloaded for one interval after a
/// rejection: a queue that is short because of rejections has no less to do.
/// Sources: K. Nichols, V. Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012; B. Maurer, "Fail at Scale",
/// ACM Queue 13(8), 2015, which has this form for servers.
struct CoDel {
  private(set) var targetNanoseconds: UInt64
  private var lastEmpty: Instant
  private var lastRejection: Instant?

  init(targetNanoseconds: UInt64, now: Instant) {
    self.targetNanoseconds = targetNanoseconds
    lastEmpty = now
  }

  /// Ten targets, bounded on both sides: longer than any burst that is served in time anyway.
  var intervalNanoseconds: UInt64 {
    max(
      targetNanoseconds,
      min(max(targetNanoseconds &* 10, Limits.queueIntervalNanosecondsMin), Limits.queueIntervalNanosecondsMax))
  }

  /// Sets the target to twice the service time, so that a running batch and one waiting behind it fit.
  mutating func setTarget(serviceNanoseconds: UInt64) {
    targetNanoseconds = max(Limits.queueTargetNanosecondsMin, serviceNanoseconds &* 2)
  }

  mutating func isEmpty(at now: Instant) { lastEmpty = max(lastEmpty, now) }

  /// Notes that a call found no room, or waited too long.
  mutating func rejected(at now: Instant) { lastRejection = now }

  func isOverloaded(at now: Instant) -> Bool {
    Self.time(from: lastEmpty, to: now) > intervalNanoseconds
      || lastRejection.map { Self.time(from: $0, to: now) <= intervalNanoseconds } ?? false
  }

  private static func time(from earlier: Instant, to now: Instant) -> UInt64 {
    now.nanoseconds > earlier.nanoseconds ? now.nanoseconds - earlier.nanoseconds : 0
  }

  /// Longest time that a call may wait.
  func boundNanoseconds(at now: Instant) -> UInt64 {
    isOverloaded(at: now) ? targetNanoseconds : intervalNanoseconds
  }
}
