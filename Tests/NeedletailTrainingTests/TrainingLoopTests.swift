import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite struct TrainingLoopTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func rate(_ settings: [String: Document], epochs: Int) -> LearningRate {
    LearningRate(.section(settings.map { .init($0.key, $0.value) }), epochs: epochs)
  }

  @Test func warmUpRisesInEvenStepsToTheFullRate() {
    let rate = rate(
      ["learning_rate": .number(0.1), "warmup_epochs": .integer(2), "schedule": .text("constant")], epochs: 5)
    let rates = [(1, 0.5), (1, 1), (2, 0.5), (2, 1), (3, 0.5)].map { rate.rate(epoch: $0.0, part: $0.1) }
    for (found, expected) in zip(rates, [0.025, 0.05, 0.075, 0.1, 0.1]) { #expect(abs(found - expected) < 1e-12) }
  }

  @Test func theCosineEndsAtAHundredth() {
    let rate = rate(["learning_rate": .number(0.1), "schedule": .text("cosine")], epochs: 11)
    #expect(rate.rate(epoch: 1, part: 1) == 0.1)
    // A quarter of a turn: cos(π / 2) = 0.
    #expect(abs(rate.rate(epoch: 6, part: 1) - 0.1 * 0.505) < 1e-12)
    #expect(abs(rate.rate(epoch: 11, part: 1) - 0.001) < 1e-12)
    let warm = self.rate(
      ["learning_rate": .number(0.1), "schedule": .text("cosine"), "warmup_epochs": .integer(5)], epochs: 16)
    #expect(warm.rate(epoch: 6, part: 0) == 0.1)
    #expect(abs(warm.rate(epoch: 16, part: 1) - 0.001) < 1e-12)
  }

  /// By hand from the rules of PyTorch's `ReduceLROnPlateau`, after two bad epochs and with a threshold of 1e-4.
  @Test func aPlateauLowersTheRateAsPyTorchDoes() {
    var rate = rate(
      [
        "learning_rate": .number(1), "schedule": .text("plateau"), "plateau_patience": .integer(2),
        "plateau_factor": .number(0.5),
      ], epochs: 20)
    var found: [Double] = []
    for (index, loss) in [1, 0.9, 0.89995, 0.95, 0.92, 0.91, 0.5, 0.6, 0.6, 0.6, 0.4].enumerated() {
      rate.observe(loss)
      found.append(rate.rate(epoch: index + 1, part: 1))
    }
    // The third loss is better, but by less than a ten-thousandth.
    #expect(found == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25])
  }

  private func report(
    _ epoch: Int, _ loss: Double, validation: Double? = nil, share: Double? = nil
  ) -> EpochReport {
    var report = EpochReport(
      epoch: epoch, epochCount: 100, loss: loss, validationLoss: validation, validationMetric: nil,
      metricName: "accuracy", bestEpoch: 0, bestMetric: nil)
    report.firstLayerShare = share
    return report
  }

  @Test func alarmsSayEachFaultOnce() {
    var alarms = TrainingAlarms()
    #expect((1...5).flatMap { alarms.observe(report($0, 1 / Double($0))) }.isEmpty)
    #expect(alarms.observe(report(6, 1.9)).isEmpty)
    let exploded = alarms.observe(report(7, 2.1))
    #expect(exploded.count == 1 && exploded[0].hasPrefix("epoch 7: the training loss has grown from 0.2 to 2.1"))
    #expect(alarms.observe(report(8, 50)).isEmpty)

    alarms = TrainingAlarms()
    _ = alarms.observe(report(1, 1, validation: 1))
    let overfitted = (2...30).flatMap { alarms.observe(report($0, 1 / Double($0), validation: 1 + Double($0) / 10)) }
    #expect(overfitted.count == 1 && overfitted[0].contains("the validation loss has risen from 1 at epoch 1"))
    // Both losses that rise together are no overfitting.
    alarms = TrainingAlarms()
    #expect((1...30).flatMap { alarms.observe(report($0, 1 + Double($0) / 20, validation: Double($0))) }.isEmpty)

    alarms = TrainingAlarms()
    let vanished = (1...9).flatMap { alarms.observe(report($0, 0.7, share: $0 == 4 ? 1 : 1e-6)) }
    #expect(vanished.count == 1 && vanished[0].hasPrefix("epoch 3: gradients of the first layer are 1e-06"))
  }

  @Test func deepLogisticLayersRaiseTheAlarm() throws {
    var warnings: [String] = []
    try directory.write(Synthetic.classesCSV(rows: 200, seed: 1), to: "data.csv")
    let run = try RunConfiguration(
      yaml: Synthetic.classesRun, file: "run.yaml", directory: directory.path,
      sets: ["model.hidden=[8, 8, 8, 8, 8, 8, 8, 8]", "model.activation=logistic", "training.epochs=5"])
    _ = try TrainingRun(run, observer: RunObserver(warning: { warnings.append($0) })).run()
    #expect(warnings.contains { $0.contains("gradients of the first layer") }, "\(warnings)")
  }

  // MARK: - checkpoints

  private func run(
    stoppingAfter epoch: Int? = nil, resuming: Bool = false, sets: [String] = [], csv: String? = nil
  ) throws -> TrainedModel {
    try directory.write(csv ?? Synthetic.classesCSV(rows: 300, seed: 1), to: "data.csv")
    let configuration = try RunConfiguration(
      yaml: Synthetic.classesRun, file: "run.yaml", directory: directory.path,
      sets: ["model.dropout=0.2", "training.schedule=plateau", "training.plateau_patience=0"] + sets)
    var epochs: [Int] = []
    let trained = try TrainingRun(
      configuration, observer: RunObserver(epoch: { epochs.append($0.epoch) }),
      checkpointing: .init(path: directory.file(Checkpoints.fileName), isResuming: resuming) {
        epoch.map { epochs.count >= $0 } ?? false
      }
    ).run()
    #expect(epochs == Array(1...epochs.count))
    return trained
  }

  private func stop(after epoch: Int, sets: [String] = []) throws {
    let error = #expect(throws: TrainingError.self) { try run(stoppingAfter: epoch, sets: sets) }
    #expect(error?.kind == .interrupted)
    #expect(error?.message == "stopped after epoch \(epoch) of 20")
  }

  @Test(arguments: ["adamw", "adam", "sgd"]) func aTrainingThatWasStoppedEndsInTheSameModel(optimiser: String) throws {
    let sets = ["training.optimiser=\(optimiser)"]
    let whole = try run(sets: sets)
    try stop(after: 7, sets: sets)
    let resumed = try run(resuming: true, sets: sets)
    #expect(resumed.contents.definition == whole.contents.definition)
    #expect(resumed.history.map(\.loss) == whole.history.map(\.loss))
    #expect(resumed.notes == whole.notes)
    #expect(!FileManager.default.fileExists(atPath: directory.file(Checkpoints.fileName)))
  }

  @Test func refusesToGoOnWithOtherSettingsOrData() throws {
    try stop(after: 3)
    let settings = #expect(throws: TrainingError.self) {
      try run(resuming: true, sets: ["training.learning_rate=0.5"])
    }
    #expect(
      settings?.message.hasSuffix(
        "expected training.learning_rate: 0.01, as the checkpoint was made with, found 0.5") == true,
      "\(settings?.message ?? "")")
    let data = #expect(throws: TrainingError.self) {
      try run(resuming: true, csv: Synthetic.classesCSV(rows: 300, seed: 2))
    }
    #expect(data?.message.contains("found other data") == true)
    // What does not decide what is learned may differ.
    _ = try run(resuming: true, sets: ["evaluation.threshold_for=f1", "publish.expires_days=3"])
  }

  @Test func refusesDamagedCheckpoints() throws {
    let none = #expect(throws: TrainingError.self) { try run(resuming: true) }
    #expect(none?.message.contains("expected the checkpoint of a training that was stopped") == true)
    try stop(after: 3)
    let path = directory.file(Checkpoints.fileName)
    let whole = try Data(contentsOf: URL(fileURLWithPath: path))
    for damage in [
      whole.prefix(20), whole.dropLast(1), Data(), whole.prefix(60) + [whole[60] ^ 1] + whole.dropFirst(61),
    ] {
      try Data(damage).write(to: URL(fileURLWithPath: path))
      let error = #expect(throws: TrainingError.self) { try run(resuming: true) }
      #expect(error?.message.contains("found a damaged one") == true, "\(error?.message ?? "")")
    }
  }

  @Test(arguments: ["", "loss: quantile, quantile: 0.7", "depth: 3, leaves: 7"])
  func boostingThatWasStoppedEndsInTheSameTrees(model: String) throws {
    try directory.write(Synthetic.classesCSV(rows: 400, seed: 4), to: "data.csv")
    let target = model.contains("quantile") ? "x, task: regression" : "kind"
    let run = try RunConfiguration(
      yaml: """
        data: { files: [data.csv] }
        target: { column: \(target) }
        model: { family: gbdt, trees: 60\(model.isEmpty ? "" : ", " + model) }
        training: { row_sample: 0.7, column_sample: 0.5, rows_min: 5, patience: 0 }
        """, file: "run.yaml", directory: directory.path)
    let path = directory.file(Checkpoints.fileName)
    func train(isResuming: Bool = false, stopAfter: Int? = nil) throws -> TrainedModel {
      var rounds = 0
      return try TrainingRun(
        run, observer: RunObserver(epoch: { rounds = $0.epoch }),
        checkpointing: .init(path: path, isResuming: isResuming) { stopAfter.map { rounds >= $0 } ?? false }
      ).run()
    }
    let whole = try train()
    let stopped = #expect(throws: TrainingError.self) { try train(stopAfter: 23) }
    #expect(stopped?.kind == .interrupted && stopped?.message == "stopped after round 23 of 60")
    let resumed = try train(isResuming: true)
    #expect(resumed.contents.definition == whole.contents.definition)
    #expect(resumed.history.map(\.loss) == whole.history.map(\.loss) && resumed.notes == whole.notes)
    #expect(!FileManager.default.fileExists(atPath: path))
  }

  @Test(arguments: ["kind", "x, task: regression"], [7, 19])
  func aForestThatWasStoppedGrowsTheSameTrees(target: String, stop: Int) throws {
    try directory.write(Synthetic.classesCSV(rows: 300, seed: 5), to: "data.csv")
    let run = try RunConfiguration(
      yaml: """
        data: { files: [data.csv] }
        features: { missing: keep }
        target: { column: \(target) }
        model: { family: random_forest, trees: 20 }
        training: { row_sample: 0.8 }
        """, file: "run.yaml", directory: directory.path)
    let path = directory.file(Checkpoints.fileName)
    func train(isResuming: Bool = false, stopAfter: Int? = nil) throws -> TrainedModel {
      var trees = 0
      return try TrainingRun(
        run, observer: RunObserver(epoch: { trees = $0.epoch }),
        checkpointing: .init(path: path, isResuming: isResuming) { stopAfter.map { trees >= $0 } ?? false }
      ).run()
    }
    let whole = try train()
    let stopped = #expect(throws: TrainingError.self) { try train(stopAfter: stop) }
    #expect(stopped?.kind == .interrupted && stopped?.message == "stopped after tree \(stop) of 20")
    let resumed = try train(isResuming: true)
    #expect(resumed.contents.definition == whole.contents.definition)
    #expect(resumed.history.map(\.epoch) == whole.history.map(\.epoch) && resumed.notes == whole.notes)
    #expect(!FileManager.default.fileExists(atPath: path))
  }

  @Test func familiesWithoutCheckpointsSaySo() throws {
    try directory.write(Synthetic.classesCSV(rows: 200, seed: 1), to: "data.csv")
    let run = try RunConfiguration(
      yaml: "data: { files: [data.csv] }\nfeatures: { missing: mean }\ntarget: { column: kind }\n"
        + "model: { family: logistic_regression }\n",
      file: "run.yaml",
      directory: directory.path)
    let error = #expect(throws: TrainingError.self) {
      try TrainingRun(run, checkpointing: .init(path: "x", isResuming: true, isStopping: { false })).run()
    }
    #expect(
      error?.message.contains("--resume: expected a family that keeps checkpoints, such as ") == true
        && error?.message.hasSuffix(", found logistic_regression") == true, "\(error?.message ?? "")")
  }

  @Test(arguments: [("gbdt", "round", 20), ("random_forest", "tree", 20)])
  func treesReportTheirProgress(family: String, step: String, trees: Int) throws {
    try directory.write(Synthetic.classesCSV(rows: 200, seed: 1), to: "data.csv")
    var reports: [EpochReport] = []
    let run = try RunConfiguration(
      yaml: "data: { files: [data.csv] }\ntarget: { column: kind }\nmodel: { family: \(family), trees: \(trees) }\n",
      file: "run.yaml", directory: directory.path)
    _ = try TrainingRun(run, observer: RunObserver(epoch: { reports.append($0) })).run()
    #expect(reports.count > 1 && reports.map(\.epoch) == Array(1...reports.count))
    #expect(reports.allSatisfy { $0.stepName == step && $0.epochCount == trees })
  }

  @Test func iterationsOfUnknownNumberAreShownWithoutABar() throws {
    try directory.write(Synthetic.classesCSV(rows: 200, seed: 1), to: "data.csv")
    var reports: [EpochReport] = []
    let run = try RunConfiguration(
      yaml:
        "data: { files: [data.csv], drop: [y] }\ntarget: { column: kind }\nmodel: { family: logistic_regression }\n",
      file: "run.yaml", directory: directory.path)
    _ = try TrainingRun(run, observer: RunObserver(epoch: { reports.append($0) })).run()
    #expect(reports.count > 1 && reports.map(\.epoch) == Array(1...reports.count))
    // The objective is convex and every step goes down.
    #expect(zip(reports, reports.dropFirst()).allSatisfy { $0.loss >= $1.loss })
    let terminal = Terminal(isInteractive: true, hasColour: false, width: 80)
    var display = ProgressDisplay(terminal: terminal, start: Instant(nanoseconds: 0))
    let text = display.show(
      EpochReport(epoch: 7, epochCount: 0, loss: 0.25, metricName: "", bestEpoch: 0, stepName: "iteration"),
      now: Instant(nanoseconds: 5_000_000_000))
    #expect(text == "\r\u{1B}[2Kiteration 7  loss 0.2500")
  }
}
