import ArgumentParser
import Foundation
import NeedletailCSV
import NeedletailCore
import NeedletailTraining

struct PublishCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "publish",
    abstract: "Puts a trained bundle into a store, under the next version unless told otherwise.",
    discussion: """
      Signs it with the key given; an unsigned bundle is served only with --allow-unsigned. Where others publish at the \
      same time, each takes a version of its own. The run that made the bundle is marked as published.

        needletail-trainer publish out/model.ntb --store store --key publisher.key
        needletail-trainer publish out/model.ntb --store s3://models/production --key publisher.key
        needletail-trainer publish out/model.ntb --store store --if-better log_loss --data labelled.csv
        needletail-trainer publish out/model.ntb --store store --replay capture --replay-allow 0.01
      """)

  @Argument(help: ArgumentHelp("A bundle, such as the model.ntb of a run.", valueName: "model.ntb"))
  var bundle: String

  @Option(help: ArgumentHelp("The store: a directory, or s3://BUCKET/PREFIX.", valueName: "store"))
  var store: String

  @Option(help: ArgumentHelp("Signs the bundle; see: needletail bundle keygen.", valueName: "file"))
  var key: String?

  @Option(help: ArgumentHelp("The version; else the next free one.", valueName: "n"))
  var version: UInt64?

  @OptionGroup var conditionOptions: ConditionOptions

  @Option(help: ArgumentHelp("With --if-better: a CSV file of rows that neither learned from.", valueName: "file"))
  var data: String?

  @Option(help: ArgumentHelp("Column of the truth in it; else the one that the model predicts.", valueName: "column"))
  var target: String?

  @Option(help: ArgumentHelp("Between its fields.", valueName: "name"))
  var delimiter = CSVDelimiter.comma

  @Option(
    help: ArgumentHelp("The experiment store that remembers the run; else the usual one.", valueName: "file"))
  var runs: String?

  @Flag(help: "Prints model, version and path as JSON.")
  var json = false

  func validate() throws {
    if version == 0 { throw ValidationError("--version: expected a number from 1, found 0") }
    if (conditionOptions.ifBetter == nil) != (data == nil) {
      throw ValidationError("--if-better: expected it beside --data with rows to judge by, found one of the two")
    }
  }

  func run() throws { try perform(runTyped) }

  private func runTyped() throws(TrainingError) {
    let runs = try runs.map { (path) throws(TrainingError) in try StoreOptions.open(path) }
    let published = try Publishing.republish(
      path: bundle, store: store, key: key, version: version, condition: conditionOptions.condition(),
      data: data.map { HeldOutRows(path: $0, delimiter: delimiter, target: target) },
      replay: conditionOptions.replayCondition(),
      notice: { FileHandle.standardError.write(Data("warning: \($0)\n".utf8)) })
    note(published, in: runs)
    if json {
      var document = Document.section([
        .init("model", .text(published.model.name)),
        .init("version", .integer(Int(clamping: published.version.number))),
        .init("path", .text(published.path)),
      ])
      if let comparison = published.comparison { document = document.adding("comparison", comparison.document) }
      if let replay = published.replay { document = document.adding("replay", replay.document) }
      print(document.json, terminator: "")
    } else {
      print("published \(published.model) \(published.version): \(published.path)")
      if let comparison = published.comparison { print(comparison.sentence) }
      if let replay = published.replay { print(replay.sentence) }
    }
  }

  /// Marks the run whose directory the bundle lies in. A record that cannot be written does not undo the publication.
  private func note(_ published: Publishing.Publication, in named: ExperimentStore?) {
    let directory = URL(fileURLWithPath: bundle).standardizedFileURL.deletingLastPathComponent().path
    do throws(TrainingError) {
      var store = named
      if store == nil, let path = ExperimentStore.defaultPath, FileManager.default.fileExists(atPath: path) {
        store = try ExperimentStore(path: path)
      }
      guard let store, let run = try store.run(directory: directory) else { return }
      try store.publish(run.id, version: Int(clamping: published.version.number), path: published.path)
    } catch {
      FileHandle.standardError.write(Data("warning: the run is not marked as published: \(error.message)\n".utf8))
    }
  }
}
