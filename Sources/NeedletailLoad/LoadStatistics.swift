public import Histogram
internal import NeedletailCore

/// Figures of the requests of one stretch of time. Times are nanoseconds.
public struct LoadStatistics: Sendable {
  /// Count of the answers of one version.
  public struct VersionCount: Sendable, Equatable {
    public var model: Int
    public var version: UInt64
    public var answers: UInt64
  }

  /// Requests written to a connection.
  public var sent: UInt64 = 0
  /// Responses of any status.
  public var answered: UInt64 = 0
  /// Answers with `OK` within the timeout.
  public var good: UInt64 = 0
  public var goodRows: UInt64 = 0
  /// Answers with `OK` after the timeout.
  public var late: UInt64 = 0
  /// Answers with `OK` although the server says that the timeout had passed before it began to compute.
  public var ranLate: UInt64 = 0
  /// Responses by ``StatusCode`` raw value.
  public var byStatus = [UInt64](repeating: 0, count: StatusCode.allCases.count)
  /// Answers compared with expected ones.
  public var verified: UInt64 = 0
  public var wrong: UInt64 = 0
  public var mixed: UInt64 = 0
  /// Calls in flight when their connection ended, or above the last id of a GoAway.
  public var lost: UInt64 = 0
  /// Calls that were not answered within twice the timeout, or by the end of the run.
  public var unanswered: UInt64 = 0
  /// Requests whose timeout ran out before a connection had room for them.
  public var expired: UInt64 = 0
  /// Requests that were due, but not sent when the run ended.
  public var unsent: UInt64 = 0
  /// Requests sent late because every connection was full, which the server caused and not the generator.
  public var heldBack: UInt64 = 0
  /// Responses to no call, and bytes that are no response.
  public var strayAnswers: UInt64 = 0
  public var connectionsLost: UInt64 = 0
  public var connectFailures: UInt64 = 0
  public var versions: [VersionCount] = []
  /// Times from the intended send (closed loop: the send) to the answer, for answers with `OK`.
  public var latency: Histogram<UInt64>
  /// Times from the intended send (closed loop: the send) to the answer, for other answers.
  public var refusal: Histogram<UInt64>
  /// Times from the intended send to the send, where the server did not cause the delay.
  public var lag: Histogram<UInt64>

  /// Versions that are counted one by one. A run that swaps for hours counts the rest together, as version 0.
  private static let versionsMax = 256
  private static let longestNanoseconds: UInt64 = 100_000_000_000

  public init() {
    latency = Histogram(highestTrackableValue: Self.longestNanoseconds, numberOfSignificantValueDigits: .three)
    refusal = Histogram(highestTrackableValue: Self.longestNanoseconds, numberOfSignificantValueDigits: .three)
    lag = Histogram(highestTrackableValue: Self.longestNanoseconds, numberOfSignificantValueDigits: .three)
  }

  @inline(__always)
  public mutating func recordLatency(nanoseconds: UInt64) {
    latency.record(min(nanoseconds, Self.longestNanoseconds))
  }

  @inline(__always)
  public mutating func recordRefusal(nanoseconds: UInt64) {
    refusal.record(min(nanoseconds, Self.longestNanoseconds))
  }

  @inline(__always)
  public mutating func recordLag(nanoseconds: UInt64) {
    lag.record(min(nanoseconds, Self.longestNanoseconds))
  }

  @inline(__always)
  public mutating func count(model: Int, version: UInt64, answers: UInt64 = 1) {
    for index in versions.indices where versions[index].version == version && versions[index].model == model {
      versions[index].answers += answers
      return
    }
    if versions.count < Self.versionsMax {
      versions.append(VersionCount(model: model, version: version, answers: answers))
    } else if version != 0 {
      versions[Self.versionsMax - 1].answers += answers
    }
  }

  public mutating func merge(_ other: LoadStatistics) {
    sent += other.sent
    answered += other.answered
    good += other.good
    goodRows += other.goodRows
    late += other.late
    ranLate += other.ranLate
    for index in byStatus.indices { byStatus[index] += other.byStatus[index] }
    verified += other.verified
    wrong += other.wrong
    mixed += other.mixed
    lost += other.lost
    unanswered += other.unanswered
    expired += other.expired
    unsent += other.unsent
    heldBack += other.heldBack
    strayAnswers += other.strayAnswers
    connectionsLost += other.connectionsLost
    connectFailures += other.connectFailures
    for entry in other.versions { count(model: entry.model, version: entry.version, answers: entry.answers) }
    if other.latency.totalCount > 0 { latency.add(other.latency) }
    if other.refusal.totalCount > 0 { refusal.add(other.refusal) }
    if other.lag.totalCount > 0 { lag.add(other.lag) }
  }

  /// Requests that were due.
  public var offered: UInt64 { sent + expired + unsent }

  /// Responses other than `OK`.
  public var refused: UInt64 { answered - byStatus[Int(StatusCode.ok.rawValue)] }

  /// Microseconds at a percentile of `histogram`; nil if it is empty.
  public static func microseconds(_ histogram: Histogram<UInt64>, _ percentile: Double) -> Double? {
    guard histogram.totalCount > 0 else { return nil }
    let value = percentile >= 100 ? histogram.maxRecorded : histogram.valueAtPercentile(percentile)
    return Double(value) / 1000
  }
}
