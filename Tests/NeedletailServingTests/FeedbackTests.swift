import Glibc
import NeedletailCapture
import NeedletailCore
import NeedletailEngine
import NeedletailMetrics
import NeedletailModels
import NeedletailTestSupport
import Testing

@testable import NeedletailServing

/// Predictions of a batcher are remembered by the names of their calls, and joined with outcomes.
@Suite("Feedback", .timeLimit(.minutes(1)))
struct FeedbackTests {
  private static let expensive = [
    WarmUpRun(rows: 1, nanoseconds: 1_000_000), WarmUpRun(rows: 4, nanoseconds: 4_000_000),
  ]
  private static let names = CallKeyHasher()

  /// A bench with a version of a model named `m`, and what remembers its predictions.
  private struct Setting {
    let bench: BatcherBench
    let live: LiveModel
    let service: FeedbackService

    func take(_ key: String, _ truth: Outcome.Truth, row: Int = 0) -> OutcomeResult? {
      let outcome = Outcome(key: FeedbackTests.names.key(of: key), row: row, truth: truth)
      return service.take([outcome], of: "m")?.first
    }

    func lost(_ reason: FeedbackLosses.Reason) -> UInt64 {
      FeedbackLosses(bench.metrics).counter(reason).value
    }

    /// Makes calls that are named by their numbers, from 0 on, some each tick.
    func send(_ count: Int) {
      for number in 0..<count {
        bench.call(UInt64(number + 1), [[1, 1]], key: "\(number)")
        if number % 64 == 63 { bench.run() }
      }
      bench.run()
    }

    /// Waits for answers of workers.
    func settle(_ count: Int) throws {
      let deadline = Instant.now().advanced(byMicroseconds: 20_000_000)
      while bench.writer.answers.count < count {
        try #require(Instant.now() < deadline)
        bench.batcher.collect(into: bench.writer)
        usleep(100)
      }
    }
  }

  private func with(
    _ definition: ModelDefinition = ModelFixtures.linearRegression(weights: [2, -3], bias: 1),
    _ rule: FeedbackRule = FeedbackRule(), workers: Int = 0, planRows: Int = 256, warmUp: [WarmUpRun] = [],
    cache: CacheOptions? = nil, capture: ((MetricsRegistry) -> CaptureService)? = nil, _ body: (Setting) throws -> Void
  ) throws {
    var service: FeedbackService?
    let bench = BatcherBench(workers: workers, cache: cache) { metrics in
      let capture = capture?(metrics)
      let made = FeedbackService(rules: FeedbackRules(["m": rule]), metrics: metrics, capture: capture) {
        Issue.record("\($0)")
      }
      service = made
      return CallKeeping(capture: capture, feedback: made)
    }
    defer { bench.stop() }
    let live = try bench.live(definition, planRows: planRows, warmUp: warmUp)
    bench.publish(live)
    bench.meet(live)
    bench.writer.time = .now()
    let made = try #require(service)
    defer { made.stop() }
    try body(Setting(bench: bench, live: live, service: made))
  }

  @Test(arguments: [0, 2]) func callsComputedOnLoopOrWorkersAreRemembered(workers: Int) throws {
    try with(workers: workers, planRows: 4, warmUp: workers == 0 ? [] : Self.expensive) { setting in
      setting.bench.call(1, [[1, 3], [3, 9]], key: "a")
      setting.bench.call(2, [[0.5, 0.25]], key: "b")
      setting.bench.call(3, [[0, 0]])
      setting.bench.run()
      try setting.settle(3)
      // 2x − 3y + 1: −6, −20 and 1.25.
      #expect(setting.take("a", .number(-5)) == .joined)
      #expect(setting.take("a", .number(-20), row: 1) == .joined)
      #expect(setting.take("b", .number(1.75)) == .joined)
      #expect(setting.take("c", .number(0)) == .unknown)
      let figures = try #require(setting.service.report(of: setting.live)?.all)
      #expect(figures.rows == 3)
      #expect(figures.meanAbsoluteError == 0.5)
      #expect(figures.bias == (-1 + 0 - 0.5) / 3)
      let text = setting.bench.metrics.render()
      #expect(text.contains("needletail_feedback_predictions{model=\"m\"} 2"))
      #expect(text.contains("needletail_feedback_outcomes_total{model=\"m\",result=\"joined\"} 3"))
      #expect(text.contains("needletail_feedback_outcomes_total{model=\"m\",result=\"unknown\"} 1"))
      #expect(
        text.contains("needletail_feedback_mean_absolute_error{model=\"m\",role=\"assigned\",version=\"1\"} 0.5"))
    }
  }

  @Test(arguments: [0, 2]) func groupsAreThoseOfTheRowsAsTheyWereSent(workers: Int) throws {
    // The plan imputes and scales in place; a missing age is filled in with 40.
    let rule = FeedbackRule(groups: [.init(feature: "age", edges: [35]), .init(feature: "colour")])
    try with(
      ModelFixtures.logistic(), rule, workers: workers, planRows: 4, warmUp: workers == 0 ? [] : Self.expensive
    ) { setting in
      setting.bench.call(1, [[30, 50, 1], [.nan, 50, 0], [70, 20, 2]], key: "a")
      setting.bench.run()
      try setting.settle(1)
      for row in 0..<3 { #expect(setting.take("a", .label("yes"), row: row) == .joined) }
      let report = try #require(setting.service.report(of: setting.live))
      // Below 35, from 35, missing; red, green, blue, other, missing.
      #expect(report.byGroup.map { $0?.rows } == [1, 1, 1, 1, 1, 1, nil, nil])
      let text = setting.bench.metrics.render()
      #expect(
        text.contains(
          "needletail_feedback_group_rows{feature=\"age\",group=\"below 35\",model=\"m\",version=\"1\"} 1"))
    }
  }

  @Test(arguments: [0, 2]) func callsThatTheCacheAnswersAreRememberedAsOthers(workers: Int) throws {
    let rule = FeedbackRule(groups: [.init(feature: "age", edges: [35])])
    try with(
      ModelFixtures.logistic(), rule, workers: workers, planRows: 4, warmUp: workers == 0 ? [] : Self.expensive,
      cache: CacheOptions(bytesMax: 1 << 20)
    ) { setting in
      let rows: [[Float]] = [[30, 50, 1], [70, 20, 2]]
      setting.bench.call(1, rows, key: "a")
      setting.bench.run()
      try setting.settle(1)
      setting.bench.call(2, [[50, 50, 0]], key: "b")
      setting.bench.call(3, rows, key: "c")
      setting.bench.run()
      try setting.settle(3)
      for key in ["a", "c"] {
        for row in 0..<2 { #expect(setting.take(key, .label("yes"), row: row) == .joined) }
      }
      #expect(setting.take("b", .label("yes")) == .joined)
      let report = try #require(setting.service.report(of: setting.live))
      #expect(report.byGroup.map { $0?.rows } == [2, 3, nil])
      #expect(setting.bench.metrics.render().contains("needletail_cache_hits_total 1"))
    }
  }

  @Test func callsThatNameTheirVersionCountByThemselves() throws {
    try with { setting in
      setting.bench.call(1, [[1, 3]], key: "a")
      setting.bench.call(2, [[1, 3]], version: 1, key: "b")
      setting.bench.run()
      #expect(setting.take("a", .number(-6)) == .joined)
      #expect(setting.take("b", .number(-4)) == .joined)
      let report = try #require(setting.service.report(of: setting.live))
      #expect(report.byRole.map { $0?.meanAbsoluteError } == [0, 2])
    }
  }

  @Test func whatCannotBeRememberedIsCounted() throws {
    try with(ModelFixtures.logistic()) { setting in
      let row: [Float] = [30, 50, 1]
      setting.bench.call(1, [[Float]](repeating: row, count: Limits.feedbackRowsMax + 1), key: "a")
      setting.bench.call(2, [[Float]](repeating: row, count: 300), key: "b")
      setting.bench.call(3, [row], outputs: ["probabilities"], key: "c")
      setting.bench.call(4, [row], key: "d")
      setting.bench.run()
      #expect(["a", "b", "c", "d"].map { setting.take($0, .label("yes")) } == [.unknown, .unknown, .unknown, .joined])
      #expect(setting.lost(.large) == 2, "more rows than are remembered, and more than one run takes")
      #expect(setting.lost(.outputs) == 1)
      #expect(setting.lost(.busy) == 0)
    }
  }

  @Test func aShareOfTheNamesIsChosenByThemselves() throws {
    var chosen: [[String]] = []
    for _ in 0..<2 {
      try with(rule: FeedbackRule(rate: 0.25)) { setting in
        setting.send(400)
        chosen.append((0..<400).map { "\($0)" }.filter { setting.take($0, .number(0)) == .joined })
      }
    }
    #expect(chosen[0] == chosen[1], "every server chooses the same ones")
    #expect((70...130).contains(chosen[0].count), "\(chosen[0].count) of 400")
  }

  private func with(rule: FeedbackRule, _ body: (Setting) throws -> Void) throws {
    try with(ModelFixtures.linearRegression(weights: [2, -3], bias: 1), rule, body)
  }

  /// Nobody brings outcomes: the thread empties the ring, so that a long run loses nothing.
  @Test func theRingIsEmptiedBeforeItIsFull() throws {
    try with(rule: FeedbackRule(predictionsMax: 5000)) { setting in
      // A length, a head and one number, up to a multiple of eight: 48 bytes.
      let half = Limits.feedbackRingBytes / 2 / 48
      setting.send(half + 1)
      let deadline = Instant.now().advanced(byMicroseconds: 20_000_000)
      var isTopped = false
      while setting.service.remembered(of: "m") < 1000 {
        try #require(Instant.now() < deadline)
        // The thread was awake because the version is new, and took the first ones: so many more fill half of the ring.
        if !isTopped, setting.service.remembered(of: "m") > 0 {
          setting.send(1000)
          isTopped = true
        }
        usleep(100)
      }
      #expect(setting.take("\(half)", .number(0)) == .joined)
      #expect(setting.lost(.busy) == 0)
    }
  }

  /// A server that is trained for every night meets a version a day.
  @Test func versionsThatAreForgottenLeaveNothingBehind() throws {
    try with { setting in
      let last = UInt64(3 * Limits.feedbackVersionsMax)
      for version in 2...last {
        let live = try setting.bench.live(
          ModelFixtures.linearRegression(weights: [2, -3], bias: 1), version: version)
        setting.bench.publish(live)
        setting.bench.meet(live)
        // The version that has not answered for longest goes: calls must come later than the first version became known.
        setting.bench.writer.time = .now()
        setting.bench.call(version, [[1, 3]], key: "\(version)")
        setting.bench.run()
        #expect(setting.take("\(version)", .number(-6)) == .joined)
        #expect(setting.service.report(of: live)?.all?.rows == 1)
        #expect(setting.service.versions <= Limits.feedbackVersionsMax)
      }
      #expect(setting.service.versions == Limits.feedbackVersionsMax)
      #expect(setting.service.report(of: setting.live) == nil)
      // The first version comes back: a loop that meets it anew has its predictions remembered again.
      let live = try setting.bench.live(ModelFixtures.linearRegression(weights: [2, -3], bias: 1))
      setting.bench.publish(live)
      setting.bench.meet(live)
      setting.bench.writer.time = .now()
      setting.bench.call(last + 1, [[1, 3]], key: "again")
      setting.bench.run()
      #expect(setting.take("again", .number(-6)) == .joined)
      #expect(setting.service.report(of: live)?.all?.rows == 1)
    }
  }

  @Test func modelsWithoutARuleAreNotAskedAbout() throws {
    try with { setting in
      #expect(setting.service.take([Outcome(key: .none, truth: .number(1))], of: "other") == nil)
    }
  }

  @Test func outcomesAreCapturedBesideTheirCalls() async throws {
    let temporary = try TemporaryDirectory()
    let path = temporary.file("capture")
    let directory = try CaptureDirectory(creating: path, CaptureBounds())
    var captured: CaptureService?
    try with(capture: { metrics in
      let rules = CaptureRules(["m": CaptureRule(rate: 1)])
      let service = CaptureService(directory, rules: rules, key: [], metrics: metrics) { Issue.record("\($0)") }
      captured = service
      return service
    }) { setting in
      setting.bench.call(1, [[1, 3]], key: "a")
      setting.bench.call(2, [[1, 3]])
      setting.bench.run()
      #expect(setting.take("a", .number(-6)) == .joined)
      #expect(setting.take("a", .number(-6)) == .duplicate)
      #expect(setting.take("b", .number(1)) == .unknown)
      #expect(setting.take("a", .number(.nan), row: 0) == .value)
    }
    await captured?.stop()
    var calls: [CapturedCall] = []
    var outcomes: [CapturedOutcome] = []
    for file in try SegmentFile.all(at: path) {
      let summary = try CaptureReader.readRecords(file.path) { record in
        switch record {
        case .call(let call): calls.append(call)
        case .outcome(let outcome): outcomes.append(outcome)
        }
        return true
      }
      #expect(summary.isComplete && summary.faults.isEmpty)
    }
    #expect(calls.map(\.key) == [Self.names.key(of: "a"), .none])
    #expect(outcomes.map(\.key) == ["a", "b"].map { Self.names.key(of: $0) }, "duplicates and faults are of no use")
    #expect(outcomes.map(\.truth) == [.number(-6), .number(1)])
    #expect(outcomes.map(\.isJoined) == [true, false])
    #expect(outcomes.map(\.version) == [1, 0])
    #expect(outcomes.allSatisfy { $0.model == "m" && $0.microseconds > 1_600_000_000_000_000 })
  }
}
