internal import NeedletailCore
public import NeedletailEngine
internal import NeedletailMetrics

/// Counts the rows that a version gives each class; of a model of entities, the entities of each kind. Answers that were kept
/// count as those that are computed.
public struct ClassCounters: Sendable {
  private enum Source {
    /// An output of class indices.
    case classes(Int)
    case entities(SpanOutput)
  }

  /// Value of the label `class` for classes beyond ``Limits/countedClassesMax``.
  static let others = "(other classes)"

  private let source: Source
  private let counts: CounterList

  /// - Returns: nil for a model that gives no classes with labels.
  init?(_ model: CompiledModel, labels: [(String, String)], metrics: MetricsRegistry) {
    let names = model.definition.labels
    guard !names.isEmpty, Set(names).count == names.count else { return nil }
    if let index = model.plan.outputs.firstIndex(where: { $0.kind != .number }) {
      source = .classes(index)
    } else if let spans = model.plan.spans, spans.layout != .answer {
      source = .entities(spans)
    } else {
      return nil
    }
    let shown =
      names.count <= Limits.countedClassesMax ? names : Array(names.prefix(Limits.countedClassesMax)) + [Self.others]
    counts = metrics.counters(
      "needletail_answers_total", help: "Rows, or entities found in them, by the class that they were given.",
      labels: labels, by: "class", values: shown)
  }

  /// Counts rows of a run.
  ///
  /// - Parameters:
  ///   - workspace: that of the run.
  ///   - row: the first of them.
  ///   - shard: the caller's.
  /// - Complexity: O(rows), or O(entities).
  public func count(_ workspace: borrowing Workspace, from row: Int, rows: Int, shard: Int) {
    switch source {
    case .classes(let output): count(workspace.output(output) + row, rows: rows, shard: shard)
    case .entities(let spans):
      for index in row..<row + rows {
        let kinds = workspace.output(spans.output) + index * spans.columns
        var place = 0
        while place < spans.placesMax, kinds[4 * place] >= 0 {
          add(kinds[4 * place], shard)
          place += 1
        }
      }
    }
  }

  /// Output of class indices that rows are counted by; nil: entities are counted.
  public var output: Int? { if case .classes(let output) = source { output } else { nil } }

  /// Counts rows whose answer was computed earlier.
  ///
  /// - Parameter classes: numbers of ``output``.
  /// - Complexity: O(rows).
  public func count(_ classes: UnsafePointer<Float>, rows: Int, shard: Int) {
    for row in 0..<rows { add(classes[row], shard) }
  }

  private func add(_ index: Float, _ shard: Int) {
    guard let index = Int(exactly: index), index >= 0 else { return }
    counts.add(at: min(index, counts.count - 1), shard: shard)
  }
}
