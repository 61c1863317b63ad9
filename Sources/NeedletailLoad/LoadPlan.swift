internal import Glibc
public import NeedletailClient
internal import NeedletailCore

/// The server that gets the load.
public enum LoadTarget: Sendable, Hashable {
  case tcp(host: String, port: Int)
  case unix(path: String)
}

/// The rule by which the next request is sent.
public enum LoadPacing: Sendable, Equatable {
  /// By the clock: requests are sent when they are due, whether or not earlier ones were answered.
  case open(ratePerSecond: Double, arrivals: ArrivalSchedule.Arrivals)
  /// By the server: each answer lets one more request be sent.
  case closed
}

/// The complete description of one run.
public struct LoadPlan: Sendable {
  public var target: LoadTarget
  /// Encryption of connections over TCP; nil: none.
  public var tls: ClientTLS?
  public var pacing: LoadPacing
  public var threads = 1
  /// Connections of all threads together; every thread has at least one.
  public var connections = 1
  /// Largest number of calls in flight on one connection.
  public var depth = 1
  /// Time after which an answer counts as late.
  public var timeout: Duration = .seconds(10)
  /// Time at the start whose requests are sent, but not counted.
  public var warmup: Duration = .seconds(1)
  public var duration: Duration = .seconds(10)
  /// Bytes sent on every connection before its first call, such as an authentication; empty: none.
  public var greeting: [UInt8] = []
  public var frames: RequestFrames
  public var mix: ModelMix
  /// Checks of answers by model; nil: not checked.
  public var checks: [AnswerCheck?]
  /// Version asked for by model; nil: any.
  public var pinnedVersions: [UInt64?]
  /// Names by model.
  public var names: [String]
  public var seed: UInt64 = 1

  public init(target: LoadTarget, pacing: LoadPacing, frames: RequestFrames, mix: ModelMix, names: [String]) {
    self.target = target
    self.pacing = pacing
    self.frames = frames
    self.mix = mix
    self.names = names
    checks = names.map { _ in nil }
    pinnedVersions = names.map { _ in nil }
  }
}

extension Duration {
  /// Whole nanoseconds, at most about 584 years; 0 for a negative duration.
  public var wholeNanoseconds: UInt64 {
    guard self > .zero else { return 0 }
    let (product, overflow) = UInt64(components.seconds).multipliedReportingOverflow(by: 1_000_000_000)
    return overflow ? .max : product &+ UInt64(components.attoseconds / 1_000_000_000)
  }

  /// Seconds with a fraction.
  public var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}

/// The reason why no load could be made, in one sentence.
public struct LoadError: Error, Equatable, Sendable, CustomStringConvertible {
  public let description: String

  init(_ description: String) { self.description = description }
}

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

/// A search for the highest rate that a server still serves on time.
///
/// It is a pure state machine: from the result of a step it derives the next rate. The rate doubles until a step fails,
/// then the gap between the last good and the first bad rate is halved, on a logarithmic scale.
public struct Ramp: Sendable {
  /// Result of a step.
  public enum Verdict: String, Sendable, Encodable {
    case holds
    /// The 99th percentile of the latency was above the limit.
    case latency
    /// There were fewer good answers than requests due.
    case goodput
    /// The generator could not keep the schedule, so that the step says nothing about the server.
    case generator
  }

  public struct Step: Sendable, Encodable {
    public var rate: Double
    public var verdict: Verdict
    public var report: LoadReport
  }

  public private(set) var steps: [Step] = []
  /// Limit of the 99th percentile; the first step sets it unless the user does.
  public private(set) var p99LimitMicroseconds: Double?

  private var rate: Double
  private var refinements = 0

  private static let refinementsMax = 3
  /// Rate at which a ramp ends in any case, such as one against a server that answers without work.
  private static let rateMax = 1e8
  private static let goodShareMin = 0.99

  /// - Parameters:
  ///   - rate: requests per second of the first step.
  ///   - p99LimitMicroseconds: limit of p99; nil: ten times that of the first step, at least 1 ms.
  public init(startingAt rate: Double, p99LimitMicroseconds: Double? = nil) {
    self.rate = rate
    self.p99LimitMicroseconds = p99LimitMicroseconds
  }

  /// Rate of the next step; nil when the search is over.
  public var nextRate: Double? { isDone ? nil : rate }

  /// The highest rate that held; nil if none did.
  public var knee: Step? { steps.filter { $0.verdict == .holds }.max { $0.rate < $1.rate } }

  /// The lowest rate that did not hold; nil if all did.
  public var limit: Step? { steps.filter { $0.verdict != .holds }.min { $0.rate < $1.rate } }

  private var isDone: Bool {
    if rate > Self.rateMax || refinements > Self.refinementsMax { return true }
    // The very first rate failed: there is nothing below to start from.
    return limit != nil && knee == nil
  }

  /// Takes the report of the step at ``nextRate``.
  public mutating func record(_ report: LoadReport) -> Verdict {
    let verdict = verdict(report)
    steps.append(Step(rate: rate, verdict: verdict, report: report))
    if let limit {
      refinements += 1
      if let knee { rate = (knee.rate * limit.rate).squareRoot() }
    } else {
      rate *= 2
    }
    return verdict
  }

  private mutating func verdict(_ report: LoadReport) -> Verdict {
    let p99 = report.latencyUs?.p99 ?? .infinity
    let limit = p99LimitMicroseconds ?? max(1000, 10 * p99)
    p99LimitMicroseconds = limit
    let isShort = Double(report.good) < Self.goodShareMin * Double(report.offered) || report.good == 0
    guard isShort || p99 > limit else { return .holds }
    if report.generatorBehind { return .generator }
    return isShort ? .goodput : .latency
  }
}
