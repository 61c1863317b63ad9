internal import Foundation
public import NeedletailBundle
public import NeedletailCore
internal import NeedletailEngine

/// What a run produced: a bundle's contents, and the figures behind it.
public struct TrainedModel {
  public let configuration: RunConfiguration
  public let contents: BundleContents
  let data: PreparedData
  let fp32: Verdict
  let chosen: Verdict
  let decision: QuantisationGate.Decision
  /// What the family reports about its training.
  public let notes: [String]
  public let fitSeconds: Double

  /// `int8`, `fp32` or `mixed`.
  public var precision: String { chosen.compiled.plan.precision }
  public var testFigures: [Metrics.Figure] { chosen.test.figures }
  public var fp32TestFigures: [Metrics.Figure] { fp32.test.figures }
  public var quantisation: String { decision.reason }
  public var warnings: [String] { data.warnings }

  /// The bundle's file, read back and checked against its golden samples before it is handed out.
  ///
  /// - Parameter keys: none leaves it unsigned.
  public func encode(version: ModelVersion, signing keys: [SigningKey]) throws(TrainingError) -> [UInt8] {
    let now = UInt64(Date().timeIntervalSince1970 * 1000)
    let notAfter = configuration.expiresDays.map { now + UInt64($0) * 86_400_000 } ?? 0
    let writer = BundleWriter(
      model: configuration.model, version: version, contents: contents, createdMilliseconds: now,
      notAfterMilliseconds: notAfter)
    do throws(BundleError) {
      let bytes = try writer.encode(signing: keys)
      let bundle = try VerifiedBundle(
        BundleFile(bytes: bytes), trust: .allowingUnsigned, expecting: (configuration.model, version),
        nowMilliseconds: now)
      guard try bundle.decode() == contents else {
        throw BundleError(.malformed, "bundle: expected what was written, found something else on reading it back")
      }
      return bytes
    } catch {
      throw TrainingError(error)
    }
  }

  // MARK: - files beside the bundle

  /// Raw test rows under their feature names, in schema order: ready to be sent to a server.
  public var testCSV: String {
    var csv = CSVWriter()
    for feature in contents.definition.schema.features { csv.add(feature.name) }
    csv.endRow()
    for cells in data.cells(data.split.test) {
      for cell in cells { csv.add(cell) }
      csv.endRow()
    }
    return csv.text
  }

  /// The answers of the bundled model for the rows of ``testCSV``, and the truth. Floats read back exactly.
  public var predictionsCSV: String {
    var csv = CSVWriter()
    let labels = contents.definition.labels
    csv.add("row")
    if labels.isEmpty {
      csv.add("prediction")
    } else {
      csv.add("class")
      csv.add("label")
      for index in labels.indices { csv.add("p_\(index)") }
    }
    csv.add("target")
    csv.endRow()
    for (position, row) in data.split.test.enumerated() {
      csv.add(String(data.dataset.features.rowNumbers[row]))
      if labels.isEmpty {
        csv.add(chosen.test.scores[position])
        csv.add(data.targets[row])
      } else {
        let index = chosen.test.classes[position]
        csv.add(String(index))
        csv.add(labels[index])
        for column in labels.indices { csv.add(chosen.test.scores[position * labels.count + column]) }
        csv.add(labels[Int(data.targets[row])])
      }
      csv.endRow()
    }
    return csv.text
  }

  /// Which row of the files went into which part; rows dropped are absent.
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

  /// Every figure of the run, for other programs.
  public func metrics(version: ModelVersion, bundleBytes: Int) -> Document {
    func section(_ figures: [Metrics.Figure]) -> Document {
      .section(figures.map { .init($0.name, .number($0.value)) })
    }
    let isQuantised = !decision.int8Layers.isEmpty
    let dataset = data.dataset
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
      .init("golden_samples", .integer(contents.golden.count)),
      .init("notes", .list(notes.map { .text($0) })),
      .init("warnings", .list(warnings.map { .text($0) })),
      .init("seed", .integer(Int(configuration.seed))),
      .init("data_sha256", .text(dataset.sha256)),
    ])
  }
}
