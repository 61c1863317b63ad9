import ArgumentParser
import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTraining

struct TrainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train",
    abstract: "Trains the model a run file describes.",
    discussion: """
      Writes model.ntb, metrics.json, predictions.csv (the model's answers for the test rows), test.csv (these \
      rows, ready to be sent) and split.csv into the output directory.
      """)

  @Argument(help: ArgumentHelp("The run file, YAML.", valueName: "run.yaml"))
  var file: String

  @Option(name: .customLong("set"), help: ArgumentHelp("Overrides one setting; may be repeated.", valueName: "a.b=c"))
  var sets: [String] = []

  @Option(help: ArgumentHelp("Where to write; else MODEL.out in the current directory.", valueName: "dir"))
  var output: String?

  @Option(help: ArgumentHelp("A store to publish into.", valueName: "store"))
  var publish: String?

  @Option(help: ArgumentHelp("Signs the bundle; see: needletail bundle keygen.", valueName: "file"))
  var key: String?

  @Option(help: ArgumentHelp("The version; else the next free one of the store, or 1.", valueName: "n"))
  var version: UInt64?

  @Flag(name: .shortAndLong, help: "Prints nothing unless something is wrong.")
  var quiet = false

  @Flag(help: "Prints the figures as JSON.")
  var json = false

  @Flag(help: "Prints the run file with --set and all defaults merged in, and stops.")
  var printConfig = false

  func validate() throws {
    if version == 0 { throw ValidationError("--version: expected a number from 1, found 0") }
  }

  func run() throws {
    do throws(PlanError) {
      try InstructionSet.validateEnvironment()
    } catch {
      throw UserError(error.message)
    }
    do {
      try runTyped()
    } catch {
      throw UserError(error)
    }
  }

  private func runTyped() throws(TrainingError) {
    let configuration = try RunConfiguration.load(path: file, sets: sets)
    if printConfig {
      print(json ? configuration.document.json : configuration.document.yaml, terminator: "")
      return
    }
    // A key or version that is wrong should show before an hour of training, not after.
    let keys = try Publishing.keys(key)
    let version = try Publishing.version(self.version, of: configuration.model, store: publish)

    let console = Console(isSilent: quiet || json)
    let trained = try TrainingRun(configuration, observer: console.observer).run()
    console.finish()
    let bundle = try trained.encode(version: version, signing: keys)
    let files = RunFiles(directory: output ?? "\(configuration.model).out")
    var metrics = trained.metrics(version: version, bundleBytes: bundle.count)
    try files.write(trained, bundle: bundle, metrics: metrics)

    var paths = [(label: "bundle", path: files.bundlePath + (keys.isEmpty ? " (unsigned)" : ""))]
    if let publish {
      let path = try Publishing.publish(bundle, model: configuration.model, version: version, store: publish)
      paths.append((label: "published", path: path))
      metrics = metrics.adding("published", .text(path))
    }
    if json {
      print(metrics.adding("bundle", .text(files.bundlePath)).json, terminator: "")
    } else if !quiet {
      let table = ResultsTable(terminal: Terminal(descriptor: 1))
      print(table.render(trained, version: version, bundleBytes: bundle.count, paths: paths), terminator: "")
    }
  }
}

/// Shows a run's progress on stderr, so that stdout holds nothing but its result. Only the main thread uses it.
private final class Console {
  private let isSilent: Bool
  private let terminal = Terminal(descriptor: 2)
  private var progress: ProgressDisplay?

  init(isSilent: Bool) { self.isSilent = isSilent }

  var observer: RunObserver {
    guard !isSilent else { return RunObserver() }
    return RunObserver(
      stage: { self.line($0) },
      epoch: { self.show($0) },
      warning: { self.line("warning: \($0)") })
  }

  func finish() {
    write(progress?.finish() ?? "")
    progress = nil
  }

  private func line(_ text: String) {
    finish()
    write(text + "\n")
  }

  private func show(_ report: EpochReport) {
    let now = Instant.now()
    var display = progress ?? ProgressDisplay(terminal: terminal, start: now)
    if let text = display.show(report, now: now) { write(text) }
    progress = display
  }

  private func write(_ text: String) {
    guard !text.isEmpty else { return }
    FileHandle.standardError.write(Data(text.utf8))
  }
}
