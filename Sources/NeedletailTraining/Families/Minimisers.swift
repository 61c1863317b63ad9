internal import COpenBLAS

/// Minimum of a function that a search found.
struct Minimum {
  var point: [Double]
  var value: Double
  var iterations: Int
  /// Largest component of the gradient at `point`; with a penalty on magnitudes, of the generalised gradient.
  var gradientMax: Double
  var hasConverged: Bool

  /// Sentence for people.
  var note: String {
    hasConverged
      ? "converged after \(iterations) iterations"
      : "stopped after \(iterations) iterations at gradient \(Figures.short(gradientMax))"
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

  /// - Parameters:
  ///   - start: any point.
  ///   - evaluate: writes the gradient at a point and returns the value there.
  func minimise(from start: [Double], _ evaluate: (_ point: [Double], _ gradient: inout [Double]) -> Double) -> Minimum
  {
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
    return Minimum(
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
      Self.add(-weights[i], changes[i], to: &q)
    }
    if let last = steps.indices.last {
      let scale = curvatures[last] / Self.dot(changes[last], changes[last])
      for j in q.indices { q[j] *= scale }
    }
    for i in steps.indices {
      let along = weights[i] - Self.dot(changes[i], q) / curvatures[i]
      Self.add(along, steps[i], to: &q)
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

  /// Numbers from which vectors are left to OpenBLAS: the weights of 50,000 terms for each of several classes.
  private static let blasCountMin = 1 << 14

  private static func add(_ factor: Double, _ vector: [Double], to sum: inout [Double]) {
    guard vector.count < blasCountMin else { return cblas_daxpy(Int32(vector.count), factor, vector, 1, &sum, 1) }
    for i in sum.indices { sum[i] += factor * vector[i] }
  }

  private static func dot(_ a: [Double], _ b: [Double]) -> Double {
    guard a.count < blasCountMin else { return cblas_ddot(Int32(a.count), a, 1, b, 1) }
    var sum = 0.0
    for i in a.indices { sum += a[i] * b[i] }
    return sum
  }

  private static func largest(_ vector: [Double]) -> Double {
    vector.reduce(0) { max($0, abs($1)) }
  }
}

/// Minimises a smooth convex function plus a penalty on magnitudes, in Double.
///
/// Accelerated proximal gradients (Beck and Teboulle, 2009) begin anew where they turn back (O'Donoghue and Candès,
/// 2015). The length of a step is searched, and may grow again: far from the minimum exponential losses are steep.
struct ProximalGradient {
  var iterationsMax = 10_000
  /// The search stops when no component of the generalised gradient is larger.
  var tolerance = 1e-8
  /// Closure that hears the value after each iteration, the penalty included.
  var observe: (_ iteration: Int, _ value: Double) -> Void = { _, _ in }

  /// Factors of the steepness where a step was too long, and after each iteration.
  private static let (steeper, flatter) = (2.0, 0.95)

  /// - Parameters:
  ///   - penalty: of each component's magnitude.
  ///   - evaluate: writes the gradient of the smooth part at a point and returns its value there.
  func minimise(
    from start: [Double], penalty: [Double], _ evaluate: (_ point: [Double], _ gradient: inout [Double]) -> Double
  ) -> Minimum {
    var (x, ahead, next) = (start, start, start)
    var (momentum, steepness) = (1.0, 1.0)
    var gradient = [Double](repeating: 0, count: x.count)
    var scratch = gradient
    var (value, largest) = (0.0, Double.infinity)
    var iteration = 0
    while iteration < iterationsMax {
      iteration += 1
      value = evaluate(ahead, &gradient)
      guard value.isFinite else { break }
      steepness *= Self.flatter
      var found = value
      // A step is short enough where the parabola of this steepness stays above the function.
      for _ in 0..<200 {
        var bound = value
        for i in x.indices {
          next[i] = Self.shrunken(ahead[i] - gradient[i] / steepness, by: penalty[i] / steepness)
          let step = next[i] - ahead[i]
          bound += gradient[i] * step + 0.5 * steepness * step * step
        }
        found = evaluate(next, &scratch)
        if found <= bound + 1e-14 * max(1, abs(bound)) { break }
        steepness *= Self.steeper
      }
      largest = 0
      var turn = 0.0
      for i in x.indices {
        largest = max(largest, steepness * abs(next[i] - ahead[i]))
        turn += (ahead[i] - next[i]) * (next[i] - x[i])
      }
      let following = turn > 0 ? 1 : (1 + (1 + 4 * momentum * momentum).squareRoot()) / 2
      let share = turn > 0 ? 0 : (momentum - 1) / following
      value = found
      for i in x.indices {
        value += penalty[i] * abs(next[i])
        ahead[i] = next[i] + share * (next[i] - x[i])
        x[i] = next[i]
      }
      momentum = following
      observe(iteration, value)
      guard value.isFinite, largest > tolerance else { break }
    }
    return Minimum(
      point: x, value: value, iterations: iteration, gradientMax: largest, hasConverged: largest <= tolerance)
  }

  /// The number moved towards 0 by a length, and no further.
  static func shrunken(_ number: Double, by length: Double) -> Double {
    number > length ? number - length : number < -length ? number + length : 0
  }
}

/// Passes the iterations of a search on as progress, and remembers the error that ends the training.
final class IterationProgress {
  private let progress: (EpochReport) throws(TrainingError) -> Void
  private var stop: TrainingError?

  init(_ progress: @escaping (EpochReport) throws(TrainingError) -> Void) { self.progress = progress }

  /// True once the training is to end; a search then gets values that are no numbers.
  var isStopped: Bool { stop != nil }

  func observe(_ iteration: Int, _ value: Double) {
    guard stop == nil else { return }
    do throws(TrainingError) {
      try progress(
        EpochReport(epoch: iteration, epochCount: 0, loss: value, metricName: "", bestEpoch: 0, stepName: "iteration"))
    } catch {
      stop = error
    }
  }

  /// - Throws: the error that ended the training.
  func check() throws(TrainingError) { if let stop { throw stop } }
}
