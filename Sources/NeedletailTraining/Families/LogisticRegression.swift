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

  func searchSettings(_ table: SearchTable) -> [SearchSetting] {
    [.logarithmic("model.c", 1e-4...1e4, first: 1)]
  }

  func tunedSettings(_ table: SearchTable) -> [(path: String, value: Document)] {
    // Figures of held-out rows no longer change.
    [("training.tolerance", .number(1e-5))]
  }

  func fit(_ context: FitContext<Matrix>) throws(TrainingError) -> any FittedModel {
    var loss = LogisticLoss(samples: context.train, classCount: context.classCount, c: context.model["c"].number ?? 1)
    var solver = LBFGS()
    solver.iterationsMax = context.training["iterations_max"].integer ?? 10_000
    solver.gradientTolerance = context.training["tolerance"].number ?? 1e-8
    var stop: TrainingError?
    solver.observe = { iteration, value in
      do throws(TrainingError) {
        try context.progress(
          EpochReport(
            epoch: iteration, epochCount: 0, loss: value, metricName: "", bestEpoch: 0, stepName: "iteration"))
      } catch {
        stop = error
      }
    }
    let start = [Double](repeating: 0, count: loss.parameterCount)
    let result = solver.minimise(from: start) { point, gradient in
      // A value that is no number ends the search.
      stop == nil ? loss.evaluate(point, gradient: &gradient) : .nan
    }
    if let stop { throw stop }
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

/// Limited-memory BFGS for smooth convex functions, in Double.
///
/// The direction comes from the two-loop recursion (Nocedal and Wright, algorithm 7.4), the step from the line search
/// of Hager and Zhang (2005). Their approximate Wolfe condition compares slopes, not values, and so still decides
/// where differences of the function drown in rounding; the gradient can therefore fall to 1e-8 and below.
struct LBFGS {
  /// Steps remembered to estimate curvature.
  var memory = 20
  var iterationsMax = 10_000
  /// The search stops when no component of the gradient is larger.
  var gradientTolerance = 1e-8
  /// Closure that hears the value after each iteration.
  var observe: (_ iteration: Int, _ value: Double) -> Void = { _, _ in }

  struct Result {
    var point: [Double]
    var value: Double
    var iterations: Int
    /// Largest component of the gradient at `point`.
    var gradientMax: Double
    var hasConverged: Bool
  }

  /// - Parameters:
  ///   - start: any point.
  ///   - evaluate: writes the gradient at a point and returns the value there.
  func minimise(from start: [Double], _ evaluate: (_ point: [Double], _ gradient: inout [Double]) -> Double) -> Result {
    var x = start
    var gradient = [Double](repeating: 0, count: x.count)
    var value = evaluate(x, &gradient)
    var steps: [[Double]] = []
    var changes: [[Double]] = []
    var curvatures: [Double] = []
    var iteration = 0

    while iteration < iterationsMax, value.isFinite, Self.largest(gradient) > gradientTolerance {
      iteration += 1
      var direction = searchDirection(gradient, steps, changes, curvatures)
      if Self.dot(direction, gradient) >= 0 {
        direction = gradient.map { -$0 }
        steps.removeAll()
        changes.removeAll()
        curvatures.removeAll()
      }
      let firstStep = steps.isEmpty ? 1 / max(Self.dot(gradient, gradient).squareRoot(), 1) : 1
      let search = lineSearch(x, value, gradient, direction, firstStep, evaluate)
      guard let found = search else { break }
      let step = zip(found.point, x).map { $0 - $1 }
      let change = zip(found.gradient, gradient).map { $0 - $1 }
      let curvature = Self.dot(step, change)
      if curvature > 1e-300 {
        steps.append(step)
        changes.append(change)
        curvatures.append(curvature)
        if steps.count > memory {
          steps.removeFirst()
          changes.removeFirst()
          curvatures.removeFirst()
        }
      }
      x = found.point
      gradient = found.gradient
      value = found.value
      observe(iteration, value)
    }
    let gradientMax = Self.largest(gradient)
    return Result(
      point: x, value: value, iterations: iteration, gradientMax: gradientMax,
      hasConverged: value.isFinite && gradientMax <= gradientTolerance)
  }

  /// The gradient times the estimated inverse curvature, negated.
  private func searchDirection(
    _ gradient: [Double], _ steps: [[Double]], _ changes: [[Double]], _ curvatures: [Double]
  ) -> [Double] {
    var q = gradient
    var weights = [Double](repeating: 0, count: steps.count)
    for i in steps.indices.reversed() {
      weights[i] = Self.dot(steps[i], q) / curvatures[i]
      for j in q.indices { q[j] -= weights[i] * changes[i][j] }
    }
    if let last = steps.indices.last {
      let scale = curvatures[last] / Self.dot(changes[last], changes[last])
      for j in q.indices { q[j] *= scale }
    }
    for i in steps.indices {
      let along = weights[i] - Self.dot(changes[i], q) / curvatures[i]
      for j in q.indices { q[j] += along * steps[i][j] }
    }
    return q.map { -$0 }
  }

  /// A point that the line search tries.
  private struct Trial {
    var point: [Double]
    var gradient: [Double]
    var value: Double
  }

  /// Bisection and secant steps inside a bracket whose left end descends and whose right end ascends or is too high.
  ///
  /// - Returns: nil where rounding leaves no better point to find.
  private func lineSearch(
    _ x: [Double], _ value: Double, _ gradient: [Double], _ direction: [Double], _ firstStep: Double,
    _ evaluate: ([Double], inout [Double]) -> Double
  ) -> Trial? {
    let slope0 = Self.dot(gradient, direction)
    // A value this little above the start counts as equal: a sum of losses rounds that much.
    let slack = 1e-12 * max(1, abs(value))
    var low = 0.0
    var lowSlope = slope0
    var high = Double.infinity
    var highSlope = Double.nan
    var step = firstStep
    var trial = Trial(point: x, gradient: gradient, value: value)
    for _ in 0..<60 {
      for i in x.indices { trial.point[i] = x[i] + step * direction[i] }
      trial.value = evaluate(trial.point, &trial.gradient)
      let slope = Self.dot(trial.gradient, direction)
      let isTooHigh = !trial.value.isFinite || trial.value > value + slack
      let descends = trial.value <= value + 1e-4 * step * slope0
      let descendsApproximately = !isTooHigh && slope <= (2e-4 - 1) * slope0
      if !isTooHigh, descends || descendsApproximately, slope >= 0.9 * slope0 {
        return trial
      }
      if isTooHigh || slope >= 0 {
        high = step
        highSlope = isTooHigh ? .nan : slope
      } else {
        low = step
        lowSlope = slope
      }
      step = Self.nextStep(low: low, lowSlope: lowSlope, high: high, highSlope: highSlope)
      if high - low < 1e-16 * max(1, low) { break }
    }
    return nil
  }

  private static func nextStep(low: Double, lowSlope: Double, high: Double, highSlope: Double) -> Double {
    guard high.isFinite else { return max(2 * low, 1e-10) * 2 }
    let middle = low + (high - low) / 2
    guard highSlope.isFinite, highSlope > lowSlope else { return middle }
    let secant = (low * highSlope - high * lowSlope) / (highSlope - lowSlope)
    let margin = 0.05 * (high - low)
    return secant > low + margin && secant < high - margin ? secant : middle
  }

  private static func dot(_ a: [Double], _ b: [Double]) -> Double {
    var sum = 0.0
    for i in a.indices { sum += a[i] * b[i] }
    return sum
  }

  private static func largest(_ vector: [Double]) -> Double {
    vector.reduce(0) { max($0, abs($1)) }
  }
}
