import ArgumentParser
import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailTraining
import Synchronization

struct TuneCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tune",
    abstract: "Searches for the best model of a run file.",
    discussion: """
      Tries kinds of models and their settings for some time, shows the best, and writes what train writes for the best \
      of them, or for a mixture of several: its settings as best.yaml, all trials as leaderboard.json. What the run file \
      sets stays as it is. Ctrl-C ends the search early; --resume goes on with it.

        needletail-trainer tune run.yaml --time 5m --output out
        needletail-trainer tune run.yaml --preset best --set tuning.latency_us_max=50
        needletail-trainer tune run.yaml --study shared.sqlite --worker   # beside: tune run.yaml --study shared.sqlite
      """)

  @Argument(help: ArgumentHelp("The run file, YAML.", valueName: "run.yaml"))
  var file: String

  @Option(name: .customLong("set"), help: ArgumentHelp("Overrides one setting; may be repeated.", valueName: "a.b=c"))
  var sets: [String] = []

  @Option(help: ArgumentHelp("quick, good or best; else the run file's.", valueName: "name"))
  var preset: String?

  @Option(help: ArgumentHelp("Time to search: 90, 90s, 5m or 1.5h; else the run file's.", valueName: "time"))
  var time: String?

  @Option(help: ArgumentHelp("Where to write; else MODEL.out in the current directory.", valueName: "dir"))
  var output: String?

  @Option(
    help: ArgumentHelp("File of the study, which several processes may share; else in the output.", valueName: "file"))
  var study: String?

  @Flag(help: "Only tries, together with others that share --study, and writes no model.")
  var worker = false

  @Flag(help: "Goes on with the study of an earlier search.")
  var resume = false

  @Flag(help: "Forgets the study of an earlier search.")
  var restart = false

  @OptionGroup var bundleOptions: BundleOptions
  @OptionGroup var conditionOptions: ConditionOptions

  func validate() throws {
    if worker, study == nil {
      throw ValidationError("--worker: expected --study with the file that is shared, found none")
    }
    if worker, restart { throw ValidationError("--worker: expected no --restart beside it, found both") }
    if resume, restart { throw ValidationError("--resume: expected no --restart beside it, found both") }
    if let preset, !["quick", "good", "best"].contains(preset) {
      throw ValidationError("--preset: expected quick, good or best, found \(preset)")
    }
    if let time, Self.seconds(time) == nil {
      throw ValidationError("--time: expected a time such as 90s, 5m or 1.5h, found \(time)")
    }
  }

  /// Seconds of a time such as `5m`.
  static func seconds(_ text: String) -> Double? {
    let units: [Character: Double] = ["s": 1, "m": 60, "h": 3600]
    let unit = text.last.flatMap { units[$0] }
    guard let number = Double(unit == nil ? text : String(text.dropLast())), number.isFinite, number > 0 else {
      return nil
    }
    return number * (unit ?? 1)
  }

  func run() throws { try perform(runTyped) }

  private func runTyped() throws(TrainingError) {
    let source = try RunFileText(path: file, sets: sets)
    let configuration = try RunConfiguration.load(path: file, sets: sets)
    let target = try bundleOptions.target(for: configuration.model)
    let incumbent = try conditionOptions.incumbent(of: configuration.model, store: bundleOptions.publish)
    let files = RunFiles(directory: output ?? "\(configuration.model).out")
    if !worker { try files.prepare() }
    let study = self.study ?? files.directory + "/study.sqlite"
    // A shared study is there before some who share it, and after others.
    if self.study == nil || restart || resume { try prepare(study) }

    SearchInterruption.watch()
    let console = TuningConsole(isSilent: !bundleOptions.showsProgress)
    if worker {
      let tuning = try search(source, study, incumbent, console)
      try tuning.search()
      console.finish()
      console.line("\(tuning.trialsDone) trials done here")
      return
    }
    let recorder = try RunRecorder(configuration, files: files) { console.line("warning: \($0)") }
    let delivery: Delivery
    let bundle: [UInt8]
    let version: ModelVersion
    do throws(TrainingError) {
      let tuning = try search(source, study, incumbent, console)
      try tuning.search()
      console.finish()
      guard !tuning.leaderboard.isEmpty else {
        throw TrainingError(.interrupted, "interrupted before the first trial ended; --resume goes on")
      }
      SearchInterruption.endSecond()
      let tuned = try tuning.finish()
      delivery = Delivery(
        files: files, recorder: recorder, target: target, incumbent: incumbent, options: bundleOptions,
        trained: tuned.model, metrics: { tuned.metrics(version: $0, bundleBytes: $1) },
        observer: RunObserver(stage: console.stage),
        heading: ResultsTable(terminal: Terminal(descriptor: 1)).render(tuned.leaderboard),
        paths: [(label: "settings", path: files.directory + "/best.yaml")])
      version = try target.version()
      bundle = try delivery.write(version)
      try files.write(tuned)
    } catch {
      console.finish()
      recorder.finish(error.kind == .interrupted ? .interrupted : .failed, error.message)
      throw error
    }
    try delivery.finish(bundle, version: version)
  }

  /// Reads the data and opens the study.
  private func search(
    _ source: RunFileText, _ study: String, _ incumbent: Incumbent?, _ console: TuningConsole
  ) throws(TrainingError) -> TuningRun {
    let tuning = try TuningRun(
      source, place: .file(study), seconds: time.flatMap(Self.seconds), preset: preset, incumbent: incumbent,
      observer: console.observer, isInterrupted: { SearchInterruption.isWanted })
    for warning in tuning.warnings { console.line("warning: \(warning)") }
    return tuning
  }

  /// Keeps two searches from mixing by mistake.
  private func prepare(_ study: String) throws(TrainingError) {
    guard FileManager.default.fileExists(atPath: study) else {
      if resume { throw TrainingError(.output, "\(study): expected the study of an earlier search, found none") }
      return
    }
    if restart {
      for suffix in ["", "-journal", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: study + suffix) }
    } else if !resume {
      throw TrainingError(
        .output, "\(study): expected no study there, found one; --resume goes on with it, --restart begins anew")
    }
  }
}

/// Ctrl-C: the first ends the search, and the best model so far is written; a second ends the process.
enum SearchInterruption {
  private static let count = Atomic(0)

  static var isWanted: Bool { count.load(ordering: .relaxed) > 0 }

  static func watch() {
    let handler: @convention(c) (Int32) -> Void = { number in
      if SearchInterruption.count.wrappingAdd(1, ordering: .relaxed).newValue > 1 { signal(number, SIG_DFL) }
    }
    signal(SIGINT, handler)
    signal(SIGTERM, handler)
  }

  /// From here on there is nothing to end early, and one Ctrl-C ends the process.
  static func endSecond() {
    signal(SIGINT, SIG_DFL)
    signal(SIGTERM, SIG_DFL)
  }
}

/// Shows a search on stderr. Closures of a search come one at a time.
final class TuningConsole: Sendable {
  private let isSilent: Bool
  private let display: Mutex<TuningDisplay>

  init(isSilent: Bool) {
    self.isSilent = isSilent
    display = Mutex(TuningDisplay(terminal: Terminal(descriptor: 2)))
  }

  var observer: TuningObserver {
    guard !isSilent else { return TuningObserver() }
    return TuningObserver(
      stage: { self.line($0) },
      progress: { progress in self.write { $0.show(progress, now: .now()) } },
      improved: { leader in self.write { $0.show(leader) } })
  }

  func line(_ text: String) {
    if !isSilent { write { $0.finish() + text + "\n" } }
  }

  /// A stage begins.
  var stage: @Sendable (String) -> Void { observer.stage }

  func finish() { write { $0.finish() } }

  private func write(_ text: (inout TuningDisplay) -> String) {
    let text = display.withLock { text(&$0) }
    if !text.isEmpty { FileHandle.standardError.write(Data(text.utf8)) }
  }
}
