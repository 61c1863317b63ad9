public import ArgumentParser
import Foundation
import Glibc
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
    subcommands: [
      ProfileCommand.self, InitCommand.self, TrainCommand.self, TuneCommand.self, EvaluateCommand.self,
      ReportCommand.self, RunsCommand.self, RetrainCommand.self,
      ImportCommand.self, TokenizeCommand.self,
      PublishCommand.self, SelectCommand.self,
    ])
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
      let status: Int32
      switch error.kind {
      // What a shell says of a program that Ctrl-C ended.
      case .interrupted: status = 130
      // So that a scheduler tells a model that is no better from a fault.
      case .refused: status = 3
      case .configuration, .data, .fit, .output: throw UserError(error)
      }
      FileHandle.standardError.write(Data((error.message + "\n").utf8))
      throw ExitCode(status)
    }
  }
}

struct TrainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train",
    abstract: "Trains the model a run file describes.",
    discussion: """
      Writes model.ntb, metrics.json, report.html, report.json, predictions.csv (the model's answers for the test \
      rows), test.csv (these rows, ready to be sent) and split.csv into the output directory, and remembers the run: \
      needletail-trainer runs list.
      """)

  @Argument(help: ArgumentHelp("The run file, YAML.", valueName: "run.yaml"))
  var file: String

  @Option(name: .customLong("set"), help: ArgumentHelp("Overrides one setting; may be repeated.", valueName: "a.b=c"))
  var sets: [String] = []

  @Option(help: ArgumentHelp("Where to write; else MODEL.out in the current directory.", valueName: "dir"))
  var output: String?

  @OptionGroup var bundleOptions: BundleOptions
  @OptionGroup var conditionOptions: ConditionOptions

  @Option(
    help: ArgumentHelp(
      "Goes on with a training that was stopped: its output directory, or its number. Data and settings must be the same.",
      valueName: "run"))
  var resume: String?

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
    // What can be wrong with keys, store, version, output and record shows before an hour of training, not after.
    let target = try bundleOptions.target(for: configuration.model)
    let incumbent = try conditionOptions.incumbent(of: configuration.model, store: bundleOptions.publish)
    let gate = try conditionOptions.gate(of: configuration.model, store: bundleOptions.publish)
    let files = RunFiles(directory: try directory(configuration))
    var session = TrainSession(
      configuration: configuration, files: files, target: target, incumbent: incumbent, options: bundleOptions)
    session.gate = gate
    session.isResuming = resume != nil
    session.command = "needletail-trainer train \(file)"
    try session.run()
  }
}

extension TrainCommand {
  /// Where the run's files go: the directory of the run that is gone on with, unless another is named.
  fileprivate func directory(_ configuration: RunConfiguration) throws(TrainingError) -> String {
    guard let resume else { return output ?? "\(configuration.model).out" }
    var directory = resume
    if let number = Int(resume), !FileManager.default.fileExists(atPath: resume) {
      let path = configuration.document["tracking"]["path"].text.map(configuration.path(of:))
      directory = try StoreOptions.open(path).run(number).directory
    }
    guard output == nil || output == directory else {
      throw TrainingError(
        .output, "--output: expected none beside --resume, which writes where it goes on, found \(output ?? "")")
    }
    return directory
  }
}

struct InitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "init",
    abstract: "Writes a commented run file for a table.",
    discussion: """
      Reads the whole file, CSV or JSON Lines, plain or packed with gzip or zstd. Finds separators, encoding, types, \
      dates, marks in numbers and words for missing values; leaves out columns that no model learns from, and says \
      why; shows every other setting with its default.
      """)

  @Argument(help: "A file with rows.")
  var data: String

  @Option(help: ArgumentHelp("The column to predict; else the last one.", valueName: "column"))
  var target: String?

  @Option(
    help: ArgumentHelp(
      "\(FamilyRegistry.all.names.joined(separator: ", ")); else chosen by the target.", valueName: "name"))
  var family: String?

  @Option(help: ArgumentHelp("Between the fields of the file; else as the file tells.", valueName: "name"))
  var delimiter: CSVDelimiter?

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
    for warning in starter.warnings { FileHandle.standardError.write(Data("note: \(warning)\n".utf8)) }
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

extension CSVDelimiter: ExpressibleByArgument {}
