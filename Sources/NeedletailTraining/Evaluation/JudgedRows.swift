internal import Glibc
internal import NeedletailCore
internal import NeedletailEngine

/// A compiled model with rows whose truth is known: what every figure of a report is taken from.
struct JudgedRows {
  let definition: ModelDefinition
  let compiled: CompiledModel
  /// Raw rows, as a client would send them.
  let rows: [[Cell]]
  /// Number of each row in its file.
  let rowNumbers: [Int]
  /// Class indices, or values.
  let targets: [Double]
  /// Weights of the weighted figures; none: there are no such figures.
  let weights: [Double]
  let evaluation: Evaluation

  init(
    _ definition: ModelDefinition, _ compiled: CompiledModel, rows: [[Cell]], rowNumbers: [Int], targets: [Double],
    weights: [Double] = []
  ) throws(TrainingError) {
    self.definition = definition
    self.compiled = compiled
    self.rows = rows
    self.rowNumbers = rowNumbers
    self.targets = targets
    self.weights = weights
    evaluation = try Evaluation(compiled, rows: rows, targets: targets, weights: weights)
  }

  var labels: [String] { definition.labels }
  var features: [Feature] { definition.schema.features }
  var isClassification: Bool { !labels.isEmpty }
  var truth: [Int] { targets.map { Int($0) } }

  /// Probability, or score, of a class in each row, and whether the row is of the class.
  ///
  /// - Parameter weights: one a row; none: all rows count alike.
  func scores(of index: Int, weights: [Double] = []) -> RankedScores {
    RankedScores(
      targets.indices.map { row in
        (evaluation.numbers[row * labels.count + index], Int(targets[row]) == index)
      }, weights: weights)
  }

  /// Rows of a sample that is the same for the same seed, in their order.
  func sample(_ count: Int, seed: UInt64, purpose: String) -> [Int] {
    guard rows.count > count else { return Array(rows.indices) }
    var random = RandomSource(seed: seed, purpose: purpose)
    var order = Array(rows.indices)
    random.shuffle(&order)
    return order.prefix(count).sorted()
  }
}

/// Figures that come from asking the model again: for other inputs, for parts of the rows, or by the clock.
struct ModelProbe {
  let judged: JudgedRows
  let seed: UInt64

  /// Rows asked at most for each change of the inputs. A change of 2,000 rows moves an accuracy of 0.9 by 0.007.
  static let rowsMax = 2000
  /// Rows that partial dependence averages over, and points of its grid.
  static let dependenceRowsMax = 500
  static let gridPoints = 16
  static let categoriesMax = 12
  /// Parts of a deviation that numbers are moved by, and parts of the cells that go missing.
  static let noiseLevels = [0.05, 0.1, 0.2, 0.5]
  static let missingShares = [0.05, 0.1, 0.2, 0.5]

  // MARK: - robustness

  /// How the figures fall where inputs get worse.
  struct Robustness {
    /// `noise` or `missing`.
    var kind: String
    var level: Double
    var figures: [Metrics.Figure]
  }

  /// Noise is normal, its deviation a part of each number's own over the rows. Cells go missing at random in all features
  /// that take missing values; without such a feature that part is left out.
  func robustness() throws(TrainingError) -> [Robustness] {
    let chosen = judged.sample(Self.rowsMax, seed: seed, purpose: "rows of the robustness")
    let targets = chosen.map { judged.targets[$0] }
    let rows = chosen.map { judged.rows[$0] }
    guard !rows.isEmpty else { return [] }
    let features = judged.features
    let deviations = features.indices.map { index in Self.deviation(rows.map { $0[index] }) }
    let base = try Evaluation(judged.compiled, rows: rows, targets: targets).figures
    var found = [Robustness(kind: "noise", level: 0, figures: base)]
    if deviations.contains(where: { $0 > 0 }) {
      for level in Self.noiseLevels {
        var random = RandomSource(seed: seed, purpose: "noise \(level)")
        let noisy = rows.map { cells in
          cells.enumerated().map { index, cell -> Cell in
            guard case .number(let number) = cell, deviations[index] > 0 else { return cell }
            let largest = Double(Float.greatestFiniteMagnitude)
            return .number(min(max(number + random.normal() * level * deviations[index], -largest), largest))
          }
        }
        found.append(
          .init(
            kind: "noise", level: level,
            figures: try Evaluation(judged.compiled, rows: noisy, targets: targets).figures))
      }
    }
    guard features.contains(where: { $0.missing != .refuse }) else { return found }
    found.append(.init(kind: "missing", level: 0, figures: base))
    for share in Self.missingShares {
      var random = RandomSource(seed: seed, purpose: "missing \(share)")
      let gaps = rows.map { cells in
        cells.enumerated().map { index, cell -> Cell in
          features[index].missing != .refuse && Double(random.uniform()) < share ? .missing : cell
        }
      }
      found.append(
        .init(
          kind: "missing", level: share,
          figures: try Evaluation(judged.compiled, rows: gaps, targets: targets).figures))
    }
    return found
  }

  /// Standard deviation of the numbers among cells; 0 for categories and constants.
  private static func deviation(_ cells: [Cell]) -> Double {
    let numbers = cells.compactMap { cell -> Double? in if case .number(let number) = cell { number } else { nil } }
    guard numbers.count > 1 else { return 0 }
    let mean = numbers.reduce(0) { $0 + $1 / Double(numbers.count) }
    let variance = numbers.reduce(0) { $0 + ($1 - mean) * ($1 - mean) / Double(numbers.count) }
    return variance.isFinite ? variance.squareRoot() : 0
  }

  // MARK: - partial dependence

  /// Mean answer where a feature has one value in every row, whatever the other features are (Friedman, 2001).
  struct Dependence {
    var feature: String
    /// A number or a category for each point.
    var grid: [Cell]
    /// One a class for three to five classes, the second class for two, else the predicted number.
    var series: [(name: String, values: [Double])]
    /// Values of the feature in the rows, for the ticks below the curve: tenths of its distribution.
    var deciles: [Double]
  }

  /// Most classes that curves are drawn of.
  static let classesMax = 5

  /// - Parameter feature: index in the schema.
  /// - Returns: nil for a model that tells no probabilities, or a feature of one value.
  func dependence(on feature: Int) throws(TrainingError) -> Dependence? {
    let labels = judged.labels
    guard !judged.isClassification || judged.evaluation.areProbabilities else { return nil }
    let chosen = judged.sample(Self.dependenceRowsMax, seed: seed, purpose: "rows of the partial dependence")
    let rows = chosen.map { judged.rows[$0] }
    let (grid, deciles) = grid(feature)
    guard grid.count > 1 else { return nil }
    let columns = labels.isEmpty ? [0] : labels.count == 2 ? [1] : Array(labels.indices.prefix(Self.classesMax))
    let width = max(labels.count, 1)
    var series = columns.map { (name: labels.isEmpty ? "prediction" : labels[$0], values: [Double]()) }
    let runner = RowRunner(judged.compiled)
    let layout = AnswerLayout(judged.compiled)
    for value in grid {
      let outputs = try runner.run(count: rows.count) { row in
        var cells = rows[row]
        cells[feature] = value
        return cells
      }
      let numbers = outputs[layout.numbers]
      for (place, column) in columns.enumerated() {
        let sum = rows.indices.reduce(0.0) { $0 + Double(numbers[$1 * width + column]) }
        series[place].values.append(sum / Double(rows.count))
      }
    }
    return Dependence(feature: judged.features[feature].name, grid: grid, series: series, deciles: deciles)
  }

  /// Values that the feature takes: all of them where they are few, else even steps between its 5th and 95th
  /// percentiles, or its most frequent categories.
  private func grid(_ feature: Int) -> (grid: [Cell], deciles: [Double]) {
    let cells = judged.rows.map { $0[feature] }
    if case .categorical = judged.features[feature].kind {
      var counts: [String: Int] = [:]
      for case .text(let text) in cells { counts[text, default: 0] += 1 }
      let order = counts.sorted { ($0.value, $1.key) > ($1.value, $0.key) }
      return (order.prefix(Self.categoriesMax).map { .text($0.key) }, [])
    }
    let numbers = cells.compactMap { cell -> Double? in
      if case .number(let number) = cell { number } else { nil }
    }.sorted()
    guard !numbers.isEmpty else { return ([], []) }
    let deciles = (1...9).map { Quantiles.of(numbers, Double($0) / 10) }
    let distinct = Set(numbers)
    if distinct.count <= Self.categoriesMax { return (distinct.sorted().map { .number($0) }, deciles) }
    let (low, high) = (Quantiles.of(numbers, 0.05), Quantiles.of(numbers, 0.95))
    guard high > low else { return ([], []) }
    let steps = Double(Self.gridPoints - 1)
    return ((0..<Self.gridPoints).map { .number(low + (high - low) * Double($0) / steps) }, deciles)
  }

  // MARK: - the clock

  /// Rows that a plan is timed with, as far as it takes so many at once.
  static let batches = [1, 8, 64, 256]

  /// Median time of batches, binding included, on one thread.
  func latency() throws(TrainingError) -> [(batch: Int, microseconds: Double)] {
    guard !judged.rows.isEmpty else { return [] }
    let runner = RowRunner(judged.compiled)
    var found: [(batch: Int, microseconds: Double)] = []
    for batch in Self.batches where batch <= judged.compiled.plan.rowsMax {
      let repetitions = max(20, 2000 / batch)
      found.append((batch, try runner.microseconds(batch: batch, judged.rows, repetitions: repetitions)))
    }
    return found
  }
}
