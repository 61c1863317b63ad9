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
      sets = ["model={family: \(family.name)}", "training={seed: \(own.seed)}", "preprocessing={}"]
      if let missing = Self.missing(for: family, own) { sets.append("features.missing=\(missing)") }
    }
    for (path, value) in family.tunedSettings(table) where !own.isOwn(path, of: family) {
      sets.append("\(path)=\(value.inlineYAML)")
    }
    self.sets = sets
    configuration = try source.configuration(sets)
    // What the run file says stays as it is.
    settings = family.searchSettings(table).filter { !own.isOwn($0.path, of: family) }
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

  var arm: Study.Arm {
    let start = settings.map(\.firstNumber)
    return Study.Arm(
      name: family.name, space: SearchSpace(settings.map(\.dimension)),
      start: start.allSatisfy { $0 != nil } ? start : nil)
  }

  /// Values of a point, by the path of their setting.
  func values(_ point: SearchSpace.Point) -> [(path: String, value: Document)] {
    zip(settings, point).compactMap { setting, number in number.map { (setting.path, setting.value($0)) } }
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
    let table = SearchTable(
      task: data.task, classes: labels.count, rows: split.train.count, columns: dataset.features.columns.count,
      hasCategories: dataset.features.columns.contains { if case .categories = $0.values { true } else { false } })
    var arms: [TuningArm] = []
    var warnings = data.warnings
    let names =
      settings.families.isEmpty ? settings.preset.families(data.task, rows: split.train.count) : settings.families
    for name in names {
      guard let family = source.families.named(name) else { continue }
      guard family.tasks.contains(data.task), dataset.weights.isEmpty || family.usesWeights else {
        if settings.families.isEmpty { continue }
        let what = family.tasks.contains(data.task) ? "with weights" : "for \(data.task.rawValue)"
        throw fault("families", "expected families \(what), found \(name)")
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
    if settings.latencyMicrosecondsMax != nil, split.test.isEmpty { warnings.append("no test rows to time") }
    self.warnings = warnings
  }

  /// Folds of the training and validation rows, stratified or by group as the split is.
  private static func folds(
    _ count: Int, _ data: PreparedData, _ configuration: RunConfiguration
  ) throws(TrainingError) -> [Split] {
    let rows = (data.split.train + data.split.validation).sorted()
    var random = RandomSource(seed: configuration.splitSeed, purpose: "folds")
    var groups: [[Int]]
    if !data.dataset.groups.isEmpty {
      groups = [[Int]](repeating: [], count: (data.dataset.groups.max() ?? 0) + 1)
      for row in rows { groups[data.dataset.groups[row]].append(row) }
      groups.removeAll(where: \.isEmpty)
      random.shuffle(&groups)
    } else {
      var shuffled = rows
      random.shuffle(&shuffled)
      if data.task == .classification, configuration.isStratified {
        // Neighbours in the order of the classes go to different folds.
        shuffled = shuffled.enumerated()
          .sorted { (data.targets[$0.element], $0.offset) < (data.targets[$1.element], $1.offset) }.map(\.element)
      }
      groups = shuffled.map { [$0] }
    }
    guard groups.count >= count else {
      throw .configuration(
        configuration.location(of: "tuning.folds"),
        "tuning.folds: expected at most \(groups.count), one for each row or group, found \(count)")
    }
    return (0..<count).map { fold in
      let judging = Set(groups.indices.filter { $0 % count == fold }.flatMap { groups[$0] })
      return Split(
        train: rows.filter { !judging.contains($0) }, validation: rows.filter { judging.contains($0) },
        test: data.split.test)
    }
  }

  /// What a saved study must agree with to go on, one fact a line.
  var fingerprint: String {
    var lines = [
      "data \(dataset.sha256)", "metric \(metric.rawValue)", "folds \(folds.count)", "seed \(settings.seed)",
      "sampler \(settings.sampler.rawValue)", "training rows \(split.train.count)",
    ]
    for arm in arms {
      let space = arm.settings.map { "\($0.path) \($0.values)" }.joined(separator: "; ")
      lines.append("family \(arm.family.name): \(arm.sets.joined(separator: " ")) \(space)")
    }
    return lines.joined(separator: "\n")
  }
}
