import ArgumentParser
import Foundation
import NeedletailCSV
import NeedletailCore
import NeedletailTraining

struct RetrainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "retrain",
    abstract: "Trains a model again with recent rows, and publishes it if it is better than the one that serves.",
    discussion: """
      Recent rows are those whose outcome is known, the oldest first, with the features as callers send them, such as \
      needletail capture export writes of captured calls and of the outcomes that were reported to the server. \
      The last of them, the window, judge the new model and the version that serves: neither has learned from them. The \
      others are learned from, beside the files of the run file. Exit status 3 says that the new model is not better; \
      then nothing is published. The bundle's lineage names the version that it follows as its parent.

        needletail capture export /var/lib/needletail/capture --model churn --output recent.csv
        needletail-trainer retrain churn.yaml --fresh recent.csv --outcome outcome.value \
          --publish models --key publisher.key --if-better log_loss
      """)

  @Argument(help: ArgumentHelp("The run file that the model was trained by, YAML.", valueName: "run.yaml"))
  var file: String

  @Option(help: ArgumentHelp("A CSV file of recent rows; may be repeated, the oldest first.", valueName: "file"))
  var fresh: [String]

  @Option(help: ArgumentHelp("Column of their outcomes; else the run file's target.", valueName: "column"))
  var outcome: String?

  @Option(help: ArgumentHelp("Between the fields of these files; else as they tell.", valueName: "name"))
  var delimiter: CSVDelimiter?

  @Option(help: ArgumentHelp("Part of the recent rows, the last ones, that judge: above 0, up to 1.", valueName: "x"))
  var window = 0.3

  @Flag(help: "Learns from recent rows only, and not from the files of the run file.")
  var onlyFresh = false

  @Option(name: .customLong("set"), help: ArgumentHelp("Overrides one setting; may be repeated.", valueName: "a.b=c"))
  var sets: [String] = []

  @Option(help: ArgumentHelp("Where to write; else MODEL.out in the current directory.", valueName: "dir"))
  var output: String?

  @OptionGroup var bundleOptions: BundleOptions
  @OptionGroup var conditionOptions: ConditionOptions

  func validate() throws {
    if fresh.isEmpty { throw ValidationError("--fresh: expected a file of recent rows, found none") }
    if !(window > 0 && window <= 1) {
      throw ValidationError("--window: expected a number above 0 and up to 1, found \(window)")
    }
    if onlyFresh, window == 1 {
      throw ValidationError("--only-fresh: expected --window below 1, for nothing is left to learn from")
    }
    if bundleOptions.publish == nil || conditionOptions.ifBetter == nil {
      throw ValidationError("retrain: expected --publish with the store and --if-better with the figure that decides")
    }
  }

  func run() throws { try perform(runTyped) }

  private func runTyped() throws(TrainingError) {
    let configuration = try RunConfiguration.load(path: file, sets: sets)
    let target = try bundleOptions.target(for: configuration.model)
    guard let incumbent = try conditionOptions.incumbent(of: configuration.model, store: bundleOptions.publish) else {
      throw TrainingError(
        .output,
        "\(bundleOptions.publish ?? ""): expected a version of \(configuration.model) that serves, found none; begin with "
          + "needletail-trainer train \(file) --publish")
    }
    let gate = try conditionOptions.gate(of: configuration.model, store: bundleOptions.publish)
    let files = RunFiles(directory: output ?? "\(configuration.model).out")
    try files.prepare()
    let parts = try FreshRows(paths: fresh, delimiter: delimiter, outcome: outcome, windowShare: window)
      .cut(for: configuration, into: files.directory)
    var session = TrainSession(
      configuration: try RunConfiguration.load(path: file, sets: sets, fresh: parts.learned, only: onlyFresh),
      files: files, target: target, incumbent: incumbent, options: bundleOptions)
    session.gate = gate
    session.window = HeldOutRows(path: parts.window, target: configuration.request.target)
    session.parent = incumbent.digest
    session.heading = parts.sentence
    try session.run()
  }
}
