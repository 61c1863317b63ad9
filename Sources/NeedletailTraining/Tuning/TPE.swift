internal import Glibc

/// Tree-structured Parzen estimators (Bergstra et al., 2011), as Optuna 5 defines them.
///
/// The best tenth of the trials and all others each become a mixture of truncated normal distributions, one a trial and
/// one for the whole space. Some candidates are drawn from the first mixture, and the one that is likeliest there compared
/// with the second is tried. Dimensions without a condition are drawn together; one with a condition is drawn alone.
struct TPE: Sendable {
  /// A trial as the sampler sees it.
  struct Observation: Sendable {
    var point: SearchSpace.Point
    var outcome: Outcome
  }

  enum Outcome: Sendable {
    case complete(loss: Double)
    /// Ended early, after this many steps, with the last loss; nil before the first step.
    case pruned(steps: Int, loss: Double?)
    /// Not finished; counts among the worse, so that workers do not all try the same place.
    case running
  }

  /// Random trials before the model of the space.
  static let startupTrials = 10
  /// Candidates that are compared.
  static let candidates = 24
  /// Trials that count among the better at most.
  static let betterMax = 25
  /// Trials of full weight; older ones weigh less and less.
  static let fullWeightTrials = 25

  let space: SearchSpace

  /// The next point to try.
  ///
  /// - Parameter trials: all trials of this space in their order, without those that failed.
  func propose(after trials: [Observation], _ random: inout some RandomNumberGenerator) -> SearchSpace.Point {
    let finished = trials.count { if case .running = $0.outcome { false } else { true } }
    guard finished >= Self.startupTrials else { return space.randomPoint(&random) }
    let (better, worse) = Self.split(trials, better: min((finished + 9) / 10, Self.betterMax))
    var point = SearchSpace.Point(repeating: nil, count: space.dimensions.count)
    func draw(_ dimensions: [Int]) {
      for index in dimensions { point[index] = space.dimensions[index].domain.singleValue }
      let open = dimensions.filter { point[$0] == nil }
      guard !open.isEmpty else { return }
      let domains = open.map { space.dimensions[$0].domain }
      func mixture(_ trials: [Observation]) -> ParzenMixture {
        ParzenMixture(
          domains,
          observations: trials.compactMap { trial in
            let values = open.compactMap { trial.point[$0] }
            return values.count == open.count ? values : nil
          })
      }
      let (above, below) = (mixture(worse), mixture(better))
      var best = (score: -Double.infinity, values: [Double]())
      for _ in 0..<Self.candidates {
        let values = below.sample(&random)
        let score = below.logDensity(values) - above.logDensity(values)
        if best.values.isEmpty || score > best.score { best = (score, values) }
      }
      for (index, value) in zip(open, best.values) { point[index] = value }
    }
    draw(space.dimensions.indices.filter { space.dimensions[$0].condition == nil })
    for index in space.dimensions.indices where space.dimensions[index].condition != nil {
      if space.isActive(index, in: point) { draw([index]) }
    }
    return point
  }

  /// Parts of the trials, each in their order: complete ones by their loss, then pruned ones, the longest first.
  static func split(_ trials: [Observation], better count: Int) -> (better: [Observation], worse: [Observation]) {
    func key(_ index: Int) -> (Int, Double, Double) {
      switch trials[index].outcome {
      case .complete(let loss): (0, 0, loss)
      case .pruned(let steps, let loss):
        loss == nil ? (2, 0, 0) : (1, -Double(steps), loss.flatMap { $0.isNaN ? nil : $0 } ?? .infinity)
      case .running: (3, 0, 0)
      }
    }
    let order = trials.indices.sorted { a, b in
      let (first, second) = (key(a), key(b))
      return first == second ? a < b : first < second
    }
    let chosen = Set(order.prefix(count))
    return (
      trials.indices.filter { chosen.contains($0) }.map { trials[$0] },
      trials.indices.filter { !chosen.contains($0) }.map { trials[$0] }
    )
  }
}

/// A mixture with one kernel a trial, and one for the whole space.
struct ParzenMixture: Sendable {
  /// Kernels of one dimension.
  private enum Kernels: Sendable {
    /// Normal distributions on the scale of the domain's range, with the logarithm of their mass in it.
    case normal(SearchSpace.Domain, ClosedRange<Double>, means: [Double], deviations: [Double], logMasses: [Double])
    /// Probabilities of each choice, kernels × choices.
    case choice(Int, [Double])
  }

  private let kernels: [Kernels]
  /// Adding up to 1.
  private let weights: [Double]
  private let logWeights: [Double]

  /// - Parameters:
  ///   - domains: of the dimensions, none of a single value.
  ///   - observations: one value a dimension, in the order of the trials.
  init(_ domains: [SearchSpace.Domain], observations: [[Double]]) {
    let raw = Self.weights(observations.count) + [1]
    let sum = raw.reduce(0, +)
    weights = raw.map { $0 / sum }
    logWeights = weights.map { log($0) }
    kernels = domains.enumerated().map { index, domain in
      let values = observations.map { $0[index] }
      guard let range = domain.scaledRange else { return Self.choices(domain, values) }
      let means = domain.isLogarithmic ? values.map { log($0) } : values
      let width = range.upperBound - range.lowerBound
      let deviations = Self.deviations(means, in: range) + [width]
      let centres = means + [(range.lowerBound + range.upperBound) / 2]
      let masses = zip(centres, deviations).map { mean, deviation in
        TruncatedNormal.logMass((range.lowerBound - mean) / deviation, (range.upperBound - mean) / deviation)
      }
      return .normal(domain, range, means: centres, deviations: deviations, logMasses: masses)
    }
  }

  /// Weights of trials, oldest first: the last 25 count fully, those before ever less.
  private static func weights(_ count: Int) -> [Double] {
    let full = TPE.fullWeightTrials
    guard count >= full else { return [Double](repeating: 1, count: count) }
    let ramp = count - full
    let start = 1 / Double(count)
    return (0..<ramp).map { ramp == 1 ? start : start + (1 - start) * Double($0) / Double(ramp - 1) }
      + [Double](repeating: 1, count: full)
  }

  /// Distance to the farther neighbour, but neither wider than the space nor narrower than a share of it that shrinks
  /// with the number of trials.
  private static func deviations(_ means: [Double], in range: ClosedRange<Double>) -> [Double] {
    let order = means.indices.sorted { (means[$0], $0) < (means[$1], $1) }
    let places = [range.lowerBound] + order.map { means[$0] } + [range.upperBound]
    let width = range.upperBound - range.lowerBound
    let least = width / min(100, Double(means.count) + 2)
    var deviations = [Double](repeating: 0, count: means.count)
    for (place, index) in order.enumerated() {
      var (left, right) = (places[place + 1] - places[place], places[place + 2] - places[place + 1])
      // The ends of the space are no neighbours, unless there is no other.
      if means.count > 1 {
        if place == 0 { left = 0 }
        if place == means.count - 1 { right = 0 }
      }
      deviations[index] = min(max(left, right, least), width)
    }
    return deviations
  }

  private static func choices(_ domain: SearchSpace.Domain, _ values: [Double]) -> Kernels {
    guard case .choice(let count) = domain else { preconditionFailure("a domain without a scale is a choice") }
    let prior = 1 / Double(values.count + 1)
    var table: [Double] = []
    for value in values {
      let sum = 1 + prior * Double(count)
      table += (0..<count).map { (prior + (Double($0) == value ? 1 : 0)) / sum }
    }
    return .choice(count, table + [Double](repeating: 1 / Double(count), count: count))
  }

  /// One value a dimension, all of the same kernel.
  func sample(_ random: inout some RandomNumberGenerator) -> [Double] {
    let kernel = Self.index(weights[...], Uniform.next(&random))
    return kernels.map { dimension in
      let share = Uniform.next(&random)
      switch dimension {
      case .choice(let count, let table):
        return Double(Self.index(table[(kernel * count)..<((kernel + 1) * count)], share))
      case .normal(let domain, let range, let means, let deviations, _):
        let (mean, deviation) = (means[kernel], deviations[kernel])
        let place = TruncatedNormal.quantile(
          share, low: (range.lowerBound - mean) / deviation, high: (range.upperBound - mean) / deviation)
        return domain.value(scaled: mean + deviation * place)
      }
    }
  }

  /// Position of the part in which a share of the whole falls.
  private static func index(_ parts: ArraySlice<Double>, _ share: Double) -> Int {
    var sum = 0.0
    for (position, part) in parts.enumerated() {
      sum += part
      if share < sum { return position }
    }
    return parts.count - 1
  }

  /// Logarithm of the density of a value a dimension. Densities of numbers are those on the scale of their range, and
  /// a whole number has the mass of its interval.
  func logDensity(_ values: [Double]) -> Double {
    var sums = logWeights
    for (dimension, value) in zip(kernels, values) {
      switch dimension {
      case .choice(let count, let table):
        for kernel in sums.indices { sums[kernel] += log(table[kernel * count + Int(value)]) }
      case .normal(let domain, _, let means, let deviations, let masses):
        if case .whole(_, let isLogarithmic) = domain {
          let low = isLogarithmic ? log(value - 0.5) : value - 0.5
          let high = isLogarithmic ? log(value + 0.5) : value + 0.5
          for kernel in sums.indices {
            let (mean, deviation) = (means[kernel], deviations[kernel])
            sums[kernel] +=
              TruncatedNormal.logMass((low - mean) / deviation, (high - mean) / deviation) - masses[kernel]
          }
        } else {
          let scaled = domain.isLogarithmic ? log(value) : value
          for kernel in sums.indices {
            sums[kernel] += TruncatedNormal.logDensity(
              scaled, mean: means[kernel], deviation: deviations[kernel], logMass: masses[kernel])
          }
        }
      }
    }
    let largest = sums.max() ?? 0
    guard largest.isFinite else { return largest }
    return largest + log(sums.reduce(0) { $0 + exp($1 - largest) })
  }
}
