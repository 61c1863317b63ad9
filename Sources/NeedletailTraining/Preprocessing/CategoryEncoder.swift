internal import NeedletailCore
internal import NeedletailEngine

/// What target encoding learns from: the targets of all rows, and which rows belong together.
struct EncodingTargets: Sendable {
  /// Class indices, or numbers; one a row of the table.
  var values: [Double]
  /// 0 for numbers.
  var classCount: Int
  /// Group of each row; empty: each row is one.
  var groups: [Int] = []
  /// Seed of the folds.
  var seed: UInt64 = 1

  /// Numbers that a category becomes: the share of the second of two classes, of each of several, or the mean.
  var width: Int { classCount > 2 ? classCount : 1 }

  /// What `place` counts in a row: 1 for rows of its class, or the number itself.
  func value(_ row: Int, _ place: Int) -> Double {
    switch classCount {
    case 0: values[row]
    case 2: values[row]
    default: values[row] == Double(place) ? 1 : 0
    }
  }
}

/// Numbers that stand for the categories of one column.
///
/// Target encoding is scikit-learn's `TargetEncoder`: a category becomes the mean target of its rows, pulled to the mean
/// of all rows the less of them there are. A training row must not see its own target, so what the model learns from are
/// encodings that were fitted on the other folds; all other rows, and the server, get those of all training rows.
struct CategoryEncoder: Sendable {
  /// Numbers a category.
  let width: Int
  /// Fitted on all training rows: (categories + 1) × width, the last row for unknown ones.
  let table: Lookup.Table
  /// One a fold, fitted on the training rows of the others; empty where no row can see itself.
  let foldTables: [Lookup.Table]
  /// Fold of each row of the table, −1 for rows that do not train.
  let foldOfRow: [Int32]

  /// Folds of the training rows, as many as scikit-learn takes.
  static let folds = 5

  /// The table for rows of a fold; nil: for rows that did not train.
  func table(fold: Int?) -> Lookup.Table { fold.map { foldTables.isEmpty ? table : foldTables[$0] } ?? table }

  /// - Parameters:
  ///   - code: of the category; any other number is unknown.
  ///   - fold: of the row, where it is to be encoded without itself.
  func value(code: Double, place: Int, fold: Int?) -> Double {
    let table = table(fold: fold)
    let entries = table.values.count / width - 1
    let row = code >= 0 && code < Double(entries) ? Int(code) : entries
    return Double(table.values[row * width + place])
  }

  /// Share of the training rows that have each category; 0 for unknown ones.
  ///
  /// - Parameters:
  ///   - codes: of the training rows; not from 0 on for unknown ones.
  ///   - categories: number of categories.
  static func frequency(codes: [Double], categories: Int) -> CategoryEncoder {
    var counts = [Double](repeating: 0, count: categories + 1)
    for code in codes where code >= 0 && code < Double(categories) { counts[Int(code)] += 1 }
    let total = Double(max(codes.count, 1))
    return CategoryEncoder(
      width: 1, table: Lookup.Table(width: 1, values: counts.map { Float($0 / total) }), foldTables: [], foldOfRow: [])
  }

  /// Means of the targets.
  ///
  /// - Parameters:
  ///   - codes: of `rows`; not from 0 on for unknown ones.
  ///   - rows: the training rows.
  ///   - smoothing: rows that the mean of all counts as; nil: as many as the spread within and between categories asks
  ///     for (Micci-Barreca, 2001).
  static func target(
    codes: [Double], rows: [Int], categories: Int, _ targets: EncodingTargets, smoothing: Double?, foldOfRow: [Int32]
  ) -> CategoryEncoder {
    func table(_ isUsed: (Int) -> Bool) -> Lookup.Table {
      let used = rows.indices.filter { isUsed(rows[$0]) }
      var values = [Float](repeating: 0, count: (categories + 1) * targets.width)
      for place in 0..<targets.width {
        let means = Self.means(
          used.map { (codes[$0], targets.value(rows[$0], place)) }, categories: categories, smoothing: smoothing)
        for (category, mean) in means.enumerated() { values[category * targets.width + place] = Float(mean) }
      }
      return Lookup.Table(width: targets.width, values: values)
    }
    let folds = Int(foldOfRow.max() ?? -1) + 1
    return CategoryEncoder(
      width: targets.width, table: table { _ in true },
      foldTables: (0..<folds).map { fold in table { foldOfRow[$0] != Int32(fold) } }, foldOfRow: foldOfRow)
  }

  /// Fold of each row: stratified for classes, whole groups where rows belong together.
  ///
  /// - Parameter count: rows of the table.
  static func foldOfRow(_ rows: [Int], of count: Int, _ targets: EncodingTargets) throws(TrainingError) -> [Int32] {
    var result = [Int32](repeating: -1, count: count)
    guard rows.count >= 2 else { return result }
    let parts = min(folds, rows.count)
    let made: Folds
    if !targets.groups.isEmpty {
      let groups = rows.map { targets.groups[$0] }
      made = try Folds.grouped(groups: groups, count: min(parts, Set(groups).count))
    } else if targets.classCount > 0 {
      made = try Folds.stratified(
        strata: rows.map { Int(targets.values[$0]) }, count: parts, seed: targets.seed, minimum: 1)
    } else {
      made = try Folds.random(rowCount: rows.count, count: parts, seed: targets.seed)
    }
    for (fold, part) in made.folds.enumerated() {
      for index in part.test { result[rows[index]] = Int32(fold) }
    }
    return result
  }

  /// Smoothed mean of each category, the mean of all behind them.
  private static func means(
    _ rows: [(code: Double, value: Double)], categories: Int, smoothing: Double?
  ) -> [Double] {
    let mean = rows.reduce(0) { $0 + $1.value } / Double(max(rows.count, 1))
    let variance = rows.reduce(0) { $0 + ($1.value - mean) * ($1.value - mean) } / Double(max(rows.count, 1))
    var counts = [Double](repeating: 0, count: categories)
    var sums = counts
    for row in rows where row.code >= 0 && row.code < Double(categories) {
      counts[Int(row.code)] += 1
      sums[Int(row.code)] += row.value
    }
    var squares = [Double](repeating: 0, count: categories)
    for row in rows where row.code >= 0 && row.code < Double(categories) {
      let code = Int(row.code)
      let difference = row.value - sums[code] / counts[code]
      squares[code] += difference * difference
    }
    return counts.indices.map { category -> Double in
      let count = counts[category]
      guard count > 0 else { return mean }
      if let smoothing { return (sums[category] + smoothing * mean) / (count + smoothing) }
      let within = squares[category] / count
      let weight = variance * count / (variance * count + within)
      // Without any spread there is nothing to choose between.
      return weight.isNaN ? mean : weight * sums[category] / count + (1 - weight) * mean
    } + [mean]
  }
}

extension Limits {
  /// Categories that become a column each where a run file does not say how they are encoded. The first layer of a
  /// network then has 4,096 × 128 weights for them, 2 MiB, which is what a core's cache holds; and a category has at
  /// least a handful of rows in tables of the usual size.
  static let oneHotLevelsMax = 4096
  /// Classes up to which categories of more levels are encoded by the targets, a column for each class; beyond, their
  /// texts are hashed.
  static let targetClassesMax = 16
}
