import Foundation
import FoundationNetworking
import NeedletailBundle
import NeedletailClient
import NeedletailCore
import NeedletailEngine
import NeedletailModels
import NeedletailTestSupport
import Testing

@testable import NeedletailServer

/// What goes wrong in an operator's hands, tried on a live server: a full disk, a broken store, a wrong file, a second
/// server, a hasty undo.
@Suite("Operators' faults", .serialized, .timeLimit(.minutes(10)))
struct OperatorFaultTests {
  private let inputs = [InputTensor.features([0], columns: 1)]

  private func error(_ call: () async throws -> some Any) async -> ClientError? {
    do {
      _ = try await call()
      return nil
    } catch {
      return error as? ClientError
    }
  }

  /// The answer of the admin port.
  private func get(_ path: String, _ test: TestServer) async throws -> (status: Int, body: String) {
    let address = try #require(await test.server.adminAddress())
    let (data, response) = try await URLSession.shared.data(
      from: try #require(URL(string: "http://127.0.0.1:\(address.port)\(path)")))
    return ((response as? HTTPURLResponse)?.statusCode ?? 0, String(decoding: data, as: UTF8.self))
  }

  private func withAdmin(_ configuration: inout ServerConfiguration) {
    configuration.admin = ListenAddress(host: "127.0.0.1", port: 0)
  }

  // MARK: describe

  /// The canary of 1 % has one feature fewer. Who describes the model, and builds rows from that, asks the stable version.
  @Test func describeUnderASplitTellsOfTheVersionThatServes() async throws {
    try await TestServer.with(models: ["m": ModelFixtures.linearRegression(weights: [1, 1], bias: 0)]) { test in
      try test.publish(ModelFixtures.linearRegression(weights: [1], bias: 0), "m", 2)
      try test.writeRollout("labels: {stable: 1, canary: 2}\nsplit: {stable: 99, canary: 1}", "m")
      try await test.waitForRollout("m") { $0.routing.shares.count == 2 }
      let client = try await test.client()
      for _ in 0..<50 {
        let description = try await client.describeModel("m")
        #expect(description.version == 1 && description.inputs.count == 2)
      }
      let canary = try await client.describeModel("m", selector: .label("canary"))
      #expect(canary.version == 2 && canary.inputs.count == 1)
      #expect(try await client.describeModel("m", selector: .label("stable")).version == 1)
      await client.close()
    }
  }

  // MARK: readiness

  @Test func aStoreOfWhichNothingServesIsNotReadyAndTheModelIsUnavailable() async throws {
    let test = try await TestServer(models: [:]) { withAdmin(&$0) }
    try await test.server.waitUntilSettled()
    #expect(try await get("/readyz", test) == (503, "not ready: the store holds no model\n"))
    try FileManager.default.createDirectory(atPath: "\(test.store)/m", withIntermediateDirectories: true)
    try test.directory.write([UInt8](repeating: 7, count: 500), to: "store/m/1.ntb")
    await test.server.modelStore.rescan()
    let (status, body) = try await get("/readyz", test)
    #expect(status == 503 && body.hasPrefix("not ready: model \"m\": no version is live; 1 is rejected, "))
    let client = try await test.client()
    #expect(try await client.health().ready == false)
    // One rule for all calls: what the store holds is not "not found".
    for error in [
      await error { try await client.predict("m", inputs: inputs) },
      await error { try await client.describeModel("m") },
      await error { try await client.describeModel("m", selector: .version(1)) },
      await error { try await client.undoRollout(of: "m") },
    ] {
      #expect(error?.code == .unavailable, "\(String(describing: error))")
    }
    for error in [
      await error { try await client.predict("n", inputs: inputs) },
      await error { try await client.describeModel("n") },
      await error { try await client.rollout("n") }, await error { try await client.undoRollout(of: "n") },
    ] {
      #expect(error?.code == .notFound, "\(String(describing: error))")
    }
    #expect(try await test.metric("needletail_model_serving", ["model": "m"]) == 0)
    #expect(test.server.metricsText.contains("needletail_model_serving{model=\"m\"} 0"))
    try test.publish(ModelFixtures.constant(2), "m", 2)
    try await test.waitUntilServing("m", 2)
    #expect(try await get("/readyz", test) == (200, "ready\n"))
    // Once ready, a bad upload does not take the server away.
    try FileManager.default.createDirectory(atPath: "\(test.store)/bad", withIntermediateDirectories: true)
    try test.directory.write([UInt8](repeating: 7, count: 500), to: "store/bad/1.ntb")
    await test.server.modelStore.rescan()
    #expect(try await get("/readyz", test) == (200, "ready\n"))
    await client.close()
    try await test.stop()
  }

  @Test func requiredModelsAndLenientReadinessAreByChoice() async throws {
    let required = try await TestServer(models: ["m": ModelFixtures.constant(1)]) {
      withAdmin(&$0)
      $0.readiness = .models([try! ModelID("m"), try! ModelID("n")])
    }
    try await required.server.waitUntilSettled()
    #expect(try await get("/readyz", required) == (503, "not ready: model \"n\": not in the store\n"))
    try required.publish(ModelFixtures.constant(1), "n", 1)
    try await required.waitUntilServing("n", 1)
    #expect(try await get("/readyz", required).status == 200)
    try await required.stop()
    let lenient = try await TestServer(models: [:]) {
      withAdmin(&$0)
      $0.readiness = .anything
    }
    try await lenient.server.waitUntilSettled()
    #expect(try await get("/readyz", lenient).status == 200)
    try await lenient.stop()
  }

  @Test func readinessIsReadFromSettingsAndRefusedWhereItContradictsItself() throws {
    func configuration(_ flags: [String: String]) throws -> ServerConfiguration {
      let flags = flags.merging(["store": "s", "allow_unsigned": "true"]) { first, _ in first }
      return try ServerConfiguration(SettingsResolver(flags: flags, environment: [:], file: nil))
    }
    #expect(try configuration([:]).readiness == .allModels)
    #expect(try configuration(["models.readiness": "lenient"]).readiness == .anything)
    #expect(
      try configuration(["models.required": "wine, digits"]).readiness == .models([ModelID("wine"), ModelID("digits")]))
    for (flags, message) in [
      (["models.readiness": "lax"], "models.readiness: expected one of strict, lenient, found \"lax\""),
      (
        ["models.required": "m", "models.readiness": "lenient"],
        "--required-models: expected --readiness strict beside it, found lenient"
      ),
      (["models.required": "wine,,digits"], "--required-models: model"),
    ] as [([String: String], String)] {
      let error = #expect(throws: ConfigurationError.self) { try configuration(flags) }
      #expect(error?.description.contains(message) == true, "\(String(describing: error))")
    }
  }

  // MARK: state

  @Test func anUndoThatIsNotOnTheDiskSaysSoAndIsWrittenOnceThereIsRoom() async throws {
    let state = try TemporaryDirectory()
    try await TestServer.with(models: ["m": ModelFixtures.constant(1)]) {
      $0.stateDirectory = state.path
    } _: { test in
      try test.publish(ModelFixtures.constant(2), "m", 2)
      try await test.waitUntilServing("m", 2)
      let file = state.file("rollout.json")
      // What a full disk does, for the superuser too: a directory that is not empty cannot be replaced.
      try FileManager.default.removeItem(atPath: file)
      try FileManager.default.createDirectory(atPath: file + "/in-the-way", withIntermediateDirectories: true)
      let client = try await test.client()
      let report = try await client.undoRollout(of: "m")
      #expect(report.servingVersion == 1, "in force all the same")
      #expect(!report.isDurable && report.stateProblem.contains("rollout.json"))
      #expect(try await test.metric("needletail_state_unwritten", ["file": "rollout.json"]) == 1)
      #expect(try await client.rollout("m").stateProblem == report.stateProblem)
      try FileManager.default.removeItem(atPath: file)
      try await test.server.modelStore.wait { $0.stateProblem.isEmpty }
      let after = try await client.rollout("m")
      #expect(after.isDurable && after.stateProblem.isEmpty)
      #expect(try await test.metric("needletail_state_unwritten", ["file": "rollout.json"]) == 0)
      #expect(try String(contentsOfFile: file, encoding: .utf8).contains("\"undo\""))
      await client.close()
    }
  }

  @Test func aSecondServerOnTheSameStateIsRefusedWithASentence() async throws {
    let state = try TemporaryDirectory()
    try await TestServer.with(models: ["m": ModelFixtures.constant(1)]) {
      $0.stateDirectory = state.path
    } _: { _ in
      do {
        _ = try await TestServer(models: [:]) { $0.stateDirectory = state.path }
        Issue.record("a second server took the state of the first")
      } catch let error as ConfigurationError {
        #expect(
          error.description
            == "--state-directory: \(state.path): expected a state directory that no other server uses, "
            + "found one in use; each needs its own")
      }
    }
  }

  @Test func damagedStateIsKeptAndCounted() async throws {
    let state = try TemporaryDirectory()
    try state.write(Array("{".utf8), to: "rollout.json")
    try await TestServer.with(models: ["m": ModelFixtures.constant(1)]) {
      $0.stateDirectory = state.path
    } _: { test in
      let copies = try state.entries().filter { $0.hasPrefix("rollout.json.unreadable-") }
      #expect(copies.count == 1)
      #expect(try state.read(copies[0]) == Array("{".utf8))
      #expect(try await test.metric("needletail_state_unreadable_copies") == 1)
      try FileManager.default.removeItem(atPath: state.file(copies[0]))
      #expect(try await test.metric("needletail_state_unreadable_copies") == 0, "once somebody has dealt with it")
    }
  }

  // MARK: rollout files and undo

  @Test func aServerThatFindsAnInvalidRolloutFileServesNothingNew() async throws {
    let test = try await TestServer(models: ["m": ModelFixtures.constant(1)]) { configuration in
      withAdmin(&configuration)
      try? FileManager.default.createDirectory(
        atPath: "\(configuration.store)/m", withIntermediateDirectories: true)
      try? Data("srve: 1".utf8).write(to: URL(fileURLWithPath: "\(configuration.store)/m/rollout.yaml"))
    }
    try await test.server.waitUntilSettled()
    let (status, body) = try await get("/readyz", test)
    #expect(status == 503 && body.contains("rollout.yaml cannot be read, and no earlier one is known"), "\(body)")
    let client = try await test.client()
    #expect(await error { try await client.predict("m", inputs: inputs) }?.code == .unavailable)
    #expect(try await client.rollout("m").problem.hasSuffix("no earlier one is known, so nothing new goes live"))
    try test.writeRollout("serve: 1", "m")
    try await test.waitUntilServing("m", 1)
    #expect(try await get("/readyz", test).status == 200)
    await client.close()
    try await test.stop()
  }

  @Test func anUndoAfterTheGuardIsRefusedUnlessNamedOrForced() async throws {
    let good = ModelFixtures.linearRegression(weights: [1, 1], bias: 0)
    try await TestServer.with(models: ["m": good], configure: { $0.keep = 2 }) { test in
      try test.publish(good, "m", 2)
      try await test.waitUntilServing("m", 2)
      try test.writeRollout("guard: {nan_rate: 0, window: 1s, min_requests: 10}", "m")
      try await test.waitForRollout("m") { $0.limits != nil }
      let nan = RolloutTests.Fault.nan.contents
      try test.publish(nan.definition, "m", 3)
      try await test.waitUntilServing("m", 3)
      let client = try await test.client()
      while test.server.modelStore.status.model("m")?.serving?.number == 3 {
        _ = try await client.predict("m", inputs: [.features([10, 10], columns: 2)])
      }
      #expect(try await client.rollout("m").quarantined.map(\.cause) == ["guard_nan"])
      let refused = await error { try await client.undoRollout(of: "m") }
      #expect(refused?.code == .invalidArgument)
      #expect(refused?.message.contains("found version 3 quarantined by guard_nan") == true)
      #expect(await error { try await client.undoRollout(of: "m", from: 3) }?.code == .notFound)
      #expect(try await client.rollout("m").servingVersion == 2)
      #expect(try await client.undoRollout(of: "m", from: 2).servingVersion == 1)
      await client.close()
    }
  }

  @Test func aRetiredModelIsLetGoAndItsDirectoryMayBeDeleted() async throws {
    try await TestServer.with(
      models: ["m": ModelFixtures.constant(1), "n": ModelFixtures.constant(1)], configure: { withAdmin(&$0) }
    ) { test in
      let client = try await test.client()
      try test.writeRollout("serve: none", "m")
      await test.server.modelStore.rescan()
      try await test.server.modelStore.wait { $0.model("m")?.version(1)?.state == .retired }
      let refused = await error { try await client.predict("m", inputs: inputs) }
      #expect(refused?.code == .notFound && refused?.message == "model \"m\": retired, it serves no version")
      #expect(!test.server.metricsText.contains("needletail_model_resident_bytes{model=\"m\""))
      #expect(!test.server.metricsText.contains("needletail_model_serving{model=\"m\"}"))
      #expect(try await get("/readyz", test).status == 200)
      try FileManager.default.removeItem(atPath: "\(test.store)/m")
      await test.server.modelStore.rescan()
      try await test.server.modelStore.wait { $0.model("m") == nil }
      #expect(try await client.predict("n", inputs: inputs).version == 1, "the other model goes on")
      await client.close()
    }
  }
}
