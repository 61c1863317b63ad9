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
