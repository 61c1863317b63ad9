internal import NeedletailCore

/// Which rows train, which steer the training, and which only judge it.
public struct Split: Equatable, Sendable {
  /// Row indices, ascending.
  public var train: [Int]
  public var validation: [Int]
  public var test: [Int]

  /// Shuffles with a seed and cuts by fraction.
  ///
  /// - Parameters:
  ///   - strata: a class per row; every class is then cut by the same fractions, and a class of one row trains.
  ///     Empty: rows are cut as a whole.
  ///   - fractions: they add up to 1.
  /// - Throws: where a part that was asked for gets no row.
  public static func make(
    rowCount: Int, strata: [Int], fractions: (train: Double, validation: Double, test: Double), seed: UInt64
  ) throws(TrainingError) -> Split {
    precondition(strata.isEmpty || strata.count == rowCount)
    var random = RandomSource(seed: seed, purpose: "split")
    var groups: [[Int]] = strata.isEmpty ? [Array(0..<rowCount)] : []
    if !strata.isEmpty {
      groups = [[Int]](repeating: [], count: (strata.max() ?? 0) + 1)
      for (row, stratum) in strata.enumerated() { groups[stratum].append(row) }
    }
    var split = Split(train: [], validation: [], test: [])
    // What rounding took from a part in one class is given back in the next, so that totals keep their fractions.
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
    split.train.sort()
    split.validation.sort()
    split.test.sort()
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
