internal import NeedletailCore

/// Preprocessed rows in which the category with the most levels is kept as a number a row instead of a column a level, with
/// the terms of texts behind them.
///
/// A thousand levels would be a thousand columns of zeros with one 1 a row: for 100,000 rows 400 MB.
public struct IndicatorRows: TrainingInput, Equatable {
  /// Width of the preprocessed row, and of the terms of texts behind it.
  public var columns: Int { rowColumns + terms.columns }
  /// Width of the preprocessed row.
  public let rowColumns: Int
  /// Columns of the indicators; empty where no category has ``levelsMin`` levels.
  public let indicators: Range<Int>
  /// Per row the position in `indicators` of the column that is 1; −1 where all are 0. Empty without indicators.
  public let levels: [Int32]
  /// All other columns, in their order.
  public let others: Matrix
  /// Terms of texts.
  public let terms: SparseRows

  /// Below so many levels plain columns are quicker.
  public static let levelsMin = 64
  public static let preprocessing = PreprocessingRequest.dense

  public var rowCount: Int { others.rows }

  /// Rows without indicators.
  public init(_ matrix: Matrix) {
    self.init(columns: matrix.columns, indicators: 0..<0, levels: [], others: matrix)
  }

  /// - Precondition: a level a row where there are indicators.
  init(columns: Int, indicators: Range<Int>, levels: [Int32], others: Matrix, terms: SparseRows? = nil) {
    precondition(indicators.isEmpty || levels.count == others.rows)
    precondition(others.columns == columns - indicators.count)
    precondition(terms.map { $0.rowCount == others.rows } ?? true)
    self.terms = terms ?? SparseRows(rows: others.rows)
    rowColumns = columns
    self.indicators = indicators
    self.levels = levels
    self.others = others
  }

  public init(_ preprocessing: Preprocessing, _ features: Table, rows: [Int]) throws(TrainingError) {
    let sources = preprocessing.sources
    let terms = try SparseRows(preprocessing, features, rows: rows)
    guard let source = sources.indices.max(by: { sources[$0].indicatorCount < sources[$1].indicatorCount }),
      sources[source].indicatorCount >= Self.levelsMin
    else {
      let matrix =
        sources.isEmpty ? Matrix(rows: rows.count, columns: 0) : try preprocessing.transform(features, rows: rows)
      self.init(columns: matrix.columns, indicators: 0..<0, levels: [], others: matrix, terms: terms)
      return
    }
    let width = sources[source].indicatorCount
    let first = sources[..<source].reduce(0) { $0 + max($1.indicatorCount, 1) }
    // The code is one column where its indicators would be many.
    let coded = try preprocessing.transform(features, rows: rows, keepingCodesOf: [source])
    var levels: [Int32] = []
    var others: [Float] = []
    levels.reserveCapacity(rows.count)
    others.reserveCapacity(rows.count * (coded.columns - 1))
    for start in stride(from: 0, to: coded.elements.count, by: coded.columns) {
      let code = coded.elements[start + first]
      levels.append(code >= 0 && code < Float(width) ? Int32(code) : -1)
      others += coded.elements[start..<(start + first)]
      others += coded.elements[(start + first + 1)..<(start + coded.columns)]
    }
    self.init(
      columns: preprocessing.columns, indicators: first..<(first + width), levels: levels,
      others: Matrix(rows: rows.count, columns: coded.columns - 1, elements: others), terms: terms)
  }
}

/// Least squares with a category of many levels, without a column a level.
///
/// A level's rows share one unknown, its effect. An orthogonal transformation of these rows leaves one equation that
/// holds the effect, and others that do not: the rows less their mean. Only the latter are factorised, which takes the
/// square of the other columns a row: 4,000 levels take as long as 4. (The linear algebra of "absorbing" fixed effects:
/// Frisch and Waugh, 1933.)
struct GroupedProblem {
  private let problem: CentredProblem
  private let inputs: IndicatorRows
  private let levels: Int
  /// Weight of each level's rows: their number where all count alike.
  private let counts: [Double]
  /// Means of each level's rows, levels × columns, and of their centred targets.
  private let means: [Double]
  private let targetMeans: [Double]
  /// Scale of the intercept's column, so that its norm is 1 at most.
  private let interceptScale: Double

  init(_ problem: CentredProblem, _ inputs: IndicatorRows) {
    self.problem = problem
    self.inputs = inputs
    levels = inputs.indicators.count
    interceptScale = 1 / problem.total.squareRoot()
    let columns = problem.columns
    var counts = [Double](repeating: 0, count: levels)
    var means = [Double](repeating: 0, count: levels * columns)
    var targetMeans = counts
    var equation = [Double](repeating: 0, count: columns)
    for (row, level) in inputs.levels.enumerated() where level >= 0 {
      let (level, weight) = (Int(level), problem.weights[row])
      problem.write(row: row, to: &equation)
      counts[level] += weight
      for column in 0..<columns { means[level * columns + column] += weight * equation[column] }
      targetMeans[level] += weight * (problem.targets[row] - problem.targetMean)
    }
    for level in 0..<levels where counts[level] > 0 {
      for column in 0..<columns { means[level * columns + column] /= counts[level] }
      targetMeans[level] /= counts[level]
    }
    self.counts = counts
    self.means = means
    self.targetMeans = targetMeans
  }

  /// Columns beside the indicators: the others, and the intercept.
  private var width: Int { problem.columns + 1 }

  /// The level's mean row, the intercept's column behind it.
  private func meanRow(_ level: Int) -> [Double] {
    means[(level * problem.columns)..<((level + 1) * problem.columns)] + [interceptScale]
  }

  func solve() throws(TrainingError) -> LinearSolution {
    var rest = try LeastSquares(columns: width)
    addRows(to: &rest)
    problem.addPenalties(to: &rest, width: width)
    var (others, freedom) = rest.solveWithFreedom(tolerance: CentredProblem.tolerance)
    var effects = effects(others, targets: targetMeans)
    if problem.l2 == 0, !freedom.isEmpty { try shorten(&effects, &others, freedom) }

    let weights = zip(others, problem.norms).map { $0 / $1 }
    let intercept =
      problem.targetMean + others[width - 1] * interceptScale
      - zip(weights, problem.means).reduce(0) { $0 + $1.0 * $1.1 }
    var all = weights
    all.insert(contentsOf: effects, at: inputs.indicators.lowerBound)
    let unused = problem.l2 > 0 ? 0 : counts.count { $0 == 0 }
    return LinearSolution(
      weights: all, intercept: intercept, dependentColumns: (problem.l2 > 0 ? 0 : freedom.count) + unused)
  }

  /// Equations that hold no effect of a level.
  private func addRows(to rest: inout LeastSquares) {
    let columns = problem.columns
    var equation = [Double](repeating: 0, count: columns)
    for (row, level) in inputs.levels.enumerated() where problem.weights[row] > 0 {
      problem.write(row: row, to: &equation)
      let root = problem.weights[row].squareRoot()
      var target = problem.targets[row] - problem.targetMean
      if level >= 0 {
        for column in 0..<columns { equation[column] -= means[Int(level) * columns + column] }
        target -= targetMeans[Int(level)]
      }
      rest.add(equation.map { $0 * root } + [level >= 0 ? 0 : interceptScale * root], equals: target * root)
    }
    guard problem.l2 > 0 else { return }
    // A penalised effect does not take up all of its level's mean: what it leaves is one more equation.
    for level in 0..<levels where counts[level] > 0 {
      let weight = (problem.l2 * counts[level] / (counts[level] + problem.l2)).squareRoot()
      rest.add(meanRow(level).map { $0 * weight }, equals: targetMeans[level] * weight)
    }
  }

  /// Effects of the levels that fit best beside these weights of the other columns; 0 without rows.
  private func effects(_ others: [Double], targets: [Double]) -> [Double] {
    (0..<levels).map { level in
      guard counts[level] > 0 else { return 0 }
      let explained = zip(meanRow(level), others).reduce(0) { $0 + $1.0 * $1.1 }
      return (targets[level] - explained) * counts[level] / (counts[level] + problem.l2)
    }
  }

  /// Moves a solution to the one of least norm, all columns scaled to norm 1, along changes that fit as well.
  private func shorten(
    _ effects: inout [Double], _ others: inout [Double], _ freedom: [[Double]]
  ) throws(TrainingError) {
    let norms = counts.map { count in
      let norm = max(count * (1 - count / problem.total), 0).squareRoot()
      return norm > 0 ? norm : 1
    }
    let zeros = [Double](repeating: 0, count: levels)
    let changes = freedom.map { self.effects($0, targets: zeros) }
    var shortest = try LeastSquares(columns: freedom.count)
    for level in 0..<levels {
      shortest.add(changes.map { $0[level] * norms[level] }, equals: -effects[level] * norms[level])
    }
    // The intercept is no part of the norm.
    for column in 0..<problem.columns { shortest.add(freedom.map { $0[column] }, equals: -others[column]) }
    let steps = try shortest.solve().solution
    for (index, step) in steps.enumerated() {
      for level in 0..<levels { effects[level] += step * changes[index][level] }
      for column in 0..<width { others[column] += step * freedom[index][column] }
    }
  }
}
