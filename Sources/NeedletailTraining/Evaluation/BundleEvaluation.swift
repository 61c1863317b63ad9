internal import Foundation
internal import NeedletailBundle
public import NeedletailCSV
internal import NeedletailCore
internal import NeedletailCrypto
internal import NeedletailEngine

/// Judges a bundle on a table whose rows have their truth beside them, as a server would answer them.
public struct BundleEvaluation {
  private let bundlePath: String
  private let dataPath: String
  private let delimiter: CSVDelimiter
  private let target: String?
  private let subgroups: [String]
  private let seed: UInt64

  /// - Parameters:
  ///   - target: column of the truth; nil: the one that the model was trained to predict.
  ///   - subgroups: columns of the table, features or not, by whose values rows are judged apart.
  public init(
    bundle: String, data: String, delimiter: CSVDelimiter = .comma, target: String? = nil, subgroups: [String] = [],
    seed: UInt64 = 1
  ) {
    bundlePath = bundle
    dataPath = data
    self.delimiter = delimiter
    self.target = target.map { ValueText.normalised($0) }
    self.subgroups = subgroups.map { ValueText.normalised($0) }
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
      columns: subgroups)
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
      targets: kept.map { table.targets[$0] })
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

/// Rows in the order of a model's features, with their truth.
struct LabelledTable {
  private(set) var rows: [[Cell]]
  /// Class indices, or values.
  private(set) var targets: [Double]
  /// Values of the other columns that were asked for, one list a column.
  private(set) var columns: [[Cell]] = []
  /// Rows left out because they have no truth.
  private(set) var unlabelled = 0
  private(set) var sha256 = ""

  init(rows: [[Cell]], targets: [Double]) {
    self.rows = rows
    self.targets = targets
  }

  /// Reads a CSV file.
  ///
  /// - Throws: `TrainingError` that names the line and the column.
  init(
    path: String, delimiter: CSVDelimiter, _ definition: ModelDefinition, target: String, columns names: [String]
  ) throws(TrainingError) {
    var found: (features: [Int], target: Int, columns: [Int]) = ([], 0, [])
    let rules = definition.schema.rules ?? ValueRules()
    let words = MissingWords(rules)
    var classByKey: [[UInt8]: Double] = [:]
    for (index, label) in definition.labels.enumerated() { classByKey[ValueText.categoryKey(label)] = Double(index) }
    var rows: [[Cell]] = []
    var targets: [Double] = []
    var columns = [[Cell]](repeating: [], count: names.count)
    var unlabelled = 0
    var hash = SHA256()
    let format = DataFormat(kind: .csv, delimiter: delimiter, quote: .double)
    try DataFile(name: path, path: path, format: format).read {
      hash.update(UnsafeRawBufferPointer($0))
    } header: { (header) throws(TrainingError) in
      let header = header.map { ValueText.normalised($0) }
      func place(_ name: String) throws(TrainingError) -> Int {
        guard let place = header.firstIndex(of: name) else {
          throw .data(
            file: path, line: 1, column: name,
            "expected a column of that name, found none\(Suggestion.clause(for: name, among: header))")
        }
        return place
      }
      found.target = try place(target)
      for feature in definition.schema.features { found.features.append(try place(feature.name)) }
      for name in names { found.columns.append(try place(name)) }
    } record: { (record) throws(TrainingError) in
      guard rows.count < Limits.sampleRowsMax else {
        throw .data(file: path, line: record.line, "expected at most \(Limits.sampleRowsMax) rows, found more")
      }
      func isMissing(_ place: Int) -> Bool {
        words.isMissing(record.field(place), isQuoted: record.isQuoted(place))
      }
      guard !isMissing(found.target) else {
        unlabelled += 1
        return
      }
      let truth = record.text(found.target) ?? ""
      if definition.labels.isEmpty {
        guard case .number(let number) = rules.number(truth) else {
          throw .data(
            file: path, line: record.line, column: target, "expected a number, found \(truth.quotedForMessage)")
        }
        targets.append(number)
      } else {
        guard let index = classByKey[ValueText.categoryKey(truth)] else {
          let labels = definition.labels.prefix(5).map(\.quotedForMessage).joined(separator: ", ")
          throw .data(
            file: path, line: record.line, column: target,
            "expected a class of the model, such as \(labels), found \(truth.quotedForMessage)")
        }
        targets.append(index)
      }
      var cells: [Cell] = []
      for (feature, place) in zip(definition.schema.features, found.features) {
        do throws(TrainingError) {
          cells.append(isMissing(place) ? .missing : try SampleRows.cell(record.text(place), feature, rules))
        } catch {
          throw .data(file: path, line: record.line, column: feature.name, error.message)
        }
      }
      rows.append(cells)
      for (index, place) in found.columns.enumerated() {
        let text = record.text(place) ?? ""
        if isMissing(place) {
          columns[index].append(.missing)
        } else if case .number(let number) = rules.number(text) {
          columns[index].append(.number(number))
        } else {
          columns[index].append(.text(ValueText.normalised(text)))
        }
      }
    }
    guard !rows.isEmpty else {
      throw TrainingError(
        .data, "\(path): column \(target.quotedForMessage): expected truths, found only missing values")
    }
    // A column with text among its numbers is one of categories.
    self.columns = columns.map { column in
      let hasText = column.contains { if case .text = $0 { true } else { false } }
      guard hasText else { return column }
      return column.map { cell in if case .number(let number) = cell { .text(Figures.short(number)) } else { cell } }
    }
    self.rows = rows
    self.targets = targets
    self.unlabelled = unlabelled
    sha256 = Hex.text(hash.finalize())
  }
}
