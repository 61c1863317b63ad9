internal import NeedletailCore

/// The experiments of all models: rollout policies, lost traffic and outcomes go in, events come out. A state machine
/// without I/O.
struct ExperimentBook: Sendable {
  /// One model's rollout, as far as experiments are concerned.
  struct Observation: Sendable {
    var model: ModelID
    var policy: RolloutPolicy
    /// Versions that get no traffic, although the file gives them some.
    var quarantined: Set<ModelVersion>
  }

  enum Event: Sendable, Equatable {
    /// An experiment began, or goes on after a restart.
    case began(ModelID, isResumed: Bool)
    /// It has a conclusion.
    case concluded(ModelID)
    /// The rollout file does not say it any more, and it had no conclusion.
    case abandoned(ModelID)
    /// What is remembered of it from before a restart is not possible, so that it begins anew.
    case forgotten(ModelID)
    /// There are too many.
    case refused(ModelID)
  }

  /// By model: those that run, and the last one that ended.
  private(set) var experiments: [ModelID: Experiment] = [:]
  /// The policies in force of models that have an experiment.
  private(set) var policies: [ModelID: RolloutPolicy] = [:]
  private var refused: Set<ModelID> = []
  /// Models whose rollouts were looked at: only what was in force at the start goes on from before the restart.
  private var seen: Set<ModelID> = []

  init() {}

  /// Takes in the rollouts as they are now.
  /// - Parameter recall: what is remembered of a model's experiment from before the restart.
  mutating func observe(
    _ observations: [Observation], now: Moment, recall: (ModelID) -> Experiment?
  ) -> [Event] {
    var events: [Event] = []
    for observation in observations {
      observe(observation, now: now, recall, &events)
    }
    let present = Set(observations.map(\.model))
    for model in policies.keys.sorted() where !present.contains(model) { abandon(model, &events) }
    return events
  }

  private mutating func observe(
    _ observation: Observation, now: Moment, _ recall: (ModelID) -> Experiment?, _ events: inout [Event]
  ) {
    let model = observation.model
    let isFirst = seen.insert(model).inserted
    guard let design = ExperimentDesign(observation.policy) else {
      refused.remove(model)
      if policies[model] != nil { abandon(model, &events) }
      return
    }
    if policies[model] == nil || experiments[model]?.design != design {
      guard policies[model] != nil || policies.count < Limits.experimentsMax else {
        if refused.insert(model).inserted { events.append(.refused(model)) }
        return
      }
      if policies[model] != nil { abandon(model, &events) }
      let known = isFirst ? recall(model).flatMap { $0.design == design ? $0 : nil } : nil
      let isResumed = known?.isPossible ?? false
      if known != nil, !isResumed { events.append(.forgotten(model)) }
      experiments[model] = isResumed ? known : Experiment(design, now: now)
      events.append(.began(model, isResumed: isResumed))
    }
    policies[model] = observation.policy
    let isOpen = experiments[model]?.conclusion == nil
    experiments[model]?.lose(Set(observation.quarantined.map(\.number)), now: now)
    if isOpen, experiments[model]?.conclusion != nil { events.append(.concluded(model)) }
  }

  private mutating func abandon(_ model: ModelID, _ events: inout [Event]) {
    policies[model] = nil
    guard experiments[model]?.conclusion == nil else { return }
    experiments[model] = nil
    events.append(.abandoned(model))
  }

  /// Whether outcomes of a model count for an experiment.
  func isRunning(_ model: ModelID) -> Bool { policies[model] != nil && experiments[model]?.conclusion == nil }

  /// Adds outcomes of one model.
  /// - Returns: whether something changed, and what came of it.
  mutating func take(_ outcomes: [JoinedOutcome], of model: ModelID, now: Moment) -> (isChanged: Bool, events: [Event])
  {
    guard isRunning(model) else { return (false, []) }
    var isChanged = false
    for outcome in outcomes where experiments[model]?.take(outcome, now: now) == true { isChanged = true }
    let isConcluded = experiments[model]?.conclusion != nil
    return (isChanged, isConcluded ? [.concluded(model)] : [])
  }

  /// The policy that a concluded experiment is to be replaced by; nil: nobody asks for that.
  func promotion(of model: ModelID) -> RolloutPolicy? {
    guard let policy = policies[model], let experiment = experiments[model], experiment.design.settings.promotes,
      let conclusion = experiment.conclusion, conclusion.result != .stopped,
      let winner = conclusion.winner.flatMap({ ModelVersion($0) })
    else { return nil }
    return policy.concluding(winner)
  }
}
