public import ArgumentParser
import Foundation
public import NeedletailCSV
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailSystem
import NeedletailTraining

@main
struct TrainerCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "needletail-trainer",
    abstract: "Trains models offline and publishes them as bundles for needletail-server.",
    discussion: """
      One YAML file describes a run: data, features, target, model, training, quantisation.

        needletail-trainer init houses.csv --target price > run.yaml
        needletail-trainer train run.yaml --output out
        needletail-trainer train run.yaml --set training.epochs=50 --publish store --key publisher.key
      """,
    version: needletailVersion,
    subcommands: [InitCommand.self, TrainCommand.self, ImportCommand.self, PublishCommand.self])
}

/// A mistake of the user: one clear line on stderr, and exit code 1.
struct UserError: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
  init(_ error: TrainingError) { self.init(error.message) }
}

extension ParsableCommand {
  /// Does work that compiles a model, and turns its faults into mistakes of the user.
  func perform(_ work: () throws(TrainingError) -> Void) throws {
    do throws(PlanError) {
      try InstructionSet.validateEnvironment()
    } catch {
      throw UserError(error.message)
    }
    do {
      try work()
    } catch {
      throw UserError(error)
    }
  }
}

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

  @OptionGroup var bundleOptions: BundleOptions

  @Flag(help: "Prints the run file with --set and all defaults merged in, and stops.")
  var printConfig = false

  func run() throws { try perform(runTyped) }

  private func runTyped() throws(TrainingError) {
    let configuration = try RunConfiguration.load(path: file, sets: sets)
    if printConfig {
      let document = configuration.document
      print(bundleOptions.json ? document.json : document.yaml, terminator: "")
      return
    }
    // A key or version that is wrong should show before an hour of training, not after.
    let (keys, version) = try bundleOptions.resolve(for: configuration.model)

    let console = Console(isSilent: !bundleOptions.showsProgress)
    let trained = try TrainingRun(configuration, observer: console.observer).run()
    console.finish()
    let bundle = try trained.encode(version: version, signing: keys)
    let files = RunFiles(directory: output ?? "\(configuration.model).out")
    var metrics = trained.metrics(version: version, bundleBytes: bundle.count)
    try files.write(trained, bundle: bundle, metrics: metrics)

    var paths = [(label: "bundle", path: files.bundlePath + (keys.isEmpty ? " (unsigned)" : ""))]
    if let path = try bundleOptions.publish(bundle, model: configuration.model, version: version) {
      paths.append((label: "published", path: path))
      metrics = metrics.adding("published", .text(path))
    }
    if bundleOptions.json {
      print(metrics.adding("bundle", .text(files.bundlePath)).json, terminator: "")
    } else if !bundleOptions.quiet {
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

struct InitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "init",
    abstract: "Writes a commented run file for a CSV file.",
    discussion: "Infers column types and missing values, and shows every setting with its default.")

  @Argument(help: "A CSV file with a header.")
  var data: String

  @Option(help: ArgumentHelp("The column to predict; else the last one.", valueName: "column"))
  var target: String?

  @Option(
    help: ArgumentHelp(
      "\(FamilyRegistry.all.names.joined(separator: ", ")); else chosen by the target.", valueName: "name"))
  var family: String?

  @Option(help: ArgumentHelp("Between the fields of the file.", valueName: "name"))
  var delimiter = CSVDelimiter.comma

  @Option(name: .shortAndLong, help: ArgumentHelp("Where to write; else to the terminal.", valueName: "file"))
  var output: String?

  func run() throws {
    // Data paths of a run file are relative to it.
    let name: String
    if let output {
      let base = URL(fileURLWithPath: output).deletingLastPathComponent().standardizedFileURL.path + "/"
      let full = URL(fileURLWithPath: data).standardizedFileURL.path
      name = full.hasPrefix(base) ? String(full.dropFirst(base.count)) : full
    } else {
      name = data
    }
    let starter: StarterConfiguration
    do {
      starter = try StarterConfiguration(
        name: name, path: data, delimiter: delimiter, target: target, family: family)
    } catch {
      throw UserError(error)
    }
    for warning in starter.warnings { FileHandle.standardError.write(Data("warning: \(warning)\n".utf8)) }
    guard let output else {
      print(starter.yaml, terminator: "")
      return
    }
    guard !FileManager.default.fileExists(atPath: output) else {
      throw UserError("\(output): expected no file there yet, found one; remove it or choose another name")
    }
    do {
      try AtomicFile.write(Array(starter.yaml.utf8), to: output, existing: .refused)
    } catch {
      throw UserError("\(output): expected to write it, found: \(error)")
    }
    FileHandle.standardError.write(Data("wrote \(output); next: needletail-trainer train \(output)\n".utf8))
  }
}

struct PublishCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "publish",
    abstract: "Puts a trained bundle into a store, under the next version unless told otherwise.",
    discussion: "Signs it with the key given; an unsigned bundle is served only with --allow-unsigned.")

  @Argument(help: ArgumentHelp("A bundle, such as the model.ntb of a run.", valueName: "model.ntb"))
  var bundle: String

  @Option(help: ArgumentHelp("The store's directory.", valueName: "dir"))
  var store: String

  @Option(help: ArgumentHelp("Signs the bundle; see: needletail bundle keygen.", valueName: "file"))
  var key: String?

  @Option(help: ArgumentHelp("The version; else the next free one.", valueName: "n"))
  var version: UInt64?

  @Flag(help: "Prints model, version and path as JSON.")
  var json = false

  func validate() throws {
    if version == 0 { throw ValidationError("--version: expected a number from 1, found 0") }
  }

  func run() throws {
    do {
      let published = try Publishing.republish(path: bundle, store: store, key: key, version: version)
      if json {
        let document = Document.section([
          .init("model", .text(published.model.name)),
          .init("version", .integer(Int(clamping: published.version.number))),
          .init("path", .text(published.path)),
        ])
        print(document.json, terminator: "")
      } else {
        print("published \(published.model) \(published.version): \(published.path)")
      }
    } catch {
      throw UserError(error)
    }
  }
}

extension CSVDelimiter: ExpressibleByArgument {}
