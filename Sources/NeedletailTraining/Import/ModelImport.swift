public import NeedletailBundle
public import NeedletailCore
internal import NeedletailEngine

/// What the user asks of an import beside the file.
public struct ImportSettings: Sendable {
  /// How many iterations of boosting to keep.
  public enum Iterations: Equatable, Sendable {
    /// Up to the best one where the library stopped early and recorded it, else all.
    case best
    case all
    case first(Int)
  }

  public var model: ModelID
  public var iterations = Iterations.best
  /// Class labels in the order of their indices; none: the indices.
  public var labels: [String] = []
  /// Name of the predicted column.
  public var target = "target"
  /// Columns of pandas' categories, in the order of the data frame, where a text model of LightGBM leaves them open.
  public var categoryColumns: [String] = []
  /// CSV file with rows to check and record; nil: rows are made from the thresholds.
  public var data: String?
  /// CSV file with the library's answers for these rows; nil: nothing is compared.
  public var expected: String?

  public init(model: ModelID) { self.model = model }
}

/// Turns a model file of another library into a bundle's contents.
///
/// The file is parsed, its trees become an operation of the graph, the graph is compiled by the serving engine, and its
/// answers are compared with the library's where those are given. Nothing of the file is run.
public struct ModelImport {
  private let path: String
  private let settings: ImportSettings
  private let observer: RunObserver

  public init(path: String, settings: ImportSettings, observer: RunObserver = RunObserver()) {
    self.path = path
    self.settings = settings
    self.observer = observer
  }

  /// - Throws: `TrainingError` that names the file and the tree, node, row or column at fault.
  public func run() throws(TrainingError) -> ImportedBundle {
    observer.stage("reading \(path)")
    let bytes = try ForeignFile.read(path)
    let imported: ImportedModel
    let definition: ModelDefinition
    do throws(TrainingError) {
      imported = try Self.parse(bytes, settings)
      definition = try imported.definition(labels: settings.labels, target: settings.target)
    } catch {
      throw TrainingError(error.kind, "\(path): \(error.message)")
    }
    observer.stage("compiling \(Figures.count(imported.treeCount)) trees")
    let model: CompiledModel
    do throws(PlanError) {
      model = try CompiledModel(definition)
    } catch {
      throw TrainingError(.fit, "\(path): compiling the model: \(error)")
    }
    let samples = try settings.data.map { (data) throws(TrainingError) in try SampleRows(path: data, definition) }
    var comparison: SampleRows.Agreement?
    if let expected = settings.expected {
      guard let samples else { throw .configuration("--expected", "expected --data with the rows, found none") }
      observer.stage("comparing \(Figures.count(samples.rows.count)) rows with \(expected)")
      comparison = try samples.compare(with: expected, model)
    }
    var use: [Double] = []
    if let samples, let explainer = try? ModelExplainer(definition) {
      use = try FeatureUse.meanContributions(explainer, Array(samples.rows.prefix(FeatureUse.rowsMax)))
    }
    observer.stage("recording golden samples")
    let rows = samples?.rows ?? SampleRows.made(for: imported)
    let golden = try GoldenRecorder(model: model).record(
      typical: rows.indices.map { (number: $0 + 1, cells: rows[$0]) }, training: rows)
    let lineage = Lineage(
      trainerVersion: needletailVersion, dataSHA256: samples?.sha256 ?? "", configuration: "import: \(path)\n", seed: 0,
      parent: "",
      family: "\(imported.source), \(imported.objective)", rows: 0, quantisation: "")
    return ImportedBundle(
      settings: settings, imported: imported, comparison: comparison, meanContributions: use,
      contents: BundleContents(definition: definition, golden: golden, lineage: lineage))
  }

  /// Recognises a file by its content and reads it. The fuzzer's way in.
  package static func parse(_ bytes: [UInt8], _ settings: ImportSettings) throws(TrainingError) -> ImportedModel {
    if LightGBMImport.recognises(bytes) { return try LightGBMImport.read(bytes, settings) }
    guard bytes.first == UInt8(ascii: "{") else {
      throw .importing(
        "expected a model of XGBoost (JSON or UBJ), LightGBM (text), CatBoost or needletail.export (JSON), "
          + "found another file")
    }
    // Universal Binary JSON begins an object's first key with its length, JSON with a quote or space.
    let second = bytes.dropFirst().first { ![0x20, 0x0A, 0x0D, 0x09].contains($0) }
    let isJSON = second == UInt8(ascii: "\"") || second == UInt8(ascii: "}")
    let document = ForeignField(
      value: isJSON ? try ForeignJSON.read(bytes) : try ForeignUBJSON.read(bytes), path: "")
    if XGBoostImport.recognises(document) { return try XGBoostImport.read(document, settings) }
    if CatBoostImport.recognises(document) { return try CatBoostImport.read(document, settings) }
    if ExportImport.recognises(document) { return try ExportImport.read(document, settings) }
    throw .importing(
      "expected \"learner\" of XGBoost, \"oblivious_trees\" or \"trees\" of CatBoost, or \"format\" of needletail.export, found none of them"
    )
  }
}

/// Result of an import: a bundle's contents, and what there is to say about them.
public struct ImportedBundle {
  let settings: ImportSettings
  let imported: ImportedModel
  let comparison: SampleRows.Agreement?
  /// Mean magnitude of each feature's contributions to the scores of the sample rows; empty without rows, or where
  /// nothing can be explained.
  let meanContributions: [Double]
  public let contents: BundleContents

  public var source: String { imported.source }
  public var objective: String { imported.objective }
  public var notes: [String] { imported.notes }
  public var featureCount: Int { imported.features.count }
  public var treeCount: Int { imported.treeCount }
  public var leafCount: Int { imported.ensemble.leaves.count / max(imported.ensemble.leafWidth, 1) }
  public var model: ModelID { settings.model }
  /// What the comparison with the library's answers found; nil without one.
  public var agreement: String? { comparison?.words }

  /// The features that contribute most to the scores of the sample rows: `bmi 41 %, bp 17 %, 8 others 42 %`.
  public var contributions: String? {
    let names = contents.definition.schema.features.map(\.name)
    let total = meanContributions.reduce(0, +)
    guard total > 0, names.count == meanContributions.count else { return nil }
    func percent(_ share: Double) -> String { Figures.fixed(100 * share / total, 0) + " %" }
    let order = names.indices.sorted { meanContributions[$0] > meanContributions[$1] }
    var parts = order.prefix(5).map { "\(names[$0].escapingControls) \(percent(meanContributions[$0]))" }
    let others = order.dropFirst(5)
    let rest = others.reduce(0) { $0 + meanContributions[$1] }
    if !others.isEmpty { parts.append("\(others.count) others \(percent(rest))") }
    return parts.joined(separator: ", ")
  }

  /// Figures for other programs.
  public func report(version: ModelVersion, bundleBytes: Int) -> Document {
    .section([
      .init("model", .text(model.name)),
      .init("version", .integer(Int(clamping: version.number))),
      .init("source", .text(source)),
      .init("objective", .text(objective)),
      .init("features", .integer(featureCount)),
      .init("trees", .integer(treeCount)),
      .init("leaves", .integer(leafCount)),
      .init("bundle_bytes", .integer(bundleBytes)),
      .init("rows_compared", .integer(comparison?.rows ?? 0)),
      .init(
        "largest_difference",
        .section((comparison?.columns ?? []).map { .init($0.name, .number($0.largestDifference)) })),
      .init(
        "largest_relative_difference",
        .section((comparison?.columns ?? []).map { .init($0.name, .number($0.largestRelativeDifference)) })),
      .init(
        "mean_contributions",
        .section(
          zip(contents.definition.schema.features, meanContributions).map { .init($0.name, .number($1)) })),
      .init("notes", .list(notes.map { .text($0) })),
    ])
  }

  /// The bundle's file, read back and checked.
  ///
  /// - Throws: `TrainingError` of kind `output`.
  public func encode(version: ModelVersion, signing keys: [SigningKey]) throws(TrainingError) -> [UInt8] {
    try contents.encode(model: settings.model, version: version, expiresDays: nil, signing: keys)
  }
}
