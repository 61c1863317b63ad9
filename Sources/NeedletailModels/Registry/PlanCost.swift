internal import NeedletailCore
internal import Synchronization

/// Estimated run time of a plan, from the runs that were measured while its version was warmed.
public struct PlanCost: Equatable, Sendable {
  /// The cost of a plan that was not measured: every run is estimated as 0.
  public static let unknown = PlanCost([])

  /// Time of the smallest batch: of one row, or of a short text.
  public let oneRowNanoseconds: UInt64
  /// Time of the largest batch.
  public let largestNanoseconds: UInt64
  /// Rows, or units where a row is more than one, of the largest batch.
  public let rowsMax: Int
  /// Rows, or units, of the smallest batch.
  private let rowsMin: Int

  /// - Parameter runs: measured runs, ascending by rows.
  public init(_ runs: [WarmUpRun]) {
    oneRowNanoseconds = runs.first?.nanoseconds ?? 0
    // A larger batch that seems cheaper than one row was measured in a quieter moment.
    largestNanoseconds = max(oneRowNanoseconds, runs.last?.nanoseconds ?? 0)
    rowsMax = max(1, runs.last?.rows ?? 1)
    rowsMin = min(rowsMax, max(1, runs.first?.rows ?? 1))
  }

  /// Time that rows add to a batch that runs anyway.
  public func marginalNanoseconds(rows: Int) -> UInt64 {
    UInt64(Double(largestNanoseconds) * Double(rows) / Double(rowsMax))
  }

  /// Number of rows of a batch beyond which more rows only add delay: then the batch takes the time given, or the part of
  /// its time that does not depend on its rows (mostly reading the weights) is below a tenth. `.max` if the largest batch
  /// measured was not beyond.
  public func usefulRows(within nanoseconds: UInt64) -> Int {
    guard rowsMax > rowsMin, largestNanoseconds > oneRowNanoseconds else { return .max }
    let perRow = Double(largestNanoseconds - oneRowNanoseconds) / Double(rowsMax - rowsMin)
    let fixed = max(0, Double(oneRowNanoseconds) - Double(rowsMin) * perRow)
    let rows = max((Double(nanoseconds) - fixed) / perRow, 10 * fixed / perRow)
    return rows < Double(rowsMax) ? max(1, Int(rows)) : .max
  }

  /// Estimate for any number of rows: on a straight line between the two ends, and beyond the largest batch as many of
  /// those as it takes.
  public func nanoseconds(rows: Int) -> UInt64 {
    guard rows > rowsMin else { return oneRowNanoseconds }
    guard rows < rowsMax else {
      return UInt64(Double(largestNanoseconds) * Double(rows) / Double(rowsMax))
    }
    let share = Double(rows - rowsMin) / Double(rowsMax - rowsMin)
    return oneRowNanoseconds + UInt64(Double(largestNanoseconds - oneRowNanoseconds) * share)
  }
}

/// Time that one batch took while a version was warmed.
public struct WarmUpRun: Equatable, Sendable {
  /// Rows, or units where a row is more than one.
  public let rows: Int
  /// Time of the fastest run at this size after the first one, which touched the pages.
  public let nanoseconds: UInt64

  public init(rows: Int, nanoseconds: UInt64) {
    self.rows = rows
    self.nanoseconds = nanoseconds
  }
}

/// How much longer, or shorter, a version's runs take than warming measured, by runs that answered calls.
///
/// Warming shares the machine with everything else, and a machine changes: a version whose cost was frozen at a bad
/// moment would send cheap calls to the workers for as long as it lives, or expensive ones to the loops.
public final class CostScale: Sendable {
  /// Factor of ``PlanCost``, in 1/64.
  private let scale = Atomic<UInt32>(CostScale.unity)
  private static let unity: UInt32 = 64

  public init() {}

  /// The estimate as runs have corrected it.
  public func corrected(_ nanoseconds: UInt64) -> UInt64 { (nanoseconds &* UInt64(sixtyFourths)) / 64 }

  public var sixtyFourths: UInt32 { scale.load(ordering: .relaxed) }

  /// Time of the runs to the estimate; 1 where nothing was corrected.
  var ratio: Double { Double(sixtyFourths) / Double(Self.unity) }

  /// Takes over what one thread measured, unless it is within a quarter of what is known: decisions should not flap.
  fileprivate func set(_ found: UInt64) {
    let known = UInt64(sixtyFourths)
    guard found * 4 < known * 3 || found * 3 > known * 4 else { return }
    scale.store(UInt32(min(max(found, 1), Self.scaleMax)), ordering: .relaxed)
  }

  /// Bounds what a clock that jumped could do.
  private static let scaleMax: UInt64 = 64 << 10

  /// The last runs of one version on one thread. Confined to it.
  ///
  /// The fastest of a window counts: what else the machine does can only add to a run's time.
  public struct Window {
    /// Runs whose estimate is long enough to be compared.
    private var long = Fastest()
    /// Runs that took long although their estimate is short, one after the other.
    private var unexpected = Fastest()

    private struct Fastest {
      var runs = 0
      var ratio = UInt64.max

      /// - Returns: the least ratio of a whole window.
      mutating func add(_ ratio: UInt64) -> UInt64? {
        self.ratio = min(self.ratio, ratio)
        runs += 1
        guard runs == Window.runs else { return nil }
        defer { self = Fastest() }
        return self.ratio
      }
    }

    /// Runs of one window: the fastest of them met no other work.
    static let runs = 32
    /// Time below which a run says more about the clock and the caches than about the plan.
    static let nanosecondsMin: UInt64 = 20_000

    public init() {}

    /// - Parameters:
    ///   - estimated: by ``PlanCost`` alone; 0: it is unknown.
    ///   - measured: time that the run took.
    public mutating func add(estimated: UInt64, measured: UInt64, to scale: CostScale) {
      guard estimated > 0, measured > 0 else { return }
      let ratio = min(measured, 1 << 50) * 64 / estimated
      if estimated >= Self.nanosecondsMin {
        if let found = long.add(ratio) { scale.set(found) }
      } else if measured >= Self.nanosecondsMin {
        if let found = unexpected.add(ratio) { scale.set(found) }
      } else {
        unexpected = Fastest()
      }
    }
  }
}

/// When the kernels of a version are timed again: its runs contradict what warming measured by more than twice. The
/// machine was another one then, and what was chosen by its times may be wrong. Pure: readings and times go in.
struct ChoiceWatch: Sendable, Equatable {
  /// Factor by which later runs may differ before the choice is made again.
  static let factor = 2.0
  /// Least time between two choices: a machine whose speed goes up and down by more than the factor is not timed all the
  /// time. It doubles with each choice, up to the longest.
  static let pauseShortestMicroseconds: UInt64 = 10_000_000
  static let pauseLongestMicroseconds: UInt64 = 3_600_000_000

  /// Ratio of runs to the estimate at the last choice.
  private var ratio = 1.0
  private var pauseMicroseconds = ChoiceWatch.pauseShortestMicroseconds
  private var notBefore: Instant

  /// - Parameter now: when the version was warmed.
  init(now: Instant) { notBefore = now.advanced(byMicroseconds: Self.pauseShortestMicroseconds) }

  /// Whether to choose again, now. If so, the caller does.
  ///
  /// - Parameter ratio: time of the version's runs to the estimate of warming, 1 where they agree.
  mutating func isDue(ratio: Double, now: Instant) -> Bool {
    guard ratio > 0, ratio > Self.factor * self.ratio || self.ratio > Self.factor * ratio, now >= notBefore else {
      return false
    }
    self.ratio = ratio
    notBefore = now.advanced(byMicroseconds: pauseMicroseconds)
    pauseMicroseconds = min(2 * pauseMicroseconds, Self.pauseLongestMicroseconds)
    return true
  }
}
