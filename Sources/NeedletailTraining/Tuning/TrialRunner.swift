internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailSystem

/// Outcome of a trial.
struct TrialResult: Sendable {
  var loss: Double
  /// Time of all fits.
  var fitSeconds: Double
  /// Median time of one row alone on the serving engine.
  var microsecondsPerRow: Double
  /// Answers for the judging rows, fold after fold: probabilities, rows × classes, or one number a row.
  var answers: [Float]
  /// Judging rows, fold after fold.
  var rows: [Int]
  /// The fitted model, or one of each fold.
  var models: [any FittedModel]
  /// Best round or epoch of each; 0 for families without validation rows.
  var bestSteps: [Int] = []

  /// Rounds or epochs of a fit to all rows; 0: as the settings say.
  var bestStep: Int {
    let known = bestSteps.filter { $0 > 0 }
    guard !known.isEmpty else { return 0 }
    return (known.reduce(0, +) + known.count / 2) / known.count
  }
}

/// Fits and judges trials. Any thread may use it; rows are prepared once for each family, fold, and way of reading texts.
///
/// `@unchecked Sendable`: `wholes`, `prepared`, `textKeys` and `numbers` are used under the lock.
final class TrialRunner: @unchecked Sendable {
  let plan: TuningPlan
  /// Threads of one trial.
  let threads: Int
  private let lock = Monitor()
  /// Rows of the split of the run, whose preprocessing the folds share.
  private var wholes: [PreparedKey: PreparedData] = [:]
  private var prepared: [PreparedKey: PreparedFold] = [:]
  /// Ways of reading texts whose rows are kept, the latest last.
  private var textKeys: [String] = []
  private var numbers: [PreparedKey: Int] = [:]

  private struct PreparedKey: Hashable {
    var arm: Int
    /// Nil: the split of the run.
    var fold: Int?
    /// Settings of texts; empty where no column is text.
    var text: String
  }

  /// Rows of one fold in the form of one family.
  struct PreparedFold: Sendable {
    let data: PreparedData
    let cells: [[Cell]]
    let fit: FamilyFit
  }

  /// Ways of reading texts whose rows stay in memory beside those that running trials use.
  private static let textsKept = 2

  init(_ plan: TuningPlan, threads: Int) {
    self.plan = plan
    self.threads = threads
  }

  private func key(_ arm: Int, _ fold: Int?, _ configuration: RunConfiguration) -> PreparedKey {
    let hasText = plan.dataset.features.columns.contains(where: \.isText)
    return PreparedKey(
      arm: arm, fold: fold == nil || plan.folds.count == 1 ? nil : fold,
      text: hasText ? configuration.document[TextSettings.section].inlineYAML : "")
  }

  /// - Parameters:
  ///   - fold: nil for the split of the run.
  ///   - configuration: of the trial; only its settings of texts decide.
  func prepare(arm: Int, fold: Int?, _ configuration: RunConfiguration) throws(TrainingError) -> PreparedFold {
    let key = key(arm, fold, configuration)
    lock.lock()
    defer { lock.unlock() }
    if let found = prepared[key] {
      keep(key.text)
      return found
    }
    // Trials that read texts in ways of their own do not wait for each other.
    let isShared = key.text.isEmpty
    let wholeKey = PreparedKey(arm: arm, fold: nil, text: key.text)
    let known = wholes[wholeKey]
    if !isShared { lock.unlock() }
    let whole: PreparedData
    let found: PreparedFold
    do throws(TrainingError) {
      whole =
        if let known { known } else { try PreparedData(configuration, dataset: plan.dataset, split: plan.split) }
      found = try folded(key, of: whole)
    } catch {
      if !isShared { lock.lock() }
      throw error
    }
    if !isShared { lock.lock() }
    wholes[wholeKey] = whole
    prepared[key] = found
    keep(key.text)
    return found
  }

  private func folded(_ key: PreparedKey, of whole: PreparedData) throws(TrainingError) -> PreparedFold {
    // All folds share one preprocessing but for encoded targets, so that their models can answer together.
    let data = try key.fold.map { (fold) throws(TrainingError) in try whole.replacing(plan.folds[fold]) } ?? whole
    return PreparedFold(
      data: data, cells: data.cells(data.split.validation), fit: try plan.arms[key.arm].family.prepare(data))
  }

  /// Marks a way of reading texts as the latest, and forgets the rows of those before the last few. The lock is held.
  private func keep(_ text: String) {
    guard !text.isEmpty, textKeys.last != text else { return }
    textKeys.removeAll { $0 == text }
    textKeys.append(text)
    guard textKeys.count > Self.textsKept else { return }
    let oldest = textKeys.removeFirst()
    for key in wholes.keys where key.text == oldest { wholes[key] = nil }
    for key in prepared.keys where key.text == oldest { prepared[key] = nil }
  }

  /// The training rows of the run with the validation rows among them, for the last fit of a chosen model.
  ///
  /// - Returns: nil where the validation rows are needed once more: a threshold is chosen on them, a schedule watches
  ///   them, or targets were encoded without them.
  func joiningJudges(arm: Int, _ configuration: RunConfiguration) throws(TrainingError) -> PreparedData? {
    let whole = try prepare(arm: arm, fold: nil, configuration).data
    guard !whole.split.validation.isEmpty, !whole.preprocessing.encodesTargets,
      EvaluationSettings(configuration.document).thresholdMetric == nil,
      configuration.document["training"]["schedule"].text != "plateau"
    else { return nil }
    return try whole.replacing(
      Split(train: whole.split.train + whole.split.validation, validation: [], test: whole.split.test))
  }

  /// Preprocessing of a fitted model, and a number that is the same for models with the same one.
  ///
  /// - Parameter fold: of the model; nil for one of the split of the run.
  func preprocessing(
    arm: Int, fold: Int?, _ configuration: RunConfiguration
  ) throws(TrainingError) -> (preprocessing: Preprocessing, number: Int) {
    let whole = try prepare(arm: arm, fold: nil, configuration).data.preprocessing
    guard let fold, whole.encodesTargets else { return (whole, number(arm: arm, fold: nil, configuration)) }
    return (
      try prepare(arm: arm, fold: fold, configuration).data.preprocessing,
      number(arm: arm, fold: fold, configuration)
    )
  }

  /// The number of ``preprocessing(arm:fold:_:)``.
  func number(arm: Int, fold: Int?, _ configuration: RunConfiguration) -> Int {
    let key = key(arm, fold, configuration)
    lock.lock()
    defer { lock.unlock() }
    if let known = numbers[key] { return known }
    numbers[key] = numbers.count
    return numbers.count - 1
  }

  /// Fits and judges one trial.
  ///
  /// - Parameter report: hears the loss of a step, and throws to end the trial.
  func run(
    _ trial: Study.Trial, report: @escaping (_ step: Int, _ loss: Double) throws(TrainingError) -> Void
  ) throws(TrainingError) -> TrialResult {
    let arm = plan.arms[trial.arm]
    let configuration = try arm.configuration(of: trial.point, threads: threads)
    let isCrossValidated = plan.folds.count > 1
    var result = TrialResult(loss: 0, fitSeconds: 0, microsecondsPerRow: 0, answers: [], rows: [], models: [])
    var truth: [Double] = []
    for fold in plan.folds.indices {
      let prepared = try prepare(arm: trial.arm, fold: fold, configuration)
      let start = Instant.now()
      var bestStep = 0
      let fitted = try prepared.fit(configuration, nil) { (epoch: EpochReport) throws(TrainingError) in
        bestStep = epoch.bestEpoch
        guard !isCrossValidated, let loss = epoch.validationLoss else { return try report(-1, .nan) }
        try report(arm.family.tuningStep(of: epoch, settings: configuration.document), loss)
      }
      result.fitSeconds += Double(Instant.now().microseconds(since: start)) / 1e6
      let model = try Self.compile(prepared.data, fitted)
      let answers = try Self.answers(model, prepared.cells)
      result.answers += answers
      result.rows += prepared.data.split.validation
      let foldTruth = prepared.data.targets(prepared.data.split.validation)
      truth += foldTruth
      if fold == 0, !prepared.cells.isEmpty {
        result.microsecondsPerRow = try RowRunner(model).microsecondsPerRow(prepared.cells, repetitions: 300)
      }
      if isCrossValidated {
        try report(fold, plan.loss(result.answers, truth, rows: result.rows))
      }
      result.models.append(fitted)
      result.bestSteps.append(bestStep)
    }
    result.loss = plan.loss(result.answers, truth, rows: result.rows)
    return result
  }

  static func compile(_ data: PreparedData, _ fitted: any FittedModel) throws(TrainingError) -> CompiledModel {
    let graph = try data.graph(of: fitted)
    do throws(PlanError) {
      return try CompiledModel(ModelDefinition(schema: data.preprocessing.schema, graph: graph, labels: data.labels))
    } catch {
      throw TrainingError(error)
    }
  }

  /// Probabilities or numbers of raw rows.
  ///
  /// - Throws: `TrainingError` for a model that tells no probabilities.
  static func answers(_ model: CompiledModel, _ cells: [[Cell]]) throws(TrainingError) -> [Float] {
    let layout = AnswerLayout(model)
    guard layout.classIndex == nil || layout.areProbabilities else {
      throw .fit("expected a model that tells probabilities, found one that tells scores")
    }
    return try RowRunner(model).run(count: cells.count) { cells[$0] }[layout.numbers]
  }
}

/// Fits a family with other settings to rows that are prepared already.
typealias FamilyFit =
  @Sendable (
    _ configuration: RunConfiguration, _ checkpoints: Checkpoints?,
    _ progress: @escaping (EpochReport) throws(TrainingError) -> Void
  ) throws(TrainingError) -> any FittedModel

extension ModelFamily {
  /// Brings rows into the family's form, for any number of fits.
  func prepare(_ data: PreparedData) throws(TrainingError) -> FamilyFit {
    let train: Samples<Input> = try data.samples(data.split.train, isTraining: true)
    let validation: Samples<Input> = try data.samples(usesValidationRows ? data.split.validation : [])
    let (task, labels) = (data.task, data.labels)
    return { (configuration, checkpoints, progress) throws(TrainingError) in
      var context = FitContext(
        task: task, classCount: labels.count, labels: labels, train: train, validation: validation,
        model: configuration.document["model"], training: configuration.document["training"],
        seed: configuration.seed, checkpoints: checkpoints, progress: progress)
      context.path = configuration.path(of:)
      return try self.fit(context)
    }
  }
}

extension PreparedData {
  /// The graph from a raw row to a fitted model's answers.
  func graph(of fitted: any FittedModel) throws(TrainingError) -> ModelGraph {
    if let whole = fitted.wholeGraph { return whole }
    var builder = preprocessing.emptyGraph()
    let input = try preprocessing.export(into: &builder)
    let head = try fitted.export(into: &builder, input: input)
    return try builder.finish(head, classCount: labels.count)
  }
}
