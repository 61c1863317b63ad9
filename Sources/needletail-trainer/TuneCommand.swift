import ArgumentParser
import Foundation
import Glibc
import NeedletailBundle
import NeedletailCore
import NeedletailTraining

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
        NEEDLETAIL_STUDY=postgresql://tuner@db/studies needletail-trainer tune run.yaml --worker   # on any machine
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
    help: ArgumentHelp(
      "The study, which several processes may share: a file of SQLite, or postgresql://USER@HOST/DATABASE; else $NEEDLETAIL_STUDY, else a file in the output.",
      valueName: "place"))
  var study: String?

  @Option(help: ArgumentHelp("Name of the study in PostgreSQL; else that of the model.", valueName: "name"))
  var studyName: String?

  @Flag(help: "Only tries, together with others that share --study, and writes no model.")
  var worker = false

  @Flag(help: "Goes on with the study of an earlier search.")
  var resume = false

  @Flag(help: "Forgets the study of an earlier search.")
  var restart = false

  @OptionGroup var bundleOptions: BundleOptions
  @OptionGroup var conditionOptions: ConditionOptions

  func validate() throws {
    if worker, sharedStudy == nil {
      throw ValidationError("--worker: expected --study or NEEDLETAIL_STUDY with the study that is shared, found none")
    }
    if let studyName, !Self.isName(studyName) {
      throw ValidationError(
        "--study-name: expected up to \(TuningRun.Place.nameBytesMax) letters, digits, '.', '_', '-', found \(studyName)"
      )
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

  /// Place that was named, by an option or, so that a password shows in no list of processes, by the environment.
  private var sharedStudy: String? {
    study ?? ProcessInfo.processInfo.environment["NEEDLETAIL_STUDY"].flatMap { $0.isEmpty ? nil : $0 }
  }

  private static func isName(_ text: String) -> Bool {
    (1...TuningRun.Place.nameBytesMax).contains(text.utf8.count)
      && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "._-".contains($0)) }
  }

  private func place(_ configuration: RunConfiguration, _ files: RunFiles) throws(TrainingError) -> TuningRun.Place {
    let name = studyName ?? configuration.model.name
    let place = TuningRun.Place(sharedStudy ?? files.directory + "/study.sqlite", name: name)
    if case .postgreSQL = place, !Self.isName(name) {
      throw TrainingError(
        .output,
        "--study-name: expected a name of up to \(TuningRun.Place.nameBytesMax) bytes, for the model's is longer, found none"
      )
    }
    return place
  }

  func run() throws { try perform(runTyped) }

  private func runTyped() throws(TrainingError) {
    let source = try RunFileText(path: file, sets: sets)
    let configuration = try RunConfiguration.load(path: file, sets: sets)
    let target = try bundleOptions.target(for: configuration.model)
    let incumbent = try conditionOptions.incumbent(of: configuration.model, store: bundleOptions.publish)
    let gate = try conditionOptions.gate(of: configuration.model, store: bundleOptions.publish)
    let files = RunFiles(directory: output ?? "\(configuration.model).out")
    if !worker { try files.prepare() }
    let place = try self.place(configuration, files)
    // A shared study is there before some who share it, and after others.
    if sharedStudy == nil || restart || resume { try prepare(place, configuration) }

    let console = Console(isSilent: !bundleOptions.showsProgress)
    if worker {
      let interruption = Interruption(notice: "ending the search", atOnce: {})
      let tuning = try search(source, place, incumbent, console, interruption)
      try tuning.search()
      console.finish()
      console.line("\(tuning.trialsDone) trials done here")
      // No success: whoever started it should start another.
      if interruption.isTerminated { Foundation.exit(128 + SIGTERM) }
      return
    }
    let recorder = try RunRecorder(configuration, files: files) { console.line("warning: \($0)") }
    let interruption = Interruption(
      notice: "ending the search, and writing the best model so far", atOnce: recorder.interruption)
    let delivery: Delivery
    let bundle: [UInt8]
    let version: ModelVersion
    do throws(TrainingError) {
      let tuning = try search(source, place, incumbent, console, interruption)
      try tuning.search()
      interruption.canWait(false)
      console.finish()
      guard !tuning.leaderboard.isEmpty else {
        throw TrainingError(.interrupted, "interrupted before the first trial ended; --resume goes on")
      }
      let tuned = try tuning.finish()
      delivery = Delivery(
        files: files, recorder: recorder, target: target, incumbent: incumbent, gate: gate, options: bundleOptions,
        trained: tuned.model, metrics: { tuned.metrics(version: $0, bundleBytes: $1) },
        observer: console.observer,
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
    _ source: RunFileText, _ place: TuningRun.Place, _ incumbent: Incumbent?, _ console: Console,
    _ interruption: Interruption
  ) throws(TrainingError) -> TuningRun {
    interruption.canWait(true)
    let tuning = try TuningRun(
      source, place: place, seconds: time.flatMap(Self.seconds), preset: preset, incumbent: incumbent,
      observer: console.tuningObserver, isInterrupted: { interruption.isAsked })
    for warning in tuning.warnings { console.line("warning: \(warning)") }
    return tuning
  }

  /// Keeps two searches from mixing by mistake.
  private func prepare(_ place: TuningRun.Place, _ configuration: RunConfiguration) throws(TrainingError) {
    guard case .file(let study) = place else {
      if restart { try place.forget(configuration) }
      return
    }
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
