internal import Glibc

/// How far live values of a column have moved from those of training.
public struct DriftFigures: Equatable, Sendable {
  /// What the figures say.
  public enum Level: String, Sendable, CaseIterable, Comparable {
    /// Too few live values to say anything.
    case few
    case none
    case warning
    case alert

    private var order: Int {
      switch self {
      case .few: 0
      case .none: 1
      case .warning: 2
      case .alert: 3
      }
    }

    public static func < (a: Level, b: Level) -> Bool { a.order < b.order }
  }

  /// Population stability index from which a column is worth a look, and from which it has moved: the customary
  /// thresholds of credit scoring (N. Siddiqi, Credit Risk Scorecards, 2006).
  public static let warning = 0.1
  public static let alert = 0.2
  /// Fewest live values that are judged.
  public static let valuesMin = 100
  /// Standard deviations above the mean that a figure may have by chance. One column in 30,000 goes beyond four, so that
  /// of 300 columns that have not moved less than one in a hundred windows names any.
  static let deviationsByChance = 4.0

  /// Σ (live − training) · ln (live / training) over the shares of the cells.
  public var stabilityIndex: Double
  /// Square root of the Jensen-Shannon divergence by natural logarithms, 0 to √ln 2.
  public var jensenShannon: Double
  /// Stability index that values like those of training stay below, at this number of values and cells.
  public var chance: Double
  public var missingRate: Double
  public var outOfRangeRate: Double
  public var unknownRate: Double
  /// Live values, missing ones included.
  public var rows: Int
  public var level: Level

  /// - Parameters:
  ///   - counts: live values.
  ///   - reference: training rows in each cell, at least one in all.
  public init(_ counts: DriftCounts, reference: [Int]) {
    precondition(counts.cells.count == reference.count, "cells of another column")
    rows = counts.rows
    let present = counts.present
    func share(_ count: Int, of all: Int) -> Double { all == 0 ? 0 : Double(count) / Double(all) }
    missingRate = share(counts.missing, of: rows)
    outOfRangeRate = share(counts.outOfRange, of: rows)
    unknownRate = share(counts.unknown, of: rows)
    let trained = reference.reduce(0, +)
    let expected = reference.map { share($0, of: trained) }
    let found = counts.cells.map { share($0, of: present) }
    stabilityIndex = present == 0 ? 0 : Self.stabilityIndex(expected, found)
    jensenShannon = present == 0 ? 0 : Self.jensenShannon(expected, found)
    let used = zip(expected, found).count { $0 > 0 || $1 > 0 }
    chance = Self.chance(cells: used, trained: trained, live: present)
    level =
      if present < Self.valuesMin {
        .few
      } else if stabilityIndex < Self.warning || stabilityIndex < chance {
        .none
      } else {
        stabilityIndex < Self.alert ? .warning : .alert
      }
  }

  /// Empty cells count as a share of 0.0001, or as a millionth of the smallest share where that is no more than 0.0001:
  /// so does Evidently, whose figures these are.
  static func stabilityIndex(_ expected: [Double], _ found: [Double]) -> Double {
    func filled(_ shares: [Double]) -> [Double] {
      let least = shares.filter { $0 > 0 }.min() ?? 1
      let fill = least <= 0.0001 ? least / 1_000_000 : 0.0001
      return shares.map { $0 == 0 ? fill : $0 }
    }
    // A cell that neither has is none of the column's values.
    let pairs = zip(expected, found).filter { $0 > 0 || $1 > 0 }
    return zip(filled(pairs.map(\.0)), filled(pairs.map(\.1))).reduce(0) { sum, pair in
      sum + (pair.1 - pair.0) * log(pair.1 / pair.0)
    }
  }

  static func jensenShannon(_ expected: [Double], _ found: [Double]) -> Double {
    func divergence(_ share: Double, _ mean: Double) -> Double { share > 0 ? share * log(share / mean) : 0 }
    let sum = zip(expected, found).reduce(0.0) { sum, pair in
      let mean = (pair.0 + pair.1) / 2
      return sum + divergence(pair.0, mean) + divergence(pair.1, mean)
    }
    return max(0, sum / 2).squareRoot()
  }

  /// Without drift the index of c cells is about (1/n + 1/m) · χ² with c − 1 degrees of freedom, n and m being the
  /// numbers of values (B. Yurdakul, Statistical Properties of Population Stability Index, 2018); the quantile of χ² is
  /// Wilson and Hilferty's.
  static func chance(cells: Int, trained: Int, live: Int) -> Double {
    guard cells > 1, trained > 0, live > 0 else { return 0 }
    let freedom = Double(cells - 1)
    let spread = 2 / (9 * freedom)
    let root = 1 - spread + deviationsByChance * spread.squareRoot()
    return (1 / Double(trained) + 1 / Double(live)) * freedom * root * root * root
  }
}
