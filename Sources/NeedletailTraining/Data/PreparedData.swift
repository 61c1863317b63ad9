internal import Glibc
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
  private(set) var split: Split
  let preprocessing: Preprocessing
  /// Sentences for people about rows that are treated in a way they may not expect.
  let warnings: [String]

  /// - Parameters:
  ///   - known: rows that were read before; nil reads them.
  ///   - own: parts that the rows go into; nil: as the configuration says.
  /// - Throws: `TrainingError` that says what is wrong with the data, or with a setting for it.
  init(
    _ configuration: RunConfiguration, dataset known: Dataset? = nil, split own: Split? = nil
  ) throws(TrainingError) {
    if let known { dataset = known } else { dataset = try TableReader(configuration.request).read() }
    (task, labels, targets) = Self.target(dataset.target)
    try Self.check(configuration, dataset, task: task, labels: labels)
    let isStratified = task == .classification && configuration.isStratified
    let made: Split
    if let own {
      made = own
    } else {
      made = try Split.make(
        rowCount: dataset.rowCount, strata: isStratified ? targets.map { Int($0) } : [], groups: dataset.groups,
        fractions: configuration.splitFractions, seed: configuration.splitSeed)
    }
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
    var warnings = dataset.warnings
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

  /// The same rows and preprocessing with other parts, of which rows that the schema refuses are left out.
  func replacing(_ split: Split) -> PreparedData {
    func accepted(_ rows: [Int]) -> [Int] { rows.filter { preprocessing.accepts(dataset.features, row: $0) } }
    var data = self
    data.split = Split(
      train: accepted(split.train), validation: accepted(split.validation), test: accepted(split.test))
    return data
  }

  /// Rows in the form that a family learns from.
  func samples<Input: TrainingInput>(_ rows: [Int]) throws(TrainingError) -> Samples<Input> {
    Samples(
      inputs: try Input(preprocessing, dataset.features, rows: rows), targets: targets(rows),
      weights: dataset.weights.isEmpty ? [] : rows.map { dataset.weights[$0] },
      groups: dataset.groups.isEmpty ? [] : rows.map { dataset.groups[$0] })
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
    if !dataset.weights.isEmpty, !family.usesWeights {
      let others = configuration.families.filter(\.usesWeights).names.joined(separator: " or ")
      throw .configuration(
        configuration.location(of: "target.weight"),
        "target.weight: expected a family that takes weights, such as \(others), found \(family.name)")
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
  ///   - groups: a group per row, whose rows stay together; strata then do not matter. Empty: each row is one.
  ///   - fractions: they add up to 1.
  /// - Throws: `TrainingError` where a part that was asked for gets no row.
  public static func make(
    rowCount: Int, strata: [Int], groups: [Int] = [], fractions: (train: Double, validation: Double, test: Double),
    seed: UInt64
  ) throws(TrainingError) -> Split {
    precondition(strata.isEmpty || strata.count == rowCount)
    var random = RandomSource(seed: seed, purpose: "split")
    if !groups.isEmpty { return try make(groups: groups, fractions, &random) }
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
    return try split.checked(fractions, of: rowCount)
  }

  /// Cuts whole groups, in random order, where the share of the rows so far passes a fraction.
  private static func make(
    groups: [Int], _ fractions: (train: Double, validation: Double, test: Double), _ random: inout RandomSource
  ) throws(TrainingError) -> Split {
    var rowsOfGroup = [[Int]](repeating: [], count: (groups.max() ?? 0) + 1)
    for (row, group) in groups.enumerated() { rowsOfGroup[group].append(row) }
    random.shuffle(&rowsOfGroup)
    var split = Split(train: [], validation: [], test: [])
    let count = Double(groups.count)
    for rows in rowsOfGroup {
      if Double(split.test.count) + Double(rows.count) / 2 <= fractions.test * count {
        split.test += rows
      } else if Double(split.validation.count) + Double(rows.count) / 2 <= fractions.validation * count {
        split.validation += rows
      } else {
        split.train += rows
      }
    }
    return try split.checked(fractions, of: groups.count)
  }

  /// The same with ascending rows.
  private func checked(
    _ fractions: (train: Double, validation: Double, test: Double), of rowCount: Int
  ) throws(TrainingError) -> Split {
    let split = Split(train: train.sorted(), validation: validation.sorted(), test: test.sorted())
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

/// A seeded generator: the same seed gives the same numbers on every machine and in every release.
///
/// It is xoshiro256** (Blackman and Vigna, 2018) with a state filled by SplitMix64. Swift's own generator takes no seed,
/// and a model must be reproducible.
public struct RandomSource: RandomNumberGenerator, Sendable {
  private var state: (UInt64, UInt64, UInt64, UInt64)

  public init(seed: UInt64) {
    var seeds = SplitMix64(seed: seed)
    state = (seeds.next(), seeds.next(), seeds.next(), seeds.next())
  }

  /// A generator for one purpose, so that drawing more numbers for it leaves those of other purposes as they were.
  public init(seed: UInt64, purpose: String) {
    // FNV-1a gives the same hash in every process; Swift's Hasher does not.
    let hash = purpose.utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
    self.init(seed: seed ^ hash)
  }

  /// The state of another generator, from ``words``.
  init(words: [UInt64]) {
    precondition(words.count == 4)
    state = (words[0], words[1], words[2], words[3])
  }

  /// The whole state.
  var words: [UInt64] { [state.0, state.1, state.2, state.3] }

  public mutating func next() -> UInt64 {
    let result = Self.rotate(state.1 &* 5, 7) &* 9
    let shifted = state.1 << 17
    state.2 ^= state.0
    state.3 ^= state.1
    state.1 ^= state.2
    state.0 ^= state.3
    state.2 ^= shifted
    state.3 = Self.rotate(state.3, 45)
    return result
  }

  /// A number from the uniform distribution over [0, 1), with 24 bits.
  public mutating func uniform() -> Float { Float(next() >> 40) * 0x1p-24 }

  /// A number from the standard normal distribution (Box and Muller, 1958).
  public mutating func normal() -> Double {
    let radius = (-2 * log(1 - Double(next() >> 11) * 0x1p-53)).squareRoot()
    return radius * cos(2 * Double.pi * Double(next() >> 11) * 0x1p-53)
  }

  /// A number from the uniform distribution over 0 ..< bound. The bias is below 2⁻³² for every bound that fits in memory.
  public mutating func index(below bound: Int) -> Int {
    Int(next().multipliedFullWidth(by: UInt64(bound)).high)
  }

  /// Shuffles after Fisher and Yates. Swift's `shuffle(using:)` may change between its releases.
  public mutating func shuffle<Element>(_ elements: inout [Element]) {
    guard elements.count > 1 else { return }
    for last in stride(from: elements.count - 1, to: 0, by: -1) {
      elements.swapAt(last, index(below: last + 1))
    }
  }

  private static func rotate(_ value: UInt64, _ count: UInt64) -> UInt64 {
    (value << count) | (value >> (64 - count))
  }
}
