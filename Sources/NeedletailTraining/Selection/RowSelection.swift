internal import Foundation
internal import Glibc
internal import NeedletailBundle
public import NeedletailCSV
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailSystem

/// Chooses rows without a truth that people should label next, and labels those that a model is sure of.
public struct RowSelection {
  /// What makes a row worth a person's time.
  public enum Strategy: String, Sendable, CaseIterable {
    /// The model does not know its class.
    case uncertainty
    /// It is unlike the rows chosen so far, and those labelled before.
    case diversity
    /// Both: uncertain rows that are unlike each other.
    case both
  }

  /// Measures of what a model does not know, each 0 where it is certain.
  public enum Uncertainty: String, Sendable, CaseIterable {
    /// Entropy of the probabilities, divided by its largest value.
    case entropy
    /// 1 less the distance between the two largest probabilities.
    case margin
    /// 1 less the largest probability.
    case leastConfidence = "least_confidence"

    /// - Parameter probabilities: those of one row, at least two.
    func callAsFunction(_ probabilities: ArraySlice<Float>) -> Double {
      switch self {
      case .entropy:
        let sum = probabilities.reduce(0.0) { $1 > 0 ? $0 - Double($1) * log(Double($1)) : $0 }
        return sum / log(Double(probabilities.count))
      case .margin:
        let sorted = probabilities.sorted(by: >)
        return 1 - Double(sorted[0] - sorted[1])
      case .leastConfidence: return 1 - Double(probabilities.max() ?? 0)
      }
    }
  }

  public struct Settings: Sendable {
    public var strategy = Strategy.both
    public var uncertainty = Uncertainty.entropy
    /// Rows to choose at most.
    public var count = 100
    /// Rows labelled before, from which chosen ones should differ; nil: none.
    public var labelled: String?
    /// Probability from which a row's label is taken from the model; nil: none is.
    public var confidenceMin: Double?
    public var delimiter: CSVDelimiter?

    public init() {}
  }

  /// Candidates for each row that is chosen, where uncertainty and diversity both count.
  static let candidatesPerRow = 10

  private let bundlePath: String
  private let dataPath: String
  private let settings: Settings

  public init(bundle: String, data: String, _ settings: Settings) {
    bundlePath = bundle
    dataPath = data
    self.settings = settings
  }

  /// - Throws: `TrainingError` that names the bundle, or the line and column of the table.
  public func run(observer: RunObserver = RunObserver()) throws(TrainingError) -> SelectedRows {
    let (manifest, contents) = try BundleContents.read(bundlePath)
    let definition = contents.definition
    let compiled: CompiledModel
    do throws(PlanError) { compiled = try CompiledModel(definition) } catch { throw TrainingError(error) }
    let tellsProbabilities = BundleEvaluation.isJudged(compiled) && AnswerLayout(compiled).areProbabilities
    guard tellsProbabilities || settings.strategy == .diversity else {
      throw .output(
        "--by: expected diversity for a model that tells no probabilities, found \(settings.strategy.rawValue)")
    }
    guard tellsProbabilities || settings.confidenceMin == nil else {
      throw .output("--confidence: expected a model that tells probabilities, found \(bundlePath)")
    }
    observer.stage("reading \(dataPath)")
    let rows = try read(dataPath, definition)
    let kept = rows.indices.filter { BundleEvaluation.accepts(compiled, rows[$0]) }
    guard !kept.isEmpty else {
      throw TrainingError(.data, "\(dataPath): expected rows that the model answers, found that it refuses all")
    }
    observer.stage("asking the model about \(Figures.count(kept.count)) rows")
    var uncertainties: [Double] = []
    var labels: [(index: Int, confidence: Double)] = []
    if tellsProbabilities {
      let layout = AnswerLayout(compiled)
      let answers = try RowRunner(compiled).run(count: kept.count) { rows[kept[$0]] }[layout.numbers]
      let classes = definition.labels.count
      for row in kept.indices {
        let probabilities = answers[(row * classes)..<((row + 1) * classes)]
        uncertainties.append(settings.uncertainty(probabilities))
        let best = probabilities.indices.max { (probabilities[$0], $1) < (probabilities[$1], $0) } ?? row * classes
        labels.append((best - row * classes, Double(probabilities[best])))
      }
    }
    let picks = try pick(definition, rows, kept, uncertainties, observer)
    let chosen = picks.map { pick in
      SelectedRows.Row(
        record: kept[pick.row], uncertainty: uncertainties.isEmpty ? nil : uncertainties[pick.row],
        distance: pick.distance, label: labels.isEmpty ? nil : definition.labels[labels[pick.row].index],
        confidence: labels.isEmpty ? nil : labels[pick.row].confidence)
    }
    let isChosen = Set(picks.map(\.row))
    var prelabelled: [SelectedRows.Row] = []
    if let least = settings.confidenceMin {
      for row in kept.indices where labels[row].confidence >= least && !isChosen.contains(row) {
        prelabelled.append(
          .init(
            record: kept[row], uncertainty: uncertainties[row], distance: nil,
            label: definition.labels[labels[row].index], confidence: labels[row].confidence))
      }
    }
    return SelectedRows(
      model: manifest.model, version: manifest.version, labels: definition.labels, settings: settings,
      dataPath: dataPath, rowsRead: rows.count, rowsRefused: rows.count - kept.count, chosen: chosen,
      prelabelled: prelabelled)
  }

  /// Rows of a file in the order of the features. The truth is not looked at.
  private func read(_ path: String, _ definition: ModelDefinition) throws(TrainingError) -> [[Cell]] {
    try FeatureReader.rows(
      of: DataFile(name: path, path: path, format: DataFormat(delimiter: settings.delimiter)), definition.schema)
  }

  /// - Returns: indices into `kept`, the best first, with the distance to the nearest row chosen before.
  private func pick(
    _ definition: ModelDefinition, _ rows: [[Cell]], _ kept: [Int], _ uncertainties: [Double],
    _ observer: RunObserver
  ) throws(TrainingError) -> [(row: Int, distance: Double?)] {
    let count = min(settings.count, kept.count)
    let order = uncertainties.indices.sorted { (-uncertainties[$0], $0) < (-uncertainties[$1], $1) }
    if settings.strategy == .uncertainty { return order.prefix(count).map { ($0, nil) } }
    // Among rows that the model knows well, unlike ones are of no use either.
    let candidates =
      settings.strategy == .both
      ? Array(order.prefix(max(count, count.multipliedReportingOverflow(by: Self.candidatesPerRow).partialValue)))
      : Array(kept.indices)
    observer.stage("comparing \(Figures.count(candidates.count)) rows")
    let labelled = try settings.labelled.map { (path) throws(TrainingError) in
      try read(path, definition)
    }
    let space = try FeatureSpace(definition, rows)
    let points = try space.points(candidates.map { rows[kept[$0]] })
    let known = try space.points(labelled ?? [])
    let weights = settings.strategy == .both ? candidates.map { uncertainties[$0] } : []
    return Coverage(points, columns: space.columns).greedy(count: count, known: known, weights: weights)
      .map { (candidates[$0.row], $0.distance) }
  }
}
