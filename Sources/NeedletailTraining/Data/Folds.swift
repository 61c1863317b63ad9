/// Cross-validation: every fold judges a model that learned from other rows.
///
/// Which row goes where is what scikit-learn's `KFold`, `StratifiedKFold`, `GroupKFold` and `TimeSeriesSplit` say, but
/// for the order in which a seed shuffles.
public struct Folds: Equatable, Sendable {
  /// Rows of one fold, ascending, or in the order of time.
  public struct Fold: Equatable, Sendable {
    public var train: [Int]
    public var test: [Int]

    public init(train: [Int], test: [Int]) {
      self.train = train
      self.test = test
    }
  }

  public let folds: [Fold]

  /// Cuts rows into parts of equal size; the first ones take what is left over.
  ///
  /// - Parameter seed: shuffles the rows; nil leaves them in their order.
  /// - Throws: `TrainingError` where there are fewer rows than folds.
  public static func random(rowCount: Int, count: Int, seed: UInt64?) throws(TrainingError) -> Folds {
    try check(count, rowCount, "rows")
    var rows = Array(0..<rowCount)
    if let seed {
      var random = RandomSource(seed: seed, purpose: "folds")
      random.shuffle(&rows)
    }
    var foldOfRow = [Int](repeating: 0, count: rowCount)
    var start = 0
    for fold in 0..<count {
      let size = rowCount / count + (fold < rowCount % count ? 1 : 0)
      for row in rows[start..<start + size] { foldOfRow[row] = fold }
      start += size
    }
    return Folds(foldOfRow, count: count)
  }

  /// Cuts every class into parts of equal size.
  ///
  /// - Parameters:
  ///   - strata: class of each row, from 0.
  ///   - seed: shuffles the rows of each class; nil leaves them in their order.
  ///   - minimum: rows that the largest class must have; nil: one for each fold.
  /// - Throws: `TrainingError` where no class has as many rows.
  public static func stratified(
    strata: [Int], count: Int, seed: UInt64?, minimum: Int? = nil
  ) throws(TrainingError) -> Folds {
    try check(count, strata.count, "rows")
    // Classes by their first row, so that folds do not depend on what the classes are called.
    var numbers: [Int: Int] = [:]
    let classes = strata.map { stratum in
      let number = numbers[stratum] ?? numbers.count
      numbers[stratum] = number
      return number
    }
    var sizes = [Int](repeating: 0, count: numbers.count)
    for number in classes { sizes[number] += 1 }
    let minimum = minimum ?? count
    guard let largest = sizes.max(), largest >= minimum else {
      throw TrainingError(
        .data, "folds: expected a class of at least \(minimum) rows, found at most \(sizes.max() ?? 0) in one")
    }
    // Dealing the sorted rows out like cards says how many of each class a fold gets.
    var shares = [[Int]](repeating: [Int](repeating: 0, count: count), count: numbers.count)
    for (position, number) in classes.sorted().enumerated() { shares[number][position % count] += 1 }
    var random = seed.map { RandomSource(seed: $0, purpose: "folds") }
    var queues = shares.map { share in
      var queue = share.enumerated().flatMap { [Int](repeating: $0.offset, count: $0.element) }
      random?.shuffle(&queue)
      return queue
    }
    for index in queues.indices { queues[index].reverse() }
    return Folds(classes.map { queues[$0].removeLast() }, count: count)
  }

  /// Keeps the rows of a group together: the largest groups first, each into the fold of the fewest rows.
  ///
  /// - Parameter groups: group of each row, from 0.
  /// - Throws: `TrainingError` where there are fewer groups than folds.
  public static func grouped(groups: [Int], count: Int) throws(TrainingError) -> Folds {
    var sizes = [Int](repeating: 0, count: (groups.max() ?? -1) + 1)
    for group in groups { sizes[group] += 1 }
    let present = sizes.indices.filter { sizes[$0] > 0 }
    try check(count, present.count, "groups")
    var rowsOfFold = [Int](repeating: 0, count: count)
    var foldOfGroup = [Int](repeating: 0, count: sizes.count)
    for group in present.sorted(by: { (sizes[$0], $0) > (sizes[$1], $1) }) {
      let fold = rowsOfFold.indices.min { rowsOfFold[$0] < rowsOfFold[$1] } ?? 0
      foldOfGroup[group] = fold
      rowsOfFold[fold] += sizes[group]
    }
    return Folds(groups.map { foldOfGroup[$0] }, count: count)
  }

  /// Judges on what comes later: each fold learns from all rows before those that judge.
  ///
  /// - Parameters:
  ///   - times: of each row; rows of one time stay in their order.
  ///   - gap: rows left out between those that train and those that judge.
  /// - Throws: `TrainingError` where there are too few rows.
  public static func timeSeries(times: [Double], count: Int, gap: Int = 0) throws(TrainingError) -> Folds {
    try check(count + 1, times.count, "rows")
    let order = times.indices.sorted { (times[$0], $0) < (times[$1], $1) }
    let size = times.count / (count + 1)
    var folds: [Fold] = []
    for start in stride(from: times.count - count * size, to: times.count, by: size) {
      guard start - gap > 0 else {
        throw TrainingError(
          .data, "folds: expected rows before a gap of \(gap), found \(start) before the first that judge")
      }
      folds.append(Fold(train: Array(order[..<(start - gap)]), test: Array(order[start..<start + size])))
    }
    return Folds(folds: folds)
  }

  private init(folds: [Fold]) { self.folds = folds }

  private init(_ foldOfRow: [Int], count: Int) {
    folds = (0..<count).map { fold in
      Fold(
        train: foldOfRow.indices.filter { foldOfRow[$0] != fold },
        test: foldOfRow.indices.filter { foldOfRow[$0] == fold })
    }
  }

  private static func check(_ count: Int, _ found: Int, _ what: String) throws(TrainingError) {
    precondition(count >= 2, "cross-validation has two folds or more")
    guard found >= count else {
      throw TrainingError(.data, "folds: expected at least \(count) \(what), found \(found)")
    }
  }
}
