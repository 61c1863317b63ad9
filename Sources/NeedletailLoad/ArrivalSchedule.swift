internal import Glibc
internal import NeedletailCore

/// The points in time at which requests are due, independent of the server.
///
/// It never reads a clock: the caller says where it begins. Latency is counted from these points, so
/// that a server which stalls is charged for the requests that had to wait behind the stall
/// (no "coordinated omission").
public struct ArrivalSchedule: Sendable {
  /// Distribution of the gaps between requests.
  public enum Arrivals: String, Sendable, CaseIterable {
    /// Exponential gaps, as independent users make them.
    case poisson
    /// Equal gaps.
    case constant
  }

  /// Time at which the next request is due, on the monotonic clock.
  public private(set) var nextNanoseconds: UInt64

  private let start: UInt64
  private let gapNanoseconds: Double
  private let arrivals: Arrivals
  private var offset: Double
  private var random: SplitMix64

  /// - Parameters:
  ///   - ratePerSecond: above 0.
  ///   - phase: 0 to 1, the part of a gap before the first of equal gaps; staggers several schedules.
  public init(ratePerSecond: Double, arrivals: Arrivals, startNanoseconds: UInt64, phase: Double = 0, seed: UInt64) {
    precondition(ratePerSecond > 0, "a schedule needs a rate above 0")
    start = startNanoseconds
    gapNanoseconds = 1e9 / ratePerSecond
    self.arrivals = arrivals
    random = SplitMix64(seed: seed)
    offset = 0
    nextNanoseconds = startNanoseconds
    switch arrivals {
    case .constant: move(by: phase * gapNanoseconds)
    case .poisson: advance()
    }
  }

  /// Moves on to the following request.
  public mutating func advance() {
    switch arrivals {
    case .constant: move(by: gapNanoseconds)
    case .poisson: move(by: -log(1 - random.unit()) * gapNanoseconds)
    }
  }

  /// Requests that are expected to be due before `nanoseconds` and have not been taken.
  public func expectedCount(before nanoseconds: UInt64) -> UInt64 {
    guard nanoseconds > nextNanoseconds else { return 0 }
    return UInt64((Double(nanoseconds - nextNanoseconds) / gapNanoseconds).rounded(.up))
  }

  private mutating func move(by nanoseconds: Double) {
    offset += nanoseconds
    nextNanoseconds = start + UInt64(offset)
  }
}
