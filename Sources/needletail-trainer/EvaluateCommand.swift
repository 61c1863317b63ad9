import ArgumentParser
import Foundation
import NeedletailCSV
import NeedletailCore
import NeedletailSystem
import NeedletailTraining

struct EvaluateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "evaluate",
    abstract: "Judges a bundle on a table whose rows have their truth beside them.",
    discussion: """
      Any bundle will do, imported ones too. Every figure is measured with the engine that serves. The report has the \
      form of what train writes.

        needletail-trainer evaluate store/churn/3.ntb --data labelled.csv --subgroup region --report out/churn.html
      """)

  @Argument(help: ArgumentHelp("The bundle.", valueName: "model.ntb"))
  var bundle: String

  @Option(help: ArgumentHelp("A CSV file with the model's features and the truth.", valueName: "file"))
  var data: String

  @Option(help: ArgumentHelp("Column of the truth; else the one that the model predicts.", valueName: "column"))
  var target: String?

  @Option(
    name: .customLong("subgroup"),
    help: ArgumentHelp("Judges the rows of each value apart, feature or not; may be repeated.", valueName: "column"))
  var subgroups: [String] = []

  @Option(
    help: ArgumentHelp(
      "Numbers from 0 by which rows count in figures that stand beside the others, as sample_weight of scikit-learn.",
      valueName: "column"))
  var weight: String?

  @Option(help: ArgumentHelp("Between the fields of the file.", valueName: "name"))
  var delimiter = CSVDelimiter.comma

  @Option(help: ArgumentHelp("Writes the report as one HTML file.", valueName: "file"))
  var report: String?

  @Flag(help: "Prints the whole report as JSON.")
  var json = false

  @Flag(name: .shortAndLong, help: "Shows no progress.")
  var quiet = false

  func run() throws { try perform(runTyped) }

  private func runTyped() throws(TrainingError) {
    if let report { try OutputPath.checkFile(report) }
    let console = Console(isSilent: quiet || json)
    let document = try BundleEvaluation(
      bundle: bundle, data: data, delimiter: delimiter, target: target, subgroups: subgroups, weight: weight
    ).report(observer: console.observer)
    if let report { try ReportCommand.write(document, to: report) }
    if json {
      print(document.json, terminator: "")
      return
    }
    for warning in document["warnings"].elements.compactMap(\.text) {
      FileHandle.standardError.write(Data("warning: \(warning)\n".utf8))
    }
    print(ResultsTable(terminal: Terminal(descriptor: 1)).render(evaluation: document, report: report), terminator: "")
  }
}

struct ReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Writes the report of a run as one HTML file.",
    discussion: "The file needs no network and no script, and can be mailed or printed.")

  @Argument(
    help: ArgumentHelp("A number of runs list, the output directory of a run, or a report.json.", valueName: "run"))
  var source: String

  @Option(
    name: .shortAndLong, help: ArgumentHelp("Where to write; else report.html beside report.json.", valueName: "file"))
  var output: String?

  @Option(help: ArgumentHelp("The experiment store; else the usual one.", valueName: "file"))
  var store: String?

  func run() throws { try perform(runTyped) }

  private func runTyped() throws(TrainingError) {
    var path = source
    if let number = Int(source), !FileManager.default.fileExists(atPath: source) {
      path = try StoreOptions.open(store).run(number).directory
      guard !path.isEmpty else { throw TrainingError(.output, "run \(number): expected one with files, found none") }
    }
    var isDirectory: ObjCBool = false
    if FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), isDirectory.boolValue {
      path += "/report.json"
    }
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try FileDescriptor(opening: path, 0).readToEnd()
    } catch {
      throw TrainingError(.output, "\(path): expected the report of a run, found: \(error.reason)")
    }
    let document = try Document(json: bytes, name: path)
    let target = output ?? URL(fileURLWithPath: path).deletingLastPathComponent().path + "/report.html"
    try Self.write(document, to: target)
    print(target)
  }

  static func write(_ document: Document, to path: String) throws(TrainingError) {
    do throws(SystemError) {
      try AtomicFile.write(Array(ReportPage(document).html.utf8), to: path, existing: .replaced)
    } catch {
      throw TrainingError(.output, "\(path): expected to write it, found: \(error)")
    }
  }
}
