internal import NeedletailCore

/// How much two columns, or a column and the target, have to do with each other.
enum Association {
  /// Pearson's correlation over the rows in which both numbers are there; nil where one of them does not vary.
  static func pearson(_ a: [Double], _ b: [Double]) -> Double? {
    var (count, sumA, sumB) = (0.0, 0.0, 0.0)
    for (x, y) in zip(a, b) where !(x.isNaN || y.isNaN) { (count, sumA, sumB) = (count + 1, sumA + x, sumB + y) }
    guard count > 1 else { return nil }
    let (meanA, meanB) = (sumA / count, sumB / count)
    var (squareA, squareB, product) = (0.0, 0.0, 0.0)
    for (x, y) in zip(a, b) where !(x.isNaN || y.isNaN) {
      let (dx, dy) = (x - meanA, y - meanB)
      (squareA, squareB, product) = (squareA + dx * dx, squareB + dy * dy, product + dx * dy)
    }
    guard squareA > 0, squareB > 0 else { return nil }
    return max(-1, min(1, product / (squareA.squareRoot() * squareB.squareRoot())))
  }

  /// Cramér's V over the rows in which both codes are there (0 or more): 0 for independent columns, 1 where one
  /// decides the other. Without the correction for bias, as in the definition (Cramér, 1946).
  static func cramer(_ a: [Int32], _ b: [Int32]) -> Double? {
    struct Pair: Hashable {
      var a: Int32
      var b: Int32
    }
    var pairs: [Pair: Int] = [:]
    var (countsA, countsB): ([Int32: Int], [Int32: Int]) = ([:], [:])
    var count = 0
    for (x, y) in zip(a, b) where x >= 0 && y >= 0 {
      pairs[Pair(a: x, b: y), default: 0] += 1
      countsA[x, default: 0] += 1
      countsB[y, default: 0] += 1
      count += 1
    }
    let least = min(countsA.count, countsB.count)
    guard least > 1 else { return nil }
    // χ² / n = Σ n_ij² / (n_i n_j) − 1.
    let sum = pairs.reduce(0) { sum, pair in
      let product = Double(countsA[pair.key.a] ?? 1) * Double(countsB[pair.key.b] ?? 1)
      return sum + Double(pair.value) * Double(pair.value) / product
    }
    return (max(0, sum - 1) / Double(least - 1)).squareRoot()
  }

  /// Cohen's κ of two columns of labels (Cohen, 1960).
  struct Agreement: Equatable {
    var rows: Int
    /// Share of the rows with the same label.
    var observed: Double
    /// Share that two annotators would reach who give their labels as often, but by chance.
    var expected: Double
    /// (observed − expected) / (1 − expected); 1 where both only ever give one label.
    var kappa: Double
  }

  /// - Parameters:
  ///   - a: labels as text, nil where there is none.
  /// - Returns: nil where no row has both labels.
  static func agreement(_ a: [String?], _ b: [String?]) -> Agreement? {
    var (countsA, countsB): ([String: Int], [String: Int]) = ([:], [:])
    var (rows, same) = (0, 0)
    for case (let x?, let y?) in zip(a, b) {
      rows += 1
      if x == y { same += 1 }
      countsA[x, default: 0] += 1
      countsB[y, default: 0] += 1
    }
    guard rows > 0 else { return nil }
    let count = Double(rows)
    let observed = Double(same) / count
    let expected = countsA.reduce(0) { $0 + Double($1.value) * Double(countsB[$1.key] ?? 0) } / (count * count)
    return Agreement(
      rows: rows, observed: observed, expected: expected,
      kappa: expected < 1 ? (observed - expected) / (1 - expected) : 1)
  }

  // MARK: - prediction of the target by one column

  /// Parts that rows are cut into: each is predicted by what the others say.
  private static let parts = 5
  /// Part of a row: mixed, so that no period of the table meets one of its own.
  private static func part(_ position: Int) -> Int {
    var hash = UInt64(position) &* 0x9E37_79B9_7F4A_7C15
    hash ^= hash >> 32
    return Int(hash % UInt64(parts))
  }

  /// Groups that numbers are cut into, of about equal counts.
  private static let binsMax = 50

  /// How well one column alone predicts the target, on rows that it did not learn from: 0 is no better than without it,
  /// 1 is always right. For numbers it is R² of the means of groups of the column, for classes the share of the
  /// mistakes of always guessing the most frequent class that groups avoid.
  static func power(_ column: Table.Column, of target: Table.Column) -> Double {
    let groups = groups(of: column)
    guard let count = groups.max().map({ Int($0) + 1 }), count > 0 else { return 0 }
    switch target.values {
    case .numbers(let numbers): return power(groups, count, of: numbers)
    case .categories(let codes, let names): return power(groups, count, ofClasses: codes, names.count)
    }
  }

  /// Number of the group that each row belongs to; a missing value is group 0.
  private static func groups(of column: Table.Column) -> [Int] {
    switch column.values {
    case .categories(let codes, _): return codes.map { Int($0) + 1 }
    case .numbers(let numbers):
      let sorted = numbers.filter { !$0.isNaN }.sorted()
      guard !sorted.isEmpty else { return numbers.map { _ in 0 } }
      var edges: [Double] = []
      for bin in 1..<binsMax {
        let edge = sorted[bin * sorted.count / binsMax]
        if edge > edges.last ?? sorted[0] { edges.append(edge) }
      }
      return numbers.map { number in
        if number.isNaN { return 0 }
        var (low, high) = (0, edges.count)
        while low < high {
          let middle = (low + high) / 2
          if edges[middle] <= number { low = middle + 1 } else { high = middle }
        }
        return low + 1
      }
    }
  }

  private static func power(_ groups: [Int], _ count: Int, of targets: [Double]) -> Double {
    var (sums, counts) = ([Double](repeating: 0, count: count * parts), [Double](repeating: 0, count: count * parts))
    let present = targets.indices.filter { !targets[$0].isNaN }
    for (position, row) in present.enumerated() {
      sums[groups[row] * parts + part(position)] += targets[row]
      counts[groups[row] * parts + part(position)] += 1
    }
    let mean = present.reduce(0) { $0 + targets[$1] } / Double(max(present.count, 1))
    var (squares, errors) = (0.0, 0.0)
    for (position, row) in present.enumerated() {
      let (first, own) = (groups[row] * parts, part(position))
      let sum = sums[first..<first + parts].reduce(0, +) - sums[first + own]
      let others = counts[first..<first + parts].reduce(0, +) - counts[first + own]
      let guess = others > 0 ? sum / others : mean
      errors += (targets[row] - guess) * (targets[row] - guess)
      squares += (targets[row] - mean) * (targets[row] - mean)
    }
    return squares > 0 ? max(0, 1 - errors / squares) : 0
  }

  private static func power(_ groups: [Int], _ count: Int, ofClasses classes: [Int32], _ classCount: Int) -> Double {
    // A table of groups × classes is kept as a dictionary: both may be thousands.
    struct Cell: Hashable {
      var group: Int
      var label: Int32
    }
    var cells: [Cell: [Int]] = [:]
    var totals = [Int](repeating: 0, count: classCount)
    let present = classes.indices.filter { classes[$0] >= 0 }
    for (position, row) in present.enumerated() {
      cells[Cell(group: groups[row], label: classes[row]), default: [Int](repeating: 0, count: parts)][
        part(position)] += 1
      totals[Int(classes[row])] += 1
    }
    let usual = totals.indices.max { totals[$0] < totals[$1] } ?? 0
    // Best class of each group on the rows outside each part.
    var best = [(label: Int32, count: Int)](repeating: (Int32(usual), 0), count: count * parts)
    for (cell, own) in cells {
      let all = own.reduce(0, +)
      for part in 0..<parts {
        let others = all - own[part]
        let found = best[cell.group * parts + part]
        if others > found.count || (others == found.count && others > 0 && cell.label < found.label) {
          best[cell.group * parts + part] = (cell.label, others)
        }
      }
    }
    let mistakes = present.enumerated().count {
      best[groups[$0.element] * parts + part($0.offset)].label != classes[$0.element]
    }
    let usualMistakes = present.count - (totals.max() ?? 0)
    return usualMistakes > 0 ? max(0, 1 - Double(mistakes) / Double(usualMistakes)) : 0
  }
}
