internal import NeedletailCore
internal import Synchronization

/// Decides whether, and how long after, a failed request is sent again: pauses that grow and are drawn at random, few
/// attempts, and a budget that all requests share, so that a store in trouble does not get more requests than one in
/// health.
final class RetryPolicy: Sendable {
  /// Attempts of one request.
  static let attemptsMax = 4
  /// Longest first pause; it doubles with each attempt.
  static let pauseMilliseconds: UInt64 = 100
  /// Longest pause, also where the store asks for more.
  static let pauseMillisecondsMax: UInt64 = 5000
  /// Retries that may be made in a row while nothing succeeds.
  static let budgetMax = 20.0
  /// Part of a retry that each success gives back.
  static let refund = 0.2

  private let budget = Mutex(RetryPolicy.budgetMax)

  /// - Parameters:
  ///   - attempt: attempts that were made, from 1.
  ///   - random: draws a number of a range.
  /// - Returns: the pause in microseconds; nil: the error stands.
  func pause(
    after error: ObjectStoreError, attempt: Int,
    random: (ClosedRange<UInt64>) -> UInt64 = { UInt64.random(in: $0) }
  ) -> UInt64? {
    guard error.isTransient, attempt < Self.attemptsMax else { return nil }
    let isPaid = budget.withLock { left in
      guard left >= 1 else { return false }
      left -= 1
      return true
    }
    guard isPaid else { return nil }
    let limit = min(Self.pauseMilliseconds << UInt64(attempt - 1), Self.pauseMillisecondsMax) * 1000
    let asked = UInt64(max(0, error.retryAfterSeconds ?? 0)) * 1_000_000
    return min(max(random(limit / 2...limit), asked), Self.pauseMillisecondsMax * 1000)
  }

  /// A request succeeded.
  func succeed() { budget.withLock { $0 = min(Self.budgetMax, $0 + Self.refund) } }
}
