import Foundation
import Logging
import NeedletailBundle
import NeedletailCore
import NeedletailMetrics
import NeedletailTestSupport
import NeedletailYAML
import Testing

@testable import NeedletailEngine
@testable import NeedletailModels

/// Rollout files and outcomes go into the book of experiments, conclusions come out.
@Suite("Experiments", .timeLimit(.minutes(1)))
struct ExperimentTests {
  private static let model = try! ModelID("m")
  private static let shape = PredictionShape(
    outputs: [PlanOutput(name: "label", kind: .classLabel, columns: 1)], labels: ["no", "yes"])!
  private static let number = PredictionShape(
    outputs: [PlanOutput(name: "value", kind: .number, columns: 1)], labels: [])!
  private static let split = "labels: {stable: 1, canary: 2}\nsplit: {stable: 50, canary: 50}\n"

  private static func moment(_ seconds: UInt64) -> Moment {
    Moment(instant: Instant(nanoseconds: seconds * 1_000_000_000), milliseconds: seconds * 1000)
  }

  private static func policy(_ experiment: String, split: String = split) throws -> RolloutPolicy {
    try RolloutFile(parsing: split + (experiment.isEmpty ? "" : "experiment: {\(experiment)}\n")).policy
  }

  private static func outcome(
    _ version: UInt64, _ unit: UInt64, isCorrect: Bool, isAssigned: Bool = true, at seconds: UInt64 = 1
  ) -> JoinedOutcome {
    JoinedOutcome(
      version: ModelVersion(version)!, isAssigned: isAssigned, unit: unit, time: moment(seconds).instant,
      prediction: .ofClass(1, probabilities: []), truth: isCorrect ? 1 : 0, shape: shape)
  }

  /// A book with one model, and what it remembers across restarts.
  private struct Setting {
    var book = ExperimentBook()
    var kept: Experiment?

    mutating func observe(
      _ policy: RolloutPolicy, quarantined: [UInt64] = [], at seconds: UInt64 = 0
    ) -> [ExperimentBook.Event] {
      book.observe(
        [.init(model: model, policy: policy, quarantined: Set(quarantined.map { ModelVersion($0)! }))],
        now: moment(seconds)
      ) { [kept] _ in kept }
    }

    mutating func take(_ outcomes: [JoinedOutcome], at seconds: UInt64 = 2) -> [ExperimentBook.Event] {
      book.take(outcomes, of: model, now: moment(seconds)).events
    }

    var experiment: Experiment? { book.experiments[model] }
    var report: ExperimentReport? { experiment.map { ExperimentReport($0, of: model) } }
  }

  private static func setting(_ experiment: String = "metric: accuracy, promote: true") throws -> Setting {
    var setting = Setting()
    #expect(setting.observe(try policy(experiment)) == [.began(model, isResumed: false)])
    return setting
  }

  // MARK: outcomes

  @Test func theBetterArmWinsAndItsPromotionKeepsTheRestOfTheFile() throws {
    var setting = Setting()
    let policy = try Self.policy(
      "metric: accuracy, promote: true", split: Self.split + "guard: {nan_rate: 0}\nkeep: 2\nshadow: canary\n")
    _ = setting.observe(policy)
    var events: [ExperimentBook.Event] = []
    var count: UInt64 = 0
    while events.isEmpty, count < 200 {
      count += 1
      events = setting.take([
        Self.outcome(1, 2 * count, isCorrect: count % 2 == 0), Self.outcome(2, 2 * count + 1, isCorrect: true),
      ])
    }
    #expect(events == [.concluded(Self.model)])
    let conclusion = try #require(setting.experiment?.conclusion)
    #expect(conclusion.result == .better && conclusion.winner == 2)
    #expect(conclusion.reason == "version 2 is better than 1")
    let report = try #require(setting.report)
    #expect(report.arms.map(\.mean) == [0.5, 1] || report.arms[1].mean == 1)
    #expect((report.arms[1].comparison?.evidence?.better ?? 0) >= 20)
    #expect(report.arms[1].comparison?.verdict == "better")
    let promoted = try #require(setting.book.promotion(of: Self.model))
    #expect(
      promoted.yaml
        == "labels: {canary: 2, stable: 2}\nguard: {nan_rate: 0, window: 30000ms, min_requests: 100}\nkeep: 2\n")
    #expect(setting.take([Self.outcome(2, 900, isCorrect: false)]).isEmpty, "nothing counts any more")
    #expect(setting.report?.arms == report.arms)
    #expect(setting.observe(promoted).isEmpty)
    #expect(setting.report?.state == "better", "the last experiment is remembered")
    #expect(setting.observe(policy) == [.began(Self.model, isResumed: false)], "the same lines begin another one")
  }

  @Test func oneOutcomeOfEachUnitCountsAndOnlyThoseOfAssignedCallsSinceItBegan() throws {
    var setting = try Self.setting()
    _ = setting.observe(try Self.policy(""))
    #expect(setting.observe(try Self.policy("metric: accuracy"), at: 10) == [.began(Self.model, isResumed: false)])
    #expect(
      setting.take(
        [
          Self.outcome(1, 1, isCorrect: true, at: 11), Self.outcome(1, 1, isCorrect: false, at: 12),
          Self.outcome(2, 1, isCorrect: false, at: 13), Self.outcome(2, 2, isCorrect: true, isAssigned: false, at: 13),
          Self.outcome(2, 3, isCorrect: true, at: 9), Self.outcome(3, 4, isCorrect: true, at: 13),
        ], at: 14
      ).isEmpty)
    #expect(setting.report?.arms.map(\.outcomes) == [1, 0])
    #expect(setting.report?.repeated == 2)
    #expect(setting.experiment?.outcomes == 1)
  }

  @Test func noVerdictEndsItAtTheMostOutcomes() throws {
    var setting = try Self.setting("metric: accuracy, outcomes_max: 4")
    let outcomes = (1...4 as ClosedRange<UInt64>).map { Self.outcome($0 % 2 + 1, $0, isCorrect: true) }
    #expect(setting.take(outcomes) == [.concluded(Self.model)])
    #expect(setting.experiment?.conclusion?.result == .undecided)
    #expect(setting.experiment?.conclusion?.winner == 1)
    #expect(setting.book.promotion(of: Self.model) == nil, "nobody asked for it")
  }

  @Test func aMeanErrorIsBetterTheLowerItIs() throws {
    var setting = try Self.setting("metric: absolute_error, minimum_effect: 0.5")
    var random = SplitMix64(seed: 1)
    var events: [ExperimentBook.Event] = []
    var unit: UInt64 = 0
    while events.isEmpty, unit < 2000 {
      unit += 1
      let version = unit % 2 + 1
      events = setting.take([
        JoinedOutcome(
          version: ModelVersion(version)!, isAssigned: true, unit: unit, time: Self.moment(1).instant,
          prediction: .number(0), truth: random.unit() + (version == 1 ? 2 : 1), shape: Self.number)
      ])
    }
    #expect(events == [.concluded(Self.model)])
    let comparison = try #require(setting.report?.arms[1].comparison)
    #expect(setting.report?.state == "better" && comparison.evidence == nil)
    #expect(comparison.blocks >= 100)
    #expect(abs(comparison.difference + 1) < 0.2, "in units of the metric")
    #expect(try #require(comparison.upper) < -0.5)
    #expect(try #require(comparison.lower) < comparison.difference)
  }

  @Test func anOutcomeIsWhatTheMetricSays() throws {
    let label = Self.outcome(1, 1, isCorrect: true)
    let number = JoinedOutcome(
      version: ModelVersion(1)!, isAssigned: true, unit: 1, time: Self.moment(1).instant, prediction: .number(5),
      truth: 2, shape: Self.number)
    let nothing = JoinedOutcome(
      version: ModelVersion(1)!, isAssigned: true, unit: 1, time: Self.moment(1).instant, prediction: .nothing,
      truth: 1, shape: Self.shape)
    func value(_ settings: ExperimentSettings, _ outcome: JoinedOutcome) -> Double? { settings.value(of: outcome) }
    let accuracy = ExperimentSettings(metric: .accuracy)
    #expect(value(accuracy, label) == 1 && value(accuracy, number) == nil && value(accuracy, nothing) == 0)
    let error = ExperimentSettings(metric: .absoluteError)
    #expect(value(error, label) == nil && value(error, number) == 3 && value(error, nothing) == nil)
    #expect(error.score(3) == -3)
    let success = ExperimentSettings(metric: .outcome, success: "no", goal: .lower)
    #expect(value(success, label) == 0 && value(success, number) == nil)
    #expect(success.score(0) == 1)
    let outcome = ExperimentSettings(metric: .outcome)
    #expect(value(outcome, number) == 2 && value(outcome, label) == nil)
  }

  // MARK: traffic

  @Test func anArmThatLosesItsTrafficIsOutAndTheLastOneEndsIt() throws {
    var setting = Setting()
    let policy = try Self.policy("metric: accuracy, promote: true", split: "split: {1: 50, 2: 25, 3: 25}\n")
    _ = setting.observe(policy)
    #expect(setting.report?.evidenceNeeded == 40, "each of two comparisons has half of the error")
    #expect(setting.observe(policy, quarantined: [2]).isEmpty)
    #expect(setting.report?.arms[1].comparison?.verdict == "lost")
    _ = setting.take([Self.outcome(2, 1, isCorrect: true)])
    #expect(setting.report?.arms.map(\.outcomes) == [0, 0, 0])
    #expect(setting.observe(policy, quarantined: [2, 3]) == [.concluded(Self.model)])
    #expect(setting.experiment?.conclusion?.result == .stopped)
    #expect(setting.experiment?.conclusion?.reason == "versions 2, 3 lost their traffic")
    #expect(setting.book.promotion(of: Self.model) == nil, "the server has gone back already")
  }

  @Test func nobodyIsTheWinnerWhereTheBaselineLostItsTraffic() throws {
    var setting = try Self.setting()
    #expect(
      setting.observe(try Self.policy("metric: accuracy, promote: true"), quarantined: [1])
        == [.concluded(Self.model)])
    #expect(setting.report?.state == "stopped" && setting.report?.winner == nil)
    #expect(setting.report?.reason == "version 1, the baseline, lost its traffic")
    #expect(setting.book.promotion(of: Self.model) == nil)
  }

  @Test(arguments: [
    ("split: {1: 50, 2: 50}\n", "serve: 2\n"),
    ("serve: [1, 2]\nsplit: {1: 50, 2: 50}\n", "serve: 2\n"),
    ("labels: {canary: 2, stable: 1}\nsplit: {1: 50, 2: 50}\n", "labels: {canary: 2, stable: 2}\n"),
    // Version 3 may be in the store by then, and was never asked.
    ("serve: latest\nlabels: {stable: 1}\nsplit: {1: 50, 2: 50}\n", "serve: 2\nlabels: {stable: 2}\n"),
    ("serve: latest\nsplit: {1: 50, 2: 50}\nshadow: 2\n", "serve: 2\n"),
  ]) func theWinnerServesWhateverTheFileSaidBefore(text: String, concluded: String) throws {
    let policy = try Self.policy("metric: accuracy", split: text)
    let after = policy.concluding(ModelVersion(2)!)
    #expect(after.yaml == concluded)
    #expect(after.preferred == [ModelVersion(2)!])
  }

  @Test func whatIsPromotedIsTheFileInForceAndNotThatOfTheConclusion() throws {
    var setting = try Self.setting("metric: accuracy, promote: true, outcomes_max: 2")
    #expect(setting.take([1, 2].map { Self.outcome($0, $0, isCorrect: true) }) == [.concluded(Self.model)])
    let changed = try Self.policy("metric: accuracy, promote: true, outcomes_max: 2", split: Self.split + "keep: 3\n")
    #expect(setting.observe(changed).isEmpty)
    #expect(setting.book.promotion(of: Self.model)?.keep == 3)
  }

  @Test func anExperimentThatTheFileDoesNotSayAnyMoreIsAbandoned() throws {
    var setting = try Self.setting()
    #expect(setting.observe(try Self.policy("")) == [.abandoned(Self.model)])
    #expect(setting.experiment == nil)
    _ = setting.observe(try Self.policy("metric: accuracy"))
    #expect(
      setting.observe(try Self.policy("metric: accuracy, error: 0.1"))
        == [.abandoned(Self.model), .began(Self.model, isResumed: false)])
    #expect(setting.book.observe([], now: Self.moment(1)) { _ in nil } == [.abandoned(Self.model)])
  }

  // MARK: memory

  @Test func whatWasKeptGoesOnAfterARestartIfTheFileSaysTheSame() throws {
    var before = try Self.setting("metric: accuracy")
    _ = before.take((1...20 as ClosedRange<UInt64>).map { Self.outcome($0 % 2 + 1, $0, isCorrect: $0 % 3 == 0) })
    let directory = try TemporaryDirectory()
    let state = try StateDirectory(creating: directory.file("state"))
    let kept = try #require(before.experiment)
    try state.write(kept, to: "experiment-m.json")
    let read = try #require(try state.read(Experiment.self, from: "experiment-m.json"))
    var after = Setting(kept: read)
    #expect(after.observe(try Self.policy("metric: accuracy")) == [.began(Self.model, isResumed: true)])
    #expect(after.report == before.report)
    _ = after.take([Self.outcome(1, 20, isCorrect: true), Self.outcome(1, 21, isCorrect: true)])
    #expect(after.experiment?.outcomes == 21, "a unit that was counted before is still known")
    var other = Setting(kept: read)
    #expect(other.observe(try Self.policy("metric: accuracy, error: 0.1")) == [.began(Self.model, isResumed: false)])
  }

  /// Files that decode, with figures that no outcomes give. The first entry of each key is changed.
  @Test(arguments: [
    (#""outcomes" : 10"#, #""outcomes" : 9223372036854775807"#), (#""successes" : 3"#, #""successes" : -1"#),
    (#""failures" : 7"#, #""failures" : 9223372036854775807"#), (#""count" : 10"#, #""count" : -1"#),
    (#""repeated" : 0"#, #""repeated" : 9223372036854775807"#), (#""waiting" : ["#, #""waiting" : [1e300, "#),
    (#""challenger" : 1"#, #""challenger" : 0"#),
    // Three times the digest 0.
    (#""units" : ""#, #""units" : "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"#),
  ]) func figuresThatNoOutcomesGiveBeginAnew(old: String, new: String) throws {
    var before = try Self.setting("metric: accuracy")
    _ = before.take((1...21 as ClosedRange<UInt64>).map { Self.outcome($0 % 2 + 1, $0, isCorrect: $0 % 3 == 0) })
    let directory = try TemporaryDirectory()
    let state = try StateDirectory(creating: directory.file("state"))
    try state.write(try #require(before.experiment), to: "experiment-m.json")
    let path = directory.file("state/experiment-m.json")
    var text = try String(contentsOfFile: path, encoding: .utf8)
    let range = try #require(text.range(of: old), "\(text)")
    text.replaceSubrange(range, with: new)
    try text.write(toFile: path, atomically: true, encoding: .utf8)
    let read = try #require(try state.read(Experiment.self, from: "experiment-m.json"))
    var after = Setting(kept: read)
    #expect(
      after.observe(try Self.policy("metric: accuracy"))
        == [.forgotten(Self.model), .began(Self.model, isResumed: false)])
  }

  @Test func aWinnerThatIsNoArmIsNotPromotedAfterARestart() throws {
    var before = try Self.setting("metric: accuracy, promote: true, outcomes_max: 2")
    _ = before.take([1, 2].map { Self.outcome($0, $0, isCorrect: true) })
    var kept = try #require(before.experiment)
    #expect(kept.isPossible)
    let encoded = try JSONEncoder().encode(kept)
    let text = String(decoding: encoded, as: UTF8.self).replacing(#""winner":1"#, with: #""winner":7"#)
    kept = try JSONDecoder().decode(Experiment.self, from: Data(text.utf8))
    #expect(kept.conclusion?.winner == 7)
    #expect(!kept.isPossible)
  }

  // MARK: the service

  @Test func theDecisionIsWrittenIntoTheStoreAndShownInMetrics() async throws {
    let store = MemoryStore()
    let metrics = MetricsRegistry(shards: 1)
    let directory = try TemporaryDirectory()
    let state = try StateDirectory(creating: directory.file("state"))
    let log = EventLog(capacity: 100, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }) { 0 }
    let service = ExperimentService(source: store, state: state, metrics: metrics, eventLog: log)
    let text = Self.split + "experiment: {metric: accuracy, promote: true}\n"
    let policy = try RolloutFile(parsing: text).policy
    func status(_ policy: RolloutPolicy) -> [ModelStatus] {
      [ModelStatus(model: Self.model, serving: nil, versions: [], rollout: RolloutStatus(policy: policy))]
    }
    service.observe(status(policy), now: Self.moment(0))
    #expect(service.isRunning("m") && !service.isRunning("n"))
    #expect(metrics.render().contains("needletail_experiment_state{model=\"m\",state=\"running\"} 1"))
    let running = Task { await service.run() }
    for unit in 1...400 as ClosedRange<UInt64> {
      service.take([Self.outcome(unit % 2 + 1, unit, isCorrect: unit % 2 == 1)], of: "m", now: Self.moment(2))
    }
    while store.snapshot(limits: .init()).rollouts[Self.model] == nil { await Task.yield() }
    running.cancel()
    await running.value
    guard case .file(let file) = store.snapshot(limits: .init()).rollouts[Self.model] else {
      Issue.record("no file")
      return
    }
    #expect(file.text.hasPrefix("# needletail-server, experiment concluded, "))
    #expect(file.policy == policy.concluding(ModelVersion(2)!))
    let shown = metrics.render()
    #expect(shown.contains("needletail_experiment_state{model=\"m\",state=\"better\"} 1"))
    #expect(!shown.contains("state=\"running\""))
    #expect(shown.contains("needletail_experiment_winner{model=\"m\"} 2"))
    #expect(shown.contains("needletail_experiment_mean{arm=\"2\",model=\"m\"} 1"))
    #expect(shown.contains("needletail_experiments_total{result=\"better\"} 1"))
    #expect(try state.read(Experiment.self, from: "experiment-m.json")?.conclusion?.winner == 2)
    service.observe(status(file.policy), now: Self.moment(3))
    #expect(service.reports.map(\.state) == ["better"])
    #expect(log.last(10).events.map(\.message).contains("experiment concluded"))
  }
}
