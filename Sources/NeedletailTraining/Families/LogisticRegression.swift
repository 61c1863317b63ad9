internal import COpenBLAS
internal import Glibc
internal import NeedletailCore
internal import NeedletailEngine

/// Binary and multinomial logistic regression with an L2 penalty, minimised to the last digit.
///
/// The objective is scikit-learn's, C · Σ loss + ½‖w‖² with free intercepts, divided by C · rows, so that the
/// tolerance does not depend on the number of rows.
struct LogisticRegression: ModelFamily {
  let name = "logistic_regression"
  let summary = "linear classifier for two or more classes, L2 penalty, exact optimum."
  let tasks: Set<ModelGraph.Task> = [.classification]
  let modelSettings = [
    Setting("c", .number(1e-12...1e12), .number(1), "Inverse strength of the penalty, as C of scikit-learn.")
  ]
  let trainingSettings = [
    Setting("iterations_max", .integer(1...1_000_000), .integer(10_000), "L-BFGS iterations at most."),
    Setting("tolerance", .number(1e-14...1), .number(1e-8), "Stop when the gradient is below."),
  ]

  func fit(_ context: FitContext<Matrix>) throws(TrainingError) -> any FittedModel {
    var loss = LogisticLoss(samples: context.train, classCount: context.classCount, c: context.model["c"].number ?? 1)
    var solver = LBFGS()
    solver.iterationsMax = context.training["iterations_max"].integer ?? 10_000
    solver.gradientTolerance = context.training["tolerance"].number ?? 1e-8
    let start = [Double](repeating: 0, count: loss.parameterCount)
    let result = solver.minimise(from: start) { point, gradient in loss.evaluate(point, gradient: &gradient) }
    guard result.value.isFinite, result.point.allSatisfy(\.isFinite) else {
      throw .fit("logistic_regression: expected a finite loss, found \(result.value); standardise the features")
    }
    let note =
      result.hasConverged
      ? "converged after \(result.iterations) iterations"
      : "stopped after \(result.iterations) iterations at gradient \(Figures.short(result.gradientMax))"
    return Fitted(outputs: loss.outputCount, columns: context.train.inputs.columns, point: result.point, notes: [note])
  }

  struct Fitted: FittedModel {
    /// Rows of the weights: 1 for two classes (the log-odds of the second), else one a class.
    let outputs: Int
    let columns: Int
    /// Weights [outputs, columns], then intercepts.
    let point: [Double]
    let notes: [String]

    func export(into graph: inout GraphBuilder, input: Int) -> OutputHead {
      var weights = point[..<(outputs * columns)].map { Float($0) }
      var bias = point[(outputs * columns)...].map { Float($0) }
      if outputs == 1 {
        // softmax(0, z) is the logistic function of z; a first row of zeros costs less than one more node.
        weights = [Float](repeating: 0, count: columns) + weights
        bias = [0] + bias
      }
      let matrix = Matrix(rows: bias.count, columns: columns, elements: weights)
      return .logits(
        graph.addDense(name: "logits", from: input, weights: matrix, bias: bias, activation: .identity))
    }
  }
}

/// Mean cross-entropy plus penalty, with its gradient.
struct LogisticLoss {
  /// Scores a row: 1 for two classes, else one a class.
  let outputCount: Int
  private let rows: Int
  private let columns: Int
  private let inputs: [Double]
  private let classes: [Int]
  private let penalty: Double
  private var scores: [Double]

  var parameterCount: Int { outputCount * (columns + 1) }

  init(samples: Samples<Matrix>, classCount: Int, c: Double) {
    rows = samples.count
    columns = samples.inputs.columns
    outputCount = classCount == 2 ? 1 : classCount
    inputs = samples.inputs.elements.map { Double($0) }
    classes = samples.targets.map { Int($0) }
    penalty = 1 / (c * Double(rows))
    scores = [Double](repeating: 0, count: rows * outputCount)
  }

  /// - Parameters:
  ///   - point: weights [outputCount, columns], then one intercept an output.
  ///   - gradient: receives the derivative of the result by every element of the point.
  /// - Returns: mean loss plus penalty at the point.
  mutating func evaluate(_ point: [Double], gradient: inout [Double]) -> Double {
    let weightCount = outputCount * columns
    for row in 0..<rows {
      for output in 0..<outputCount { scores[row * outputCount + output] = point[weightCount + output] }
    }
    cblas_dgemm(
      CblasRowMajor, CblasNoTrans, CblasTrans, Int32(rows), Int32(outputCount), Int32(columns), 1, inputs,
      Int32(columns), point, Int32(columns), 1, &scores, Int32(outputCount))

    let loss = outputCount == 1 ? binaryLoss() : multinomialLoss()
    let scale = 1 / Double(rows)
    cblas_dgemm(
      CblasRowMajor, CblasTrans, CblasNoTrans, Int32(outputCount), Int32(columns), Int32(rows), scale, scores,
      Int32(outputCount), inputs, Int32(columns), 0, &gradient, Int32(columns))
    var squares = 0.0
    for index in 0..<weightCount {
      squares += point[index] * point[index]
      gradient[index] += penalty * point[index]
    }
    for output in 0..<outputCount {
      var sum = 0.0
      for row in 0..<rows { sum += scores[row * outputCount + output] }
      gradient[weightCount + output] = sum * scale
    }
    return loss * scale + 0.5 * penalty * squares
  }

  /// Turns scores into probability − truth.
  ///
  /// - Returns: the summed loss.
  private mutating func binaryLoss() -> Double {
    var loss = 0.0
    for row in 0..<rows {
      let z = scores[row]
      let isSecond = classes[row] == 1
      // log(1 + e^±z) without overflow.
      loss += max(isSecond ? -z : z, 0) + log1p(exp(-abs(z)))
      let probability = z >= 0 ? 1 / (1 + exp(-z)) : exp(z) / (1 + exp(z))
      scores[row] = probability - (isSecond ? 1 : 0)
    }
    return loss
  }

  /// Turns scores into probability − truth, through the softmax of each row.
  ///
  /// - Returns: the summed loss.
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
        for output in 0..<outputCount { scores[start + output] /= sum }
        scores[start + classes[row]] -= 1
        loss += log(sum) - truth
      }
    }
    return loss
  }
}
