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
