internal import NeedletailBundle
public import NeedletailCSV
public import NeedletailCore
internal import NeedletailEngine

/// Figure by which a new version has to be better than the one that serves, before it is published.
public struct PublishCondition: Sendable {
  public let metric: String
  /// Least difference that counts as better; 0: any.
  public let gainMin: Double

  private static let gains = ["accuracy", "precision_macro", "recall_macro", "f1_macro", "auc", "r2"]
  private static let losses = ["log_loss", "mse", "rmse", "mae"]
  private static let ofNumbers: Set<String> = ["r2", "mse", "rmse", "mae"]

  /// - Throws: `TrainingError` of kind `output` for a metric that there is not.
  public init(metric: String, gainMin: Double) throws(TrainingError) {
    let known = Self.gains + Self.losses
    guard known.contains(metric) else {
      throw .output(
        "--if-better: expected \(known.joined(separator: " | ")), found \(metric.quotedForMessage)"
          + Suggestion.clause(for: metric, among: known))
    }
    guard gainMin.isFinite, gainMin >= 0 else {
      throw .output("--min-gain: expected a number from 0, found \(gainMin)")
    }
    self.metric = metric
    self.gainMin = gainMin
  }

  /// True where more is better.
  var isGain: Bool { Self.gains.contains(metric) }

  /// - Throws: `TrainingError` where such a model has no such figure.
  func check(_ task: ModelGraph.Task, classes: Int) throws(TrainingError) {
    let isOfNumbers = Self.ofNumbers.contains(metric)
    guard isOfNumbers == (task == .regression) else {
      throw .output("--if-better: expected a figure for \(task.rawValue), found \(metric)")
    }
    guard metric != "auc" || classes == 2 else {
      throw .output("--if-better: expected auc for 2 classes only, found \(classes)")
    }
  }
}

/// The version that serves, as the one that a new version has to beat.
public struct Incumbent {
  private let serving: ServingVersion
  private let condition: PublishCondition

  public var version: ModelVersion { serving.version }
  /// Digest of its bundle.
  public var digest: String { serving.digest }
  private var definition: ModelDefinition { serving.definition }
  private var compiled: CompiledModel { serving.compiled }

  /// - Returns: nil where nothing serves.
  /// - Throws: `TrainingError` of kind `output` where that version cannot be read, or has no figure of that kind.
  public init?(of model: ModelID, store: String, _ condition: PublishCondition) throws(TrainingError) {
    guard let serving = try ServingVersion(of: model, store: store) else { return nil }
    self.serving = serving
    self.condition = condition
    guard BundleEvaluation.isJudged(compiled) else {
      throw .output(
        "\(serving.place): expected a model that answers with one number or a class, found several numbers")
    }
    try condition.check(definition.graph.task, classes: definition.labels.count)
    let needsProbabilities = condition.metric == "log_loss" || condition.metric == "auc"
    guard !needsProbabilities || AnswerLayout(compiled).areProbabilities else {
      throw .output(
        "--if-better: expected a figure of \(serving.place), which tells no probabilities, found \(condition.metric)")
    }
  }

  /// Checks that it can answer rows of such a table.
  ///
  /// - Throws: `TrainingError` of kind `output` that says what is missing.
  func check(columns: [String], task: ModelGraph.Task, labels: [String]) throws(TrainingError) {
    let what = "--if-better: expected data that version \(version), which serves, can be judged on"
    guard task == definition.graph.task else {
      throw .output("\(what), a \(definition.graph.task.rawValue), found a \(task.rawValue)")
    }
    for feature in definition.schema.features where !columns.contains(feature.name) {
      throw .output(
        "\(what), found no column \(feature.name.quotedForMessage)"
          + Suggestion.clause(for: feature.name, among: columns))
    }
    let known = Set(definition.labels.map { ValueText.categoryKey($0) })
    if let label = labels.first(where: { !known.contains(ValueText.categoryKey($0)) }) {
      throw .output("\(what), found the class \(label.quotedForMessage), which it does not know")
    }
  }

  func check(_ data: PreparedData) throws(TrainingError) {
    try check(columns: data.dataset.features.columns.map(\.name), task: data.task, labels: data.labels)
  }

  /// Judges both on the test rows of a run.
  public func compare(with trained: TrainedModel) throws(TrainingError) -> ServingComparison {
    let data = trained.data
    try check(data)
    let rows = data.split.test
    let own = LabelledTable(data, rows: rows)
    return try compare(
      with: trained.chosen.compiled, rows: own.rows, targets: own.targets,
      own: LabelledTable(data, rows: rows, for: definition))
  }

  /// Judges both on a file of rows that neither learned from.
  public func compare(with trained: TrainedModel, on rows: HeldOutRows) throws(TrainingError) -> ServingComparison {
    try compare(with: trained.contents.definition, rows)
  }

  /// Judges both on a file of rows with their truth.
  func compare(with candidate: ModelDefinition, _ data: HeldOutRows) throws(TrainingError) -> ServingComparison {
    let compiled: CompiledModel
    do throws(PlanError) { compiled = try CompiledModel(candidate) } catch { throw TrainingError(error) }
    let target = data.target ?? candidate.schema.target
    func table(_ definition: ModelDefinition) throws(TrainingError) -> LabelledTable {
      try LabelledTable(path: data.path, delimiter: data.delimiter, definition, target: target, columns: [])
    }
    let theirs = try table(candidate)
    return try compare(with: compiled, rows: theirs.rows, targets: theirs.targets, own: table(definition))
  }

  private func compare(
    with candidate: CompiledModel, rows: [[Cell]], targets: [Double], own: LabelledTable
  ) throws(TrainingError) -> ServingComparison {
    guard own.rows.count == rows.count else {
      throw .output(
        "--if-better: expected the same rows with truth for both versions, found \(rows.count) and \(own.rows.count)")
    }
    let kept = rows.indices.filter {
      BundleEvaluation.accepts(candidate, rows[$0]) && BundleEvaluation.accepts(compiled, own.rows[$0])
    }
    guard kept.count * 2 >= rows.count, !kept.isEmpty else {
      throw .output(
        "--if-better: expected rows that both versions answer, found \(kept.count) of \(rows.count) such rows")
    }
    func figure(_ model: CompiledModel, _ rows: [[Cell]], _ targets: [Double]) throws(TrainingError) -> Double {
      let evaluation = try Evaluation(model, rows: kept.map { rows[$0] }, targets: kept.map { targets[$0] })
      guard let value = evaluation[condition.metric] else {
        throw .output("--if-better: expected a model that has \(condition.metric), found one that has not")
      }
      return value
    }
    return ServingComparison(
      condition: condition, version: version, figure: try figure(candidate, rows, targets),
      servingFigure: try figure(compiled, own.rows, own.targets), rows: kept.count,
      rowsRefused: rows.count - kept.count)
  }
}

/// Rows with their truth in a file.
public struct HeldOutRows: Sendable {
  let path: String
  let delimiter: CSVDelimiter
  /// Column of the truth; nil: the one that the model was trained to predict.
  let target: String?

  public init(path: String, delimiter: CSVDelimiter = .comma, target: String? = nil) {
    self.path = path
    self.delimiter = delimiter
    self.target = target.map { ValueText.normalised($0) }
  }
}

/// A new version and the one that serves, judged on the same rows.
public struct ServingComparison {
  let condition: PublishCondition
  /// The version that serves.
  let version: ModelVersion
  /// Figure of the new version.
  let figure: Double
  let servingFigure: Double
  /// Rows that both were judged on.
  let rows: Int
  /// Rows left out, because one of the two refuses them.
  let rowsRefused: Int

  /// How much better the new version is; below 0 where it is worse.
  var gain: Double { condition.isGain ? figure - servingFigure : servingFigure - figure }
  public var isBetter: Bool { gain > 0 && gain >= condition.gainMin }

  /// What both are, for people.
  public var sentence: String {
    "\(condition.metric) \(Figures.fixed(figure, 4)) beside \(Figures.fixed(servingFigure, 4)) of version \(version), "
      + "which serves, on \(Figures.count(rows)) rows"
  }

  public var document: Document {
    .section([
      .init("metric", .text(condition.metric)), .init("min_gain", .number(condition.gainMin)),
      .init("version", .integer(Int(clamping: version.number))), .init("figure", .number(figure)),
      .init("serving", .number(servingFigure)), .init("rows", .integer(rows)),
      .init("rows_refused", .integer(rowsRefused)), .init("better", .flag(isBetter)),
    ])
  }

  /// What the experiment store remembers of it.
  var metrics: [RunMetric] {
    [RunMetric("serving.\(condition.metric)", servingFigure), RunMetric("serving.version", Double(version.number))]
  }

  /// - Throws: `TrainingError` of kind `refused` where the new version is not better.
  public func check() throws(TrainingError) {
    guard !isBetter else { return }
    let least = condition.gainMin > 0 ? " by \(Figures.short(condition.gainMin))" : ""
    throw TrainingError(.refused, "not published: expected it to be better\(least), found \(sentence)")
  }
}

extension LabelledTable {
  /// Rows of a run as its own model takes them.
  fileprivate init(_ data: PreparedData, rows: [Int]) {
    self.init(rows: data.cells(rows), targets: data.targets(rows))
  }

  /// Rows of a run as another model takes them, which has all its features among the columns.
  fileprivate init(_ data: PreparedData, rows: [Int], for definition: ModelDefinition) throws(TrainingError) {
    let columns = data.dataset.features.columns.map(\.name)
    let places = definition.schema.features.map { feature in columns.firstIndex { $0 == feature.name } }
    let rules = data.dataset.rules
    var table: [[Cell]] = []
    for row in data.cells(rows) {
      var cells: [Cell] = []
      for (feature, place) in zip(definition.schema.features, places) {
        guard let place else { preconditionFailure("check(columns:task:labels:) looks for every feature") }
        cells.append(try row[place].converted(for: feature, rules))
      }
      table.append(cells)
    }
    let keys = definition.labels.map { ValueText.categoryKey($0) }
    let classes = data.labels.map { label in keys.firstIndex(of: ValueText.categoryKey(label)) ?? 0 }
    let targets = data.targets(rows)
    self.init(rows: table, targets: classes.isEmpty ? targets : targets.map { Double(classes[Int($0)]) })
  }
}

extension Cell {
  /// The same cell for a feature that another run may have read otherwise.
  fileprivate func converted(for feature: Feature, _ rules: ValueRules) throws(TrainingError) -> Cell {
    switch (self, feature.kind) {
    case (.missing, _), (.number, .numeric): return self
    case (.text(let text), _): return try FeatureReader.cell(text, feature, rules)
    case (.number(let number), _):
      var csv = CSVWriter()
      csv.add(number)
      return .text(csv.text)
    }
  }
}
