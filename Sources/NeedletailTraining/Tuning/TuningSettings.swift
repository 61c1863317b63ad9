internal import Glibc
internal import NeedletailCore
internal import NeedletailEngine

extension RunSettings {
  static func tuning(_ families: [any ModelFamily]) -> [Setting] {
    [
      Setting(
        "preset", .choice(TuningPreset.allCases.map(\.rawValue)), .text(TuningPreset.good.rawValue),
        "How much is tried: kinds of models, time, and models in a mixture."),
      Setting("seconds", .number(0.1...1e8), "Time to search; left out: what the preset says."),
      Setting("trials", .integer(0...100_000), .integer(0), "Trials at most; 0: any number."),
      Setting("families", .list(.choice(families.names)), "Kinds of models; left out: what the preset says."),
      Setting(
        "metric", .choice(TuningMetric.allCases.map(\.rawValue)), .text(TuningMetric.automatic.rawValue),
        "What is sought, on the validation rows, which count by target.weight. auto: log_loss for classes, rmse for "
          + "numbers."),
      Setting(
        "folds", .integer(0...20),
        "Parts of the training and validation rows, each of which judges models of the others; 0: the validation rows "
          + "judge; left out: what the preset says."),
      Setting(
        "latency_us_max", .number(0.001...1e9),
        "Longest median time of one row on the serving engine, in microseconds; left out: any."),
      Setting(
        "mixture", .integer(1...50), "Models that one answer may be mixed of; 1: none; left out: what the preset says."),
      Setting("sampler", .choice(Study.Sampler.allCases.map(\.rawValue)), .text("tpe"), "What chooses the next trial."),
      Setting("pruner", .choice(["median", "none"]), .text("median"), "What ends trials that fall behind."),
      Setting("seed", .integer(0...Int(Int32.max)), .integer(1), "The same seed tries the same."),
      Setting(
        "lost_seconds", .number(0.5...86_400), .number(StudyStore.lostSecondsDefault),
        "Silence after which a process that shares the study counts as lost, and its trials go to others."),
      Setting(
        "reconnect_seconds", .number(0...86_400), .number(TuningSettings.reconnectSecondsDefault),
        "Time after which a study in PostgreSQL that cannot be reached is given up."),
      Setting("parallel", .integer(0...64), .integer(0), "Trials at a time; 0: one for each processor."),
    ]
  }
}

/// Amount of work of a search.
enum TuningPreset: String, CaseIterable, Sendable {
  case quick
  case good
  case best

  var seconds: Double {
    switch self {
    case .quick: 60
    case .good: 300
    case .best: 1800
    }
  }

  /// Parts for cross-validation of so many rows. Few rows judge badly: with 300 validation rows the standard error of an
  /// accuracy is two points, more than most settings matter.
  func folds(rows: Int) -> Int {
    switch self {
    case .quick: 0
    case .good: rows < 5000 ? 5 : 0
    case .best: rows < 100_000 ? 5 : 0
    }
  }

  var mixture: Int {
    switch self {
    case .quick: 1
    case .good: 12
    case .best: 25
    }
  }

  /// Families in the order in which they are tried first.
  func families(_ task: ModelGraph.Task, rows: Int) -> [String] {
    let linear = task == .classification ? "logistic_regression" : "linear_regression"
    // A network or a forest on more rows would take the time of ten boosted models.
    let slow = self == .quick || (self == .good && rows > 50_000) ? [] : ["mlp", "random_forest"]
    return ["gbdt", linear] + slow
  }
}

/// Settings of a search, checked.
struct TuningSettings: Sendable {
  let preset: TuningPreset
  let seconds: Double
  /// 0: any number.
  let trialsMax: Int
  /// Empty: those of the preset.
  let families: [String]
  let metric: TuningMetric
  /// Nil: what the preset says for the number of rows.
  let folds: Int?
  let latencyMicrosecondsMax: Double?
  let mixture: Int
  let sampler: Study.Sampler
  let prunes: Bool
  let seed: UInt64
  let parallel: Int
  let lostSeconds: Double
  let reconnectSeconds: Double

  /// A database that restarts or fails over is back within a minute or two.
  static let reconnectSecondsDefault = 300.0

  init(_ configuration: RunConfiguration, seconds: Double? = nil, preset wanted: TuningPreset? = nil) {
    let tuning = configuration.document["tuning"]
    let preset = wanted ?? TuningPreset(rawValue: tuning["preset"].text ?? "") ?? .good
    self.preset = preset
    self.seconds = seconds ?? tuning["seconds"].number ?? preset.seconds
    trialsMax = tuning["trials"].integer ?? 0
    families = tuning["families"].elements.compactMap(\.text)
    metric = TuningMetric(rawValue: tuning["metric"].text ?? "") ?? .automatic
    folds = tuning["folds"].integer
    latencyMicrosecondsMax = tuning["latency_us_max"].number
    mixture = tuning["mixture"].integer ?? preset.mixture
    sampler = Study.Sampler(rawValue: tuning["sampler"].text ?? "") ?? .tpe
    prunes = tuning["pruner"].text != "none"
    seed = UInt64(tuning["seed"].integer ?? 1)
    parallel = tuning["parallel"].integer ?? 0
    lostSeconds = tuning["lost_seconds"].number ?? StudyStore.lostSecondsDefault
    reconnectSeconds = tuning["reconnect_seconds"].number ?? Self.reconnectSecondsDefault
  }
}

/// Figure by which trials are compared.
enum TuningMetric: String, CaseIterable, Sendable {
  case automatic = "auto"
  case logLoss = "log_loss"
  case accuracy
  case auc
  case f1 = "f1_macro"
  case rmse
  case mae
  case r2

  /// The figure itself, for a task.
  func resolved(_ task: ModelGraph.Task) -> TuningMetric {
    guard self == .automatic else { return self }
    return task == .classification ? .logLoss : .rmse
  }

  func fits(_ task: ModelGraph.Task, classes: Int) -> Bool {
    switch self {
    case .automatic: true
    case .logLoss, .accuracy, .f1: task == .classification
    case .auc: task == .classification && classes == 2
    case .rmse, .mae, .r2: task == .regression
    }
  }

  /// True where more is better.
  private var isGain: Bool {
    switch self {
    case .accuracy, .auc, .f1, .r2: true
    case .automatic, .logLoss, .rmse, .mae: false
    }
  }

  /// The figure that a loss stands for.
  func figure(_ loss: Double) -> Double { isGain ? 1 - loss : loss }

  /// What is minimised: the figure, or 1 less the figure.
  ///
  /// - Parameters:
  ///   - answers: probabilities, rows × classes, or one number a row.
  ///   - truth: class indices, or values.
  ///   - classes: 0 for regression.
  ///   - weights: one a row, from 0; none: all rows count alike.
  /// - Returns: infinity where the rows do not define the figure.
  func loss(_ answers: [Float], _ truth: [Double], classes: Int, weights: [Double] = []) -> Double {
    let total = weights.isEmpty ? Double(truth.count) : weights.reduce(0, +)
    guard total > 0 else { return .infinity }
    func best(_ row: Int) -> Int {
      var best = 0
      for index in 1..<classes where answers[row * classes + index] > answers[row * classes + best] { best = index }
      return best
    }
    func mean(_ part: (Int) -> Double) -> Double {
      truth.indices.reduce(0) { $0 + (weights.isEmpty ? part($1) : weights[$1] * part($1)) } / total
    }
    switch self {
    case .automatic, .logLoss:
      return mean { row in -log(max(Double(answers[row * classes + Int(truth[row])]), Double.ulpOfOne)) }
    case .accuracy: return mean { row in best(row) == Int(truth[row]) ? 0 : 1 }
    case .auc:
      let scores = truth.indices.map { (score: answers[$0 * 2 + 1], isPositive: truth[$0] == 1) }
      return 1 - (Metrics.areaUnderROC(scores, weights: weights) ?? -.infinity)
    case .f1:
      let figures = Metrics.classification(
        probabilities: nil, predicted: truth.indices.map(best), truth: truth.map { Int($0) }, classCount: classes,
        weights: weights)
      return 1 - (figures.first { $0.name == "f1_macro" }?.value ?? -.infinity)
    case .rmse: return mean { row in Self.square(Double(answers[row]) - truth[row]) }.squareRoot()
    case .mae: return mean { row in abs(Double(answers[row]) - truth[row]) }
    case .r2:
      let centre = mean { truth[$0] }
      let spread = mean { row in Self.square(truth[row] - centre) }
      return spread > 0 ? mean { row in Self.square(Double(answers[row]) - truth[row]) } / spread : .infinity
    }
  }

  private static func square(_ value: Double) -> Double { value * value }
}
