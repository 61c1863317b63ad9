internal import NeedletailCore
internal import NeedletailEngine

/// Ordinary least squares, or ridge regression. Both are solved exactly; nothing is iterated.
struct LinearRegression: ModelFamily {
  let name = "linear_regression"
  let summary = "least squares, solved exactly, optionally with an L2 penalty."
  let tasks: Set<ModelGraph.Task> = [.regression]
  let modelSettings = [
    Setting(
      "l2", .number(0...1e12), .number(0),
      "Penalty on the squared weights, as alpha of scikit-learn's Ridge; the intercept is free.")
  ]

  func fit(_ context: FitContext<Matrix>) throws(TrainingError) -> any FittedModel {
    let inputs = context.train.inputs
    let targets = context.train.targets
    let columns = inputs.columns
    let rows = Double(inputs.rows)
    var problem = try LeastSquares(columns: columns)

    // On centred columns the intercept drops out of the problem and goes unpenalised.
    var means = [Double](repeating: 0, count: columns)
    for row in 0..<inputs.rows {
      for column in 0..<columns { means[column] += Double(inputs[row, column]) }
    }
    for column in 0..<columns { means[column] /= rows }
    let targetMean = targets.reduce(0, +) / rows

    // With columns of norm 1 the solution does not depend on their units, and one tolerance fits all of them.
    var norms = [Double](repeating: 0, count: columns)
    for row in 0..<inputs.rows {
      for column in 0..<columns {
        let difference = Double(inputs[row, column]) - means[column]
        norms[column] += difference * difference
      }
    }
    norms = norms.map { $0 > 0 ? $0.squareRoot() : 1 }
    var equation = [Double](repeating: 0, count: columns)
    for row in 0..<inputs.rows {
      for column in 0..<columns { equation[column] = (Double(inputs[row, column]) - means[column]) / norms[column] }
      problem.add(equation, equals: targets[row] - targetMean)
    }
    // Ridge regression is least squares with one more equation a column: √l2 · weight = 0.
    let l2 = context.model["l2"].number ?? 0
    if l2 > 0 {
      for column in 0..<columns {
        var penalty = [Double](repeating: 0, count: columns)
        penalty[column] = l2.squareRoot() / norms[column]
        problem.add(penalty, equals: 0)
      }
    }
    // The graph computes columns in fp32. A total beside its parts then depends on them up to rounding only, and taken
    // for independent it would get a weight of millions against theirs.
    let (scaled, rank) = try problem.solve(tolerance: Double(Float.ulpOfOne))
    let weights = zip(scaled, norms).map { $0 / $1 }
    let intercept = targetMean - zip(weights, means).reduce(0) { $0 + $1.0 * $1.1 }
    guard (weights + [intercept]).allSatisfy({ Float($0).isFinite }) else {
      throw .fit("linear_regression: expected weights within ±3.4e38, found an overflow; standardise the features")
    }
    var notes = ["solved exactly"]
    if rank < columns {
      notes.append("\(columns - rank) of \(columns) columns depend on others: solution of least norm")
    }
    return Fitted(weights: weights, intercept: intercept, notes: notes)
  }

  struct Fitted: FittedModel {
    let weights: [Double]
    let intercept: Double
    let notes: [String]

    func export(into graph: inout GraphBuilder, input: Int) -> OutputHead {
      let weights = Matrix(rows: 1, columns: weights.count, elements: weights.map { Float($0) })
      return .number(
        graph.addDense(
          name: "linear", from: input, weights: weights, bias: [Float(intercept)], activation: .identity))
    }
  }
}
