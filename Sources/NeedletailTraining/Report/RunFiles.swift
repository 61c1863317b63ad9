internal import Foundation
internal import Glibc
internal import NeedletailBundle
internal import NeedletailCSV
public import NeedletailCore
internal import NeedletailEngine
internal import NeedletailSystem

/// Files that a run leaves in its output directory, each written whole or not at all.
public struct RunFiles {
  public let directory: String

  public init(directory: String) { self.directory = directory }

  public var bundlePath: String { directory + "/model.ntb" }
  public var absolutePath: String { URL(fileURLWithPath: directory).standardizedFileURL.path }

  /// Names of all files that a run may leave.
  private static let names = [
    "best.yaml", "leaderboard.json", "metrics.json", "model-card.md", "model.ntb", "predictions.csv", "report.html",
    "report.json", "split.csv", "test.csv",
  ]

  /// Makes the directory, so that one which cannot be written shows before an hour of training.
  ///
  /// - Throws: `TrainingError` of kind `output`.
  public func prepare() throws(TrainingError) {
    let expected = "\(directory): expected a directory to write into"
    try OutputPath.checkDirectory(directory, expected: expected)
    do throws(SystemError) {
      try Directory.createAll(directory)
    } catch {
      throw .output("\(expected), found: \(error)")
    }
    for name in Self.names { try OutputPath.checkFile(directory + "/" + name) }
  }

  /// Writes `model.ntb`, `metrics.json`, `predictions.csv`, `test.csv` and `split.csv`, and with a report `report.json`,
  /// `report.html` and `model-card.md`.
  ///
  /// - Parameters:
  ///   - bundle: bytes of the bundle, from ``TrainedModel/encode(version:signing:)``.
  ///   - metrics: figures of the run, from ``TrainedModel/metrics(version:bundleBytes:)``.
  ///   - report: what ``TrainedModel/report(metrics:more:observer:)`` says; nil: none.
  /// - Throws: `TrainingError` of kind `output`.
  public func write(
    _ trained: TrainedModel, bundle: [UInt8], metrics: Document, report: Document? = nil
  ) throws(TrainingError) {
    try prepare()
    try write(bundle, to: "model.ntb")
    try write(Array(metrics.json.utf8), to: "metrics.json")
    try write(Array(trained.predictionsCSV.utf8), to: "predictions.csv")
    try write(Array(trained.testCSV.utf8), to: "test.csv")
    try write(Array(trained.splitCSV.utf8), to: "split.csv")
    guard let report else { return }
    try write(Array(report.json.utf8), to: "report.json")
    try write(Array(ReportPage(report).html.utf8), to: "report.html")
    try write(Array(ModelCard(report).markdown.utf8), to: "model-card.md")
  }

  /// The files that are there, by name.
  public var artifacts: [RunArtifact] {
    Self.names.compactMap { name in
      let path = URL(fileURLWithPath: directory + "/" + name).standardizedFileURL.path
      guard let bytes = try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int else { return nil }
      return RunArtifact(name: name, path: path, bytes: bytes)
    }
  }

  func write(_ bytes: [UInt8], to name: String) throws(TrainingError) {
    do throws(SystemError) {
      try AtomicFile.write(bytes, to: directory + "/" + name, existing: .replaced)
    } catch {
      throw .output("\(directory)/\(name): expected to write it, found: \(error)")
    }
  }
}

extension TrainedModel {
  /// Raw test rows under their feature names, in schema order: ready to be sent to a server.
  public var testCSV: String {
    var csv = CSVWriter()
    for feature in contents.definition.schema.features { csv.add(feature.name) }
    csv.endRow()
    for cells in data.cells(data.split.test) {
      for cell in cells { csv.add(cell, rules: data.dataset.rules) }
      csv.endRow()
    }
    return csv.text
  }

  /// Answers of the bundled model for the rows of ``testCSV``, and the truth. Floats read back exactly.
  public var predictionsCSV: String {
    var csv = CSVWriter()
    let labels = contents.definition.labels
    let answers = refitted ?? chosen.test
    csv.add("row")
    if labels.isEmpty {
      csv.add("prediction")
    } else {
      csv.add("class")
      csv.add("label")
      let prefix = answers.areProbabilities ? "p" : "score"
      for label in labels { csv.add("\(prefix)_\(label)") }
    }
    csv.add("target")
    csv.endRow()
    for (position, row) in data.split.test.enumerated() {
      csv.add(String(data.dataset.features.rowNumbers[row]))
      if labels.isEmpty {
        csv.add(answers.numbers[position])
        csv.add(data.targets[row])
      } else {
        let index = answers.classes[position]
        csv.add(String(index))
        csv.add(labels[index])
        for column in labels.indices { csv.add(answers.numbers[position * labels.count + column]) }
        csv.add(labels[Int(data.targets[row])])
      }
      csv.endRow()
    }
    return csv.text
  }

  /// Part that each row of the files went into; rows left out are absent.
  public var splitCSV: String {
    var csv = CSVWriter()
    csv.add("row")
    csv.add("part")
    csv.endRow()
    let parts = [("train", data.split.train), ("validation", data.split.validation), ("test", data.split.test)]
    let rows = parts.flatMap { part in part.1.map { (data.dataset.features.rowNumbers[$0], part.0) } }
    for (number, part) in rows.sorted(by: { $0.0 < $1.0 }) {
      csv.add(String(number))
      csv.add(part)
      csv.endRow()
    }
    return csv.text
  }

  /// What the weights of the weighted figures are: the column of the rows' weights, and those of the classes.
  private var weights: Document {
    let classes = configuration.document["training"][RowWeights.setting.key]
    let hasClasses = classes != .null && classes.text != "none"
    guard !data.dataset.weights.isEmpty || hasClasses else { return .null }
    return .section([
      .init("column", configuration.request.weight.map { .text($0) } ?? .null),
      .init("class_weights", hasClasses ? classes : .null),
    ])
  }

  /// Every figure of the run, for other programs.
  public func metrics(version: ModelVersion, bundleBytes: Int) -> Document {
    func section(_ figures: [Metrics.Figure]) -> Document {
      .section(figures.map { .init($0.name, .number($0.value)) })
    }
    let isQuantised = !decision.int8Layers.isEmpty
    let dataset = data.dataset
    let features: Document = importance.isEmpty ? .null : .list(importance.map(\.document))
    return .section([
      .init("model", .text(configuration.model.name)),
      .init("version", .integer(Int(clamping: version.number))),
      .init("family", .text(configuration.family.name)),
      .init("task", .text(data.task.rawValue)),
      .init("precision", .text(precision)),
      .init("isa", .text(chosen.compiled.plan.isa.rawValue)),
      .init("test", section(chosen.test.figures)),
      .init("validation", section(chosen.validation.figures)),
      .init("test_fp32", section(fp32.test.figures)),
      .init("weights", weights),
      .init("test_weighted", chosen.test.weighted.isEmpty ? .null : section(chosen.test.weighted)),
      .init(
        "validation_weighted", chosen.validation.weighted.isEmpty ? .null : section(chosen.validation.weighted)),
      .init(
        "quantisation",
        .section([
          .init("decision", .text(decision.reason)),
          .init("int8_layers", .integer(decision.int8Layers.count)),
          .init("loss_points", (decision.measurement?.lossPoints).map { .number($0) } ?? .null),
          .init("max_loss_points", .number(configuration.quantisation.lossPointsMax)),
        ])),
      .init(
        "rows",
        .section([
          .init("read", .integer(dataset.rowsRead)),
          .init("duplicates", .integer(dataset.duplicates)),
          .init("duplicates_dropped", .integer(dataset.duplicatesDropped)),
          .init("unlabelled_dropped", .integer(dataset.unlabelledDropped)),
          .init("train", .integer(data.split.train.count)),
          .init("validation", .integer(data.split.validation.count)),
          .init("test", .integer(data.split.test.count)),
        ])),
      .init("features", .integer(contents.definition.schema.features.count)),
      .init("labels", .list(contents.definition.labels.map { .text($0) })),
      .init("bundle_bytes", .integer(bundleBytes)),
      .init("tensor_bytes", .integer(chosen.tensorBytes)),
      .init("tensor_bytes_fp32", .integer(fp32.tensorBytes)),
      .init("microseconds_per_row", .number(chosen.microsecondsPerRow)),
      .init("microseconds_per_row_fp32", isQuantised ? .number(fp32.microsecondsPerRow) : .null),
      .init("fit_seconds", .number(fitSeconds)),
      .init("cost", cost),
      .init("golden_samples", .integer(contents.golden.count)),
      .init("importance", features),
      .init("permutation_metric", importance.isEmpty ? .null : .text(FeatureUse.metric(data.task))),
      .init("refit_rows", refitted == nil ? .null : .integer(data.dataset.rowCount)),
      .init("notes", .list(notes.map { .text($0) })),
      .init("warnings", .list(warnings.map { .text($0) })),
      .init("seed", .integer(Int(configuration.seed))),
      .init("data_sha256", .text(dataset.sha256)),
    ])
  }
}

extension FeatureImportance {
  var document: Document {
    .section([
      .init("feature", .text(name)), .init("gain_share", .number(gainShare)), .init("splits", .integer(splits)),
      .init("permutation", (permutation?.mean).map { .number($0) } ?? .null),
      .init("permutation_deviation", (permutation?.deviation).map { .number($0) } ?? .null),
      .init("mean_contribution", meanContribution.map { .number($0) } ?? .null),
    ])
  }
}

/// CSV text after RFC 4180, with LF line ends and quotes only where they are needed.
struct CSVWriter {
  private(set) var text = ""
  private let delimiter: CSVDelimiter
  private var isFirstInRow = true
  /// True while the row holds nothing, or one empty field, which unquoted would be a blank line.
  private var isBlank = true

  init(delimiter: CSVDelimiter = .comma) { self.delimiter = delimiter }

  /// - Parameter isQuoted: true quotes also what reads the same without quotes.
  mutating func add(_ field: String, isQuoted: Bool = false) {
    if !isFirstInRow { text.unicodeScalars.append(Unicode.Scalar(delimiter.byte)) }
    isBlank = isFirstInRow && field.isEmpty
    isFirstInRow = false
    let delimiter = delimiter.byte
    if isQuoted || field.utf8.contains(where: { $0 == delimiter || $0 == 0x22 || $0 == 0x0A || $0 == 0x0D })
      || field.utf8.first == 0x20 || field.utf8.last == 0x20
    {
      text += "\"" + field.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
    } else {
      text += field
    }
  }

  /// Adds the shortest text that reads back as the same Float.
  mutating func add(_ number: Float) { add("\(number)") }

  /// Adds the shortest text that reads back as the same Double; whole numbers get no point.
  mutating func add(_ number: Double) {
    if let whole = Int(exactly: number), abs(whole) < 1 << 53 {
      add(String(whole))
    } else {
      add("\(number)")
    }
  }

  /// Adds a cell that reads back as itself under the rules.
  mutating func add(_ cell: Cell, rules: ValueRules) {
    switch cell {
    case .number(let number): add(number)
    case .text(let text): add(text, isQuoted: rules.isMissing(text))
    case .missing: add("")
    }
  }

  mutating func endRow() {
    text += isBlank ? "\"\"\n" : "\n"
    isFirstInRow = true
  }
}
