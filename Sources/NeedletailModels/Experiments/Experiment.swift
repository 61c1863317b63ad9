internal import FoundationEssentials
internal import NeedletailCore

/// One experiment: outcomes of its arms go in, and a conclusion comes out. A state machine without I/O, which is kept on
/// the disk as it is.
struct Experiment: Codable, Equatable, Sendable {
  /// How it ended.
  enum Result: String, Codable, Sendable, CaseIterable {
    /// A challenger is better than the baseline.
    case better
    /// No challenger is better by the minimum effect.
    case kept
    /// There were as many outcomes as it may have.
    case undecided
    /// The arms lost their traffic: a guard fired, or somebody took a step back.
    case stopped
  }

  struct Conclusion: Codable, Equatable, Sendable {
    var result: Result
    /// Version that is to have all requests; nil: the baseline was to, and has lost its traffic.
    var winner: UInt64?
    /// One sentence.
    var reason: String
    /// Unix time.
    var milliseconds: UInt64
  }

  /// Outcomes of one arm that count.
  struct Tally: Codable, Equatable, Sendable {
    var outcomes = 0
    var sum = 0.0

    var mean: Double? { outcomes > 0 ? sum / Double(outcomes) : nil }
  }

  let design: ExperimentDesign
  /// Unix time at which it began.
  let beganMilliseconds: UInt64
  /// One comparison for each challenger, in their order.
  private(set) var pairs: [ArmPair]
  /// Outcomes of each arm, in the order of the arms.
  private(set) var tallies: [Tally]
  /// Outcomes left out because their unit had one already.
  private(set) var repeated = 0
  private(set) var conclusion: Conclusion?
  /// Versions that lost their traffic.
  private(set) var lost: Set<UInt64> = []
  private var units: UnitSet
  /// Calls that arrived before were assigned by another design; nil after a restart, when no such call is known any more.
  private var began: Instant?

  private enum CodingKeys: String, CodingKey {
    case design, beganMilliseconds, pairs, tallies, repeated, conclusion, lost, units
  }

  init(_ design: ExperimentDesign, now: Moment) {
    self.design = design
    beganMilliseconds = now.milliseconds
    pairs = design.pairs
    tallies = [Tally](repeating: Tally(), count: design.arms.count)
    units = UnitSet()
    began = now.instant
  }

  /// Squares of larger values, summed up, are no numbers.
  private static let valueMax = 1e150

  /// Whether what was read from the disk has figures that an experiment can have: a file that somebody has changed must
  /// not make sums overflow, or promote a version that is no arm.
  var isPossible: Bool {
    let fresh = design.pairs
    guard pairs.count == fresh.count, tallies.count == design.arms.count,
      zip(pairs, fresh).allSatisfy({ $0.isComparable(with: $1) && $0.isConsistent })
    else { return false }
    let counts = 0...design.settings.outcomesMax
    guard tallies.allSatisfy({ counts.contains($0.outcomes) }), counts.contains(outcomes), repeated >= 0,
      repeated <= Limits.experimentRepeatedMax
    else { return false }
    guard let conclusion else { return units.count == outcomes }
    return conclusion.winner.map { winner in design.arms.contains { $0.version == winner } } ?? true
  }

  /// Outcomes that count.
  var outcomes: Int { tallies.reduce(0) { $0 + $1.outcomes } }

  /// Adds an outcome. One of each unit counts, the first: outcomes of one customer resemble each other, and would be
  /// taken for more evidence than they are.
  /// - Returns: whether it counts.
  mutating func take(_ outcome: JoinedOutcome, now: Moment) -> Bool {
    let version = outcome.version.number
    guard conclusion == nil, outcome.isAssigned, let arm = design.arms.firstIndex(where: { $0.version == version }),
      !lost.contains(version), began.map({ outcome.time >= $0 }) ?? true,
      let value = design.settings.value(of: outcome), abs(value) <= Self.valueMax
    else { return false }
    guard units.insert(outcome.unit) else {
      repeated = min(repeated + 1, Limits.experimentRepeatedMax)
      return false
    }
    tallies[arm].outcomes += 1
    tallies[arm].sum += value
    let score = design.settings.score(value)
    for (index, arm) in design.challengers.enumerated() where !lost.contains(arm.version) {
      guard version == arm.version || version == design.baseline else { continue }
      if pairs[index].add(score, isChallenger: version == arm.version) == .better {
        conclude(.better, arm.version, "version \(arm.version) is better than \(design.baseline)", now: now)
        return true
      }
    }
    judge(now: now)
    return true
  }

  /// Notes versions that have no traffic any more.
  mutating func lose(_ versions: Set<UInt64>, now: Moment) {
    guard conclusion == nil else { return }
    lost = versions.intersection(design.arms.map(\.version))
    judge(now: now)
  }

  private mutating func judge(now: Moment) {
    guard conclusion == nil else { return }
    let baseline = design.baseline
    if lost.contains(baseline) {
      return conclude(.stopped, nil, "version \(baseline), the baseline, lost its traffic", now: now)
    }
    let open = zip(design.challengers, pairs).filter { !lost.contains($0.version) && $1.verdict == nil }
    if open.isEmpty {
      let gone = design.challengers.filter { lost.contains($0.version) }.map { "\($0.version)" }
      guard gone.count < design.challengers.count else {
        return conclude(
          .stopped, baseline, "\(Self.versions(gone)) lost \(gone.count == 1 ? "its" : "their") traffic", now: now)
      }
      let others = design.challengers.filter { !lost.contains($0.version) }.map { "\($0.version)" }
      return conclude(
        .kept, baseline,
        "\(Self.versions(others)) \(others.count == 1 ? "is" : "are") not better than \(baseline) by the minimum effect",
        now: now)
    }
    if outcomes >= design.settings.outcomesMax {
      conclude(.undecided, baseline, "\(outcomes) outcomes did not decide it", now: now)
    }
  }

  private static func versions(_ numbers: [String]) -> String {
    (numbers.count == 1 ? "version " : "versions ") + numbers.joined(separator: ", ")
  }

  private mutating func conclude(_ result: Result, _ winner: UInt64?, _ reason: String, now: Moment) {
    conclusion = Conclusion(result: result, winner: winner, reason: reason, milliseconds: now.milliseconds)
    units = UnitSet()
  }
}

/// Digests of the units whose outcomes an experiment has counted. As text they are base64 of eight bytes each.
struct UnitSet: Equatable, Sendable {
  private var digests: Set<UInt64> = []

  var count: Int { digests.count }

  /// - Returns: whether the unit was not there.
  mutating func insert(_ digest: UInt64) -> Bool { digests.insert(digest).inserted }
}

extension UnitSet: Codable {
  init(from decoder: any Decoder) throws {
    let data = try decoder.singleValueContainer().decode(Data.self)
    guard data.count % 8 == 0 else {
      throw DecodingError.dataCorrupted(
        .init(codingPath: decoder.codingPath, debugDescription: "expected digests of eight bytes"))
    }
    digests.reserveCapacity(data.count / 8)
    data.withUnsafeBytes { bytes in
      for offset in stride(from: 0, to: bytes.count, by: 8) {
        digests.insert(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
      }
    }
  }

  func encode(to encoder: any Encoder) throws {
    var data = Data(capacity: 8 * digests.count)
    // In order, so that equal sets give equal files.
    for digest in digests.sorted() {
      withUnsafeBytes(of: digest.littleEndian) { data.append(contentsOf: $0) }
    }
    var container = encoder.singleValueContainer()
    try container.encode(data)
  }
}
