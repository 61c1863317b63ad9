import Foundation
import NeedletailBundle
import NeedletailClient
import NeedletailCore
import NeedletailEngine
import NeedletailModels
import NeedletailTestSupport
import Synchronization
import Testing

@testable import NeedletailServer

/// Rollout files dropped beside the bundles of a live server, judged by what its clients are answered.
@Suite("Rollouts", .serialized, .timeLimit(.minutes(10)))
struct RolloutTests {
  static let calls = ProcessInfo.processInfo.environment["NEEDLETAIL_ROLLOUT_CALLS"].flatMap { Int($0) } ?? 2000

  // MARK: split and shadow

  @Test func aSplitAnswersTheShareItNamesAndAKeyKeepsItsVersion() async throws {
    try await TestServer.with(models: ["m": ModelFixtures.constant(1)]) { test in
      try test.publish(ModelFixtures.constant(2), "m", 2)
      try test.writeRollout("labels: {stable: 1, canary: 2}\nsplit: {stable: 90, canary: 10}", "m")
      try await test.waitForRollout("m") { $0.routing.shares.count == 2 }
      let callers = Callers(count: Self.calls, key: { "user-\($0)" })
      let first = try await callers.run(test)
      let again = try await callers.run(test)
      let drawn = try await Callers(count: Self.calls, key: { _ in "" }).run(test)
      #expect(first == again, "a key meets the same version again")
      for (name, answers) in [("by key", first), ("drawn", drawn)] {
        let canary = answers.filter { $0 == 2 }.count
        let bound = Self.binomialBound(Self.calls, 0.1)
        print("split \(name): \(canary) of \(answers.count) calls met the canary, expected \(bound)")
        #expect(bound.contains(canary))
        #expect(answers.allSatisfy { $0 == 1 || $0 == 2 })
      }
      let counted = try await test.metric("needletail_requests_total", ["model": "m", "version": "2", "status": "OK"])
      #expect(counted == Double((first + again + drawn).filter { $0 == 2 }.count))
      #expect(try await test.metric("needletail_traffic_share", ["version": "2"]) == 0.1)
    }
  }

  /// Six standard deviations of a binomial: wrong once in 500 million runs.
  private static func binomialBound(_ count: Int, _ share: Double) -> ClosedRange<Int> {
    let mean = Double(count) * share
    let deviation = (mean * (1 - share)).squareRoot()
    return Int(mean - 6 * deviation)...Int(mean + 6 * deviation)
  }

  @Test func aShadowComputesCopiesAndAnswersNoCall() async throws {
    try await TestServer.with(models: ["m": ModelFixtures.constant(1)]) { test in
      try test.publish(ModelFixtures.constant(1.5), "m", 2)
      try test.writeRollout("serve: 1\nshadow: 2", "m")
      try await test.waitForRollout("m") { $0.routing.shadow?.number == 2 }
      let answers = try await Callers(count: Self.calls, key: { _ in "" }).run(test)
      #expect(answers.allSatisfy { $0 == 1 })
      func shadowed(_ name: String) async throws -> Double { try await test.metric(name, ["version": "2"]) }
      var compared = 0.0
      var skipped = 0.0
      for _ in 0..<500 {
        compared = try await shadowed("needletail_shadow_rows_total")
        skipped = try await shadowed("needletail_shadow_rows_skipped_total")
        if compared + skipped == Double(Self.calls) { break }
        try await Task.sleep(for: .milliseconds(10))
      }
      print("shadow: \(Int(compared)) of \(Self.calls) rows compared, \(Int(skipped)) left out")
      #expect(compared + skipped == Double(Self.calls), "every row is compared or counted as left out")
      #expect(compared > 0)
      #expect(try await shadowed("needletail_shadow_max_difference") == 0.5)
      #expect(try await shadowed("needletail_requests_total") == 0)
    }
  }

  @Test func aShadowThatCannotBeComparedIsRefusedWithAReason() async throws {
    let answering = ModelFixtures.linearRegression(weights: [1], bias: 0)
    try await TestServer.with(models: ["m": answering]) { test in
      try test.publish(ModelFixtures.linearRegression(weights: [1, 1], bias: 0), "m", 2)
      try test.writeRollout("serve: 1\nshadow: 2", "m")
      try await test.waitForRollout("m") { $0.routing.shadow?.number == 2 }
      let client = try await test.client()
      _ = try await client.predict("m", inputs: [.features([0], columns: 1)])
      let reason = "given no rows of version 1: feature \"x1\": expected in the calls answered, found none"
      #expect(try await client.rollout("m").shadow?.problem == reason)
      #expect(try await test.metric("needletail_shadow_refused", ["model": "m", "version": "2"]) == 1)
      let event = try await client.events().events.first { $0.message == "shadow refused" }
      #expect(event?.version == 2 && event?.severity == "warning")
      #expect(event?.facts.first { $0.name == "reason" }?.value == reason)

      try test.writeRollout("serve: 1", "m")
      try await test.waitForRollout("m") { $0.routing.shadow == nil }
      #expect(try await test.metric("needletail_shadow_refused") == 0)
      #expect(try await client.rollout("m").shadow == nil)
      await client.close()
    }
  }

  // MARK: guard

  /// Versions that are whole, well signed and pass their golden samples, and are bad all the same.
  enum Fault: String, CaseIterable, Sendable {
    /// 3e38 · 10 − 3e38 · 10: infinity minus infinity.
    case nan = "nan_rate"
    case slow = "latency_ratio"

    var contents: BundleContents {
      switch self {
      case .nan:
        BundleContents(
          definition: ModelFixtures.linearRegression(weights: [3e38, -3e38], bias: 0),
          golden: [
            GoldenSample(
              name: "small", cells: [.number(0.5), .number(0.25)],
              expectation: .answers([("prediction", .numbers([7.5e37]))]), tolerance: 1e-3)
          ])
      case .slow: BundleContents(definition: ModelFixtures.mlp(widths: [2, 1024, 1024, 2]), golden: [])
      }
    }
  }

  @Test(arguments: Fault.allCases)
  func theGuardWithdrawsTrafficFromABadVersion(_ fault: Fault) async throws {
    let good = ModelFixtures.linearRegression(weights: [1, 1], bias: 0)
    let windowSeconds = 2.0
    try await TestServer.with(models: ["m": good]) { test in
      try test.writeRollout(
        "guard: {error_rate: 0.05, nan_rate: 0, latency_ratio: 5, window: 2s, min_requests: 50}", "m")
      try await test.waitForRollout("m") { $0.limits != nil }
      let traffic = GuardedTraffic()
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<2 {
          let client = try await test.client()
          group.addTask { await traffic.run(client) }
        }
        // Enough of the good version to compare with.
        try await traffic.wait { $0.good >= 200 }
        let bundle = try BundleFixtures.bundle(model: "m", version: 2, fault.contents, keys: [])
        _ = try Publisher.publish(bundle, model: ModelID("m"), version: ModelVersion(2)!, store: test.store)
        try await traffic.wait { $0.bad > 0 }
        try await test.waitForRollout("m") { $0.quarantined.map(\.version.number) == [2] }
        let after = traffic.counts.good
        try await traffic.wait { $0.good >= after + 200 }
        traffic.stop()
        try await group.waitForAll()
      }
      let counts = traffic.counts
      print(
        "guard, \(fault.rawValue): \(counts.bad) calls met the bad version within",
        String(format: "%.0f ms;", counts.badSeconds * 1000), "\(counts.good) right answers, \(counts.wrong) wrong")
      #expect(counts.wrong == 0, "the good version's answers are untouched")
      #expect(counts.badSeconds <= windowSeconds)
      let aside = try #require(test.server.modelStore.status.model("m")?.rollout.quarantined.first)
      #expect(aside.reason.hasPrefix(fault.rawValue), "\(aside.reason)")
      #expect(try await test.metric("needletail_rollbacks_total", ["cause": aside.cause.rawValue]) == 1)
      #expect(
        test.server.modelStore.eventLog.last(100).events.contains { $0.kind == .alarm && $0.version?.number == 2 })
      // A version that comes later is none of this one's business.
      try test.publish(ModelFixtures.linearRegression(weights: [1, 1], bias: 0), "m", 3)
      try await test.waitUntilServing("m", 3)
    }
  }

  /// A client may name the canary. What it sends there must not decide whether others keep that version.
  @Test func badInputSentToThePinnedCanaryForcesNoRollback() async throws {
    try await TestServer.with(models: ["m": ModelFixtures.constant(1)]) { test in
      try test.publish(ModelFixtures.constant(2), "m", 2)
      try test.writeRollout(
        "labels: {stable: 1, canary: 2}\nsplit: {stable: 50, canary: 50}\n"
          + "guard: {error_rate: 0.01, nan_rate: 0, window: 1s, min_requests: 10}", "m")
      try await test.waitForRollout("m") { $0.routing.shares.count == 2 }
      let client = try await test.client()
      var rejected = 0
      // Two windows of the guard.
      let start = Instant.now()
      while Instant.now().microseconds(since: start) < 2_000_000 {
        do {
          _ = try await client.predict("m", selector: .label("canary"), inputs: [.features([0, 0], columns: 2)])
        } catch let error as ClientError where error.code == .invalidArgument {
          rejected += 1
        }
        _ = try await client.predict("m", selector: .label("canary"), inputs: [.features([0], columns: 1)])
      }
      print("guard: \(rejected) bad calls to the canary, as many good ones")
      #expect(rejected >= 10)
      let report = try await client.rollout("m")
      #expect(report.quarantined.isEmpty)
      #expect(report.arms.first { $0.version == 2 }?.failed == UInt64(rejected), "they are shown all the same")
      #expect(report.arms.map(\.shareMillionths) == [500_000, 500_000])
      await client.close()
    }
  }

  // MARK: labels and pins

  @Test func labelsAndPinsChangeByDroppingAFile() async throws {
    try await TestServer.with(models: ["m": ModelFixtures.constant(1)]) { test in
      try test.publish(ModelFixtures.constant(2), "m", 2)
      try await test.waitUntilServing("m", 2)
      let client = try await test.client()
      let inputs = [InputTensor.features([0], columns: 1)]
      func answer(_ selector: VersionSelector = .serving) async throws -> UInt64 {
        try await client.predict("m", selector: selector, inputs: inputs).version
      }
      try test.writeRollout("serve: 1\nlabels: {next: 2}", "m")
      try await test.waitUntilServing("m", 1)
      #expect(try await answer() == 1)
      #expect(try await answer(.label("next")) == 2)
      await #expect(throws: ClientError.self) { try await answer(.label("nxt")) }

      // What is not understood changes nothing, and says where.
      try test.writeRollout("serve: 2\nsplti: {next: 5}", "m")
      try await test.waitForRollout("m") { !$0.problem.isEmpty }
      #expect(try await answer() == 1)
      let problem = try await client.listModels().problems.first
      #expect(problem?.path == "m/rollout.yaml")
      #expect(
        problem?.reason.hasPrefix("rollout.yaml:2: expected a known key, found \"splti\", did you mean \"split\"?")
          == true)
      #expect(try await test.metric("needletail_rollout_file_invalid", ["model": "m"]) == 1)

      try test.writeRollout("labels: {next: 1}", "m")
      try await test.waitUntilServing("m", 2)
      #expect(try await answer(.label("next")) == 1)
      #expect(try await test.metric("needletail_rollout_file_invalid", ["model": "m"]) == 0)
      // Nobody has said what is to be in force instead.
      try FileManager.default.removeItem(atPath: "\(test.store)/m/rollout.yaml")
      try await test.waitForRollout("m") { $0.isFileMissing }
      #expect(try await answer(.label("next")) == 1)
      #expect(try await test.metric("needletail_rollout_file_missing", ["model": "m"]) == 1)
      try test.writeRollout("serve: latest", "m")
      try await test.waitForRollout("m") { $0.routing.labels.isEmpty }
      await #expect(throws: ClientError.self) { try await answer(.label("next")) }
      #expect(try await test.metric("needletail_rollout_file_missing", ["model": "m"]) == 0)
      await client.close()
    }
  }

  @Test func labelsOfVersionsThatDoNotAnswerAreShownWithTheirState() async throws {
    try await TestServer.with(models: ["m": ModelFixtures.constant(1)]) { test in
      try test.directory.write([UInt8](repeating: 7, count: 500), to: "store/m/2.ntb")
      try test.publish(ModelFixtures.constant(3), "m", 3)
      try test.writeRollout(
        "serve: 1\nlabels: {stable: 1, broken: 2, next: 3, gone: 9}\nshadow: gone", "m")
      try await test.waitForRollout("m") { $0.routing.labels.contains { $0.version?.number == 3 } }
      let client = try await test.client()
      var report = try await client.rollout("m")
      #expect(report.labels.map(\.name) == ["broken", "gone", "next", "stable"])
      #expect(report.labels.map(\.version) == [2, 9, 3, 1])
      #expect(report.labels.map(\.answering) == [0, 0, 3, 1])
      #expect(report.labels.map(\.state) == [.rejected, nil, .live, .live])
      #expect(report.labels[0].reason.hasPrefix("rejected: "))
      #expect(report.labels[1].reason == "not in the store")
      #expect(report.labels[2].reason.isEmpty && report.labels[3].reason.isEmpty)
      #expect(report.shadow?.version == 9 && report.shadow?.problem == "given no rows: not in the store")

      try test.writeRollout("serve: 3\nlabels: {stable: 1, next: 3}", "m")
      try await test.waitUntilServing("m", 3)
      report = try await client.undoRollout(of: "m")
      #expect(
        report.labels.map(\.answering) == [1, 1], "the label of a quarantined version leads to the version that serves")
      #expect(report.labels.first?.reason == "quarantined by undo: undone")
      await client.close()
    }
  }

  // MARK: undo

  @Test func undoSurvivesSIGKILL() async throws {
    let directory = try TemporaryDirectory()
    let store = directory.file("store")
    for version in 1...2 as ClosedRange<UInt64> {
      let bytes = try BundleFixtures.bundle(
        model: "m", version: version,
        BundleContents(definition: ModelFixtures.constant(Float(version)), golden: []), keys: [])
      try FileManager.default.createDirectory(atPath: store, withIntermediateDirectories: true)
      _ = try Publisher.publish(bytes, model: ModelID("m"), version: ModelVersion(version)!, store: store)
    }
    let inputs = [InputTensor.features([0], columns: 1)]
    var server = try ServerProcessFixture(directory)
    var client = try await server.client(servingModel: "m")
    // Both live, so that there is a way back.
    while try await client.rollout("m").arms.count < 2 { try await Task.sleep(for: .milliseconds(10)) }
    #expect(try await client.predict("m", inputs: inputs).version == 2)
    let start = Instant.now()
    let report = try await client.undoRollout(of: "m")
    let microseconds = Instant.now().microseconds(since: start)
    print("undo: answered and on the disk after \(microseconds) µs")
    #expect(report.servingVersion == 1)
    #expect(report.isDurable)
    #expect(report.quarantined.map(\.version) == [2])
    #expect(try await client.predict("m", inputs: inputs).version == 1)
    #expect(microseconds < 1_000_000)
    await #expect(throws: ClientError.self, "nothing is left to go back to") { try await client.undoRollout(of: "m") }

    server.kill()
    await client.close()
    server = try ServerProcessFixture(directory)
    client = try await server.client(servingModel: "m")
    #expect(try await client.predict("m", inputs: inputs).version == 1, "still undone")
    #expect(try await client.rollout("m").quarantined.map(\.cause) == ["undo"])

    try directory.write(Array("serve: latest".utf8), to: "store/m/rollout.yaml")
    let deadline = Instant.now()
    while try await client.predict("m", inputs: inputs).version != 2 {
      guard Instant.now().microseconds(since: deadline) < 10_000_000 else {
        Issue.record("a newer rollout file lets version 2 back in")
        break
      }
      try await Task.sleep(for: .milliseconds(20))
    }
    await client.close()
    server.kill()
  }
}

extension TestServer {
  /// Replaces the file as an operator should: by a rename.
  func writeRollout(_ text: String, _ model: String) throws {
    try Data(text.utf8).write(to: URL(fileURLWithPath: "\(store)/\(model)/rollout.yaml"), options: .atomic)
  }

  func waitForRollout(_ model: String, _ condition: @escaping @Sendable (RolloutStatus) -> Bool) async throws {
    await server.modelStore.rescan()
    try await server.modelStore.wait { $0.model(model).map { condition($0.rollout) } ?? false }
  }
}
