/// Least squares with a category of many levels, without a column a level.
///
/// A level's rows share one unknown, its effect. An orthogonal transformation of these rows leaves one equation that
/// holds the effect, and others that do not: the rows less their mean. Only the latter are factorised, which takes the
/// square of the other columns a row: 4,000 levels take as long as 4. (The linear algebra of "absorbing" fixed effects:
/// Frisch and Waugh, 1933.)
struct GroupedProblem {
  private let problem: CentredProblem
  private let category: CodedRows.Category
  private let levels: Int
  /// Weight of each level's rows: their number where all count alike.
  private let counts: [Double]
  /// Means of each level's rows, levels × columns, and of their centred targets.
  private let means: [Double]
  private let targetMeans: [Double]
  /// Scale of the intercept's column, so that its norm is 1 at most.
  private let interceptScale: Double

  /// - Parameters:
  ///   - problem: of the columns beside the category.
  ///   - category: a code a row.
  init(_ problem: CentredProblem, _ category: CodedRows.Category) {
    self.problem = problem
    self.category = category
    levels = category.columns.count
    interceptScale = 1 / problem.total.squareRoot()
    let columns = problem.columns
    var counts = [Double](repeating: 0, count: levels)
    var means = [Double](repeating: 0, count: levels * columns)
    var targetMeans = counts
    var equation = [Double](repeating: 0, count: columns)
    for (row, level) in category.codes.enumerated() where level >= 0 {
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
    all.insert(contentsOf: effects, at: category.columns.lowerBound)
    let unused = problem.l2 > 0 ? 0 : counts.count { $0 == 0 }
    return LinearSolution(
      weights: all, intercept: intercept, dependentColumns: (problem.l2 > 0 ? 0 : freedom.count) + unused)
  }

  /// Equations that hold no effect of a level.
  private func addRows(to rest: inout LeastSquares) {
    let columns = problem.columns
    var equation = [Double](repeating: 0, count: columns)
    for (row, level) in category.codes.enumerated() where problem.weights[row] > 0 {
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
