internal import NeedletailCore

/// How long a call may wait, by CoDel's idea: a queue that empties now and then absorbs a burst, one that
/// has not been empty for a while only adds delay.
///
/// While the queue was empty within the last interval, a call may wait that interval; otherwise the queue
/// is overloaded and a call may wait no longer than the target. So it is for an interval after any call
/// was refused: that a queue is short because of refusals does not mean that there is less to do.
/// Sources: K. Nichols, V. Jacobson, Controlling Queue Delay, 2012; B. Maurer, Fail at Scale, 2015, whose
/// form for servers this is.
struct QueueDelay {
  private(set) var targetNanoseconds: UInt64
  private var lastEmpty: Instant
  private var lastRefusal: Instant?

  init(targetNanoseconds: UInt64, now: Instant) {
    self.targetNanoseconds = targetNanoseconds
    lastEmpty = now
  }

  /// Ten targets: longer than any burst that is served in time anyway, and bounded on both sides.
  var intervalNanoseconds: UInt64 {
    max(
      targetNanoseconds,
      min(max(targetNanoseconds &* 10, Limits.queueIntervalNanosecondsMin), Limits.queueIntervalNanosecondsMax))
  }

  /// Twice the service time, so that a batch that runs and one that waits for it fit.
  mutating func setTarget(serviceNanoseconds: UInt64) {
    targetNanoseconds = max(Limits.queueTargetNanosecondsMin, serviceNanoseconds &* 2)
  }

  mutating func isEmpty(at now: Instant) { lastEmpty = max(lastEmpty, now) }

  /// A call found no room, or waited too long.
  mutating func refused(at now: Instant) { lastRefusal = now }

  func isOverloaded(at now: Instant) -> Bool {
    Self.time(from: lastEmpty, to: now) > intervalNanoseconds
      || lastRefusal.map { Self.time(from: $0, to: now) <= intervalNanoseconds } ?? false
  }

  private static func time(from earlier: Instant, to now: Instant) -> UInt64 {
    now.nanoseconds > earlier.nanoseconds ? now.nanoseconds - earlier.nanoseconds : 0
  }

  /// What a call may wait at most.
  func boundNanoseconds(at now: Instant) -> UInt64 {
    isOverloaded(at: now) ? targetNanoseconds : intervalNanoseconds
  }
}
