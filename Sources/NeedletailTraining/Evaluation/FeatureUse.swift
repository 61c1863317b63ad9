internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailSystem

/// Use that a model makes of one feature.
public struct FeatureImportance: Equatable, Sendable {
  /// How much worse the answers become where the feature's values are shuffled among the rows.
  public struct Permutation: Equatable, Sendable {
    public var mean: Double
    /// Standard deviation over the repeats.
    public var deviation: Double
  }

  public var name: String
  /// Part of the reduction of the training loss that is owed to splits by the feature; all features add up to 1.
  public var gainShare: Double
  /// Number of splits by the feature.
  public var splits: Int
  /// On held-out rows; nil where there are none.
  public var permutation: Permutation?
  /// Mean magnitude of the feature's contributions to the scores of held-out rows, all scores added up; nil where there
  /// are no rows, or no contributions.
  public var meanContribution: Double?

  public init(name: String, gainShare: Double, splits: Int) {
    self.name = name
    self.gainShare = gainShare
    self.splits = splits
  }
}

/// Measures what a trained model makes of each feature, on rows that it did not learn from.
struct FeatureUse {
  /// Shuffles of each feature.
  static let repeats = 5
  /// Rows at most, and cells that are bound in all: a model of thousands of features is measured on fewer rows, so that
  /// it takes seconds.
  static let rowsMax = 2000
  static let cellsMax = 100_000_000

  let model: CompiledModel
  let definition: ModelDefinition
  let rows: [[Cell]]
  let targets: [Double]
  let seed: UInt64

  /// Name of what permutations are measured by, whose rise is the importance.
  static func metric(_ task: ModelGraph.Task) -> String { task == .classification ? "log_loss" : "mse" }

  /// Adds both measures to what the family knows of its features.
  ///
  /// - Throws: `TrainingError` for a row that the schema refuses, or contributions that do not add up.
  func measure(_ features: [FeatureImportance]) throws(TrainingError) -> [FeatureImportance] {
    guard !rows.isEmpty, features.count == definition.schema.features.count else { return features }
    var features = features
    let metric = Self.metric(definition.graph.task)
    if let base = try Evaluation(model, rows: rows, targets: targets)[metric] {
      for index in features.indices {
        features[index].permutation = try permutation(of: index, metric, base: base)
      }
    }
    if let means = try contributions() {
      for index in features.indices { features[index].meanContribution = means[index] }
    }
    return features
  }

  private func permutation(
    of feature: Int, _ metric: String, base: Double
  ) throws(TrainingError) -> FeatureImportance.Permutation {
    var random = RandomSource(seed: seed, purpose: "permutation of feature \(feature)")
    var rises: [Double] = []
    var shuffled = rows
    for _ in 0..<Self.repeats {
      var order = Array(rows.indices)
      random.shuffle(&order)
      for (row, other) in order.enumerated() { shuffled[row][feature] = rows[other][feature] }
      rises.append((try Evaluation(model, rows: shuffled, targets: targets)[metric] ?? base) - base)
    }
    let mean = rises.reduce(0, +) / Double(rises.count)
    let squares = rises.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    return .init(mean: mean, deviation: (squares / Double(rises.count - 1)).squareRoot())
  }

  private func contributions() throws(TrainingError) -> [Double]? {
    guard let explainer = try? ModelExplainer(definition) else { return nil }
    return try Self.meanContributions(explainer, rows)
  }

  /// Mean magnitude of each feature's contributions, all scores added up.
  static func meanContributions(_ explainer: ModelExplainer, _ rows: [[Cell]]) throws(TrainingError) -> [Double] {
    let width = explainer.features.count
    var means = [Double](repeating: 0, count: width)
    for start in stride(from: 0, to: rows.count, by: explainer.rowsMax) {
      let part = Array(rows[start..<min(start + explainer.rowsMax, rows.count)])
      do throws(ExplanationError) {
        let found = try explainer.explain(part, firstRow: start + 1, threads: Processors.count)
        for (index, value) in found.contributions.enumerated() { means[index % width] += abs(value) }
      } catch {
        throw .fit("explaining the model: \(error)")
      }
    }
    return means.map { $0 / Double(max(rows.count, 1)) }
  }
}

extension FeatureUse {
  init(_ report: EvaluationReport, rows: [[Cell]], targets: [Double], seed: UInt64) {
    self.init(report.compiled, report.definition, rows: rows, targets: targets, seed: seed)
  }

  /// - Parameters:
  ///   - model: the compiled one of the definition with its trees.
  ///   - rows: held-out ones, of which a sample is taken.
  init(_ model: CompiledModel, _ definition: ModelDefinition, rows: [[Cell]], targets: [Double], seed: UInt64) {
    let features = max(1, definition.schema.features.count)
    let count = max(1, min(Self.rowsMax, Self.cellsMax / (features * features * Self.repeats)))
    var order = Array(rows.indices)
    if rows.count > count {
      var random = RandomSource(seed: seed, purpose: "rows of the importance")
      random.shuffle(&order)
    }
    let chosen = order.prefix(count)
    self.init(
      model: model, definition: definition, rows: chosen.map { rows[$0] }, targets: chosen.map { targets[$0] },
      seed: seed)
  }
}
