internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailYAML

/// A run file whose settings a search changes.
public struct RunFileText: Sendable {
  let text: String
  let file: String
  let directory: String
  let sets: [String]
  let families: [any ModelFamily]

  /// - Parameters:
  ///   - path: the run file.
  ///   - sets: assignments `a.b=c`, the last one wins.
  public init(path: String, sets: [String] = []) throws(TrainingError) {
    let text = try RunConfiguration.readText(path: path)
    self.init(text: text, file: path, directory: RunConfiguration.directory(of: path), sets: sets)
  }

  init(text: String, file: String, directory: String, sets: [String], families: [any ModelFamily] = FamilyRegistry.all)
  {
    self.text = text
    self.file = file
    self.directory = directory
    self.sets = sets
    self.families = families
  }

  /// The configuration with some more assignments.
  func configuration(_ more: [String] = []) throws(TrainingError) -> RunConfiguration {
    try RunConfiguration(yaml: text, file: file, directory: directory, sets: sets + more, families: families)
  }
}

/// One family of a search: its settings that vary, and those that do not.
struct TuningArm: Sendable {
  let family: any ModelFamily
  let settings: [SearchSetting]
  /// Assignments that every trial of the arm has.
  let sets: [String]
  let configuration: RunConfiguration
  let source: RunFileText

  /// - Parameter table: size of the data.
  /// - Throws: `TrainingError` where the run file does not fit the family.
  init(_ family: any ModelFamily, _ source: RunFileText, own: RunConfiguration, table: SearchTable)
    throws(TrainingError)
  {
    self.family = family
    self.source = source
    var sets: [String] = []
    // Settings of another family mean nothing here.
    if family.name != own.family.name {
      let refit = own.isRefitting ? ", refit: true" : ""
      sets = ["model={family: \(family.name)}", "training={seed: \(own.seed)\(refit)}", "preprocessing={}"]
      if let missing = Self.missing(for: family, own) { sets.append("features.missing=\(missing)") }
      sets += Self.resets(for: family, own)
    }
    for (path, value) in family.tunedSettings(table) where !own.isOwn(path, of: family) {
      sets.append("\(path)=\(value.inlineYAML)")
    }
    self.sets = sets
    configuration = try source.configuration(sets)
    // What the run file says stays as it is.
    let texts = table.hasText ? TextSettings.searchSettings : []
    settings =
      family.searchSettings(table).filter { !own.isOwn($0.path, of: family) }
      + texts.filter { !$0.paths.contains(where: own.isSet) }
  }

  /// Policy for missing values where the run file's own one is for another kind of model; nil: the run file's.
  private static func missing(for family: any ModelFamily, _ own: RunConfiguration) -> String? {
    let policy = own.document["features"]["missing"].text
    let columns = own.document["features"]["columns"].entries.compactMap { $0.value["missing"].text }
    if family.preprocessing.missing == .kept {
      // What the run file refuses no model takes, for those of a mixture have one schema.
      if policy == "refuse" { return "refuse" }
      // One column that is filled in forbids to keep gaps in another.
      return columns.allSatisfy { $0 == "keep" || $0 == "refuse" } ? "keep" : nil
    }
    return policy == "keep" ? "median" : nil
  }

  /// Assignments that take back what the family does not know: scalings, where it takes numbers as they are, and columns
  /// of 0 and 1, where it takes categories as they are.
  private static func resets(for family: any ModelFamily, _ own: RunConfiguration) -> [String] {
    let features = own.document["features"]
    let takesCodes = family.preprocessing.categories == .codes
    var sets: [String] = []
    if takesCodes, features["encoding"].text == RunConfiguration.Encoding.oneHot.rawValue {
      sets.append("features.encoding=auto")
    }
    for column in features["columns"].entries {
      let path = "features.columns.\"\(column.key)\""
      if takesCodes, column.value["encoding"].text == RunConfiguration.Encoding.oneHot.rawValue {
        sets.append("\(path).encoding=auto")
      }
      if family.preprocessing.numbers == .unscaled, column.value["scale"] != .null { sets.append("\(path).scale=none") }
    }
    return sets
  }

  var arm: Study.Arm {
    let start = settings.map(\.firstNumber)
    return Study.Arm(
      name: family.name, space: SearchSpace(settings.map(\.dimension)),
      start: start.allSatisfy { $0 != nil } ? start : nil)
  }

  /// Values of a point, by the path of their setting.
  func values(_ point: SearchSpace.Point) -> [(path: String, value: Document)] {
    zip(settings, point).flatMap { setting, number in
      number.map { SearchSetting.changes(setting.path, setting.value($0)) } ?? []
    }
  }

  /// Settings of a trial.
  ///
  /// - Parameter threads: those that one trial may use; 0: as the run file says.
  func configuration(of point: SearchSpace.Point, threads: Int = 0) throws(TrainingError) -> RunConfiguration {
    var sets = self.sets + values(point).map { "\($0.path)=\($0.value.inlineYAML)" }
    if threads > 0, family.trainingSettings.contains(where: { $0.key == "threads" }) {
      sets.append("training.threads=\(threads)")
    }
    return try source.configuration(sets)
  }
}

extension RunConfiguration {
  /// True where the run file, or a `--set`, holds a setting of its own family.
  func isOwn(_ path: String, of family: any ModelFamily) -> Bool { family.name == self.family.name && isSet(path) }
}

/// A search before it begins: what is tried, and the rows that judge it.
struct TuningPlan: Sendable {
  let settings: TuningSettings
  let metric: TuningMetric
  let arms: [TuningArm]
  let dataset: Dataset
  let split: Split
  let labels: [String]
  let targets: [Double]
  /// Rows that train and rows that judge; one pair without cross-validation.
  let folds: [Split]
  /// True where folds learn from what comes before the rows that judge. A model of the first ones knows the least.
  var isInOrderOfTime: Bool { folds.count > 1 && !dataset.times.isEmpty }
  /// Sentences for people about rows, and about families that are left out.
  let warnings: [String]

  /// - Throws: `TrainingError` where the run file, the data or the section `tuning` is wrong.
  init(_ source: RunFileText, _ own: RunConfiguration, _ settings: TuningSettings) throws(TrainingError) {
    self.settings = settings
    let data = try PreparedData(own)
    dataset = data.dataset
    split = data.split
    labels = data.labels
    targets = data.targets
    func fault(_ key: String, _ message: String) -> TrainingError {
      .configuration(own.location(of: "tuning.\(key)"), "tuning.\(key): \(message)")
    }
    guard settings.metric.fits(data.task, classes: labels.count) else {
      let fitting = TuningMetric.allCases.filter { $0.fits(data.task, classes: data.labels.count) }.map(\.rawValue)
      throw fault(
        "metric", "expected \(fitting.joined(separator: " | ")) for this target, found \(settings.metric.rawValue)")
    }
    metric = settings.metric.resolved(data.task)
    let hasText = dataset.features.columns.contains(where: \.isText)
    let table = SearchTable(
      task: data.task, classes: labels.count, rows: split.train.count, columns: dataset.features.columns.count,
      hasCategories: dataset.features.columns.contains {
        if case .categories = $0.values { !$0.isText } else { false }
      }, hasText: hasText)
    var arms: [TuningArm] = []
    var warnings = data.warnings
    let preset =
      hasText
      ? source.families.filter { $0.takesText && $0.isSearched && $0.tasks.contains(data.task) }.names
      : settings.preset.families(data.task, rows: split.train.count)
    let names = settings.families.isEmpty ? preset : settings.families
    for name in names {
      guard let family = source.families.named(name) else { continue }
      guard family.tasks.contains(data.task), dataset.weights.isEmpty || family.usesWeights else {
        if settings.families.isEmpty { continue }
        let what = family.tasks.contains(data.task) ? "with weights" : "for \(data.task.rawValue)"
        throw fault("families", "expected families \(what), found \(name)")
      }
      guard family.isSearched else {
        throw fault("families", "expected families whose trials are short, found \(name); train fits it")
      }
      guard hasText ? family.takesText : !family.needsText else {
        throw fault(
          "families", "expected families \(hasText ? "that take text" : "for columns without text"), found \(name)")
      }
      arms.append(try TuningArm(family, source, own: own, table: table))
    }
    guard !arms.isEmpty else { throw fault("families", "expected a family that fits the target, found none") }
    self.arms = arms
    let judged = settings.folds ?? settings.preset.folds(rows: split.train.count + split.validation.count)
    guard judged != 1 else { throw fault("folds", "expected 0, or at least 2, found 1") }
    if judged >= 2 {
      folds = try Self.folds(judged, data, own)
    } else {
      guard !split.validation.isEmpty else {
        throw fault("folds", "expected validation rows that judge, or at least 2 folds, found neither")
      }
      folds = [split]
    }
    // What a fit to all rows forbids shows before the search.
    if own.isRefitting { for arm in arms { _ = try arm.configuration.refitting(bestStep: 0) } }
    if settings.latencyMicrosecondsMax != nil, split.test.isEmpty { warnings.append("no test rows to time") }
    self.warnings = warnings
  }

  /// Targets that the rows which train and judge have: what each member of a mixture of numbers is held to. Nil for
  /// classes, and where rows are split by time, for a trend goes on.
  var answerRange: ClosedRange<Float>? {
    guard labels.isEmpty, dataset.times.isEmpty else { return nil }
    let known = (split.train + split.validation).map { Float(targets[$0]) }
    guard let low = known.min(), let high = known.max(), low.isFinite, high.isFinite else { return nil }
    return low...high
  }

  /// What is minimised: of answers for these rows, by their weights where the run has some.
  func loss(_ answers: [Float], _ truth: [Double], rows: [Int]) -> Double {
    metric.loss(
      answers, truth, classes: labels.count,
      weights: dataset.weights.isEmpty ? [] : rows.map { Double(dataset.weights[$0]) })
  }

  /// Folds of the training and validation rows, in the order of time, by group or stratified as the split is.
  private static func folds(
    _ count: Int, _ data: PreparedData, _ configuration: RunConfiguration
  ) throws(TrainingError) -> [Split] {
    let rows = (data.split.train + data.split.validation).sorted()
    let (dataset, seed) = (data.dataset, configuration.splitSeed)
    let made: Folds
    do throws(TrainingError) {
      if !dataset.times.isEmpty {
        made = try Folds.timeSeries(times: rows.map { dataset.times[$0] }, count: count)
      } else if !dataset.groups.isEmpty {
        made = try Folds.grouped(groups: rows.map { dataset.groups[$0] }, count: count)
      } else if data.task == .classification, configuration.isStratified {
        made = try Folds.stratified(strata: rows.map { Int(data.targets[$0]) }, count: count, seed: seed)
      } else {
        made = try Folds.random(rowCount: rows.count, count: count, seed: seed)
      }
    } catch {
      throw .configuration(configuration.location(of: "tuning.folds"), "tuning.\(error.message)")
    }
    return made.folds.map { fold in
      Split(train: fold.train.map { rows[$0] }, validation: fold.test.map { rows[$0] }, test: data.split.test)
    }
  }

  /// What a saved study must agree with to go on, one fact a line.
  var fingerprint: String {
    var lines = [
      "data \(dataset.sha256)", "metric \(metric.rawValue)", "folds \(folds.count) of scikit-learn's kinds",
      "seed \(settings.seed)",
      "sampler \(settings.sampler.rawValue)", "training rows \(split.train.count)",
    ]
    if !dataset.weights.isEmpty { lines.append("judged by the weights of the rows") }
    for arm in arms {
      let space = arm.settings.map { "\($0.path) \($0.values)" }.joined(separator: "; ")
      lines.append("family \(arm.family.name): \(arm.sets.joined(separator: " ")) \(space)")
    }
    return lines.joined(separator: "\n")
  }
}
