internal import Glibc
internal import NeedletailCore
internal import NeedletailEngine

/// Binary and multinomial logistic regression with penalties on squares and magnitudes, minimised to the last digit.
///
/// The objective is scikit-learn's, C · Σ weight · loss + (1 − r) · ½‖w‖² + r · |w| with free intercepts, divided by
/// C · Σ weight, so that the tolerance does not depend on the number of rows.
struct LogisticRegression: ModelFamily {
  let name = "logistic_regression"
  let summary = "linear classifier for two or more classes, L1 and L2 penalties, exact optimum."
  let tasks: Set<ModelGraph.Task> = [.classification]
  let usesWeights = true
  let takesText = true
  let modelSettings = [
    Setting("c", .number(1e-12...1e12), .number(1), "Inverse strength of the penalty, as C of scikit-learn."),
    Setting(
      "l1_ratio", .number(0...1), .number(0),
      "Share of the penalty that is on magnitudes, as in scikit-learn; it makes weights 0."),
  ]
  let trainingSettings = [
    Setting("iterations_max", .integer(1...1_000_000), .integer(10_000), "Iterations at most."),
    Setting("tolerance", .number(1e-14...1), .number(1e-8), "Stop when the gradient is below."),
    RowWeights.setting,
  ]

  func searchSettings(_ table: SearchTable) -> [SearchSetting] {
    [
      .logarithmic("model.c", 1e-4...1e4, first: 1),
      .choice("model.l1_ratio", [.number(0), .number(0.5), .number(1)]),
    ]
  }

  func tunedSettings(_ table: SearchTable) -> [(path: String, value: Document)] {
    // Figures of held-out rows no longer change.
    [("training.tolerance", .number(1e-5))]
  }

  func fit(_ context: FitContext<IndicatorRows>) throws(TrainingError) -> any FittedModel {
    let ratio = context.model["l1_ratio"].number ?? 0
    var loss = LogisticLoss(
      samples: context.train, classCount: context.classCount, c: context.model["c"].number ?? 1,
      weights: RowWeights.of(context.train, RowWeights.ofClasses(context)), l1Ratio: ratio)
    try RowWeights.check(context)
    let iterationsMax = context.training["iterations_max"].integer ?? 10_000
    let tolerance = context.training["tolerance"].number ?? 1e-8
    let start = [Double](repeating: 0, count: loss.parameterCount)
    let progress = IterationProgress(context.progress)
    let result: Minimum
    if ratio > 0 {
      let solver = ProximalGradient(iterationsMax: iterationsMax, tolerance: tolerance, observe: progress.observe)
      result = solver.minimise(from: start, penalty: loss.magnitudePenalties) { point, gradient in
        progress.isStopped ? .nan : loss.evaluate(point, gradient: &gradient)
      }
    } else {
      var solver = LBFGS()
      solver.iterationsMax = iterationsMax
      solver.gradientTolerance = tolerance
      solver.observe = progress.observe
      result = solver.minimise(from: start) { point, gradient in
        progress.isStopped ? .nan : loss.evaluate(point, gradient: &gradient)
      }
    }
    try progress.check()
    guard result.value.isFinite, result.point.allSatisfy(\.isFinite) else {
      throw .fit("logistic_regression: expected a finite loss, found \(result.value); standardise the features")
    }
    let weightCount = loss.outputCount * context.train.inputs.columns
    var notes = [result.note]
    if ratio > 0 { notes.append(Self.zeros(result.point[..<weightCount])) }
    return Fitted(
      outputs: loss.outputCount, columns: context.train.inputs.columns, point: result.point,
      termMeans: context.train.inputs.terms.means, notes: notes)
  }

  /// Sentence about the weights that a penalty on magnitudes made 0.
  static func zeros(_ weights: some Collection<Double>) -> String {
    "\(Figures.count(weights.count { $0 == 0 })) of \(Figures.count(weights.count)) weights are 0"
  }

  struct Fitted: FittedModel {
    /// Rows of the weights: 1 for two classes (the log-odds of the second), else one a class.
    let outputs: Int
    let columns: Int
    /// Weights [outputs, columns], then intercepts.
    let point: [Double]
    /// Mean of each column of terms over the training rows.
    let termMeans: [Double]
    let notes: [String]

    func export(into graph: inout GraphBuilder, input: Int) throws(TrainingError) -> OutputHead {
      var weights = point[..<(outputs * columns)].map { Float($0) }
      var bias = point[(outputs * columns)...].map { Float($0) }
      if outputs == 1 {
        // softmax(0, z) is the logistic function of z; a first row of zeros costs less than one more node.
        weights = [Float](repeating: 0, count: columns) + weights
        bias = [0] + bias
      }
      let matrix = Matrix(rows: bias.count, columns: columns, elements: weights)
      return .logits(
        try graph.addLinear(name: "logits", from: input, weights: matrix, bias: bias, termMeans: termMeans))
    }
  }
}

/// Mean cross-entropy plus the penalty on squares, with its gradient.
struct LogisticLoss {
  /// Scores a row: 1 for two classes, else one a class.
  let outputCount: Int
  private let rows: Int
  private let columns: Int
  private let inputs: DesignMatrix
  private let classes: [Int]
  /// Weights of the rows, adding up to 1.
  private let shares: [Double]
  /// Penalties on half the squares of the weights, and on their magnitudes.
  private let (squares, magnitudes): (Double, Double)
  private var scores: [Double]

  var parameterCount: Int { outputCount * (columns + 1) }
  /// Penalty on the magnitude of each parameter; intercepts have none.
  var magnitudePenalties: [Double] {
    [Double](repeating: magnitudes, count: outputCount * columns) + [Double](repeating: 0, count: outputCount)
  }

  /// - Parameters:
  ///   - weights: one a row; none: all count alike.
  ///   - l1Ratio: share of the penalty that is on magnitudes, which ``evaluate(_:gradient:)`` leaves out.
  init(samples: Samples<IndicatorRows>, classCount: Int, c: Double, weights: [Float] = [], l1Ratio: Double = 0) {
    rows = samples.count
    columns = samples.inputs.columns
    outputCount = classCount == 2 ? 1 : classCount
    inputs = DesignMatrix(samples.inputs)
    classes = samples.targets.map { Int($0) }
    let total = weights.isEmpty ? Double(rows) : weights.reduce(0) { $0 + Double($1) }
    shares = weights.isEmpty ? [Double](repeating: 1 / total, count: rows) : weights.map { Double($0) / total }
    squares = (1 - l1Ratio) / (c * total)
    magnitudes = l1Ratio / (c * total)
    scores = [Double](repeating: 0, count: rows * outputCount)
  }

  /// - Parameters:
  ///   - point: weights [outputCount, columns], then one intercept an output.
  ///   - gradient: receives the derivative of the result by every element of the point.
  /// - Returns: mean loss plus penalty on squares at the point.
  mutating func evaluate(_ point: [Double], gradient: inout [Double]) -> Double {
    let weightCount = outputCount * columns
    for row in 0..<rows {
      for output in 0..<outputCount { scores[row * outputCount + output] = point[weightCount + output] }
    }
    inputs.addProducts(with: point, outputs: outputCount, to: &scores)
    var loss = outputCount == 1 ? binaryLoss() : multinomialLoss()
    inputs.writeGradient(of: scores, outputs: outputCount, to: &gradient)
    for index in 0..<weightCount {
      loss += 0.5 * squares * point[index] * point[index]
      gradient[index] += squares * point[index]
    }
    for output in 0..<outputCount {
      gradient[weightCount + output] = stride(from: output, to: scores.count, by: outputCount)
        .reduce(0) { $0 + scores[$1] }
    }
    return loss
  }

  /// Turns scores into share · (probability − truth).
  ///
  /// - Returns: the mean loss.
  private mutating func binaryLoss() -> Double {
    var loss = 0.0
    for row in 0..<rows {
      let z = scores[row]
      let isSecond = classes[row] == 1
      // log(1 + e^±z) without overflow.
      loss += shares[row] * (max(isSecond ? -z : z, 0) + log1p(exp(-abs(z))))
      let probability = z >= 0 ? 1 / (1 + exp(-z)) : exp(z) / (1 + exp(z))
      scores[row] = shares[row] * (probability - (isSecond ? 1 : 0))
    }
    return loss
  }

  /// Turns scores into share · (probability − truth), through the softmax of each row.
  ///
  /// - Returns: the mean loss.
  private mutating func multinomialLoss() -> Double {
    var loss = 0.0
    scores.withUnsafeMutableBufferPointer { scores in
      for row in 0..<rows {
        let start = row * outputCount
        var largest = -Double.infinity
        for output in 0..<outputCount { largest = max(largest, scores[start + output]) }
        let truth = scores[start + classes[row]] - largest
        var sum = 0.0
        for output in 0..<outputCount {
          let power = exp(scores[start + output] - largest)
          scores[start + output] = power
          sum += power
        }
        let share = shares[row]
        for output in 0..<outputCount { scores[start + output] *= share / sum }
        scores[start + classes[row]] -= share
        loss += share * (log(sum) - truth)
      }
    }
    return loss
  }
}
