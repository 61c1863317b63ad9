internal import COpenBLAS
internal import NeedletailCore

/// Quantile regression by an interior-point method for its linear program, which a penalty on squares makes a quadratic
/// one (Portnoy and Koenker, 1997; predictor and corrector of Mehrotra, 1992).
///
/// A residual is u − v with u, v ≥ 0, and a row costs c · (q · u + (1 − q) · v). A penalty on the magnitude of a weight
/// is one more row of that weight alone, with the quantile ½ and the target 0.
struct QuantileProblem {
  private let inputs: DesignMatrix
  private let columns: Int
  /// Rows of the table that count, then one for each penalised weight.
  private let targets: [Double]
  private let costs: [Double]
  private let quantiles: [Double]
  /// Columns of the rows behind those of the table.
  private let penalised: [Int]
  private let squares: [Double]
  private let rows: Int
  private let iterationsMax: Int
  private let tolerance: Double

  init(_ problem: PenalisedRegression, share: Double) {
    inputs = problem.inputs
    columns = problem.inputs.columns
    rows = problem.inputs.rows
    let count = Double(rows)
    penalised = problem.magnitudes.indices.filter { problem.magnitudes[$0] > 0 }
    targets = problem.targets + penalised.map { _ in 0 }
    // Rows without weight keep a cost that moves nothing, so that no division is by 0.
    costs = problem.shares.map { max($0 * count, 1e-12) } + penalised.map { 2 * count * problem.magnitudes[$0] }
    quantiles = [Double](repeating: share, count: rows) + penalised.map { _ in 0.5 }
    squares = problem.squares.map { $0 * count } + [0]
    iterationsMax = min(problem.iterationsMax, 500)
    tolerance = problem.tolerance
  }

  /// Residuals and dual variables of one iterate.
  private struct Iterate {
    /// Weights, then the intercept.
    var point: [Double]
    /// Parts of the residuals above and below 0.
    var above: [Double]
    var below: [Double]
    /// Dual variable of each row, between c · (q − 1) and c · q.
    var dual: [Double]
  }

  /// Changes of an iterate.
  private struct Step {
    var point: [Double]
    var above: [Double]
    var below: [Double]
    var dual: [Double]
  }

  /// - Throws: `TrainingError` where the training is stopped, or the products of the columns are no numbers.
  func minimise(_ progress: IterationProgress) throws(TrainingError) -> Minimum {
    let count = targets.count
    var now = Iterate(
      point: [Double](repeating: 0, count: columns + 1), above: targets.map { max($0, 0) + 1 },
      below: targets.map { max(-$0, 0) + 1 }, dual: (0..<count).map { costs[$0] * (quantiles[$0] - 0.5) })
    var (iteration, gap) = (0, Double.infinity)
    var value = 0.0
    while iteration < iterationsMax {
      let slacks = slacks(now)
      var complement = 0.0
      for i in 0..<count { complement += now.above[i] * slacks.above[i] + now.below[i] * slacks.below[i] }
      value = self.value(now.point)
      let residuals = residuals(now)
      let unmet = max(Self.largest(residuals.rows), Self.largest(residuals.point) / Double(rows))
      gap = max(complement / (Double(rows) * max(value, 1e-6)), unmet)
      if gap <= tolerance { break }
      iteration += 1
      let mean = complement / Double(2 * count)
      let factor = try factorised(now, slacks)
      // The predictor heads for no complement at all; how far it gets says how much the corrector keeps.
      let zeros = [Double](repeating: 0, count: count)
      let predictor = step(now, slacks, residuals, factor, aim: 0, above: zeros, below: zeros)
      let reach = lengths(now, slacks, predictor)
      var left = 0.0
      for i in 0..<count {
        left += (now.above[i] + reach.primal * predictor.above[i]) * (slacks.above[i] - reach.dual * predictor.dual[i])
        left += (now.below[i] + reach.primal * predictor.below[i]) * (slacks.below[i] + reach.dual * predictor.dual[i])
      }
      let share = max(left / complement, 0)
      let corrector = step(
        now, slacks, residuals, factor, aim: share * share * share * mean,
        above: (0..<count).map { -predictor.above[$0] * predictor.dual[$0] },
        below: (0..<count).map { predictor.below[$0] * predictor.dual[$0] })
      let length = lengths(now, slacks, corrector)
      for i in 0..<count {
        now.above[i] += 0.9995 * length.primal * corrector.above[i]
        now.below[i] += 0.9995 * length.primal * corrector.below[i]
        now.dual[i] += 0.9995 * length.dual * corrector.dual[i]
      }
      for i in now.point.indices { now.point[i] += 0.9995 * length.primal * corrector.point[i] }
      progress.observe(iteration, value)
      try progress.check()
      guard now.point.allSatisfy(\.isFinite) else { break }
    }
    // A weight is 0 where neither of its row's bounds holds its dual variable back.
    let slacks = slacks(now)
    for (index, column) in penalised.enumerated() {
      let row = rows + index
      if min(slacks.above[row], slacks.below[row]) > 1e-4 * costs[row] { now.point[column] = 0 }
    }
    return Minimum(
      point: now.point, value: self.value(now.point), iterations: iteration, gradientMax: gap,
      hasConverged: gap <= tolerance)
  }

  /// Distances of the dual variables from their bounds.
  private func slacks(_ now: Iterate) -> (above: [Double], below: [Double]) {
    let least = 1e-300
    return (
      (0..<targets.count).map { max(costs[$0] * quantiles[$0] - now.dual[$0], least) },
      (0..<targets.count).map { max(costs[$0] * (1 - quantiles[$0]) + now.dual[$0], least) }
    )
  }

  private func scores(_ point: [Double]) -> [Double] {
    var scores = [Double](repeating: point[columns], count: rows)
    inputs.addProducts(with: point, outputs: 1, to: &scores)
    return scores + penalised.map { point[$0] }
  }

  /// Σ number · row, the ones of the intercept behind.
  private func combination(_ numbers: [Double]) -> [Double] {
    var sum = [Double](repeating: 0, count: columns + 1)
    inputs.writeGradient(of: numbers, outputs: 1, to: &sum)
    for row in 0..<rows { sum[columns] += numbers[row] }
    for (index, column) in penalised.enumerated() { sum[column] += numbers[rows + index] }
    return sum
  }

  /// What the constraints, and the derivatives by the point, leave over.
  private func residuals(_ now: Iterate) -> (rows: [Double], point: [Double]) {
    let scores = scores(now.point)
    let rows = targets.indices.map { targets[$0] - scores[$0] - now.above[$0] + now.below[$0] }
    let sums = combination(now.dual)
    return (rows, sums.indices.map { sums[$0] - squares[$0] * now.point[$0] })
  }

  /// Mean pinball loss plus penalties.
  private func value(_ point: [Double]) -> Double {
    let scores = scores(point)
    var value = 0.0
    for i in targets.indices {
      let residual = targets[i] - scores[i]
      value += costs[i] * residual * (residual > 0 ? quantiles[i] : quantiles[i] - 1)
    }
    for i in squares.indices { value += 0.5 * squares[i] * point[i] * point[i] }
    return value / Double(rows)
  }

  private func spreads(_ now: Iterate, _ slacks: (above: [Double], below: [Double])) -> [Double] {
    targets.indices.map { now.above[$0] / slacks.above[$0] + now.below[$0] / slacks.below[$0] }
  }

  /// Cholesky's factor of the system for the point.
  private func factorised(
    _ now: Iterate, _ slacks: (above: [Double], below: [Double])
  ) throws(TrainingError) -> [Double] {
    let inverse = spreads(now, slacks).map { 1 / $0 }
    let size = columns + 1
    var matrix = inputs.gram(Array(inverse[..<rows]))
    for (index, column) in penalised.enumerated() { matrix[column * size + column] += inverse[rows + index] }
    var largest = 0.0
    for column in 0..<size {
      matrix[column * size + column] += squares[column]
      largest = max(largest, matrix[column * size + column])
    }
    // Indicators beside an intercept depend on each other: something small makes the solution unique.
    var slight = 1e-14 * largest
    for _ in 0..<8 {
      var factor = matrix
      for column in 0..<size { factor[column * size + column] += slight }
      var (order, leading, info) = (blasint(size), blasint(size), blasint(0))
      dpotrf_("L", &order, &factor, &leading, &info)
      precondition(info >= 0, "dpotrf: argument \(-info) is wrong")
      if info == 0 { return factor }
      slight *= 10
    }
    throw .fit("linear_regression: expected columns of finite numbers for a quantile, found others; standardise them")
  }

  private func step(
    _ now: Iterate, _ slacks: (above: [Double], below: [Double]), _ residuals: (rows: [Double], point: [Double]),
    _ factor: [Double], aim: Double, above: [Double], below: [Double]
  ) -> Step {
    let spreads = spreads(now, slacks)
    var (up, down) = (above, below)
    var right = [Double](repeating: 0, count: targets.count)
    for i in targets.indices {
      up[i] = (aim - now.above[i] * slacks.above[i] - above[i]) / slacks.above[i]
      down[i] = (aim - now.below[i] * slacks.below[i] - below[i]) / slacks.below[i]
      right[i] = (residuals.rows[i] - up[i] + down[i]) / spreads[i]
    }
    var point = combination(right)
    for i in point.indices { point[i] += residuals.point[i] }
    var (order, one, leading, info) = (blasint(columns + 1), blasint(1), blasint(columns + 1), blasint(0))
    var leadingOfPoint = order
    dpotrs_("L", &order, &one, factor, &leading, &point, &leadingOfPoint, &info)
    precondition(info == 0, "dpotrs: argument \(-info) is wrong")
    let scores = scores(point)
    let dual = targets.indices.map { right[$0] - scores[$0] / spreads[$0] }
    for i in targets.indices {
      up[i] += now.above[i] / slacks.above[i] * dual[i]
      down[i] -= now.below[i] / slacks.below[i] * dual[i]
    }
    return Step(point: point, above: up, below: down, dual: dual)
  }

  /// How much of a step keeps everything positive, 1 at most. A penalty on squares ties both together.
  private func lengths(
    _ now: Iterate, _ slacks: (above: [Double], below: [Double]), _ step: Step
  ) -> (primal: Double, dual: Double) {
    var (primal, dual) = (1.0, 1.0)
    for i in targets.indices {
      if step.above[i] < 0 { primal = min(primal, -now.above[i] / step.above[i]) }
      if step.below[i] < 0 { primal = min(primal, -now.below[i] / step.below[i]) }
      if step.dual[i] > 0 { dual = min(dual, slacks.above[i] / step.dual[i]) }
      if step.dual[i] < 0 { dual = min(dual, -slacks.below[i] / step.dual[i]) }
    }
    guard squares.contains(where: { $0 > 0 }) else { return (primal, dual) }
    return (min(primal, dual), min(primal, dual))
  }

  private static func largest(_ numbers: [Double]) -> Double { numbers.reduce(0) { max($0, abs($1)) } }
}
