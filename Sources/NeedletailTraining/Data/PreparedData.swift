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
  private(set) var preprocessing: Preprocessing
  private let configuration: RunConfiguration
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
    } else if !dataset.parts.isEmpty {
      made = try Split.make(parts: dataset.parts)
    } else if !dataset.times.isEmpty {
      made = try Split.make(times: dataset.times, fractions: configuration.splitFractions)
    } else {
      made = try Split.make(
        rowCount: dataset.rowCount, strata: isStratified ? targets.map { Int($0) } : [], groups: dataset.groups,
        fractions: configuration.splitFractions, seed: configuration.splitSeed)
    }
    try Self.checkClasses(made.train, targets: targets, labels: labels)
    let preprocessing = try Preprocessing(
      features: dataset.features, rows: made.train, target: configuration.request.target,
      targets: Self.encodingTargets(dataset, targets, labels, configuration), configuration: configuration)
    self.preprocessing = preprocessing
    self.configuration = configuration

    var split = made
    let features = dataset.features
    split.validation.removeAll { !preprocessing.accepts(features, row: $0) }
    split.test.removeAll { !preprocessing.accepts(features, row: $0) }
    let refused = made.validation.count + made.test.count - split.validation.count - split.test.count
    try Self.checkJudged(
      refused: refused, of: made.validation + made.test, features, preprocessing, configuration)
    guard !split.test.isEmpty else {
      throw TrainingError(
        .data,
        "split.test: expected rows the model accepts, found only categories unseen in training; set unknown: zeros")
    }
    try Self.checkWeights(dataset, split)
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

  /// The same rows and preprocessing with other parts, of which rows that the schema refuses are left out. Categories
  /// that are encoded by targets forget those of rows that no longer train.
  func replacing(_ split: Split) throws(TrainingError) -> PreparedData {
    func accepted(_ rows: [Int]) -> [Int] { rows.filter { preprocessing.accepts(dataset.features, row: $0) } }
    var data = self
    data.split = Split(
      train: accepted(split.train), validation: accepted(split.validation), test: accepted(split.test))
    data.preprocessing = try preprocessing.encodingAgain(
      dataset.features, rows: data.split.train, Self.encodingTargets(dataset, targets, labels, configuration),
      configuration)
    return data
  }

  private static func encodingTargets(
    _ dataset: Dataset, _ targets: [Double], _ labels: [String], _ configuration: RunConfiguration
  ) -> EncodingTargets {
    EncodingTargets(
      values: targets, classCount: labels.count, groups: dataset.groups, seed: configuration.splitSeed)
  }

  /// Rows in the form that a family learns from.
  ///
  /// - Parameter isTraining: true for training rows, whose encodings must not hold their own targets.
  func samples<Input: TrainingInput>(
    _ rows: [Int], isTraining: Bool = false
  ) throws(TrainingError) -> Samples<Input> {
    Samples(
      inputs: try Input(isTraining ? preprocessing.forTraining : preprocessing, dataset.features, rows: rows),
      targets: targets(rows),
      weights: dataset.weights.isEmpty ? [] : rows.map { dataset.weights[$0] },
      groups: dataset.groups.isEmpty ? [] : rows.map { dataset.groups[$0] })
  }

  func targets(_ rows: [Int]) -> [Double] { rows.map { targets[$0] } }

  /// Weights of `target.weight`; none where it names no column.
  func weights(_ rows: [Int]) -> [Double] {
    dataset.weights.isEmpty ? [] : rows.map { Double(dataset.weights[$0]) }
  }

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

  /// Figures of rows that count nothing would be divisions by 0.
  private static func checkWeights(_ dataset: Dataset, _ split: Split) throws(TrainingError) {
    guard !dataset.weights.isEmpty else { return }
    for (part, rows) in [("validation", split.validation), ("test", split.test)] where !rows.isEmpty {
      guard rows.contains(where: { dataset.weights[$0] > 0 }) else {
        throw .fit("target.weight: expected a number above 0 among the \(part) rows, found only zeros")
      }
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
    try family.check(configuration)
    if !dataset.weights.isEmpty, !family.usesWeights {
      let others = configuration.families.filter(\.usesWeights).names.joined(separator: " or ")
      throw .configuration(
        configuration.location(of: "target.weight"),
        "target.weight: expected a family that takes weights, such as \(others), found \(family.name)")
    }
    if let text = dataset.features.columns.first(where: \.isText) {
      guard family.takesText else {
        let others = configuration.families.filter(\.takesText).names.joined(separator: " or ")
        throw .configuration(
          configuration.location(of: "features.columns.\(text.name).type"),
          "features.columns.\(text.name).type: expected a family that takes text, such as \(others), found \(family.name)"
        )
      }
    } else if family.needsText {
      throw .configuration(
        configuration.location(of: "model.family"),
        "model.family: expected a column of text for \(family.name), found none; declare one with type: text under "
          + "features.columns")
    }
    try RowWeights.check(configuration, labels: labels)
    if task == .classification, labels.count < 2 {
      throw TrainingError(
        .data,
        "column \(dataset.target.name.quotedForMessage): expected at least 2 classes, found only \((labels.first ?? "").quotedForMessage)"
      )
    }
  }

  /// Share of the validation and test rows that may hold a category which no training row has.
  static let unjudgedShareMax = 0.1

  /// Refuses figures that would rest on the rows which happen to hold known categories.
  private static func checkJudged(
    refused: Int, of rows: [Int], _ features: Table, _ preprocessing: Preprocessing, _ configuration: RunConfiguration
  ) throws(TrainingError) {
    guard Double(refused) > unjudgedShareMax * Double(rows.count) else { return }
    let counts = zip(preprocessing.columnFits, features.columns).map { fit, column in
      rows.count { !fit.accepts(column, row: $0) }
    }
    let worst = counts.indices.max { counts[$0] < counts[$1] } ?? 0
    throw .configuration(
      configuration.location(of: "features.columns.\(features.columns[worst].name).unknown"),
      "\(Figures.count(refused)) of \(Figures.count(rows.count)) validation and test rows hold a category that no "
        + "training row has (\(Figures.count(counts[worst])) in column \(features.columns[worst].name.quotedForMessage)), "
        + "and no figure should rest on the others; set features.unknown: zeros to accept them, or add an identifier to "
        + "data.drop")
  }

  private static func checkClasses(_ train: [Int], targets: [Double], labels: [String]) throws(TrainingError) {
    guard !labels.isEmpty else { return }
    var seen = [Bool](repeating: false, count: labels.count)
    for row in train { seen[Int(targets[row])] = true }
    if let absent = seen.firstIndex(of: false) {
      if labels.count * 2 > targets.count {
        throw TrainingError(
          .data,
          "target.column: expected classes of several rows each, found \(Figures.count(labels.count)) classes in "
            + "\(Figures.count(targets.count)) rows; choose another column, or set target.task: regression for numbers")
      }
      throw .fit(
        "class \(labels[absent].quotedForMessage): expected rows in the training split, found none; set split.stratified: true"
      )
    }
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
