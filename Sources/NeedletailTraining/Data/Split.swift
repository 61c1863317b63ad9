internal import NeedletailCore

/// Rows that train, rows that steer the training, and rows that only judge it.
public struct Split: Equatable, Sendable {
  // Row indices, ascending.
  public var train: [Int]
  public var validation: [Int]
  public var test: [Int]

  /// Shuffles with a seed and cuts by fraction.
  ///
  /// - Parameters:
  ///   - strata: a class per row; every class is then cut by the same fractions, and a class of one row trains.
  ///     An empty list cuts all rows as one class.
  ///   - groups: a group per row, whose rows stay together; strata then do not matter. Empty: each row is one.
  ///   - fractions: they add up to 1.
  /// - Throws: `TrainingError` where a part that was asked for gets no row.
  public static func make(
    rowCount: Int, strata: [Int], groups: [Int] = [], fractions: (train: Double, validation: Double, test: Double),
    seed: UInt64
  ) throws(TrainingError) -> Split {
    precondition(strata.isEmpty || strata.count == rowCount)
    var random = RandomSource(seed: seed, purpose: "split")
    if !groups.isEmpty { return try make(groups: groups, fractions, &random) }
    var groups: [[Int]] = strata.isEmpty ? [Array(0..<rowCount)] : []
    if !strata.isEmpty {
      groups = [[Int]](repeating: [], count: (strata.max() ?? 0) + 1)
      for (row, stratum) in strata.enumerated() { groups[stratum].append(row) }
    }
    var split = Split(train: [], validation: [], test: [])
    // Rows that rounding took from a part in one class are given back in the next, so that totals keep their fractions.
    var debtValidation = 0.0
    var debtTest = 0.0
    for group in groups where !group.isEmpty {
      var rows = group
      random.shuffle(&rows)
      let wantedTest = Double(rows.count) * fractions.test + debtTest
      let wantedValidation = Double(rows.count) * fractions.validation + debtValidation
      // At least one row of every class trains.
      let test = min(max(Int(wantedTest.rounded()), 0), rows.count - 1)
      let validation = min(max(Int(wantedValidation.rounded()), 0), rows.count - 1 - test)
      debtTest = wantedTest - Double(test)
      debtValidation = wantedValidation - Double(validation)
      split.test += rows[0..<test]
      split.validation += rows[test..<(test + validation)]
      split.train += rows[(test + validation)...]
    }
    return try split.checked(fractions, of: rowCount)
  }

  /// Cuts by time: the earliest rows train, the latest test. Rows of one time stay together.
  ///
  /// - Parameter times: of each row.
  /// - Throws: `TrainingError` where a part that was asked for gets no row.
  public static func make(
    times: [Double], fractions: (train: Double, validation: Double, test: Double)
  ) throws(TrainingError) -> Split {
    let order = times.indices.sorted { (times[$0], $0) < (times[$1], $1) }
    /// The cut nearest to a share of the rows at which the time changes.
    func cut(_ share: Double) -> Int {
      let wanted = min(max(Int((share * Double(order.count)).rounded()), 0), order.count)
      var (low, high) = (wanted, wanted)
      func changes(_ index: Int) -> Bool {
        index <= 0 || index >= order.count || times[order[index - 1]] != times[order[index]]
      }
      while !changes(low) { low -= 1 }
      while !changes(high) { high += 1 }
      return wanted - low < high - wanted ? low : high
    }
    let first = cut(fractions.train)
    let second = max(first, cut(fractions.train + fractions.validation))
    return try Split(
      train: Array(order[..<first]), validation: Array(order[first..<second]), test: Array(order[second...])
    ).checked(fractions, of: times.count)
  }

  /// Takes the parts as they are named in the table.
  ///
  /// - Parameter parts: of each row: 0 trains, 1 validates, 2 tests.
  /// - Throws: `TrainingError` where no row trains, or none tests.
  static func make(parts: [Int]) throws(TrainingError) -> Split {
    func rows(_ part: Int) -> [Int] { parts.indices.filter { parts[$0] == part } }
    return try Split(train: rows(0), validation: rows(1), test: rows(2))
      .checked((train: 1, validation: 0, test: 1), of: parts.count)
  }

  /// Cuts whole groups, in random order, where the share of the rows so far passes a fraction.
  private static func make(
    groups: [Int], _ fractions: (train: Double, validation: Double, test: Double), _ random: inout RandomSource
  ) throws(TrainingError) -> Split {
    var rowsOfGroup = [[Int]](repeating: [], count: (groups.max() ?? 0) + 1)
    for (row, group) in groups.enumerated() { rowsOfGroup[group].append(row) }
    random.shuffle(&rowsOfGroup)
    var split = Split(train: [], validation: [], test: [])
    let count = Double(groups.count)
    for rows in rowsOfGroup {
      if Double(split.test.count) + Double(rows.count) / 2 <= fractions.test * count {
        split.test += rows
      } else if Double(split.validation.count) + Double(rows.count) / 2 <= fractions.validation * count {
        split.validation += rows
      } else {
        split.train += rows
      }
    }
    return try split.checked(fractions, of: groups.count)
  }

  /// The same with ascending rows.
  private func checked(
    _ fractions: (train: Double, validation: Double, test: Double), of rowCount: Int
  ) throws(TrainingError) -> Split {
    let split = Split(train: train.sorted(), validation: validation.sorted(), test: test.sorted())
    for (name, rows, fraction) in [
      ("train", split.train, fractions.train), ("validation", split.validation, fractions.validation),
      ("test", split.test, fractions.test),
    ] where rows.isEmpty && fraction > 0 {
      throw TrainingError(
        .data, "split.\(name): expected at least one row, found none of \(rowCount); more data, or a larger fraction")
    }
    return split
  }
}
