public import NeedletailCore

/// What is known of the predictions of one model and of their outcomes: a state machine without I/O. Predictions and
/// outcomes go in, figures come out.
public struct FeedbackBook: Sendable {
  /// A version whose predictions are remembered.
  public struct Source: Sendable {
    public var version: ModelVersion
    public var shape: PredictionShape
    public var groups: FeedbackGroups
    /// Accuracy or mean absolute error that it should have; nil: nobody says.
    public var expected: Double?

    public init(version: ModelVersion, shape: PredictionShape, groups: FeedbackGroups, expected: Double?) {
      self.version = version
      self.shape = shape
      self.groups = groups
      self.expected = expected
    }
  }

  /// How a call came to its version.
  public enum Role: String, Sendable, CaseIterable {
    /// The rollout chose it: it serves, or is an arm of a split.
    case assigned
    /// The caller asked for the version or its label.
    case named
  }

  /// A call to be remembered.
  public struct Prediction: Sendable {
    public var key: CallKey
    public var source: Int
    public var isNamed: Bool
    public var time: Instant
    public var rows: Int
    /// Values of the groups' features, row after row, and behind them what the answers say: ``PredictionShape/copy``.
    public var floats: [Float]
    /// Digest of what the version was chosen by: see ``JoinedOutcome/unit``.
    public var unit: UInt64

    public init(
      key: CallKey, source: Int, isNamed: Bool, time: Instant, rows: Int, floats: [Float], unit: UInt64? = nil
    ) {
      self.key = key
      self.unit = unit ?? key.low
      self.source = source
      self.isNamed = isNamed
      self.time = time
      self.rows = rows
      self.floats = floats
    }
  }

  /// Figures of one version, at one moment.
  public struct Report: Sendable, Equatable {
    public var all: OutcomeFigures?
    public var byRole: [OutcomeFigures?]
    /// In the order of ``FeedbackGroups/names``.
    public var byGroup: [OutcomeFigures?]
    public var expected: Double?
    /// Nil: there are too few outcomes, or nothing is expected.
    public var isWorse: Bool?
  }

  private struct Version {
    var source: Source
    /// Index of each label.
    var classes: [String: Int]
    /// Sums: by role and, behind those, by group.
    var window: OutcomeWindow
    /// Arrival of its newest call.
    var lastCall: Instant
  }

  private let rule: FeedbackRule
  private var table: PredictionTable
  private var versions: [Int: Version] = [:]
  /// Sources in the order in which they came.
  private var order: [Int] = []

  public init(_ rule: FeedbackRule) {
    self.rule = rule
    table = PredictionTable(countMax: rule.predictionsMax, bytesMax: Limits.feedbackTableBytesMax)
  }

  /// Calls that are remembered.
  public var predictions: Int { table.count }

  /// Bytes that the predictions of each model may take where so many are remembered: halved until all have room.
  public static func bytesMax(models: Int) -> Int {
    var bytes = Limits.feedbackTableBytesMax
    while models * bytes > Limits.feedbackBytesOfAllMax { bytes /= 2 }
    return bytes
  }

  /// Bounds the bytes of the predictions; the oldest beyond it are forgotten.
  public mutating func limit(bytes: Int) { table.limit(bytes: bytes) }

  private var windowMicroseconds: UInt64 { UInt64(rule.windowSeconds) * 1_000_000 }

  /// Makes a version known.
  /// - Returns: a version that is forgotten for it, if there were too many: the one that has not answered for longest.
  public mutating func add(_ source: Source, number: Int, now: Instant) -> Int? {
    let cells = Role.allCases.count + source.groups.names.count
    versions[number] = Version(
      source: source, classes: source.shape.classes,
      window: OutcomeWindow(cells: cells, seconds: rule.windowSeconds, now: now), lastCall: now)
    let others = order
    order.append(number)
    guard order.count > Limits.feedbackVersionsMax,
      let idle = others.min(by: { (versions[$0]?.lastCall ?? now) < (versions[$1]?.lastCall ?? now) })
    else { return nil }
    order.removeAll { $0 == idle }
    versions[idle] = nil
    table.forget(source: idle)
    return idle
  }

  /// Remembers a call. Those of twice the window ago are forgotten: until then late outcomes are told from unknown ones.
  public mutating func remember(_ prediction: Prediction) {
    guard let version = versions[prediction.source],
      prediction.floats.count
        == prediction.rows * (version.source.groups.count + version.source.shape.floatsPerRow)
    else { return }
    versions[prediction.source]?.lastCall = prediction.time
    let ages = 2 * windowMicroseconds * 1000
    if prediction.time.nanoseconds > ages {
      table.forget(before: Instant(nanoseconds: prediction.time.nanoseconds - ages))
    }
    table.remember(
      PredictionTable.Entry(
        key: prediction.key, source: prediction.source, isNamed: prediction.isNamed, time: prediction.time,
        rows: prediction.rows, floats: prediction.floats, unit: prediction.unit))
  }

  /// Takes an outcome.
  /// - Returns: what came of it; the version whose prediction it is about, nil where none is known; and the outcome beside
  ///   its prediction, nil where it does not count.
  public mutating func take(
    _ outcome: Outcome, now: Instant
  ) -> (result: OutcomeResult, version: ModelVersion?, joined: JoinedOutcome?) {
    guard let place = table.place(of: outcome.key), let source = versions[table[place].source]?.source else {
      return (.unknown, nil, nil)
    }
    let classes = versions[table[place].source]?.classes ?? [:]
    let truth: Double
    do throws(OutcomeFault) {
      truth = try source.shape.truth(outcome.truth, classes)
    } catch {
      return (error.result, source.version, nil)
    }
    let result = take(truth, row: outcome.row, at: place, source, now: now)
    return (result, source.version, result == .joined ? joined(table[place], row: outcome.row, source) : nil)
  }

  private func joined(_ entry: PredictionTable.Entry, row: Int, _ source: Source) -> JoinedOutcome {
    JoinedOutcome(
      version: source.version, isAssigned: !entry.isNamed, unit: entry.unit, time: entry.time,
      prediction: prediction(entry, row: row, source), truth: entry.truths[row], shape: source.shape)
  }

  private func prediction(
    _ entry: PredictionTable.Entry, row: Int, _ source: Source
  ) -> PredictionShape.Prediction {
    let width = source.shape.floatsPerRow
    let first = entry.rows * source.groups.count + row * width
    return source.shape.prediction(entry.floats[first..<first + width])
  }

  private mutating func take(_ truth: Double, row: Int, at place: Int, _ source: Source, now: Instant) -> OutcomeResult
  {
    guard row >= 0, row < table[place].rows else { return .row }
    if !table[place].truths.isEmpty, !table[place].truths[row].isNaN {
      return table[place].truths[row] == truth ? .duplicate : .contradictory
    }
    guard now <= table[place].time.advanced(byMicroseconds: windowMicroseconds) else { return .late }
    if table[place].truths.isEmpty {
      table[place].truths = [Double](repeating: .nan, count: table[place].rows)
    }
    table[place].truths[row] = truth
    count(table[place], row: row, source, truth: truth, now: now)
    return .joined
  }

  private mutating func count(_ entry: PredictionTable.Entry, row: Int, _ source: Source, truth: Double, now: Instant) {
    let groups = source.groups.count
    let prediction = prediction(entry, row: row, source)
    let group = source.groups.indices(of: entry.floats[row * groups..<(row + 1) * groups])
    let cells = [entry.isNamed ? 1 : 0] + group.map { Role.allCases.count + $0 }
    versions[entry.source]?.window.add(prediction, truth: truth, to: cells, now: now)
  }

  /// Figures of a version over the window that ends now; nil for a version that is not known.
  public mutating func report(of source: Int, now: Instant) -> Report? {
    guard let sums = versions[source]?.window.sums(now: now), let known = versions[source]?.source else { return nil }
    let isClassification = known.shape.isClassification
    let roles = Role.allCases.count
    var all = OutcomeSums()
    for role in 0..<roles { all += sums[role] }
    let figures = sums.map { $0.figures(isClassification: isClassification) }
    let whole = all.figures(isClassification: isClassification)
    return Report(
      all: whole, byRole: Array(figures[..<roles]), byGroup: Array(figures[roles...]), expected: known.expected,
      isWorse: known.expected.flatMap { whole?.isWorse(than: $0, rowsMin: Limits.feedbackJudgedMin) })
  }
}

/// Sums over a sliding window, in slices: the oldest is forgotten as a new one begins.
struct OutcomeWindow: Sendable {
  private static let slices = 12
  private let sliceNanoseconds: UInt64
  private let cells: Int
  /// Sums of each cell, of the slices begun; the last one is being filled.
  private var parts: [[OutcomeSums]]
  private var sliceEnd: Instant

  init(cells: Int, seconds: Int, now: Instant) {
    sliceNanoseconds = UInt64(seconds) * 1_000_000_000 / UInt64(Self.slices)
    self.cells = cells
    parts = [[OutcomeSums](repeating: OutcomeSums(), count: cells)]
    sliceEnd = Instant(nanoseconds: now.nanoseconds + sliceNanoseconds)
  }

  mutating func add(_ prediction: PredictionShape.Prediction, truth: Double, to cells: [Int], now: Instant) {
    advance(to: now)
    for cell in cells { parts[parts.count - 1][cell].add(prediction, truth: truth) }
  }

  /// Sums of each cell.
  mutating func sums(now: Instant) -> [OutcomeSums] {
    advance(to: now)
    return (0..<cells).map { cell in parts.reduce(into: OutcomeSums()) { $0 += $1[cell] } }
  }

  private mutating func advance(to now: Instant) {
    guard now >= sliceEnd else { return }
    let passed = (now.nanoseconds - sliceEnd.nanoseconds) / sliceNanoseconds + 1
    sliceEnd = Instant(nanoseconds: sliceEnd.nanoseconds + passed * sliceNanoseconds)
    for _ in 0..<min(passed, UInt64(Self.slices)) {
      parts.append([OutcomeSums](repeating: OutcomeSums(), count: cells))
    }
    parts.removeFirst(max(0, parts.count - Self.slices))
  }
}
