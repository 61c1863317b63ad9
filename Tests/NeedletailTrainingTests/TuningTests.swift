import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite struct TuningTests {
  static let run = """
    data: { files: [data.csv] }
    features: { missing: median, unknown: zeros }
    target: { column: kind }
    model: { family: logistic_regression }
    """

  func source(
    _ directory: TemporaryDirectory, rows: Int = 240, yaml: String = run, _ sets: String...
  ) throws -> RunFileText {
    try directory.write(Synthetic.classesCSV(rows: rows, seed: 3), to: "data.csv")
    return RunFileText(text: yaml, file: "run.yaml", directory: directory.path, sets: sets)
  }

  func search(
    _ source: RunFileText, place: TuningRun.Place = .memory, isInterrupted: @escaping @Sendable () -> Bool = { false }
  ) throws -> TuningRun {
    let tuning = try TuningRun(source, place: place, isInterrupted: isInterrupted)
    try tuning.search()
    return tuning
  }

  @Test func theBestOfSeveralFamiliesBecomesABundleThatAnswersAsMeasured() throws {
    let directory = try TemporaryDirectory()
    let tuning = try search(
      source(
        directory, "tuning.trials=9", "tuning.families=[gbdt, logistic_regression]", "tuning.folds=3",
        "tuning.pruner=none"))
    let leaders = tuning.leaderboard
    #expect(leaders.count == 9 && leaders.map(\.figure) == leaders.map(\.figure).sorted())
    #expect(Set(leaders.map { $0.name.split(separator: " ")[0] }) == ["gbdt", "logistic_regression"])
    let tuned = try tuning.finish()
    let accuracy = tuned.model.testFigures.first { $0.name == "accuracy" }?.value
    #expect((accuracy ?? 0) > 0.95)
    #expect(try !tuned.model.encode(version: #require(ModelVersion(1)), signing: []).isEmpty)
    let version = try #require(ModelVersion(1))
    let report = try tuned.model.report(metrics: tuned.metrics(version: version, bundleBytes: 1))
    #expect(report["tuning"]["trials"] == .integer(9))
    // The settings of the best train the same model again.
    let again = try RunConfiguration(yaml: tuned.configuration.yaml, file: "best.yaml", directory: "/")
    #expect(leaders[0].name.hasPrefix(again.family.name))
  }

  @Test func whatTheRunFileSetsStaysAsItIs() throws {
    let directory = try TemporaryDirectory()
    let own = Self.run.replacingOccurrences(of: "logistic_regression", with: "gbdt, leaves: 7")
    let source = try source(directory, yaml: own)
    let configuration = try source.configuration()
    let plan = try TuningPlan(source, configuration, TuningSettings(configuration))
    let gbdt = try #require(plan.arms.first { $0.family.name == "gbdt" })
    #expect(!gbdt.settings.contains { $0.path == "model.leaves" })
    #expect(try gbdt.configuration(of: gbdt.arm.start ?? []).document["model"]["leaves"] == .integer(7))
    #expect(plan.arms.count == 4)
  }

  @Test func anInterruptedSearchGoesOnAsIfNothingHadHappened() throws {
    let directory = try TemporaryDirectory()
    let sets = ["tuning.parallel=1", "tuning.families=[gbdt]", "tuning.folds=0", "tuning.mixture=1"]
    func source(_ trials: Int) throws -> RunFileText {
      let base = try self.source(directory)
      return RunFileText(
        text: base.text, file: base.file, directory: base.directory, sets: sets + ["tuning.trials=\(trials)"])
    }
    let whole = try search(source(14)).leaderboard
    let place = TuningRun.Place.file(directory.path + "/study.sqlite")
    _ = try search(source(5), place: place)
    let resumed = try search(source(14), place: place)
    #expect(resumed.leaderboard.map(\.settings) == whole.map(\.settings))
    #expect(resumed.leaderboard.map(\.figure) == whole.map(\.figure))
    #expect(try resumed.finish().model.testFigures.count > 0, "the best trial is fitted again")
  }

  @Test func aStudyOfOtherDataIsRefused() throws {
    let directory = try TemporaryDirectory()
    let place = TuningRun.Place.file(directory.path + "/study.sqlite")
    _ = try search(source(directory, "tuning.trials=2", "tuning.families=[gbdt]"), place: place)
    #expect {
      _ = try TuningRun(source(directory, rows: 250, "tuning.trials=2", "tuning.families=[gbdt]"), place: place)
    } throws: { error in
      "\(error)".contains("expected that of this run file and data (data ") && "\(error)".contains("--restart")
    }
  }

  @Test func anInterruptionEndsTheSearchBeforeItsFirstTrial() throws {
    let directory = try TemporaryDirectory()
    let tuning = try search(source(directory, "tuning.families=[gbdt]"), isInterrupted: { true })
    #expect(tuning.leaderboard.isEmpty)
  }

  @Test func noModelIsChosenThatIsTooSlow() throws {
    let directory = try TemporaryDirectory()
    let tuning = try search(
      source(directory, "tuning.trials=2", "tuning.families=[gbdt]", "tuning.latency_us_max=0.001"))
    #expect(tuning.leaderboard.isEmpty)
    #expect { _ = try tuning.finish() } throws: { "\($0)".contains("expected a complete trial") }
  }

  @Test(arguments: [
    ("tuning.metric=rmse", "tuning.metric: expected auto | log_loss | accuracy | auc | f1_macro"),
    ("tuning.families=[linear_regression]", "tuning.families: expected families for classification"),
    ("tuning.folds=1", "tuning.folds: expected 0, or at least 2"),
    ("tuning.preset=fast", "tuning.preset: expected quick | good | best"),
  ]) func aSettingThatDoesNotFitIsRefusedBeforeTheSearch(set: String, message: String) throws {
    let directory = try TemporaryDirectory()
    #expect { _ = try TuningRun(source(directory, set), place: .memory) } throws: { "\($0)".contains(message) }
  }

  @Test func theRunFileOfTheHandbookIsTuned() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let page = try String(
      contentsOf: root.appending(path: "Sources/Handbook/Handbook.docc/Tuning.md"), encoding: .utf8)
    let blocks = page.split(separator: "```yaml\n").dropFirst().compactMap { $0.split(separator: "```").first }
    let directory = try TemporaryDirectory()
    let tuning = try search(source(directory, yaml: String(try #require(blocks.first))))
    #expect(tuning.leaderboard.count <= 12 && !tuning.leaderboard.isEmpty)
    #expect(try tuning.finish().model.testFigures.count > 0)
    let refit = try search(source(directory, yaml: String(try #require(blocks.first { $0.contains("refit: true") }))))
    #expect(try refit.finish().model.contents.lineage?.rows == 240)
    for preset in TuningPreset.allCases {
      let row = page.split(separator: "\n").first {
        $0.hasPrefix("| `\(preset.rawValue)` | \(Int(preset.seconds) / 60) min")
      }
      #expect(row?.hasSuffix("| \(preset.mixture) |") == true, "\(preset)")
    }
  }

  @Test func theChosenModelsLearnAtLastFromTheRowsThatJudgedThem() throws {
    let directory = try TemporaryDirectory()
    // From 10 on, y is 50: what only validation rows tell.
    let train = (0..<200).map { "\(Double($0) / 20),\($0 % 3),train" }
    let judges = (0..<60).map { "\(10 + Double($0) / 6),\(50 + $0 % 3),validation" }
    let test = (0..<30).map { "\(10.05 + Double($0) / 3),\(50 + $0 % 3),test" }
    try directory.write("x,y,part\n" + (train + judges + test).joined(separator: "\n") + "\n", to: "step.csv")
    let run = """
      data: { files: [step.csv] }
      target: { column: "y", task: regression }
      split: { column: part }
      model: { family: random_forest }
      tuning: { families: [random_forest], folds: 0, trials: 2 }
      """
    let source = RunFileText(text: run, file: "run.yaml", directory: directory.path, sets: [])
    let tuned = try search(source).finish()
    let error = try #require(tuned.model.testFigures.first { $0.name == "rmse" }?.value)
    #expect(error < 25, "a model of the training rows alone is wrong by 49")
    #expect(tuned.model.notes.contains { $0.contains("learned from the validation rows too") })
  }

  @Test func whatTheRunFileRefusesNoFamilyTakes() throws {
    let directory = try TemporaryDirectory()
    let source = try source(
      directory, yaml: Self.run.replacingOccurrences(of: "missing: median", with: "missing: refuse"))
    let own = try source.configuration()
    let table = SearchTable(task: .classification, classes: 2, rows: 168, columns: 3, hasCategories: true)
    for name in ["gbdt", "logistic_regression", "mlp", "random_forest"] {
      let family = try #require(FamilyRegistry.all.named(name))
      let arm = try TuningArm(family, source, own: own, table: table)
      #expect(arm.configuration.document["features"]["missing"] == .text("refuse"), "\(name)")
    }
  }

  // MARK: - figures

  @Test func lossesAreThoseOfTheFigures() {
    let answers: [Float] = [0.9, 0.1, 0.4, 0.6, 0.7, 0.3]
    let truth: [Double] = [0, 1, 1]
    func loss(_ metric: TuningMetric) -> Double { metric.loss(answers, truth, classes: 2) }
    #expect(abs(loss(.logLoss) - -(log(0.9) + log(0.6) + log(0.3)) / 3) < 1e-6)
    #expect(abs(loss(.accuracy) - 1.0 / 3) < 1e-9)
    #expect(abs(loss(.auc)) < 1e-9)
    #expect(abs(TuningMetric.auc.figure(0.25) - 0.75) < 1e-9)
    let numbers: [Float] = [1, 2, 5]
    #expect(abs(TuningMetric.rmse.loss(numbers, [1, 2, 2], classes: 0) - 3.0.squareRoot()) < 1e-6)
    #expect(abs(TuningMetric.mae.loss(numbers, [1, 2, 2], classes: 0) - 1) < 1e-6)
    #expect(abs(TuningMetric.r2.loss([2, 2, 2], [1, 2, 3], classes: 0) - 1) < 1e-6)
  }

  @Test func theLineOfASearchFitsEightyColumns() {
    let terminal = Terminal(isInteractive: true, hasColour: false, width: 80)
    var display = TuningDisplay(terminal: terminal)
    let progress = TuningProgress(
      seconds: 4000, secondsMax: 86_400, trialsMax: 10_000, complete: 1234, pruned: 5678, failed: 12,
      running: ["logistic_regression #6925", "random_forest #6926"], metric: "log_loss", best: 0.123456)
    #expect(display.line(progress).count < 80)
    let leader = TuningLeader(
      name: "logistic_regression #1234", metric: "log_loss", figure: 0.12345, fitSeconds: 123, microsecondsPerRow: 1234,
      settings: [])
    #expect(display.show(leader).dropLast().count < 80)
  }

  private func progress(_ seconds: Double) -> TuningProgress {
    TuningProgress(
      seconds: seconds, secondsMax: 300, trialsMax: 0, complete: 7, pruned: 2, failed: 0,
      running: ["gbdt #10", "mlp #11"], metric: "log_loss", best: 0.25)
  }

  @Test func theLineOfASearchSaysWhatIsTriedWhereThereIsRoom() {
    for (width, isNamed) in [(100, true), (60, false)] {
      for hasColour in [false, true] {
        let terminal = Terminal(isInteractive: true, hasColour: hasColour, width: width)
        let line = TuningDisplay(terminal: terminal).line(progress(60))
        #expect(line.contains("9 trials, 2 pruned  best 0.25  4m 00s left"))
        #expect(line.contains("gbdt #10, mlp #11") == isNamed)
        let visible = line.replacing(/\u{1B}\[[0-9]+m/, with: "")
        #expect(visible.count < width && visible.count > width - 45, "\(visible)")
      }
    }
  }

  @Test func aLogOfASearchGetsALineNowAndThen() {
    var display = TuningDisplay(terminal: .plain)
    func lines(_ seconds: ClosedRange<Int>) -> [String] {
      seconds.map { display.show(progress(Double($0)), now: Instant(nanoseconds: UInt64($0) * 1_000_000_000)) }
        .filter { !$0.isEmpty }
    }
    #expect(lines(1...30).isEmpty)
    #expect(
      lines(31...95) == ["4m 29s", "3m 59s", "3m 29s"].map { "  9 trials, 2 pruned  best 0.25  \($0) left\n" })
    #expect(display.finish().isEmpty)
  }
}

@Suite struct StudyStoreTests {
  static let arms = [Study.Arm(name: "only", space: StudyTests.space)]

  func store(_ directory: TemporaryDirectory, _ worker: String) throws -> StudyStore {
    let store = StudyStore(try SQLiteStudy(path: directory.path + "/study.sqlite"), worker: worker, lostSeconds: 60)
    try store.open(fingerprint: "same", place: "study.sqlite")
    return store
  }

  func claim(_ store: StudyStore, now: Double, trialsMax: Int = 0) throws -> Study.Trial? {
    try store.claim(arms: Self.arms, now: now, trialsMax: trialsMax) { all in
      var study = Study(arms: Self.arms, seed: 1)
      for record in all { study.take(record.trial) }
      return study.ask()
    }.trial
  }

  func finish(_ store: StudyStore, _ trial: Study.Trial, loss: Double) throws -> Bool {
    var trial = trial
    trial.state = .complete
    trial.loss = loss
    trial.steps = [0: 3, 1: 3, 2: 1.5]
    return try store.finish(.init(trial: trial, fitSeconds: 1, microsecondsPerRow: 2, note: nil))
  }

  @Test func aTrialIsReadAsItWasWritten() throws {
    let directory = try TemporaryDirectory()
    let store = try store(directory, "a")
    let trial = try #require(try claim(store, now: 100))
    #expect(try finish(store, trial, loss: 0.1))
    let found = try store.records(arms: Self.arms)[0]
    #expect(found.trial.point == trial.point && found.trial.loss == 0.1 && found.trial.state == .complete)
    #expect(found.trial.steps == [0: 3, 1: 3, 2: 1.5] && found.fitSeconds == 1 && found.microsecondsPerRow == 2)
  }

  @Test func theTrialOfALostWorkerComesBackAndIsNotDoneTwice() throws {
    let directory = try TemporaryDirectory()
    let (lost, other) = (try store(directory, "lost"), try store(directory, "other"))
    let trial = try #require(try claim(lost, now: 100))
    #expect(try claim(other, now: 130)?.number == 1, "a worker that was silent for 30 s is not lost")
    #expect(try claim(other, now: 161)?.number == 0)
    #expect(try !finish(lost, trial, loss: 1), "its trial is another's now")
    #expect(try finish(other, trial, loss: 2))
    #expect(try !finish(other, trial, loss: 3), "a trial ends once")
    #expect(try store(directory, "third").records(arms: Self.arms)[0].trial.loss == 2)
  }

  @Test func aWorkerThatBeatsKeepsItsTrialAndOneThatStopsGivesItBack() throws {
    let directory = try TemporaryDirectory()
    let (first, second) = (try store(directory, "first"), try store(directory, "second"))
    _ = try claim(first, now: 100)
    try first.beat(now: 150)
    #expect(try claim(second, now: 170)?.number == 1)
    try first.release()
    #expect(try claim(second, now: 171)?.number == 0)
  }

  @Test func workersAtOnceClaimEveryTrialOnce() async throws {
    let directory = try TemporaryDirectory()
    _ = try store(directory, "maker")
    let path = directory.path
    let numbers = try await withThrowingTaskGroup(of: [Int].self) { group in
      for worker in 0..<4 {
        group.addTask {
          let store = StudyStore(try SQLiteStudy(path: path + "/study.sqlite"), worker: "\(worker)")
          var numbers: [Int] = []
          while let trial = try StudyStoreTests().claim(store, now: 100, trialsMax: 40) { numbers.append(trial.number) }
          return numbers
        }
      }
      return try await group.reduce(into: []) { $0 += $1 }
    }
    #expect(numbers.sorted() == Array(0..<40))
  }

  @Test func theSameEndWrittenTwiceIsOneEnd() throws {
    let directory = try TemporaryDirectory()
    let store = try store(directory, "a")
    let trial = try #require(try claim(store, now: 100))
    #expect(try finish(store, trial, loss: 0.5))
    #expect(try finish(store, trial, loss: 0.5), "its answer may have been lost")
    #expect(try !finish(store, trial, loss: 0.6))
  }

  @Test func aClaimWhoseAnswerWasLostIsClaimedAgain() throws {
    let directory = try TemporaryDirectory()
    let store = try store(directory, "a")
    func claimed(_ holding: Set<Int>) throws -> Int? {
      try store.claim(arms: Self.arms, now: 100, holding: holding, trialsMax: 0) { all in
        var study = Study(arms: Self.arms, seed: 1)
        for record in all { study.take(record.trial) }
        return study.ask()
      }.trial?.number
    }
    #expect(try claimed([]) == 0)
    #expect(try claimed([0]) == 1)
    #expect(try claimed([0]) == 1, "the process does not know of trial 1")
    #expect(try claimed([0, 1]) == 2)
  }

  @Test func aTrialThatWasAskedForTwiceIsOne() {
    var study = Study(arms: Self.arms, seed: 1)
    let first = study.ask()
    study.forget(from: 0)
    let again = study.ask()
    #expect(again == first && study.trials.count == 1)
  }

  @Test func studiesOfSeveralNamesShareADatabase() throws {
    let directory = try TemporaryDirectory()
    let database = try SQLiteStudy(path: directory.path + "/study.sqlite")
    let stores = ["", "one", "two.x-1"].map { StudyStore(database, worker: "w", name: $0) }
    for (index, store) in stores.enumerated() { try store.open(fingerprint: "study \(index)", place: "here") }
    #expect(try claim(stores[1], now: 1)?.number == 0 && claim(stores[1], now: 1)?.number == 1)
    #expect(try claim(stores[2], now: 1)?.number == 0)
    try stores[1].drop()
    try stores[1].open(fingerprint: "another", place: "here")
    #expect(try claim(stores[1], now: 1)?.number == 0 && stores[2].records(arms: Self.arms).count == 1)
  }

  // MARK: - PostgreSQL, without a server; Tests/reliability/tune-workers has one

  @Test func placesAreToldApart() {
    #expect(TuningRun.Place("postgres://u@h/d", name: "n") == .postgreSQL(url: "postgres://u@h/d", name: "n"))
    #expect(TuningRun.Place("out/postgresql.sqlite", name: "n") == .file("out/postgresql.sqlite"))
    #expect(TuningRun.Place("postgresql://u:secret@h/d", name: "n").description == "n in PostgreSQL")
  }

  @Test func placeholdersAreNumbered() {
    #expect(PostgreSQLStudy.numbered("a = ? AND b = ?") == "a = $1 AND b = $2")
    #expect(PostgreSQLStudy.numbered("SELECT 1") == "SELECT 1" && PostgreSQLStudy.numbered("?") == "$1")
  }

  @Test func aMachineWithoutTheClientLibraryIsToldWhatToInstall() {
    #expect {
      _ = try LibPQ(library: "libpq-none.so.5")
    } throws: { error in
      "\(error)".hasPrefix(
        "study in PostgreSQL: expected its client library libpq-none.so.5 (Debian and Ubuntu: package libpq5), found: ")
    }
    #expect { _ = try LibPQ(library: "libc.so.6") } throws: { "\($0)".hasSuffix("found: no PQconnectdbParams in it") }
  }

  @Test(arguments: [":", "1-2:x", "2-1:1", "1:1", "0-99999999:1", "-1-2:3"]) func stepsThatAreNoneAreRefused(
    text: String
  ) {
    #expect(StudyStore.steps(text) == nil)
  }
}
