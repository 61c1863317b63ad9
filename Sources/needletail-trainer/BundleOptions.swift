import ArgumentParser
import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailTraining

/// Options of every command that makes a bundle: where it goes, who signs it, and what is printed.
struct BundleOptions: ParsableArguments {
  @Option(help: ArgumentHelp("A store to publish into: a directory, or s3://BUCKET/PREFIX.", valueName: "store"))
  var publish: String?

  @Option(help: ArgumentHelp("Signs the bundle; see: needletail bundle keygen.", valueName: "file"))
  var key: String?

  @Option(help: ArgumentHelp("The version; else the next free one of the store, or 1.", valueName: "n"))
  var version: UInt64?

  @Flag(name: .shortAndLong, help: "Prints nothing unless something is wrong.")
  var quiet = false

  @Flag(help: "Prints the result as JSON.")
  var json = false

  /// Whether progress is shown.
  var showsProgress: Bool { !quiet && !json }

  func validate() throws {
    if version == 0 { throw ValidationError("--version: expected a number from 1, found 0") }
  }

  /// Reads the keys and looks at the store, before anything that takes long.
  func target(for model: ModelID) throws(TrainingError) -> PublishTarget {
    try PublishTarget(model: model, store: publish, key: key, version: version)
  }
}

/// Options of commands that publish only what is better than the version that serves, or like it.
struct ConditionOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Publishes only if this figure (accuracy, f1_macro, log_loss, auc, r2, rmse, mae …) is better than that of the version which serves, on the same rows; else exit status 3.",
      valueName: "metric"))
  var ifBetter: String?

  @Option(help: ArgumentHelp("Least difference that counts as better.", valueName: "x"))
  var minGain: Double?

  @Option(
    help: ArgumentHelp(
      "Publishes only if the answers to these captured calls are those of the version that serves; else exit status 3.",
      valueName: "CAPTURE"))
  var replay: String?

  @Option(help: ArgumentHelp("Share of these calls that may differ, from 0 to 1; else none.", valueName: "share"))
  var replayAllow: Double?

  @Option(
    help: ArgumentHelp("Largest difference of two numbers that counts as none; else every bit counts.", valueName: "x"))
  var replayTolerance: Double?

  func validate() throws {
    if minGain != nil, ifBetter == nil {
      throw ValidationError("--min-gain: expected --if-better with the figure, found none")
    }
    if replay == nil, replayAllow != nil || replayTolerance != nil {
      let option = replayAllow != nil ? "--replay-allow" : "--replay-tolerance"
      throw ValidationError("\(option): expected --replay with captured calls, found none")
    }
  }

  func condition() throws(TrainingError) -> PublishCondition? {
    try ifBetter.map { (metric) throws(TrainingError) in try PublishCondition(metric: metric, gainMin: minGain ?? 0) }
  }

  /// The version that serves from the store; nil where nothing has to be better, or nothing serves.
  func incumbent(of model: ModelID, store: String?) throws(TrainingError) -> Incumbent? {
    guard let condition = try condition() else { return nil }
    guard let store else {
      throw TrainingError(.output, "--if-better: expected --publish with the store, found none")
    }
    return try Incumbent(of: model, store: store, condition)
  }

  func replayCondition() throws(TrainingError) -> ReplayCondition? {
    try replay.map { (capture) throws(TrainingError) in
      try ReplayCondition(capture: capture, shareMax: replayAllow ?? 0, tolerance: replayTolerance ?? 0)
    }
  }

  /// What captured calls are compared with; nil where that is not asked.
  func gate(of model: ModelID, store: String?) throws(TrainingError) -> ReplayGate? {
    guard let condition = try replayCondition() else { return nil }
    guard let store else { throw TrainingError(.output, "--replay: expected --publish with the store, found none") }
    return try ReplayGate(condition, of: model, store: store)
  }
}

/// What train and tune do with a model: files, record, publication, and a word to the user.
struct Delivery {
  let files: RunFiles
  let recorder: RunRecorder
  let target: PublishTarget
  let incumbent: Incumbent?
  let gate: ReplayGate?
  /// Rows that judge both, in place of the test rows of the run.
  var window: HeldOutRows?
  let options: BundleOptions
  let trained: TrainedModel
  /// Figures of a bundle of so many bytes.
  let metrics: (ModelVersion, Int) -> Document
  let observer: RunObserver
  /// Lines above the table of figures.
  var heading = ""
  /// Files to name beside the bundle.
  var paths: [(label: String, path: String)] = []

  /// Writes the run's files.
  ///
  /// - Returns: the bundle.
  func write(_ version: ModelVersion) throws(TrainingError) -> [UInt8] {
    let bundle = try trained.encode(version: version, signing: target.keys)
    let metrics = metrics(version, bundle.count)
    let wantsReport = trained.configuration.document["evaluation"]["report"].flag ?? true
    let report = wantsReport ? try trained.report(metrics: metrics, observer: observer) : nil
    try files.write(trained, bundle: bundle, metrics: metrics, report: report)
    return bundle
  }

  /// Records the run, publishes its bundle, and tells the user.
  ///
  /// - Throws: `TrainingError` of kind `refused` where the model is not better than the one that serves, or differs more
  ///   than it may.
  func finish(_ bundle: [UInt8], version: ModelVersion) throws(TrainingError) {
    recorder.finish(trained, files: files, version: version, bundleBytes: bundle.count)
    let comparison = try incumbent.map { (incumbent) throws(TrainingError) in
      guard let window else { return try incumbent.compare(with: trained) }
      return try incumbent.compare(with: trained, on: window)
    }
    var (version, bytes) = (version, bundle.count)
    var published: String?
    let isBetter = comparison?.isBetter ?? true
    let replay = try isBetter ? replayed() : nil
    if isBetter, replay?.isAllowed ?? true {
      (version, published) = try target.publish(bundle, version: version) { (version) throws(TrainingError) in
        let bundle = try write(version)
        bytes = bundle.count
        return bundle
      }
    }
    if target.store != nil { recorder.publish(version: version, path: published, comparison: comparison) }
    let page = recorder.export()

    var paths = [(label: "bundle", path: files.bundlePath + (target.keys.isEmpty ? " (unsigned)" : ""))] + self.paths
    if let run = recorder.run { paths.append((label: "run", path: "\(run)")) }
    if let page { paths.append((label: "MLflow", path: page)) }
    if let comparison, comparison.isBetter { paths.append((label: "better", path: comparison.sentence)) }
    if let replay, replay.isAllowed { paths.append((label: "replay", path: replay.sentence)) }
    if let published { paths.append((label: "published", path: published)) }
    if options.json {
      var document = metrics(version, bytes).adding("bundle", .text(files.bundlePath))
      if let comparison { document = document.adding("comparison", comparison.document) }
      if let replay { document = document.adding("replay", replay.document) }
      if let published { document = document.adding("published", .text(published)) }
      print(document.json, terminator: "")
    } else if !options.quiet {
      let table = ResultsTable(terminal: Terminal(descriptor: 1))
      if !heading.isEmpty { print(heading) }
      print(table.render(trained, version: version, bundleBytes: bytes, paths: paths), terminator: "")
    }
    try comparison?.check()
    try replay?.check()
  }

  private func replayed() throws(TrainingError) -> ReplayVerdict? {
    guard let gate else { return nil }
    observer.stage("asking captured calls again")
    return try gate.judge(trained.contents.definition, notice: observer.warning)
  }
}
