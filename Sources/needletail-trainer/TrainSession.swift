import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailTraining

/// One training from a run file to a bundle that is delivered: what train and retrain do alike.
struct TrainSession {
  let configuration: RunConfiguration
  let files: RunFiles
  let target: PublishTarget
  let incumbent: Incumbent?
  var gate: ReplayGate?
  let options: BundleOptions
  /// Rows that judge the new model and the one that serves, in place of the test rows of the run.
  var window: HeldOutRows?
  /// Digest of the bundle that the new one follows; empty: none.
  var parent = ""
  var isResuming = false
  /// Command that goes on with a training that was stopped, without `--resume`; empty: it has to begin anew.
  var command = ""
  /// Lines above the table of figures.
  var heading = ""

  /// Trains, writes the run's files, records it and publishes.
  ///
  /// - Throws: `TrainingError`: what is wrong; of kind `interrupted` where the user stopped it, and `refused` where the
  ///   model is not better than the one that serves.
  func run() throws(TrainingError) {
    try files.prepare()
    let console = Console(isSilent: !options.showsProgress)
    var observer = console.observer
    let recorder = try RunRecorder(configuration, files: files, warning: observer.warning)
    let interruption = Interruption(
      notice: "saving the state as soon as it is whole", atOnce: recorder.interruption)
    let (showStage, showEpoch) = (observer.stage, observer.epoch)
    observer.stage = { text in
      // Before the first epoch and behind the last one there is no state to save.
      interruption.canWait(false)
      showStage(text)
    }
    observer.epoch = { report in
      interruption.canWait(configuration.family.usesCheckpoints)
      recorder.add(report)
      showEpoch(report)
    }
    let checkpoint = files.directory + "/" + Checkpoints.fileName
    let delivery: Delivery
    let bundle: [UInt8]
    let version: ModelVersion
    do throws(TrainingError) {
      let trained = try TrainingRun(
        configuration, observer: observer,
        checkpointing: .init(path: checkpoint, isResuming: isResuming, isStopping: { interruption.isAsked }),
        incumbent: incumbent, parent: parent
      ).run()
      delivery = Delivery(
        files: files, recorder: recorder, target: target, incumbent: incumbent, gate: gate, window: window,
        options: options,
        trained: trained, metrics: { trained.metrics(version: $0, bundleBytes: $1) }, observer: observer,
        heading: heading)
      version = try target.version()
      bundle = try delivery.write(version)
      console.finish()
    } catch {
      console.finish()
      recorder.finish(error.kind == .interrupted ? .interrupted : .failed, error.message)
      guard error.kind == .interrupted else { throw error }
      let canGoOn = !command.isEmpty && FileManager.default.fileExists(atPath: checkpoint)
      let advice = error.message + (canGoOn ? "; to go on: \(command) --resume \(files.directory)" : "")
      guard interruption.isTerminated else { throw TrainingError(.interrupted, advice) }
      FileHandle.standardError.write(Data((advice + "\n").utf8))
      Foundation.exit(128 + SIGTERM)
    }
    try delivery.finish(bundle, version: version)
  }
}
