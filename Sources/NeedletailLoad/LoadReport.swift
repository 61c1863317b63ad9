internal import Histogram
internal import NeedletailCore

/// The figures of one run, for programs. Rates are per second of the measured time, times microseconds.
public struct LoadReport: Encodable, Sendable {
  public struct Percentiles: Encodable, Sendable, Equatable {
    public var p50: Double
    public var p90: Double
    public var p99: Double
    public var p999: Double
    public var max: Double

    init?(_ histogram: Histogram<UInt64>) {
      guard histogram.totalCount > 0 else { return nil }
      func at(_ percentile: Double) -> Double { LoadStatistics.microseconds(histogram, percentile) ?? 0 }
      (p50, p90, p99, p999, max) = (at(50), at(90), at(99), at(99.9), at(100))
    }
  }

  public struct Version: Encodable, Sendable, Equatable {
    public var model: String
    public var version: UInt64
    public var answers: UInt64
  }

  public var models: [String]
  /// `open` or `closed`.
  public var loop: String
  /// Rate asked for; nil in a closed loop.
  public var arrivals: String?
  public var rateIntended: Double?
  public var connections: Int
  public var depth: Int
  public var threads: Int
  /// Rows of one request.
  public var batch: Int
  public var seconds: Double

  public var offered: UInt64
  public var sent: UInt64
  public var answered: UInt64
  /// Answers with `OK` within the timeout that are right as far as known.
  public var good: UInt64
  public var goodput: Double
  public var goodputRows: Double
  public var statuses: [String: UInt64]
  public var late: UInt64
  /// Answers with `OK` although the server says that the timeout had passed before it began to compute.
  public var ranLate: UInt64
  public var lost: UInt64
  public var unanswered: UInt64
  public var expired: UInt64
  public var unsent: UInt64
  public var heldBack: UInt64
  public var strayAnswers: UInt64
  public var connectionsLost: UInt64
  public var connectFailures: UInt64
  public var verified: UInt64
  public var wrong: UInt64
  public var mixed: UInt64
  public var versions: [Version]
  /// Latencies of `OK` answers; nil without one.
  public var latencyUs: Percentiles?
  /// Latencies of answers other than `OK`, that is of rejections; nil without one.
  public var refusalUs: Percentiles?
  /// Delay of requests that the generator itself caused; nil in a closed loop.
  public var lagUs: Percentiles?
  /// Whether the generator missed its schedule, so that its own delay is part of the latencies.
  public var generatorBehind: Bool

  /// Delay at p99 above which it is no longer noise.
  private static let lagMicrosecondsMax = 1000.0

  public init(_ plan: LoadPlan, _ statistics: LoadStatistics) {
    models = plan.names
    switch plan.pacing {
    case .open(let rate, let arrivals):
      loop = "open"
      self.arrivals = arrivals.rawValue
      rateIntended = rate
    case .closed: loop = "closed"
    }
    connections = max(plan.connections, plan.threads)
    depth = plan.depth
    threads = plan.threads
    batch = plan.frames.frames.map(\.rows).max() ?? 0
    seconds = plan.duration.inSeconds
    offered = statistics.offered
    sent = statistics.sent
    answered = statistics.answered
    good = statistics.good
    goodput = Double(statistics.good) / seconds
    goodputRows = Double(statistics.goodRows) / seconds
    statuses = [:]
    for status in StatusCode.allCases where statistics.byStatus[Int(status.rawValue)] > 0 {
      statuses[status.description] = statistics.byStatus[Int(status.rawValue)]
    }
    late = statistics.late
    ranLate = statistics.ranLate
    lost = statistics.lost
    unanswered = statistics.unanswered
    expired = statistics.expired
    unsent = statistics.unsent
    heldBack = statistics.heldBack
    strayAnswers = statistics.strayAnswers
    connectionsLost = statistics.connectionsLost
    connectFailures = statistics.connectFailures
    verified = statistics.verified
    wrong = statistics.wrong
    mixed = statistics.mixed
    versions = statistics.versions
      .map { Version(model: plan.names[$0.model], version: $0.version, answers: $0.answers) }
      .sorted { ($0.model, $0.version) < ($1.model, $1.version) }
    latencyUs = Percentiles(statistics.latency)
    refusalUs = Percentiles(statistics.refusal)
    lagUs = Percentiles(statistics.lag)
    let isUnsentByItself = statistics.heldBack == 0 && statistics.unsent * 1000 > statistics.offered
    generatorBehind = loop == "open" && ((lagUs?.p99 ?? 0) > Self.lagMicrosecondsMax || isUnsentByItself)
  }

  /// The reason why the run counts as failed, in one sentence; nil: it did not fail.
  public var failure: String? {
    if wrong + mixed + strayAnswers > 0 {
      return
        "expected right answers only, found \(wrong) wrong, \(mixed) of a mixed version, \(strayAnswers) to nothing"
    }
    return good == 0 ? "expected answers, found none that was OK within the timeout" : nil
  }
}
