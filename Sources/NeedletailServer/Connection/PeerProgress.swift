internal import NeedletailCore

/// Progress of a peer whose socket is full. It is judged by what it takes, never by how long all of it takes: an answer
/// of 60 MiB is whole for every peer that reads. Pure.
struct PeerProgress {
  private let stallNanoseconds: UInt64
  /// Bytes that the peer has taken since the connection was made.
  private var taken: Int
  /// Time at which it took bytes last.
  private var lastProgress: Instant
  /// Begin of the period over which its rate is measured, and what it had taken by then.
  private var periodStart: Instant
  private var periodTaken: Int
  /// Whether a period has ended below the slowest rate.
  private var isBelowRate = false

  /// - Parameter stallNanoseconds: time in which the peer must take something, and period of the rate.
  init(taken: Int, stallNanoseconds: UInt64, now: Instant) {
    self.stallNanoseconds = stallNanoseconds
    self.taken = taken
    lastProgress = now
    periodStart = now
    periodTaken = taken
  }

  /// Notes how much the peer has taken by now.
  mutating func update(taken: Int, now: Instant) {
    if taken > self.taken {
      self.taken = taken
      lastProgress = now
    }
    guard now.hasPassed(stallNanoseconds, since: periodStart) else { return }
    let bytesMin = Double(stallNanoseconds) / 1e9 * Double(Limits.answerBytesPerSecondMin)
    isBelowRate = Double(taken - periodTaken) < bytesMin
    periodStart = now
    periodTaken = taken
  }

  /// Whether the peer has taken nothing for the stall time, or less than the slowest rate over it.
  func isTooSlow(at now: Instant) -> Bool { isBelowRate || now.hasPassed(stallNanoseconds, since: lastProgress) }

  /// Whether the peer takes nothing at the moment: reason enough to close it while memory is short.
  func hasStopped(at now: Instant) -> Bool {
    now.hasPassed(min(stallNanoseconds, UInt64(Limits.stallSecondsWhileFull) * 1_000_000_000), since: lastProgress)
  }
}

extension Instant {
  /// Whether so much time lies between `start` and this time. A clock that stands before `start` has passed nothing.
  func hasPassed(_ nanoseconds: UInt64, since start: Instant) -> Bool {
    self.nanoseconds >= start.nanoseconds && self.nanoseconds - start.nanoseconds >= nanoseconds
  }
}
