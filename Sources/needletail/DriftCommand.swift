internal import ArgumentParser
internal import Foundation
internal import NeedletailBundle
internal import NeedletailCSV
internal import NeedletailClient
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailModels

/// `needletail drift MODEL` asks a server; `needletail drift FILE --data ROWS` needs none.
struct DriftCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "drift",
    abstract: "Say how far a model's inputs and answers have moved from those of its training.",
    discussion: """
      A server watches a sample of the rows that it answers, over the last hour unless watch.window_seconds says otherwise. \
      With --data, rows of a file are compared with the baseline in a bundle instead.

        needletail drift churn
        needletail drift churn --version 7 --json
        needletail drift churn.ntb --data last-week.csv --fail-on alert

      Columns stand in the order of their population stability index (PSI): from 0.1 on a column is worth a look, from 0.2 \
      on it has moved, if there are rows enough to tell that from chance. With --fail-on the exit status is 1 where a \
      column has moved that far, so that a scheduler can retrain.
      """)

  @Argument(help: "A model of the server; with --data a bundle file (.ntb).")
  var model: String

  @Option(help: ArgumentHelp("Rows to compare; - is standard input.", valueName: "FILE.csv|FILE.json|-"))
  var data: String?

  @Option(help: ArgumentHelp("Between the fields of a CSV file.", valueName: "comma|semicolon|tab|pipe"))
  var delimiter = CSVDelimiter.comma

  @Option(help: ArgumentHelp("A version of the model; else the newest that is watched.", valueName: "n"))
  var version: UInt64?

  @Option(
    help: ArgumentHelp("Columns shown, the furthest first; else 20, and all of them with --json.", valueName: "n"))
  var top: Int?

  @Option(help: ArgumentHelp("Exit with 1 where a column is at this level or above.", valueName: "warning|alert"))
  var failOn: DriftFailure?

  @Flag(help: "Print one JSON object.")
  var json = false

  @OptionGroup var server: ServerOptions

  func validate() throws {
    if let top, top < 1 { throw ValidationError("--top: expected a number from 1, found \(top)") }
    if data != nil, version != nil { throw ValidationError("--version: a bundle has one version; leave it out") }
  }

  func run() async throws {
    let report: DriftReport
    if let data { report = try compare(path: data) } else { report = try await fetch() }
    if json {
      try printJSON(report.limited(to: top))
    } else {
      report.print(top: top ?? 20)
    }
    if let failOn, report.isAt(failOn) { throw ExitCode.failure }
  }

  /// What the server's metrics tell.
  private func fetch() async throws -> DriftReport {
    let text = try await server.withClient { try await $0.metrics() }
    return try DriftReport(metrics: MetricSamples(text), model: model, version: version)
  }

  /// Compares rows of a file with the baseline of a bundle.
  private func compare(path: String) throws -> DriftReport {
    try InstructionSet.validateEnvironment()
    let found = try BundleFile.open(path: model)
    let (bundle, contents) = try BundleOutput.naming(model) { () throws(BundleError) in
      let bundle = try VerifiedBundle(found, trust: .allowingUnsigned, expecting: nil, nowMilliseconds: 0)
      return (bundle, try bundle.decode())
    }
    guard let baseline = contents.drift else { throw Failure("\(model): expected a drift baseline, found none") }
    let compiled: CompiledModel
    do throws(PlanError) { compiled = try CompiledModel(contents.definition) } catch {
      throw Failure("\(model): \(error)")
    }
    guard let watch = VersionWatch(compiled, baseline: baseline, seconds: Limits.watchWindowSecondsMax) else {
      throw Failure("\(model): expected a drift baseline of its features, found one of others")
    }
    let table = try FeatureTable(path: path, delimiter: delimiter)
    let cells = try table.cells(for: contents.definition.schema, rows: 0..<table.rows.count)
    do throws(ServingError) { try watch.add(cells, of: compiled) } catch {
      throw Failure("\(table.source): \(error.message)")
    }
    return DriftReport(
      watch.report(), model: bundle.manifest.model.name, version: bundle.manifest.version.number, rows: watch.rows)
  }
}

/// Least level that makes the command fail.
enum DriftFailure: String, ExpressibleByArgument, CaseIterable {
  case warning, alert
}
