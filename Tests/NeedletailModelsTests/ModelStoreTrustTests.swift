import NeedletailBundle
import NeedletailCore
import NeedletailMetrics
import NeedletailModels
import NeedletailTestSupport
import Testing

@Suite("Model store: trust", .timeLimit(.minutes(10)))
struct ModelStoreTrustTests {
  // MARK: trust

  /// A trust file of these keys, the first named `key-0`.
  private static func trust(
    _ keys: [SigningKey], revoked: Set<Int> = [], revokedDigests: [String] = []
  ) -> [UInt8] {
    var text = "keys:\n"
    for (index, key) in keys.enumerated() {
      text += "  - name: key-\(index)\n    public_key: \"\(key.publicKey)\"\n"
      text += "    state: \(revoked.contains(index) ? "revoked" : "active")\n"
    }
    return Array((text + "revoked_digests: [\(revokedDigests.joined(separator: ", "))]\n").utf8)
  }

  @Test func aRevokedKeyMakesItFallBackWithoutAskingForAScan() async throws {
    let keys = [BundleFixtures.key, BundleFixtures.strangersKey]
    try await RunningStore.run { files, configuration in
      configuration.trust = .file(path: try files.write(Self.trust(keys), to: ".trust/trust.yaml"))
      try files.publish("m", 1, keys: [keys[0]])
      try files.publish("m", 2, keys: [keys[1]])
    } _: { running in
      try await running.waitUntilServing(2)
      try await running.waitUntil(1, is: .live)
      // Its own file is out of reach: what was loaded is judged, not what lies there.
      try running.files.remove("m/2.ntb")
      await running.store.rescan()
      try running.files.write(Self.trust(keys, revoked: [1]), to: ".trust/trust.yaml")
      try await running.waitUntilServing(1)
      #expect(try running.answer() == (1, 1))
      #expect(running.metric("needletail_bundles_rejected_total{model=\"m\",reason=\"revoked\"}") == 1)
    }
  }

  @Test func aRevokedDigestOfTheOnlyVersionRaisesAnAlarmAndServesOn() async throws {
    try await RunningStore.run { files, configuration in
      configuration.trust = .file(path: try files.write(Self.trust([BundleFixtures.key]), to: ".trust/trust.yaml"))
      try files.publish("m", 1)
    } _: { running in
      try await running.waitUntilServing(1)
      let digest = try #require(running.version(1)?.digest)
      let alarm = "needletail_model_untrusted{model=\"m\",version=\"1\"}"
      #expect(running.metric(alarm) == nil)
      try running.files.write(
        Self.trust([BundleFixtures.key], revokedDigests: [digest]), to: ".trust/trust.yaml")
      try await running.store.wait { $0.model("m")?.version(1)?.reason.hasPrefix("no longer trusted") == true }
      #expect(running.metric(alarm) == 1)
      #expect(try running.answer() == (1, 1))
      try running.files.publish("m", 2)
      try await running.waitUntilServing(2)
      try await running.waitUntil(1, is: .rejected)
      #expect(running.metric(alarm) == nil)
    }
  }

  @Test func readsTheTrustFileAgainWhenItChanges() async throws {
    try await RunningStore.run { files, configuration in
      try files.publish("m", 1)
      configuration.trust = .file(
        path: try files.write(Self.trust([BundleFixtures.strangersKey]), to: ".trust/trust.yaml"))
    } _: { running in
      try await running.waitUntil(1, is: .rejected)
      #expect(running.store.isSettled)
      try running.files.write(Array("nonsense: [".utf8), to: ".trust/trust.yaml")
      await running.store.rescan()
      #expect(running.metric("needletail_trust_errors_total") == 1)
      try running.files.write(Self.trust([BundleFixtures.key]), to: ".trust/trust.yaml")
      await running.store.rescan()
      #expect(try running.answer() == (1, 1))
    }
  }

  @Test func refusesAnOlderVersionThatSomebodyPutsBackAfterARestart() async throws {
    let files = try TemporaryStore()
    let state = try TemporaryDirectory()
    let old = try TemporaryStore.line("m", 2, weight: 2)
    try await RunningStore.run(on: files) { files, configuration in
      configuration.state = try StateDirectory(creating: state.file("state"))
      try files.publish("m", 3)
      try files.publish("m", 4)
    } _: { running in
      try await running.waitUntilServing(4)
      try await running.waitUntil(3, is: .live)
    }
    try files.remove("m/4.ntb")
    try files.write(old, to: "m/2.ntb")
    try await RunningStore.run(on: files) { _, configuration in
      configuration.state = try StateDirectory(creating: state.file("state"))
    } _: { running in
      try await running.waitUntil(2, is: .rejected)
      #expect(try running.answer() == (3, 3), "which was accepted before")
      #expect(running.metric("needletail_bundles_rejected_total{model=\"m\",reason=\"rollback\"}") == 1)
    }
  }

  @Test func startsWithAnAlarmIfItsStateFileIsDamaged() async throws {
    let state = try TemporaryDirectory()
    try state.write(Array("{\"models\": 7}".utf8), to: "accepted-versions.json")
    try await RunningStore.run { files, configuration in
      configuration.state = try StateDirectory(creating: state.path)
      try files.publish("m", 1)
    } _: { running in
      try await running.waitUntilServing(1)
      let alarms = running.store.eventLog.last(100).events.filter { $0.kind == .alarm }
      #expect(alarms.map(\.message) == ["accepted versions not read, rollback protection begins anew"])
    }
  }
}
