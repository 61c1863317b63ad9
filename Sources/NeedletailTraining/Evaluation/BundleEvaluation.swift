internal import NeedletailBundle
public import NeedletailCSV
internal import NeedletailCore
internal import NeedletailEngine

/// Judges a bundle on a table whose rows have their truth beside them, as a server would answer them.
public struct BundleEvaluation {
  private let bundlePath: String
  private let dataPath: String
  private let delimiter: CSVDelimiter
  private let target: String?
  private let subgroups: [String]
  private let weight: String?
  private let seed: UInt64

  /// - Parameters:
  ///   - target: column of the truth; nil: the one that the model was trained to predict.
  ///   - subgroups: columns of the table, features or not, by whose values rows are judged apart.
  ///   - weight: column of the weights by which rows count in the weighted figures; nil: there are no such figures.
  public init(
    bundle: String, data: String, delimiter: CSVDelimiter = .comma, target: String? = nil, subgroups: [String] = [],
    weight: String? = nil, seed: UInt64 = 1
  ) {
    bundlePath = bundle
    dataPath = data
    self.delimiter = delimiter
    self.target = target.map { ValueText.normalised($0) }
    self.subgroups = subgroups.map { ValueText.normalised($0) }
    self.weight = weight.map { ValueText.normalised($0) }
    self.seed = seed
  }

  /// - Returns: a report in the form of `report.json`.
  /// - Throws: `TrainingError` that names the bundle, or the line and column of the table.
  public func report(observer: RunObserver = RunObserver()) throws(TrainingError) -> Document {
    let (manifest, contents) = try BundleContents.read(bundlePath)
    let definition = contents.definition
    let compiled: CompiledModel
    do throws(PlanError) { compiled = try CompiledModel(definition) } catch { throw TrainingError(error) }
    guard Self.isJudged(compiled) else {
      throw .output("\(bundlePath): expected a model that answers with one number or a class, found several numbers")
    }
    observer.stage("reading \(dataPath)")
    let table = try LabelledTable(
      path: dataPath, delimiter: delimiter, definition, target: target ?? definition.schema.target,
      columns: subgroups, weight: weight)
    let kept = table.rows.indices.filter { Self.accepts(compiled, table.rows[$0]) }
    let refused = table.rows.count - kept.count
    guard kept.count * 2 >= table.rows.count else {
      throw TrainingError(
        .data,
        "\(dataPath): expected rows that the model answers, found that it refuses \(Figures.count(refused)) of "
          + "\(Figures.count(table.rows.count)): \(Self.refusal(compiled, table) ?? "")")
    }
    observer.stage("judging \(Figures.count(kept.count)) rows")
    let judged = try JudgedRows(
      definition, compiled, rows: kept.map { table.rows[$0] }, rowNumbers: kept.map { $0 + 1 },
      targets: kept.map { table.targets[$0] }, weights: weight == nil ? [] : kept.map { table.weights[$0] })
    let features = definition.schema.features.map { FeatureImportance(name: $0.name, gainShare: 0, splits: 0) }
    let importance = try FeatureUse(
      compiled, definition, rows: judged.rows, targets: judged.targets, seed: seed
    ).measure(features)
    let sections = try EvaluationDocument(
      judged: judged, seed: seed,
      subgroups: zip(subgroups, table.columns).map { column, values in (column, kept.map { values[$0] }) },
      threshold: nil, importance: importance
    ).sections(observer.stage)
    var warnings: [Document] = []
    if refused > 0 {
      warnings.append(
        .text(
          "\(Figures.count(refused)) rows are refused by the model and not judged: "
            + (Self.refusal(compiled, table) ?? "")))
    }
    if table.unlabelled > 0 {
      warnings.append(.text("\(Figures.count(table.unlabelled)) rows have no truth and are not judged"))
    }
    return .section(
      [
        .init("model", .text(manifest.model.name)), .init("version", .integer(Int(clamping: manifest.version.number))),
        .init("family", (contents.lineage?.family).map { .text($0) } ?? .null),
        .init("task", .text(definition.graph.task.rawValue)), .init("precision", .text(compiled.plan.precision)),
        .init("isa", .text(compiled.plan.isa.rawValue)), .init("trainer", .text(needletailVersion)),
        .init("target", .text(target ?? definition.schema.target)),
        .init("test", EvaluationDocument.figures(judged.evaluation.figures)),
        .init("weights", weight.map { .section([.init("column", .text($0))]) } ?? .null),
        .init(
          "test_weighted",
          judged.evaluation.weighted.isEmpty ? .null : EvaluationDocument.figures(judged.evaluation.weighted)),
        .init(
          "rows",
          .section([
            .init("read", .integer(table.rows.count + table.unlabelled)), .init("test", .integer(kept.count)),
          ])),
        .init("features", .integer(features.count)),
        .init("labels", .list(definition.labels.map { .text($0) })), .init("files", .text(dataPath)),
        .init("data_sha256", .text(table.sha256)), .init("warnings", .list(warnings)),
        .init("importance", .list(importance.map(\.document))),
        .init("permutation_metric", .text(FeatureUse.metric(definition.graph.task))),
      ] + sections)
  }

  /// False for a model whose answers are several numbers a row.
  static func isJudged(_ model: CompiledModel) -> Bool {
    let outputs = model.plan.outputs
    return (model.definition.graph.task == .regression || outputs.contains { $0.kind == .classIndex })
      && (!model.definition.labels.isEmpty || outputs.contains { $0.kind == .number && $0.columns == 1 })
  }

  static func accepts(_ model: CompiledModel, _ cells: [Cell]) -> Bool { refusal(model, cells) == nil }

  private static func refusal(_ model: CompiledModel, _ cells: [Cell]) -> String? {
    let words = (model.plan.inputItemBytes + 7) / 8
    return withUnsafeTemporaryAllocation(of: UInt64.self, capacity: max(words, 1)) { item in
      guard let start = item.baseAddress else { return nil }
      do throws(ServingError) {
        try model.binder.bind(cells, into: UnsafeMutableRawPointer(start))
        return nil
      } catch {
        return error.message
      }
    }
  }

  /// The first reason, without the number of the row, which is another in the file.
  private static func refusal(_ model: CompiledModel, _ table: LabelledTable) -> String? {
    for cells in table.rows {
      if let message = refusal(model, cells) { return message }
    }
    return nil
  }
}
