internal import NeedletailCore
internal import NeedletailEngine

/// Linear models of a mean, a count or a quantile.
///
/// Least squares and ridge regression are solved exactly. Elastic net, Poisson and quantile regression are iterated to
/// the last digits.
struct LinearRegression: ModelFamily {
  enum Loss: Equatable, Sendable {
    case squared
    case poisson
    case quantile(Double)
  }

  let name = "linear_regression"
  let summary = "linear model of a mean, a count or a quantile, with L1 and L2 penalties."
  let tasks: Set<ModelGraph.Task> = [.regression]
  let usesWeights = true
  let takesText = true
  let modelSettings = [
    Setting(
      "loss", .choice(["squared", "poisson", "quantile"]), .text("squared"),
      "squared: the mean; poisson: the mean of counts, as e to the power of a sum; quantile: see the next key."),
    Setting(
      "quantile", .number(0.001...0.999), .number(0.5), "With loss: quantile, the share of rows below the answer."),
    Setting(
      "penalty", .number(0...1e12), .number(0),
      "Penalty beside the mean loss, as alpha of scikit-learn's ElasticNet, PoissonRegressor and QuantileRegressor; the "
        + "intercept is free."),
    Setting(
      "l1_ratio", .number(0...1), .number(0.5),
      "Share of that penalty that is on magnitudes, which makes weights 0; the rest is on half the squares."),
    Setting(
      "l2", .number(0...1e12), .number(0),
      "Penalty on the squared weights, as alpha of scikit-learn's Ridge: penalty with l1_ratio: 0, times the rows."),
  ]
  let trainingSettings = [
    Setting("iterations_max", .integer(1...1_000_000), .integer(10_000), "Iterations at most, where there are any."),
    Setting("tolerance", .number(1e-14...1), .number(1e-8), "Iterations stop when the gradient is below."),
  ]

  func searchSettings(_ table: SearchTable) -> [SearchSetting] {
    [
      .logarithmic("model.penalty", 1e-7...10, first: 1e-5),
      .choice("model.l1_ratio", [.number(0), .number(0.5), .number(1)]),
    ]
  }

  func tunedSettings(_ table: SearchTable) -> [(path: String, value: Document)] {
    // Figures of held-out rows no longer change.
    [("training.tolerance", .number(1e-6))]
  }

  /// Columns beside the widest category up to which least squares with several wide categories are solved exactly: the
  /// time grows with their square for each row.
  static let exactColumnsMax = 512

  func fit(_ context: FitContext<IndicatorRows>) throws(TrainingError) -> any FittedModel {
    let loss = try loss(context)
    let shares = try RowWeights.shares(context)
    let total =
      context.train.weights.isEmpty
      ? Double(context.train.count) : context.train.weights.reduce(0) { $0 + Double($1) }
    let penalty = context.model["penalty"].number ?? 0
    let ratio = context.model["l1_ratio"].number ?? 0.5
    let l1 = penalty * ratio
    let l2 = penalty * (1 - ratio) + (context.model["l2"].number ?? 0) / total
    let inputs = context.train.inputs
    let hasTerms = inputs.terms.columns > 0
    let isWide = inputs.row.categories.count > 1 && inputs.columnsBesideWidest > Self.exactColumnsMax
    if case .quantile = loss, hasTerms {
      throw .fit("model.loss: expected squared or poisson beside columns of text, found quantile")
    }
    guard loss != .squared || l1 > 0 || hasTerms || isWide else { return try solveExactly(context, l2: l2 * total) }
    return try Self.iterated(loss, context, shares: shares, l1: l1, l2: l2)
  }

  /// A model whose loss, penalty or number of columns asks for a search.
  ///
  /// - Parameters:
  ///   - shares: weights of the rows, adding up to 1.
  ///   - l1: penalty on magnitudes beside the mean loss.
  ///   - l2: penalty on half the squares, likewise.
  static func iterated(
    _ loss: Loss, _ context: FitContext<IndicatorRows>, shares: [Double], l1: Double, l2: Double
  ) throws(TrainingError) -> Fitted {
    var regression = PenalisedRegression(
      loss, context.train.inputs, context.train.targets, shares: shares, l1: l1, l2: l2)
    regression.iterationsMax = context.training["iterations_max"].integer ?? regression.iterationsMax
    regression.tolerance = context.training["tolerance"].number ?? regression.tolerance
    let (solution, notes) = try regression.solve(IterationProgress(context.progress))
    return try fitted(
      solution, isExponential: loss == .poisson, termMeans: context.train.inputs.terms.means, notes)
  }

  private func loss(_ context: FitContext<IndicatorRows>) throws(TrainingError) -> Loss {
    switch context.model["loss"].text {
    case "quantile": return .quantile(context.model["quantile"].number ?? 0.5)
    case "poisson":
      if let negative = context.train.targets.first(where: { $0 < 0 }) {
        throw .fit("model.loss: expected targets from 0 for poisson, found \(negative)")
      }
      let weights = context.train.weights
      guard
        context.train.targets.indices.contains(where: { row in
          context.train.targets[row] > 0 && (weights.isEmpty || weights[row] > 0)
        })
      else { throw .fit("model.loss: expected a target above 0 for poisson, found only zeros") }
      return .poisson
    default: return .squared
    }
  }

  private func solveExactly(
    _ context: FitContext<IndicatorRows>, l2: Double
  ) throws(TrainingError) -> any FittedModel {
    let inputs = context.train.inputs.row.keepingWidestCategory
    let problem = CentredProblem(inputs.numbers, context.train.targets, weights: context.train.weights, l2: l2)
    let solution =
      if let category = inputs.categories.first {
        try GroupedProblem(problem, category).solve()
      } else {
        try problem.solve()
      }
    var notes = ["solved exactly"]
    if solution.dependentColumns > 0 {
      notes.append(
        "\(solution.dependentColumns) of \(inputs.columns) columns depend on others: solution of least norm")
    }
    return try Self.fitted(solution, isExponential: false, termMeans: [], notes)
  }

  private static func fitted(
    _ solution: LinearSolution, isExponential: Bool, termMeans: [Double], _ notes: [String]
  ) throws(TrainingError) -> Fitted {
    guard (solution.weights + [solution.intercept]).allSatisfy({ Float($0).isFinite }) else {
      throw .fit("linear_regression: expected weights within ±3.4e38, found an overflow; standardise the features")
    }
    return Fitted(
      weights: solution.weights, intercept: solution.intercept, isExponential: isExponential, termMeans: termMeans,
      notes: notes)
  }

  struct Fitted: FittedModel {
    let weights: [Double]
    let intercept: Double
    /// True where the answer is e to the power of the sum.
    let isExponential: Bool
    /// Mean of each column of terms over the training rows.
    let termMeans: [Double]
    let notes: [String]

    func export(into graph: inout GraphBuilder, input: Int) throws(TrainingError) -> OutputHead {
      let weights = Matrix(rows: 1, columns: weights.count, elements: weights.map { Float($0) })
      let sum = try graph.addLinear(
        name: "linear", from: input, weights: weights, bias: [Float(intercept)], termMeans: termMeans)
      return .number(isExponential ? try graph.add(Exp(), name: "exp", from: sum) : sum)
    }
  }
}

/// The result of a least squares problem of this family.
struct LinearSolution {
  /// In the units of the columns.
  var weights: [Double]
  var intercept: Double
  var dependentColumns: Int
}

/// Columns of a regression, centred and scaled to norm 1.
///
/// On centred columns the intercept drops out of the problem and goes unpenalised. With columns of norm 1 the solution
/// does not depend on their units, and one tolerance fits all of them.
struct CentredProblem {
  let inputs: Matrix
  let targets: [Double]
  /// Weights of the rows.
  let weights: [Double]
  /// Sum of the weights.
  let total: Double
  let l2: Double
  let means: [Double]
  /// 1 for a column that never changes.
  let norms: [Double]
  let targetMean: Double

  /// The graph computes columns in fp32. A total beside its parts then depends on them up to rounding only, and taken
  /// for independent it would get a weight of millions against theirs.
  static let tolerance = Double(Float.ulpOfOne)

  /// - Parameter weights: one a row; none: all count alike.
  init(_ inputs: Matrix, _ targets: [Double], weights: [Float], l2: Double) {
    self.inputs = inputs
    self.targets = targets
    self.l2 = l2
    let weights = weights.isEmpty ? [Double](repeating: 1, count: targets.count) : weights.map { Double($0) }
    let total = weights.reduce(0, +)
    let columns = inputs.columns
    var means = [Double](repeating: 0, count: columns)
    for row in 0..<inputs.rows {
      for column in 0..<columns { means[column] += weights[row] * Double(inputs[row, column]) }
    }
    for column in 0..<columns { means[column] /= total }
    var norms = [Double](repeating: 0, count: columns)
    for row in 0..<inputs.rows {
      for column in 0..<columns {
        let difference = Double(inputs[row, column]) - means[column]
        norms[column] += weights[row] * difference * difference
      }
    }
    self.weights = weights
    self.total = total
    self.means = means
    self.norms = norms.map { $0 > 0 ? $0.squareRoot() : 1 }
    targetMean = zip(targets, weights).reduce(0) { $0 + $1.0 * $1.1 } / total
  }

  var columns: Int { inputs.columns }

  /// Writes the centred and scaled columns of a row.
  func write(row: Int, to equation: inout [Double]) {
    for column in 0..<columns { equation[column] = (Double(inputs[row, column]) - means[column]) / norms[column] }
  }

  /// Ridge regression is least squares with one more equation a column: √l2 · weight = 0.
  func addPenalties(to problem: inout LeastSquares, width: Int) {
    guard l2 > 0 else { return }
    for column in 0..<columns {
      var penalty = [Double](repeating: 0, count: width)
      penalty[column] = l2.squareRoot() / norms[column]
      problem.add(penalty, equals: 0)
    }
  }

  func solve() throws(TrainingError) -> LinearSolution {
    var problem = try LeastSquares(columns: columns)
    var equation = [Double](repeating: 0, count: columns)
    for row in 0..<inputs.rows where weights[row] > 0 {
      write(row: row, to: &equation)
      let root = weights[row].squareRoot()
      if root != 1 { for column in equation.indices { equation[column] *= root } }
      problem.add(equation, equals: (targets[row] - targetMean) * root)
    }
    addPenalties(to: &problem, width: columns)
    let (scaled, rank) = try problem.solve(tolerance: Self.tolerance)
    let weights = zip(scaled, norms).map { $0 / $1 }
    return LinearSolution(
      weights: weights, intercept: targetMean - zip(weights, means).reduce(0) { $0 + $1.0 * $1.1 },
      dependentColumns: columns - rank)
  }
}
