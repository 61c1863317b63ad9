internal import NeedletailCore
internal import NeedletailEngine

/// Rows read and split, with the preprocessing fitted on the training rows.
struct PreparedData {
  let dataset: Dataset
  let task: ModelGraph.Task
  /// Labels by class index; empty for regression.
  let labels: [String]
  /// Class index or value of every row.
  let targets: [Double]
  /// Rows of each part, without validation and test rows that the schema refuses.
  let split: Split
  let preprocessing: Preprocessing
  /// Sentences for people about rows that are treated in a way they may not expect.
  let warnings: [String]

  /// - Throws: `TrainingError` that says what is wrong with the data, or with a setting for it.
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
    var warnings: [String] = []
    if refused > 0 {
      warnings.append(
        "\(Figures.count(refused)) validation and test rows hold a category that no training row has and are not "
          + "judged; set features.unknown: zeros to accept them")
    }
    let kept = dataset.duplicates - dataset.duplicatesDropped
    if kept > 0 {
      warnings.append(
        "\(Figures.count(kept)) of \(Figures.count(dataset.rowsRead)) rows repeat an earlier one and are kept; "
          + "data.duplicates: drop leaves them out")
    }
    self.warnings = warnings + preprocessing.warnings
  }

  /// Rows in the form that a family learns from.
  func samples<Input: TrainingInput>(_ rows: [Int]) throws(TrainingError) -> Samples<Input> {
    Samples(inputs: try Input(preprocessing, dataset.features, rows: rows), targets: targets(rows))
  }

  func targets(_ rows: [Int]) -> [Double] { rows.map { targets[$0] } }

  /// Raw rows, as a client would send them.
  func cells(_ rows: [Int]) -> [[Cell]] {
    rows.map { preprocessing.cells(of: dataset.features, row: $0) }
  }

  /// Task, labels and targets that the target column stands for.
  private static func target(_ column: Table.Column) -> (ModelGraph.Task, [String], [Double]) {
    switch column.values {
    case .numbers(let numbers): return (.regression, [], numbers)
    case .categories(let codes, let categories):
      // A class whose rows were all left out is none.
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
      let others = configuration.families.filter { $0.tasks.contains(task) }.names.joined(separator: " or ")
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

/// Rows that train, rows that steer the training, and rows that only judge it.
public struct Split: Equatable, Sendable {
  // Row indices, ascending.
  public var train: [Int]
  public var validation: [Int]
  public var test: [Int]

  /// Shuffles with a seed and cuts by fraction.
  ///
  /// - Parameters:
  ///   - strata: a class per row; every class is then cut by the same fractions, and a class of one row trains.
  ///     An empty list cuts all rows as one class.
  ///   - fractions: they add up to 1.
  /// - Throws: `TrainingError` where a part that was asked for gets no row.
  public static func make(
    rowCount: Int, strata: [Int], fractions: (train: Double, validation: Double, test: Double), seed: UInt64
  ) throws(TrainingError) -> Split {
    precondition(strata.isEmpty || strata.count == rowCount)
    var random = RandomSource(seed: seed, purpose: "split")
    var groups: [[Int]] = strata.isEmpty ? [Array(0..<rowCount)] : []
    if !strata.isEmpty {
      groups = [[Int]](repeating: [], count: (strata.max() ?? 0) + 1)
      for (row, stratum) in strata.enumerated() { groups[stratum].append(row) }
    }
    var split = Split(train: [], validation: [], test: [])
    // Rows that rounding took from a part in one class are given back in the next, so that totals keep their fractions.
    var debtValidation = 0.0
    var debtTest = 0.0
    for group in groups where !group.isEmpty {
      var rows = group
      random.shuffle(&rows)
      let wantedTest = Double(rows.count) * fractions.test + debtTest
      let wantedValidation = Double(rows.count) * fractions.validation + debtValidation
      // At least one row of every class trains.
      let test = min(max(Int(wantedTest.rounded()), 0), rows.count - 1)
      let validation = min(max(Int(wantedValidation.rounded()), 0), rows.count - 1 - test)
      debtTest = wantedTest - Double(test)
      debtValidation = wantedValidation - Double(validation)
      split.test += rows[0..<test]
      split.validation += rows[test..<(test + validation)]
      split.train += rows[(test + validation)...]
    }
    split.train.sort()
    split.validation.sort()
    split.test.sort()
    for (name, rows, fraction) in [
      ("train", split.train, fractions.train), ("validation", split.validation, fractions.validation),
      ("test", split.test, fractions.test),
    ] where rows.isEmpty && fraction > 0 {
      throw TrainingError(
        .data, "split.\(name): expected at least one row, found none of \(rowCount); more data, or a larger fraction")
    }
    return split
  }
}
