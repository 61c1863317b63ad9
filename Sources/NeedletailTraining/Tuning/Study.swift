/// Trials of one search, and what to try next. It does no I/O and reads no clock: whoever runs the trials asks, reports
/// and tells.
///
/// What a trial tries depends on the seed, its number and the trials before it only, so that a study that was saved
/// goes on as if it had not been interrupted, and workers that share one never draw the same numbers.
struct Study: Sendable {
  /// One kind of model with a space of its own.
  struct Arm: Equatable, Sendable {
    var name: String
    var space: SearchSpace
    /// Point that is tried first; nil: none.
    var start: SearchSpace.Point?
  }

  enum Sampler: String, Sendable, CaseIterable {
    case tpe
    case random
  }

  enum State: String, Sendable, CaseIterable {
    case running
    case complete
    /// Ended by the pruner.
    case pruned
    /// Ended by an error, or without a loss.
    case failed
  }

  struct Trial: Equatable, Sendable {
    /// From 0.
    var number: Int
    /// Index of the arm.
    var arm: Int
    var point: SearchSpace.Point
    var state = State.running
    /// What is minimised; nil until the trial is complete.
    var loss: Double?
    /// Losses of the steps reported.
    var steps: [Int: Double] = [:]
  }

  let arms: [Arm]
  let seed: UInt64
  let sampler: Sampler
  /// Nil: no trial is ended early.
  let pruner: MedianPruner?
  private(set) var trials: [Trial] = []

  /// - Precondition: at least one arm.
  init(arms: [Arm], seed: UInt64, sampler: Sampler = .tpe, pruner: MedianPruner? = MedianPruner()) {
    precondition(!arms.isEmpty, "a study has something to vary")
    self.arms = arms
    self.seed = seed
    self.sampler = sampler
    self.pruner = pruner
  }

  /// Begins the next trial.
  mutating func ask() -> Trial {
    let arm = nextArm()
    let trial = Trial(number: trials.count, arm: arm, point: nextPoint(arm))
    trials.append(trial)
    return trial
  }

  /// Takes in a trial that another process began or ended.
  ///
  /// - Precondition: it is a known number, or the next one, and its point is of its arm.
  mutating func take(_ trial: Trial) {
    precondition(arms.indices.contains(trial.arm) && arms[trial.arm].space.contains(trial.point))
    if trial.number == trials.count {
      trials.append(trial)
    } else {
      trials[trial.number] = trial
    }
  }

  /// Forgets trials from a number on, which were asked for and are nobody's.
  mutating func forget(from number: Int) {
    if number < trials.count { trials.removeSubrange(number...) }
  }

  /// Notes the loss of a step.
  ///
  /// - Parameter step: steps since the last one get the same loss.
  /// - Returns: true where the trial should end.
  mutating func report(_ number: Int, step: Int, loss: Double) -> Bool {
    precondition(trials[number].state == .running)
    let last = trials[number].steps.keys.max() ?? -1
    guard step > last else { return false }
    for between in (last + 1)...step { trials[number].steps[between] = loss }
    guard let pruner else { return false }
    let arm = trials[number].arm
    let others = trials.filter { $0.state == .complete && $0.arm == arm && !$0.steps.isEmpty }.map(\.steps)
    return pruner.ends(atStep: step, losses: trials[number].steps, others: others)
  }

  /// Ends a trial. A loss that is no number makes it a failed one.
  mutating func tell(_ number: Int, _ state: State, loss: Double? = nil) {
    precondition(trials[number].state == .running && state != .running)
    trials[number].loss = state == .complete ? loss.flatMap { $0.isNaN ? nil : $0 } : nil
    trials[number].state = state == .complete && trials[number].loss == nil ? .failed : state
  }

  /// Complete trials, the best first.
  var ranking: [Trial] {
    trials.filter { $0.state == .complete }
      .sorted { ($0.loss ?? .infinity, $0.number) < ($1.loss ?? .infinity, $1.number) }
  }

  // MARK: - what comes next

  /// Each arm has one trial first. Then the one with the best trial gets most, the second a quarter as many, the third a
  /// ninth: a kind of model that does not fit the data costs little, and one that comes close is not given up.
  private func nextArm() -> Int {
    guard arms.count > 1 else { return 0 }
    var counts = [Int](repeating: 0, count: arms.count)
    var best = [Double](repeating: .infinity, count: arms.count)
    for trial in trials {
      counts[trial.arm] += 1
      if let loss = trial.loss { best[trial.arm] = min(best[trial.arm], loss) }
    }
    if let fresh = counts.firstIndex(of: 0) { return fresh }
    let order = arms.indices.sorted { (best[$0], $0) < (best[$1], $1) }
    let shares = order.enumerated().map { rank, arm in
      (arm: arm, claim: Double(counts[arm]) * Double((rank + 1) * (rank + 1)))
    }
    return shares.min { $0.claim < $1.claim }?.arm ?? 0
  }

  private func nextPoint(_ arm: Int) -> SearchSpace.Point {
    let space = arms[arm].space
    let own = trials.filter { $0.arm == arm }
    if own.isEmpty, let start = arms[arm].start { return start }
    var random = TrialNumbers(seed: seed, trial: trials.count)
    switch sampler {
    case .random: return space.randomPoint(&random)
    case .tpe:
      let observations = own.compactMap { trial -> TPE.Observation? in
        switch trial.state {
        case .running: return .init(point: trial.point, outcome: .running)
        case .complete: return trial.loss.map { .init(point: trial.point, outcome: .complete(loss: $0)) }
        case .pruned:
          let last = trial.steps.keys.max()
          return .init(
            point: trial.point, outcome: .pruned(steps: last ?? 0, loss: last.flatMap { trial.steps[$0] }))
        case .failed: return nil
        }
      }
      return TPE(space: space).propose(after: observations, &random)
    }
  }
}

/// Random numbers of one trial: SplitMix64 (Steele, Lea and Flood, 2014) from a state that seed and number decide.
struct TrialNumbers: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64, trial: Int) {
    state = seed
    let mixed = next() ^ UInt64(truncatingIfNeeded: trial) &* 0xD1B5_4A32_D192_ED03
    state = mixed
  }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
    return value ^ (value >> 31)
  }
}

/// Ends a trial whose best loss so far is worse than the median of the others at the same step, as Optuna's
/// `MedianPruner` does.
struct MedianPruner: Equatable, Sendable {
  /// Complete trials before any is ended.
  var startupTrials = 5
  /// Steps that every trial may take.
  var warmupSteps = 0

  /// - Parameters:
  ///   - step: the last step of the trial.
  ///   - losses: by step, those of the trial.
  ///   - others: the same of the complete trials.
  func ends(atStep step: Int, losses: [Int: Double], others: [[Int: Double]]) -> Bool {
    guard others.count >= startupTrials, !others.isEmpty, step >= warmupSteps else { return false }
    guard let best = losses.values.filter({ !$0.isNaN }).min() else { return true }
    let found = others.compactMap { $0[step] }.filter { !$0.isNaN }.sorted()
    guard !found.isEmpty else { return false }
    let median = (found[(found.count - 1) / 2] + found[found.count / 2]) / 2
    return best > median
  }
}
