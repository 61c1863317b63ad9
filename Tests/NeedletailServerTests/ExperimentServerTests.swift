import Foundation
import NeedletailBundle
import NeedletailClient
import NeedletailCore
import NeedletailEngine
import NeedletailModels
import NeedletailTestSupport
import Testing

@testable import NeedletailServer

/// Experiments at a live server: calls are split between two versions, outcomes come in, and the decision is written into
/// the store.
@Suite("Experiments at a server", .timeLimit(.minutes(2)))
struct ExperimentServerTests {
  private static let person: [InputTensor] = [
    .column("age", [30.5]), .column("income", [55.5]), .column("colour", ["green"]),
  ]

  private static func with(
    _ models: [String: ModelDefinition], configure: @escaping (inout ServerConfiguration) -> Void = { _ in },
    _ body: (TestServer) async throws -> Void
  ) async throws {
    let directory = try TemporaryDirectory()
    let rules = try directory.write(Array("models: {\"*\": {}}".utf8), to: "feedback.yaml")
    try await TestServer.with(
      models: models,
      configure: {
        $0.feedbackRules = rules
        $0.stateDirectory = directory.file("state")
        configure(&$0)
      }
    ) { try await body($0) }
  }

  @Test func theVersionWhoseAnswersAreRightOftenerGetsAllRequests() async throws {
    try await Self.with(
      ["people": ModelFixtures.logistic()], configure: { $0.admin = .init(host: "127.0.0.1", port: 0) }
    ) { test in
      try test.publish(ModelFixtures.logistic(), "people", 2)
      try test.writeRollout(
        "labels: {stable: 1, canary: 2}\nsplit: {stable: 50, canary: 50}\nguard: {nan_rate: 0}\n"
          + "experiment: {metric: accuracy, promote: true}\n", "people")
      try await test.waitForRollout("people") { $0.policy.experiment != nil && $0.routing.shares.count == 2 }
      let client = try await test.client()
      var answered: [UInt64: Int] = [:]
      var user = 0
      // Version 2 is always right, version 1 every second time.
      while test.server.modelStore.experiments.isRunning("people") {
        user += 1
        try #require(user < 2000)
        let answer = try await client.predict(
          "people", inputs: Self.person, routingKey: "user-\(user / 2)", key: "call-\(user)")
        answered[answer.version, default: 0] += 1
        let label = try #require(answer.strings("label")?.first)
        let isRight = answer.version == 2 || (user / 2) % 2 == 0
        let truth = isRight ? label : label == "yes" ? "no" : "yes"
        _ = try await client.feedback("people", outcomes: [.init(key: "call-\(user)", truth: .label(truth))])
      }
      #expect(answered.keys.sorted() == [1, 2])
      try await test.waitUntilServing("people", 2)
      try await test.waitForRollout("people") { $0.policy.experiment == nil && $0.routing.shares.isEmpty }
      let file = try String(contentsOfFile: "\(test.store)/people/rollout.yaml", encoding: .utf8)
      #expect(file.hasPrefix("# needletail-server, experiment concluded, "))
      #expect(file.contains("version 2 is better than 1\nlabels: {canary: 2, stable: 2}\nguard: {nan_rate: 0,"))
      for user in 0..<20 {
        #expect(try await client.predict("people", inputs: Self.person, routingKey: "new-\(user)").version == 2)
      }
      let report = try #require(test.server.modelStore.experiments.reports.first)
      #expect(report.state == "better" && report.winner == 2 && report.arms.map(\.version) == [1, 2])
      // Two calls of each user, of which one counts.
      #expect(report.repeated > 0 && report.arms.reduce(0) { $0 + $1.outcomes } + report.repeated == user)
      #expect(try await test.metric("needletail_experiment_winner", ["model": "people"]) == 2)
      #expect(try await test.metric("needletail_experiments_total", ["result": "better"]) == 1)
      #expect(test.server.status.experiments == [report])
      let shown = String(decoding: try JSONEncoder().encode(ExperimentJSON(report)), as: UTF8.self)
      for part in [#""outcomesMax":100000"#, #""goal":"higher""#, #""evidenceNeeded":20"#, #""winner":2"#] {
        #expect(shown.contains(part), "\(shown)")
      }
      let events = try await client.events().events.map(\.message)
      for message in ["experiment began", "experiment concluded", "rollout file written by an experiment"] {
        #expect(events.contains(message), "\(message)")
      }
      let page = StatusPage(test.server.status).html
      #expect(page.contains("better: version 2 is better than 1"))
      await client.close()
    }
  }

  @Test func withoutPromotionTheDecisionIsOnlySaid() async throws {
    try await Self.with(["m": ModelFixtures.constant(1)]) { test in
      try test.publish(ModelFixtures.constant(2), "m", 2)
      let rollout = "split: {1: 50, 2: 50}\nserve: 1\nexperiment: {metric: absolute_error}\n"
      try test.writeRollout(rollout, "m")
      try await test.waitForRollout("m") { $0.policy.experiment != nil && $0.routing.shares.count == 2 }
      let client = try await test.client()
      var random = SplitMix64(seed: 3)
      var call = 0
      while test.server.modelStore.experiments.isRunning("m") {
        call += 1
        try #require(call < 4000)
        _ = try await client.predict("m", inputs: [.features([0], columns: 1)], routingKey: "\(call)")
        // Version 1 answers 1, which is nearer.
        _ = try await client.feedback("m", outcomes: [.init(key: "\(call)", truth: .value(random.unit()))])
      }
      let report = try #require(test.server.modelStore.experiments.reports.first)
      #expect(report.state == "kept" && report.winner == 1)
      #expect(report.reason == "version 2 is not better than 1 by the minimum effect")
      #expect(try String(contentsOfFile: "\(test.store)/m/rollout.yaml", encoding: .utf8) == rollout)
      await client.close()
    }
  }

  @Test func anExperimentGoesOnAfterARestart() async throws {
    let directory = try TemporaryDirectory()
    let rules = try directory.write(Array("models: {\"*\": {}}".utf8), to: "feedback.yaml")
    let rollout = "split: {1: 50, 2: 50}\nserve: 1\nexperiment: {metric: absolute_error}\n"
    var reports: [ExperimentReport] = []
    for round in 0..<2 {
      // Threads of the server before hold its lock for a moment longer.
      while (try? StateDirectory(creating: directory.file("state"))) == nil { await Task.yield() }
      try await TestServer.with(
        models: round == 0 ? ["m": ModelFixtures.constant(1)] : [:],
        configure: {
          $0.feedbackRules = rules
          $0.store = directory.file("store")
          $0.stateDirectory = directory.file("state")
        }
      ) { test in
        if round == 0 {
          let bytes = try BundleFixtures.bundle(
            model: "m", version: 2, BundleContents(definition: ModelFixtures.constant(2), golden: []), keys: [])
          _ = try Publisher.publish(
            bytes, model: ModelID("m"), version: ModelVersion(2)!, store: directory.file("store"))
          _ = try directory.write(Array(rollout.utf8), to: "store/m/rollout.yaml")
        }
        try await test.waitForRollout("m") { $0.policy.experiment != nil && $0.routing.shares.count == 2 }
        let client = try await test.client()
        for call in 0..<30 {
          _ = try await client.predict("m", inputs: [.features([0], columns: 1)], routingKey: "\(call)")
          _ = try await client.feedback("m", outcomes: [.init(key: "\(call)", truth: .value(1))])
        }
        reports += test.server.modelStore.experiments.reports
        await client.close()
      }
    }
    #expect(reports.map { $0.arms.reduce(0) { $0 + $1.outcomes } } == [30, 30])
    #expect(reports.map(\.repeated) == [0, 30], "whoever was counted before the restart is not counted again")
    #expect(reports[0].beganMilliseconds == reports[1].beganMilliseconds)
    #expect(reports[0].arms == reports[1].arms)
  }
}
