internal import COpenBLAS
internal import Glibc
internal import NeedletailCore

/// A regression of one number whose loss, or whose penalty on magnitudes, has no solution in closed form.
///
/// The objective is that of scikit-learn and glmnet: the mean loss plus penalty · (r · |w| + (1 − r) · ½‖w‖²), the
/// intercept free. Losses are half the squared error, half the Poisson deviance, and the pinball loss of a quantile.
struct PenalisedRegression {
  let loss: LinearRegression.Loss
  let inputs: DesignMatrix
  /// Whether there are terms of texts or several wide categories, too many columns for products of all of them.
  private let isWide: Bool
  /// Brought to mean 0 and deviation 1; counts to mean 1.
  let targets: [Double]
  let scale: TargetScale
  /// Weights of the rows, adding up to 1.
  let shares: [Double]
  /// Penalties on the magnitude and on half the square of each weight, in the units of `inputs` and `targets`.
  let magnitudes: [Double]
  let squares: [Double]
  var iterationsMax = 10_000
  var tolerance = 1e-8

  /// Columns of several wide categories and others whose products are computed: they fit a core's cache.
  private static let productColumnsMax = 2048

  /// - Parameters:
  ///   - l1: penalty on magnitudes, in the units of the rows.
  ///   - l2: penalty on half the squares, likewise.
  init(
    _ loss: LinearRegression.Loss, _ inputs: IndicatorRows, _ targets: [Double], shares: [Double], l1: Double,
    l2: Double
  ) {
    self.loss = loss
    self.inputs = DesignMatrix(inputs, normalisedBy: shares)
    isWide =
      inputs.terms.columns > 0 || (inputs.row.categories.count > 1 && inputs.columns > Self.productColumnsMax)
    self.shares = shares
    let standard = TargetScale(targets, shares: shares)
    // The loss of scaled targets is smaller than that of the targets by this factor.
    let factor: Double
    switch loss {
    case .squared: (scale, factor) = (standard, standard.scale * standard.scale)
    case .quantile: (scale, factor) = (standard, standard.scale)
    case .poisson: (scale, factor) = (TargetScale(offset: 0, scale: standard.offset), standard.offset)
    }
    let unit = loss == .poisson ? 1 : scale.scale
    self.targets = targets.map { [scale] in ($0 - scale.offset) / scale.scale }
    magnitudes = self.inputs.scales.map { l1 * unit / $0 / factor }
    squares = self.inputs.scales.map { l2 * (unit / $0) * (unit / $0) / factor }
  }

  /// Weights in the units of the rows, the intercept, and sentences for people.
  ///
  /// - Throws: `TrainingError` where the search meets numbers that are not finite, or is stopped.
  func solve(_ progress: IterationProgress) throws(TrainingError) -> (solution: LinearSolution, notes: [String]) {
    let minimum: Minimum
    let hasMagnitudes = magnitudes.contains { $0 > 0 }
    switch loss {
    case .squared where isWide: minimum = smooth(progress, hasMagnitudes: hasMagnitudes, squaredLoss)
    case .squared:
      try inputs.checkGram()
      minimum = try CoordinateDescent(self).minimise(progress)
    case .quantile(let share):
      try inputs.checkGram()
      minimum = try QuantileProblem(self, share: share).minimise(progress)
    case .poisson: minimum = smooth(progress, hasMagnitudes: hasMagnitudes, poissonLoss)
    }
    try progress.check()
    guard minimum.value.isFinite, minimum.point.allSatisfy(\.isFinite) else {
      throw .fit("linear_regression: expected a finite loss, found \(minimum.value); standardise the features")
    }
    var notes = [minimum.note]
    if hasMagnitudes { notes.append(LogisticRegression.zeros(minimum.point[..<inputs.columns])) }
    let (weights, intercept) = inputs.unscaled(minimum.point)
    // The logarithm of a mean moves by that of the scale, any other answer is multiplied by it.
    let solution =
      loss == .poisson
      ? LinearSolution(weights: weights, intercept: intercept + log(scale.scale), dependentColumns: 0)
      : LinearSolution(
        weights: weights.map { $0 * scale.scale }, intercept: intercept * scale.scale + scale.offset,
        dependentColumns: 0)
    return (solution, notes)
  }

  /// Value of a smooth loss at a point; the arguments are those of ``poissonLoss(_:gradient:scores:)``.
  private typealias SmoothLoss = (_ point: [Double], _ gradient: inout [Double], _ scores: inout [Double]) -> Double

  private func smooth(_ progress: IterationProgress, hasMagnitudes: Bool, _ loss: SmoothLoss) -> Minimum {
    var scores = [Double](repeating: 0, count: inputs.rows)
    // At 0 the answer is the mean of all targets.
    let start = [Double](repeating: 0, count: inputs.columns + 1)
    func evaluate(_ point: [Double], _ gradient: inout [Double]) -> Double {
      progress.isStopped ? .nan : loss(point, &gradient, &scores)
    }
    guard hasMagnitudes else {
      var solver = LBFGS()
      solver.iterationsMax = iterationsMax
      solver.gradientTolerance = tolerance
      solver.observe = progress.observe
      return solver.minimise(from: start, evaluate)
    }
    let solver = ProximalGradient(iterationsMax: iterationsMax, tolerance: tolerance, observe: progress.observe)
    return solver.minimise(from: start, penalty: magnitudes + [0], evaluate)
  }

  /// Mean of half the squared errors, plus the penalty on squares; see ``poissonLoss(_:gradient:scores:)``.
  private func squaredLoss(_ point: [Double], gradient: inout [Double], scores: inout [Double]) -> Double {
    let loss = { [shares, targets] (row: Int, score: Double) in
      (
        value: 0.5 * shares[row] * (score - targets[row]) * (score - targets[row]),
        slope: shares[row] * (score - targets[row])
      )
    }
    return penalised(point, gradient: &gradient, scores: &scores, loss)
  }

  /// Mean of exp(z) − y · z, half the deviance up to a constant, plus the penalty on squares.
  ///
  /// - Parameters:
  ///   - gradient: receives the derivative of the result by every element of the point.
  ///   - scores: scratch of a number a row.
  func poissonLoss(_ point: [Double], gradient: inout [Double], scores: inout [Double]) -> Double {
    penalised(point, gradient: &gradient, scores: &scores) { row, score in
      let mean = exp(score)
      return (shares[row] * (mean - targets[row] * score), shares[row] * (mean - targets[row]))
    }
  }

  /// Sum of a loss over the rows, plus the penalty on squares.
  ///
  /// - Parameter loss: of a row and its score: the value, and its derivative by the score.
  private func penalised(
    _ point: [Double], gradient: inout [Double], scores: inout [Double],
    _ loss: (_ row: Int, _ score: Double) -> (value: Double, slope: Double)
  ) -> Double {
    let columns = inputs.columns
    for row in 0..<inputs.rows { scores[row] = point[columns] }
    inputs.addProducts(with: point, outputs: 1, to: &scores)
    var (sum, intercept) = (0.0, 0.0)
    for row in 0..<inputs.rows {
      let own = loss(row, scores[row])
      sum += own.value
      scores[row] = own.slope
      intercept += own.slope
    }
    inputs.writeGradient(of: scores, outputs: 1, to: &gradient)
    for column in 0..<columns {
      sum += 0.5 * squares[column] * point[column] * point[column]
      gradient[column] += squares[column] * point[column]
    }
    gradient[columns] = intercept
    return sum
  }
}

/// Least squares with a penalty on magnitudes, one weight at a time, from products of columns that are computed once
/// (the covariance updates of Friedman, Hastie and Tibshirani, 2010).
struct CoordinateDescent {
  private let problem: PenalisedRegression
  private let columns: Int
  /// Products of centred columns, columns².
  private let gram: [Double]
  private let means: [Double]
  /// Products of centred columns and targets.
  private let products: [Double]
  private let targetSquares: Double

  init(_ problem: PenalisedRegression) {
    self.problem = problem
    let columns = problem.inputs.columns
    self.columns = columns
    let size = columns + 1
    let gram = problem.inputs.gram(problem.shares)
    let means = Array(gram[(columns * size)..<(columns * size + columns)])
    var centred = [Double](repeating: 0, count: columns * columns)
    for row in 0..<columns {
      for column in 0..<columns {
        centred[row * columns + column] = gram[row * size + column] - means[row] * means[column]
      }
    }
    self.gram = centred
    self.means = means
    let weighted = zip(problem.targets, problem.shares).map { $0 * $1 }
    var products = [Double](repeating: 0, count: columns)
    problem.inputs.writeGradient(of: weighted, outputs: 1, to: &products)
    // Scaled targets have the mean 0.
    self.products = products
    targetSquares = zip(problem.targets, weighted).reduce(0) { $0 + $1.0 * $1.1 }
  }

  /// - Throws: `TrainingError` where the training is stopped.
  func minimise(_ progress: IterationProgress) throws(TrainingError) -> Minimum {
    var weights = [Double](repeating: 0, count: columns)
    /// Products of the columns with what the weights leave of the targets.
    var slopes = products
    let all = Array(0..<columns)
    var (active, sweeps, largest) = (all, 0, Double.infinity)
    while sweeps < problem.iterationsMax {
      sweeps += 1
      // Between two sweeps over all weights those that are not 0 come to rest.
      let isFull = active.count == columns
      largest = sweep(isFull ? all : active, &weights, &slopes)
      progress.observe(sweeps, value(weights, slopes))
      try progress.check()
      if largest > problem.tolerance {
        active = isFull ? all.filter { weights[$0] != 0 } : active
        if active.isEmpty { active = all }
      } else if isFull {
        break
      } else {
        active = all
      }
    }
    let intercept = -zip(weights, means).reduce(0) { $0 + $1.0 * $1.1 }
    return Minimum(
      point: weights + [intercept], value: value(weights, slopes), iterations: sweeps, gradientMax: largest,
      hasConverged: largest <= problem.tolerance)
  }

  /// Moves each weight to its best value beside the others.
  ///
  /// - Returns: the largest change, times the root of the column's square: a gradient.
  private func sweep(_ chosen: [Int], _ weights: inout [Double], _ slopes: inout [Double]) -> Double {
    var largest = 0.0
    for column in chosen {
      let square = gram[column * columns + column]
      guard square > 0 else { continue }
      let best =
        ProximalGradient.shrunken(slopes[column] + square * weights[column], by: problem.magnitudes[column])
        / (square + problem.squares[column])
      let change = best - weights[column]
      guard change != 0 else { continue }
      weights[column] = best
      largest = max(largest, abs(change) * square.squareRoot())
      gram.withUnsafeBufferPointer { gram in
        guard let base = gram.baseAddress else { return }
        cblas_daxpy(Int32(columns), -change, base + column * columns, 1, &slopes, 1)
      }
    }
    return largest
  }

  private func value(_ weights: [Double], _ slopes: [Double]) -> Double {
    var value = 0.5 * targetSquares
    for column in 0..<columns {
      let weight = weights[column]
      value -= 0.5 * weight * (products[column] + slopes[column])
      value += problem.magnitudes[column] * abs(weight) + 0.5 * problem.squares[column] * weight * weight
    }
    return value
  }
}
