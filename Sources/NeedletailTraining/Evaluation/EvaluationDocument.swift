internal import NeedletailCore
internal import NeedletailEngine

/// Writes what is known of judged rows as sections of `report.json`.
struct EvaluationDocument {
  let judged: JudgedRows
  let seed: UInt64
  /// Columns that rows are grouped by: a name, and a value for each row.
  var subgroups: [(column: String, values: [Cell])] = []
  /// Threshold for the second class, chosen on other rows.
  var threshold: ChosenThreshold?
  /// Features by what the model makes of them, where that was measured.
  var importance: [FeatureImportance] = []

  /// Rows, features and groups that are shown.
  static let worstRows = 10
  static let worstFeatures = 8
  static let dependenceFeatures = 6
  static let groupsMax = 12

  /// - Parameter stage: hears what is measured.
  /// - Throws: `TrainingError` where the model refuses a row.
  func sections(_ stage: (String) -> Void) throws(TrainingError) -> [Document.Entry] {
    guard !judged.rows.isEmpty else { return [] }
    var entries = QualityDocument(judged: judged, seed: seed, threshold: threshold).sections
    if !judged.evaluation.weighted.isEmpty {
      let byWeight = QualityDocument(judged: judged, seed: seed, weights: judged.weights, threshold: threshold)
      entries.append(.init("by_weight", .section(byWeight.sections)))
    }
    if !subgroups.isEmpty { entries.append(.init("subgroups", .list(subgroups.map(subgroup)))) }
    entries.append(.init("worst", worst()))
    stage("asking the model again with noise, gaps and changed features")
    let probe = ModelProbe(judged: judged, seed: seed)
    entries.append(
      .init(
        "robustness",
        .list(
          try probe.robustness().map { part in
            .section([
              .init("kind", .text(part.kind)), .init("level", .number(part.level)),
              .init("figures", Self.figures(part.figures)),
            ])
          })))
    entries.append(.init("partial_dependence", try dependence(probe)))
    stage("timing the plan on the serving engine")
    entries.append(
      .init(
        "latency",
        .list(
          try probe.latency().map { part in
            .section([
              .init("batch", .integer(part.batch)), .init("microseconds", .number(part.microseconds)),
              .init("microseconds_per_row", .number(part.microseconds / Double(part.batch))),
            ])
          })))
    return entries
  }

  static func figures(_ figures: [Metrics.Figure]) -> Document {
    .section(figures.map { .init($0.name, .number($0.value)) })
  }
}
