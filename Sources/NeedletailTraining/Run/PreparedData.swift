internal import NeedletailCore

/// Rows read, split, and preprocessed: what a family learns from and is judged by.
struct PreparedData {
  let dataset: Dataset
  let task: ModelGraph.Task
  /// By class index; empty for regression.
  let labels: [String]
  /// Class index or value of every row.
  let targets: [Double]
  /// Without validation and test rows that the schema refuses.
  let split: Split
  let preprocessing: Preprocessing
  let warnings: [String]

  init(_ configuration: RunConfiguration) throws(TrainingError) {
    dataset = try TableReader(configuration.request).read()
    (task, labels, targets) = Self.target(dataset.target)
    try Self.check(configuration, dataset, task: task, labels: labels)
    let isStratified = task == .classification && configuration.isStratified
    let made = try Split.make(
      rowCount: dataset.rowCount, strata: isStratified ? targets.map { Int($0) } : [],
      fractions: configuration.splitFractions, seed: configuration.splitSeed)
    try Self.checkClasses(made.train, targets: targets, labels: labels)
    let preprocessing = try Preprocessing(
      features: dataset.features, rows: made.train, target: configuration.request.target,
      configuration: configuration)
    self.preprocessing = preprocessing

    var split = made
    let features = dataset.features
    split.validation.removeAll { !preprocessing.accepts(features, row: $0) }
    split.test.removeAll { !preprocessing.accepts(features, row: $0) }
    let refused = made.validation.count + made.test.count - split.validation.count - split.test.count
    guard !split.test.isEmpty else {
      throw TrainingError(
        .data,
        "split.test: expected rows the model accepts, found only categories unseen in training; set unknown: zeros")
    }
    self.split = split
    warnings =
      refused == 0
      ? []
      : [
        "\(Figures.count(refused)) validation and test rows hold a category that no training row has and are not judged; "
          + "set features.unknown: zeros to accept them"
      ]
  }

  func samples(_ rows: [Int]) throws(TrainingError) -> Samples {
    Samples(
      inputs: rows.isEmpty
        ? Matrix(rows: 0, columns: preprocessing.columns)
        : try preprocessing.transform(dataset.features, rows: rows),
      targets: targets(rows))
  }

  func targets(_ rows: [Int]) -> [Double] { rows.map { targets[$0] } }

  func cells(_ rows: [Int]) -> [[Cell]] {
    rows.map { preprocessing.cells(of: dataset.features, row: $0) }
  }

  private static func target(_ column: Table.Column) -> (ModelGraph.Task, [String], [Double]) {
    switch column.values {
    case .numbers(let numbers): return (.regression, [], numbers)
    case .categories(let codes, let categories):
      // Only classes of rows that were kept.
      let used = Set(codes)
      let order = ColumnFit.sorted(categories.indices.filter { used.contains(Int32($0)) }, categories)
      var classByCode = [Int](repeating: 0, count: categories.count)
      for (index, code) in order.enumerated() { classByCode[code] = index }
      return (.classification, order.map { categories[$0] }, codes.map { Double(classByCode[Int($0)]) })
    }
  }

  private static func check(
    _ configuration: RunConfiguration, _ dataset: Dataset, task: ModelGraph.Task, labels: [String]
  ) throws(TrainingError) {
    let family = configuration.family
    guard family.tasks.contains(task) else {
      let others = FamilyRegistry.all.filter { $0.tasks.contains(task) }.map(\.name).joined(separator: " or ")
      throw .configuration(
        configuration.location(of: "model.family"),
        "model.family: expected a family for \(task.rawValue) of \(dataset.target.name.quotedForMessage), "
          + "found \(family.name); use \(others), or set target.task")
    }
    if task == .classification, labels.count < 2 {
      throw TrainingError(
        .data,
        "column \(dataset.target.name.quotedForMessage): expected at least 2 classes, found only \((labels.first ?? "").quotedForMessage)"
      )
    }
  }

  private static func checkClasses(_ train: [Int], targets: [Double], labels: [String]) throws(TrainingError) {
    guard !labels.isEmpty else { return }
    var seen = [Bool](repeating: false, count: labels.count)
    for row in train { seen[Int(targets[row])] = true }
    if let absent = seen.firstIndex(of: false) {
      throw .fit(
        "class \(labels[absent].quotedForMessage): expected rows in the training split, found none; set split.stratified: true"
      )
    }
  }
}
