import ArgumentParser
import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailSystem
import NeedletailTraining

struct ImportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import",
    abstract: "Turns a model of XGBoost, LightGBM, CatBoost, scikit-learn or Hugging Face into a bundle.",
    discussion: """
      Reads XGBoost's JSON and UBJ, LightGBM's text, CatBoost's JSON, and what needletail.export of the Python client \
      writes of scikit-learn's trees; or a Hugging Face folder of a BERT, DistilBERT or RoBERTa, with config.json, \
      model.safetensors and tokenizer.json or vocab.txt, or of model2vec's static embeddings. With --data and --expected every answer is compared with the \
      library's before anything is written, and some of the rows become golden samples, which each server checks again.

        needletail-trainer import churn.ubj --publish store
        needletail-trainer import churn.json --data rows.csv --expected answers.csv --labels no,yes
        needletail-trainer import models/MiniLM --publish store
      """)

  @Argument(help: ArgumentHelp("The model file, or a Hugging Face folder.", valueName: "path"))
  var file: String

  @Option(help: ArgumentHelp("The model's name; else the path's last part, without its ending.", valueName: "name"))
  var model: String?

  @Option(help: ArgumentHelp("A CSV file of rows, its header the features.", valueName: "file"))
  var data: String?

  @Option(
    help: ArgumentHelp(
      "The library's answers for these rows: columns prediction, raw, raw_N, p_LABEL, p_N or NAME_N.",
      valueName: "file"))
  var expected: String?

  @Option(help: ArgumentHelp("Class labels in the order of their numbers, separated by commas.", valueName: "a,b,…"))
  var labels: String?

  @Option(help: ArgumentHelp("Name of what is predicted.", valueName: "column"))
  var target = "target"

  @Option(
    help: ArgumentHelp(
      "LightGBM: columns of pandas' categories in the order of the data frame, where the file leaves them open.",
      valueName: "a,b,…"))
  var categoryColumns: String?

  @Option(
    help: ArgumentHelp(
      "Iterations to keep: best (up to the one that early stopping chose), all, or a number.", valueName: "n"))
  var iterations = "best"

  @OptionGroup(title: "Hugging Face folders") var encoder: EncoderOptions

  @Option(name: .shortAndLong, help: ArgumentHelp("Where to write; else NAME.ntb.", valueName: "file"))
  var output: String?

  @OptionGroup var bundleOptions: BundleOptions

  func validate() throws {
    if expected != nil, data == nil { throw ValidationError("--expected: expected --data with the rows, found none") }
    if !EncoderImport.recognises(file), let name = encoder.given {
      throw ValidationError("\(name): expected a Hugging Face folder, found \(file)")
    }
  }

  func run() throws { try perform(runTyped) }

  private func runTyped() throws(TrainingError) {
    let settings = try settings()
    let target = try bundleOptions.target(for: settings.model)
    let path = output ?? "\(settings.model.name).ntb"
    try OutputPath.checkFile(path)
    let observer = RunObserver(stage: { text in
      if bundleOptions.showsProgress { FileHandle.standardError.write(Data((text + "\n").utf8)) }
    })
    if EncoderImport.recognises(file) {
      let imported = try EncoderImport(path: file, settings: encoder.settings(settings), observer: observer).run()
      try finish(target, path, encode: imported.encode, report: imported.report) { table, version, bytes, paths in
        table.render(imported, version: version, bundleBytes: bytes, paths: paths)
      }
    } else {
      let imported = try ModelImport(path: file, settings: settings, observer: observer).run()
      try finish(target, path, encode: imported.encode, report: imported.report) { table, version, bytes, paths in
        table.render(imported, version: version, bundleBytes: bytes, paths: paths)
      }
    }
  }

  /// Writes and publishes the bundle, and says so.
  private func finish(
    _ target: PublishTarget, _ path: String,
    encode: (ModelVersion, [SigningKey]) throws(TrainingError) -> [UInt8], report: (ModelVersion, Int) -> Document,
    render: (ResultsTable, ModelVersion, Int, [(label: String, path: String)]) -> String
  ) throws(TrainingError) {
    func write(_ version: ModelVersion) throws(TrainingError) -> [UInt8] {
      let bytes = try encode(version, target.keys)
      do {
        try AtomicFile.write(bytes, to: path, existing: .replaced)
      } catch {
        throw TrainingError(.output, "\(path): expected to write it, found: \(error)")
      }
      return bytes
    }
    let first = try target.version()
    let bytes = try write(first)
    let (version, published) = try target.publish(bytes, version: first, remake: write)
    if bundleOptions.json {
      var report = report(version, bytes.count).adding("bundle", .text(path))
      if let published { report = report.adding("published", .text(published)) }
      print(report.json, terminator: "")
    } else if !bundleOptions.quiet {
      var paths = [(label: "bundle", path: path + (target.keys.isEmpty ? " (unsigned)" : ""))]
      if let published { paths.append((label: "published", path: published)) }
      print(render(ResultsTable(terminal: Terminal(descriptor: 1)), version, bytes.count, paths), terminator: "")
    }
  }

  private static func list(_ text: String?) -> [String] {
    text.map { $0.split(separator: ",", omittingEmptySubsequences: false).map { String($0) } } ?? []
  }

  private func settings() throws(TrainingError) -> ImportSettings {
    let name = model ?? String(URL(fileURLWithPath: file).lastPathComponent.prefix { $0 != "." })
    let id: ModelID
    do throws(ServingError) {
      id = try ModelID(name)
    } catch {
      throw TrainingError(.configuration, "--model: \(error.message)")
    }
    var settings = ImportSettings(model: id)
    settings.data = data
    settings.expected = expected
    settings.target = target
    settings.labels = Self.list(labels)
    settings.categoryColumns = Self.list(categoryColumns)
    switch iterations {
    case "best": settings.iterations = .best
    case "all": settings.iterations = .all
    default:
      guard let count = Int(iterations), count > 0 else {
        throw TrainingError(
          .configuration,
          "--iterations: expected best, all or a number from 1, found \(iterations.quotedForMessage)")
      }
      settings.iterations = .first(count)
    }
    return settings
  }
}
