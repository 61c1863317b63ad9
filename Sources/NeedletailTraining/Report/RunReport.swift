internal import Foundation
internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine

extension TrainedModel {
  /// Everything that the report of the run shows: the figures of ``metrics(version:bundleBytes:)``, and what the test rows,
  /// or the validation rows where there are none, say beside them.
  ///
  /// - Parameters:
  ///   - metrics: figures of the run.
  ///   - more: sections of other parts of the trainer, such as `tuning`.
  /// - Throws: `TrainingError` where the model refuses a row that it took before.
  public func report(
    metrics: Document, more: [Document.Entry] = [], observer: RunObserver = RunObserver()
  ) throws(TrainingError) -> Document {
    observer.stage("looking closer at \(Figures.count(data.split.test.count)) test rows for the report")
    let definition = contents.definition
    let judged = try JudgedRows(
      definition, chosen.compiled, rows: data.cells(data.split.test),
      rowNumbers: data.split.test.map { data.dataset.features.rowNumbers[$0] }, targets: data.targets(data.split.test),
      weights: RowWeights.ofJudged(data.split.test, data, configuration))
    var importance = self.importance
    if importance.isEmpty {
      let features = definition.schema.features.map { FeatureImportance(name: $0.name, gainShare: 0, splits: 0) }
      importance = try FeatureUse(
        chosen, rows: judged.rows, targets: judged.targets, seed: configuration.seed
      ).measure(features)
    }
    let evaluation = EvaluationSettings(configuration.document)
    let sections = try EvaluationDocument(
      judged: judged, seed: configuration.seed,
      subgroups: evaluation.subgroups.compactMap { column in
        definition.schema.features.firstIndex { $0.name == column }.map { place in
          (column, judged.rows.map { $0[place] })
        }
      },
      threshold: threshold, importance: importance
    ).sections(observer.stage)
    return
      metrics
      .replacing("importance", .list(importance.map(\.document)))
      .replacing("permutation_metric", .text(FeatureUse.metric(data.task)))
      .replacing("quantisation", metrics["quantisation"].adding("agreement", agreement))
      .adding(
        [
          .init("trainer", .text(needletailVersion)), .init("created", .text(Self.today)),
          .init("target", .text(data.dataset.target.name)),
          .init("files", .text(configuration.request.files.map(\.name).joined(separator: ", "))),
        ] + learning + sections + more + [.init("settings", .text(configuration.document.yaml))])
  }

  private static var today: String { String(Date().formatted(.iso8601).prefix(10)) }

  /// Part of the test rows in which fp32 and the bundle answer the same class; null for regression, or fp32 alone.
  private var agreement: Document {
    guard !decision.int8Layers.isEmpty, !chosen.test.classes.isEmpty else { return .null }
    let same = zip(chosen.test.classes, fp32.test.classes).count { $0 == $1 }
    return .number(Double(same) / Double(chosen.test.classes.count))
  }

  private var learning: [Document.Entry] {
    guard let last = history.last else { return [] }
    let steps = history.map { step in
      Document.section(
        [
          .init("step", .integer(step.epoch)), .init("loss", .number(step.loss)),
          .init("validation_loss", step.validationLoss.map { .number($0) } ?? .null),
          .init("validation_metric", step.validationMetric.map { .number($0) } ?? .null),
        ].filter { $0.value != .null })
    }
    return [
      .init("learning", .list(steps)), .init("learning_metric", .text(last.metricName)),
      .init("step_name", .text(last.stepName)),
      .init("best_step", last.bestEpoch > 0 ? .integer(last.bestEpoch) : .null),
    ]
  }
}

extension Document {
  /// A section with a value changed, or with one more entry at its end.
  func replacing(_ key: String, _ value: Document) -> Document {
    guard entries.contains(where: { $0.key == key }) else { return adding(key, value) }
    return .section(entries.map { $0.key == key ? .init(key, value) : $0 })
  }

  func adding(_ more: [Entry]) -> Document { .section(entries + more) }
}

extension ResultsTable {
  /// The figures of a bundle's evaluation, for a terminal.
  ///
  /// - Parameter report: path of the HTML file; nil: none was written.
  public func render(evaluation: Document, report: String?) -> String {
    let rows = evaluation["rows"]["test"].integer ?? 0
    let title = "\(evaluation["model"].text ?? "") \(evaluation["version"].integer ?? 0)"
    var lines = [
      "", terminal.bold("  \(title)") + "  \(evaluation["precision"].text ?? "")",
      "  " + terminal.dim("\(Figures.count(rows)) rows of \((evaluation["files"].text ?? "").escapingControls)"), "",
    ]
    let weighted = evaluation["test_weighted"]
    var table = [["figure", weighted.entries.isEmpty ? "" : "alike"] + (weighted.entries.isEmpty ? [] : ["by weight"])]
    for figure in evaluation["test"].entries {
      table.append(
        [ReportPage.name(of: figure.key), ReportPage.figure(figure.value.number ?? .nan)]
          + (weighted.entries.isEmpty ? [] : [weighted[figure.key].number.map(ReportPage.figure) ?? "–"]))
    }
    if let area = evaluation["areas"]["average_precision_macro"].number {
      table.append(["average precision", ReportPage.figure(area)])
    }
    if let error = evaluation["calibration"]["expected_calibration_error"].number {
      table.append(["calibration error", ReportPage.figure(error)])
    }
    lines += Self.aligned(table).dropFirst(weighted.entries.isEmpty ? 1 : 0).map { "  " + $0 }
    let classes = evaluation["classes"].elements
    if !classes.isEmpty {
      var table = [["class", "precision", "recall", "F1", "rows"]]
      for one in classes.prefix(Self.classesShownMax) {
        table.append(
          [(one["label"].text ?? "").escapingControls]
            + ["precision", "recall", "f1"].map { Figures.fixed(one[$0].number ?? 0, 4) }
            + [Figures.count(one["support"].integer ?? 0)])
      }
      lines.append("")
      lines += Self.aligned(table).enumerated().map { "  " + ($0 == 0 ? terminal.bold($1) : $1) }
      let others = classes.count - Self.classesShownMax
      if others > 0 { lines.append("  " + terminal.dim("\(Figures.count(others)) more classes: --json has all")) }
    }
    if let report { lines += ["", "  " + terminal.dim("report") + "  " + report] }
    return lines.joined(separator: "\n") + "\n"
  }

  private static var classesShownMax: Int { 20 }
}
