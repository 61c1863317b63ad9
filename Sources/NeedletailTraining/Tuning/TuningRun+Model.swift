internal import NeedletailCore
internal import NeedletailEngine

/// What a search ends with: the leaderboard, and the best model or mixture of models.
extension TuningRun {
  /// The best model, or mixture of models, trained and judged as `train` does it.
  ///
  /// - Throws: `TrainingError` where no model keeps to the latency, or the best cannot be trained again.
  public func finish() throws(TrainingError) -> TunedModel {
    var candidates = try self.candidates()
    guard let first = candidates.first else { throw .fit("tuning: expected a complete trial, found none") }
    candidates.removeAll { $0.result.rows != first.result.rows }
    let truth = first.result.rows.map { plan.targets[$0] }
    let membersMax = min(plan.settings.mixture, candidates.count)
    var mixture = Mixture(members: [.init(candidate: 0, weight: 1)], loss: first.result.loss)
    if membersMax > 1 {
      observer.stage("mixing the best \(candidates.count) models")
      let range = plan.answerRange
      let answers = candidates.map { candidate in
        range.map { range in candidate.result.answers.map { min(max($0, range.lowerBound), range.upperBound) } }
          ?? candidate.result.answers
      }
      let found = Mixture.choose(answers, membersMax: membersMax) { answers in
        plan.loss(answers, truth, rows: first.result.rows)
      }
      if found.loss < mixture.loss { mixture = found }
    }
    var order = Array(candidates.indices)
    while true {
      var trained = try train(mixture, candidates)
      let limit = plan.settings.latencyMicrosecondsMax ?? .infinity
      if trained.model.chosen.microsecondsPerRow <= limit {
        if own.isRefitting { try refit(&trained, mixture, candidates) }
        return trained
      }
      observer.stage(
        "\(Figures.microseconds(trained.model.chosen.microsecondsPerRow)) a row is more than tuning.latency_us_max, "
          + "\(Figures.microseconds(limit)): trying less")
      if mixture.members.count > 1 {
        mixture = mixture.withoutLightest()
      } else {
        // Alone and undisturbed the model is slower than it was during the search: the next one.
        order.removeAll { $0 == mixture.members[0].candidate }
        guard let next = order.first else {
          throw .fit("tuning.latency_us_max: expected a model within \(Figures.microseconds(limit)), found none")
        }
        mixture = Mixture(members: [.init(candidate: next, weight: 1)], loss: candidates[next].result.loss)
      }
    }
  }

  private struct Candidate {
    var trial: Study.Trial
    var result: TrialResult
  }

  /// Models that a mixture is made of, the best first. Those of an earlier process are fitted again.
  private func candidates() throws(TrainingError) -> [Candidate] {
    let ranked = records.filter { $0.trial.state == .complete && ($0.trial.loss ?? .infinity).isFinite }
      .sorted { ($0.trial.loss ?? 0, $0.trial.number) < ($1.trial.loss ?? 0, $1.trial.number) }
    var candidates: [Candidate] = []
    for record in ranked.prefix(plan.settings.mixture > 1 ? Self.resultsKept : 1) {
      if let result = results[record.trial.number] {
        candidates.append(Candidate(trial: record.trial, result: result))
      } else if candidates.count < plan.settings.mixture {
        observer.stage("fitting trial \(record.trial.number + 1) again")
        candidates.append(
          Candidate(trial: record.trial, result: try runner.run(record.trial) { (_, _) throws(TrainingError) in }))
      }
    }
    return candidates
  }

  /// A model of a mixture, and where it comes from.
  private struct Part {
    var member: MixedModel.Member
    var arm: Int
    var configuration: RunConfiguration
  }

  /// Puts the models together, and measures the whole.
  ///
  /// The models of all folds answer together, so that no row is lost to judging; where one model is wanted, and where the
  /// validation rows judged, it learns from them too, with as many rounds or epochs as were best.
  private func train(_ mixture: Mixture, _ candidates: [Candidate]) throws(TrainingError) -> TunedModel {
    var parts: [Part] = []
    var hasLearnedFromJudges = false
    for member in mixture.members {
      let (trial, result) = (candidates[member.candidate].trial, candidates[member.candidate].result)
      let arm = plan.arms[trial.arm]
      let configuration = try arm.configuration(of: trial.point)
      var models = result.models
      if models.count == 1 || plan.settings.mixture == 1 || plan.isInOrderOfTime {
        if let joined = try runner.joiningJudges(arm: trial.arm, configuration) {
          observer.stage("fitting \(arm.family.name) #\(trial.number + 1) with the rows that judged it")
          hasLearnedFromJudges = true
          models = [
            try arm.family.fit(joined, configuration.refitting(bestStep: result.bestStep)) {
              (_: EpochReport) throws(TrainingError) in
            }
          ]
        } else if models.count > 1 {
          observer.stage("fitting \(arm.family.name) #\(trial.number + 1)")
          let prepared = try runner.prepare(arm: trial.arm, fold: nil, configuration)
          models = [try prepared.fit(configuration, nil) { (_: EpochReport) throws(TrainingError) in }]
        }
      }
      for (fold, model) in models.enumerated() {
        let (own, number) = try runner.preprocessing(
          arm: trial.arm, fold: models.count > 1 ? fold : nil, configuration)
        parts.append(
          part(
            model, of: trial, weight: member.weight / Double(models.count), preprocessing: own, number: number,
            configuration))
      }
    }
    let best = try plan.arms[candidates[0].trial.arm].configuration(of: candidates[0].trial.point)
    let base = Self.base(parts)
    let (configuration, model) = joined(
      parts, mixture, number: runner.number(arm: base.arm, fold: nil, base.configuration))
    let run = TrainingRun(configuration, observer: RunObserver(stage: observer.stage))
    var trained = try run.finish(
      try runner.prepare(arm: base.arm, fold: nil, base.configuration).data, model, fitSeconds: secondsSpent)
    if hasLearnedFromJudges {
      trained.notes.append(
        "it learned from the validation rows too: their figures say little, those of the test rows count")
    }
    return TunedModel(model: trained, configuration: best.portableDocument, leaderboard: leaderboard)
  }

  private func part(
    _ model: any FittedModel, of trial: Study.Trial, weight: Double, preprocessing: Preprocessing, number: Int,
    _ configuration: RunConfiguration
  ) -> Part {
    let family = plan.arms[trial.arm].family
    return Part(
      member: .init(
        model: model, weight: weight, preprocessing: preprocessing,
        takesFloat32: family.preprocessing.element == .float32, arm: number,
        name: "\(family.name) #\(trial.number + 1)"),
      arm: trial.arm, configuration: configuration)
  }

  /// The member whose rows the whole takes: only a graph bound in f64 has the digits for every member.
  private static func base(_ parts: [Part]) -> Part {
    parts.first { $0.member.preprocessing.element == .float64 } ?? parts[0]
  }

  /// The only member, or a mixture of several.
  ///
  /// - Parameter number: of the preprocessing that the graph begins with.
  private func joined(
    _ parts: [Part], _ mixture: Mixture, number: Int
  ) -> (configuration: RunConfiguration, model: any FittedModel) {
    let first = parts[0]
    guard parts.count > 1 else { return (first.configuration, first.member.model) }
    let model = MixedModel(
      members: parts.map(\.member), arm: number, classCount: plan.labels.count, range: plan.answerRange)
    // Models of all folds of a trial have one configuration.
    var configurations: [RunConfiguration] = []
    var name: String?
    for part in parts where part.member.name != name {
      configurations.append(part.configuration)
      name = part.member.name
    }
    let document = Self.document(own, mixture.members.map(\.weight), configurations)
    return (first.configuration.replacing(family: MixtureFamily(), document: document), model)
  }

  /// Fits every member again on all rows, with as many rounds or epochs as were best, and puts what they make into the
  /// bundle.
  private func refit(
    _ tuned: inout TunedModel, _ mixture: Mixture, _ candidates: [Candidate]
  ) throws(TrainingError) {
    let what = mixture.members.count == 1 ? "the best model" : "\(mixture.members.count) models"
    observer.stage("fitting \(what) again on all \(Figures.count(plan.dataset.rowCount)) rows")
    var parts: [Part] = []
    var prepared: [Int: PreparedData] = [:]
    for member in mixture.members {
      let (trial, result) = (candidates[member.candidate].trial, candidates[member.candidate].result)
      let arm = plan.arms[trial.arm]
      let configuration = try arm.configuration(of: trial.point)
      let number = runner.number(arm: trial.arm, fold: nil, configuration)
      let data: PreparedData
      if let known = prepared[number] {
        data = known
      } else {
        data = try PreparedData(
          configuration, ofAllRowsIn: try runner.prepare(arm: trial.arm, fold: nil, configuration).data)
        prepared[number] = data
      }
      let model = try arm.family.fit(data, configuration.refitting(bestStep: result.bestStep)) {
        (_: EpochReport) throws(TrainingError) in
      }
      parts.append(
        part(
          model, of: trial, weight: member.weight, preprocessing: data.preprocessing, number: number, configuration))
    }
    let number = Self.base(parts).member.arm
    let (configuration, model) = joined(parts, mixture, number: number)
    guard let data = prepared[number] else { preconditionFailure("the rows of every member are prepared") }
    try TrainingRun(configuration, observer: RunObserver(stage: observer.stage)).bundle(
      model, of: data, into: &tuned.model,
      judged: plan.folds.count > 1
        ? "models that did not learn from the rows which judged them"
        : "what learned from \(Figures.count(tuned.model.data.split.train.count)) of them")
  }

  /// Settings of a mixture: those of the run, and what each member has of its own.
  private static func document(
    _ own: RunConfiguration, _ weights: [Double], _ configurations: [RunConfiguration]
  ) -> Document {
    let shared = own.document.entries.filter { !["model", "training", "preprocessing"].contains($0.key) }
    let parts = zip(weights, configurations).map { weight, configuration in
      Document.section([
        .init("weight", .number(weight)), .init("model", configuration.document["model"]),
        .init("training", configuration.document["training"]),
        .init("preprocessing", configuration.document["preprocessing"]),
      ])
    }
    return .section(shared + [.init("mixture", .list(parts))])
  }
}
