import ArgumentParser
import Foundation
import NeedletailCore
import NeedletailTraining

struct RunsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "runs",
    abstract: "Lists, shows, compares, exports and deletes the runs that were recorded.",
    subcommands: [ListRuns.self, ShowRun.self, CompareRuns.self, ExportRun.self, DeleteRuns.self])
}

struct StoreOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The experiment store; else needletail/runs.sqlite in $XDG_DATA_HOME or ~/.local/share.", valueName: "file"))
  var store: String?

  @Flag(help: "Prints the result as JSON.")
  var json = false

  func open() throws(TrainingError) -> ExperimentStore { try Self.open(store) }

  /// Opens a store that is there: a mistyped path should not become an empty one.
  static func open(_ path: String?) throws(TrainingError) -> ExperimentStore {
    guard let path = path ?? ExperimentStore.defaultPath else {
      throw TrainingError(.output, "--store: expected a file, found neither one nor a home directory")
    }
    guard FileManager.default.fileExists(atPath: path) else {
      throw TrainingError(.output, "\(path): expected an experiment store, found no file; train makes one")
    }
    return try ExperimentStore(path: path)
  }

  func show(_ document: Document, _ text: @autoclosure () -> String) {
    print(json ? document.json : text(), terminator: "")
  }
}

struct ListRuns: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Lists runs, the newest last, with a figure of the test rows.")

  @Option(help: ArgumentHelp("Only runs of this model.", valueName: "name"))
  var model: String?

  @Option(help: ArgumentHelp("Only trials of this study.", valueName: "run"))
  var study: Int?

  @Option(help: ArgumentHelp("At most so many, the newest.", valueName: "n"))
  var last = 30

  @OptionGroup var options: StoreOptions

  func validate() throws {
    if last < 1 { throw ValidationError("--last: expected a number from 1, found \(last)") }
  }

  func run() throws {
    try perform { () throws(TrainingError) in
      let list = try RunListing(options.open()).list(parent: study, model: model, last: last)
      options.show(list.document, list.text(Terminal(descriptor: 1)))
    }
  }
}

struct ShowRun: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Shows a run: parameters, metrics, files.")

  @Argument(help: ArgumentHelp("The run's number.", valueName: "run"))
  var number: Int

  @OptionGroup var options: StoreOptions

  func run() throws {
    try perform { () throws(TrainingError) in
      let details = try RunListing(options.open()).details(of: number)
      options.show(details.document, details.text(Terminal(descriptor: 1)))
    }
  }
}

struct CompareRuns: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare", abstract: "Shows what differs between runs: parameters, and all metrics.")

  @Argument(help: ArgumentHelp("Two or more numbers of runs.", valueName: "run"))
  var runs: [Int]

  @OptionGroup var options: StoreOptions

  func validate() throws {
    if Set(runs).count < 2 { throw ValidationError("expected two or more different runs") }
  }

  func run() throws {
    try perform { () throws(TrainingError) in
      let comparison = try RunListing(options.open()).comparison(of: runs)
      options.show(comparison.document, comparison.text(Terminal(descriptor: 1)))
    }
  }
}

struct DeleteRuns: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "delete", abstract: "Deletes runs from the store, with their trials; their files stay.")

  @Argument(help: ArgumentHelp("Numbers of runs.", valueName: "run"))
  var runs: [Int]

  @OptionGroup var options: StoreOptions

  func run() throws {
    try perform { () throws(TrainingError) in
      try options.open().delete(runs)
      let numbers = runs.map { Document.integer($0) }
      options.show(
        .section([.init("deleted", .list(numbers))]), "deleted \(runs.map { String($0) }.joined(separator: ", "))\n")
    }
  }
}

struct ExportRun: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Copies a run to an MLflow server: parameters, metrics of every step, files.",
    discussion: """
      Trials of a study become runs below it. A run that is there already is not copied again. MLFLOW_TRACKING_TOKEN, or \
      MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, authorise as they do in MLflow's own client.

        needletail-trainer runs export 12 --mlflow http://localhost:5000 --alias champion
      """)

  @Argument(help: ArgumentHelp("The run's number.", valueName: "run"))
  var number: Int

  @Option(help: ArgumentHelp("Address of the server.", valueName: "url"))
  var mlflow: String

  @Option(help: ArgumentHelp("Name of the experiment; else the model's name.", valueName: "name"))
  var experiment: String?

  @Flag(help: "Makes a version of the registered model.")
  var register = false

  @Option(help: ArgumentHelp("Alias that then points to the version.", valueName: "name"))
  var alias: String?

  @OptionGroup var options: StoreOptions

  func run() throws {
    try perform { () throws(TrainingError) in
      let exported = try MLflowExport(
        options.open(), to: MLflowServer(mlflow), experiment: experiment, isRegistered: register, alias: alias
      ).export(number)
      let document = Document.section([
        .init("run_id", .text(exported.runID)), .init("experiment_id", .text(exported.experimentID)),
        .init("page", .text(exported.page)), .init("version", exported.version.map { .text($0) } ?? .null),
        .init("was_there", .flag(exported.wasThere)),
      ])
      var text = exported.wasThere ? "run \(number) is there already: " : "exported run \(number): "
      text += exported.page + "\n"
      if let version = exported.version { text += "registered as version \(version)\n" }
      options.show(document, text)
    }
  }
}
