public import NeedletailCore
internal import NeedletailEngine

/// Answers of one compiled model for one set of rows, and how good they are.
public struct Evaluation: Sendable {
  public let task: ModelGraph.Task
  /// rows × classes, or one number a row.
  public let scores: [Float]
  /// Class index per row; empty for regression.
  public let classes: [Int]
  public let figures: [Metrics.Figure]

  /// - Parameters:
  ///   - rows: raw, as a client would send them.
  ///   - targets: class indices, or values.
  init(_ model: CompiledModel, rows: [[Cell]], targets: [Double]) throws(TrainingError) {
    task = model.definition.graph.task
    let outputs = try RowRunner(model).run(count: rows.count) { rows[$0] }
    scores = outputs[0]
    switch task {
    case .classification:
      classes = outputs[1].map { Int($0) }
      figures =
        rows.isEmpty
        ? []
        : Metrics.classification(
          probabilities: scores, predicted: classes, truth: targets.map { Int($0) },
          classCount: model.definition.labels.count)
    case .regression:
      classes = []
      figures = rows.isEmpty ? [] : Metrics.regression(predicted: scores, truth: targets)
    }
  }

  public subscript(name: String) -> Double? { figures.first { $0.name == name }?.value }

  /// What the quantisation gate watches, in points: accuracy or R², times 100. Nil without rows.
  var points: Double? {
    self[task == .classification ? "accuracy" : "r2"].map { $0 * 100 }
  }
}
