import Foundation
import Logging
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailMetrics
import NeedletailModels
import NeedletailTestSupport
import Testing

@Suite("Model store", .timeLimit(.minutes(10)))
struct ModelStoreTests {
  @Test func servesTheBundlesOfTheStoreAtStart() async throws {
    try await RunningStore.run { files, _ in
      try files.publish("m", 1)
      try files.publish("n", 4)
    } _: { running in
      try await running.store.wait { $0.isSettled }
      #expect(try running.answer("m") == (1, 1))
      #expect(try running.answer("n") == (4, 4))
      let version = try #require(running.version(4, "n"))
      #expect(version.state == .live && version.signer == "release" && version.reason == "")
      #expect(version.digest.count == 64)
      #expect(version.residentBytes > 0)
      #expect(abs(Double(version.sinceMilliseconds) / 1000 - Date().timeIntervalSince1970) < 60)
    }
  }

  /// A server answers `/readyz` before its first scan, and must not draw traffic for these milliseconds.
  @Test func aStoreThatWasNotReadYetIsNotReady() async throws {
    try await RunningStore.run { files, _ in
      try files.publish("m", 1)
    } created: { store in
      #expect(!store.obstacle.isEmpty && !store.isSettled)
    } _: { running in
      try await running.store.wait { $0.isReady }
      #expect(running.store.obstacle.isEmpty)
    }
  }

  @Test func goesOnWithAStoreThatDoesNotExistYet() async throws {
    try await RunningStore.run { files, configuration in
      configuration.source = .directory(path: files.file("later"))
    } _: { running in
      try await running.store.wait { $0.isSettled }
      #expect(running.store.status.problems == [StoreProblem(path: "", reason: "store directory: not found")])
      #expect(running.metric("needletail_store_problems") == 1)
      #expect(running.store.obstacle == "the store cannot be read")
      #expect(running.metric("needletail_store_ready") == 0)
      try running.files.write(TemporaryStore.line("m", 1, weight: 1), to: "later/m/1.ntb")
      await running.store.rescan()
      #expect(try running.answer() == (1, 1))
      #expect(running.metric("needletail_store_problems") == 0)
      #expect(running.store.obstacle.isEmpty)
      #expect(running.metric("needletail_store_ready") == 1)
    }
  }

  @Test func swapsToANewVersionAndKeepsTheOldOne() async throws {
    try await RunningStore.serving { running in
      try running.files.publish("m", 2)
      try await running.waitUntilServing(2)
      #expect(try running.answer() == (2, 2))
      #expect(try running.answer("m", .version(1)) == (1, 1))
      #expect(running.metric("needletail_serving_version{model=\"m\"}") == 2)
      #expect(running.metric("needletail_model_swaps_total{model=\"m\"}") == 1)
    }
  }

  @Test func emitsEveryTransitionInOrder() async throws {
    try await RunningStore.run { running in
      try await running.store.wait { $0.isSettled }
      var events = running.store.events().makeAsyncIterator()
      try running.files.publish("m", 1)
      var states: [VersionState] = []
      while states.last != .live, let event = await events.next() { states.append(event.state) }
      #expect(states == [.verifying, .loading, .checking, .warming, .live])
      #expect(try running.answer() == (1, 1), "who hears of it can ask for it")
      #expect(running.version(1)?.state == .live)
    }
  }

  /// The link count moves the inode's timestamp; a publisher may be held up between its two names.
  @Test(arguments: [0, 1, 3, 6, 9, 15])
  func removingASecondNameWhileTheFileIsReadIsNoChange(milliseconds: UInt32) async throws {
    try await RunningStore.serving { running in
      var events = running.store.events().makeAsyncIterator()
      try running.files.write(TemporaryStore.line("m", 2, weight: 2), to: "m/.2.ntb.tmp-1")
      #expect(link(running.files.file("m/.2.ntb.tmp-1"), running.files.file("m/2.ntb")) == 0)
      usleep(milliseconds * 1000)
      try FileManager.default.removeItem(atPath: running.files.file("m/.2.ntb.tmp-1"))
      var states: [VersionState] = []
      while states.last != .live, let event = await events.next() {
        if event.version.number == 2 { states.append(event.state) }
      }
      #expect(states == [.verifying, .loading, .checking, .warming, .live])
    }
  }

  @Test func findsANewVersionWithoutEventsToo() async throws {
    try await RunningStore.run { files, configuration in
      configuration.rescanInterval = .milliseconds(20)
      try files.publish("m", 1)
    } _: { running in
      try await running.waitUntilServing(1)
      // No directory below a linked one is watched, so only a rescan can find this.
      try running.files.write(TemporaryStore.line("m", 2, weight: 2), to: "outside/2.ntb")
      try running.files.makeDirectory("m")
      try running.files.link("m/2.ntb", to: "../outside/2.ntb")
      try await running.waitUntilServing(2)
    }
  }

  // MARK: ways to drop a file

  @Test func servesABundleThatIsRenamedIn() async throws {
    try await RunningStore.run { running in
      try running.files.write(TemporaryStore.line("m", 1, weight: 5), to: "m/.upload")
      try running.files.rename("m/.upload", to: "m/1.ntb")
      try await running.waitUntilServing(1)
      #expect(try running.answer() == (1, 5))
    }
  }

  @Test func waitsForASlowCopyInPlace() async throws {
    try await RunningStore.serving { running in
      let bytes = try TemporaryStore.line("m", 2, weight: 2)
      try running.files.write(bytes.prefix(40), to: "m/2.ntb")
      try await running.waitUntil(2, is: .incomplete)
      try running.files.append(bytes[40..<300], to: "m/2.ntb")
      await running.store.rescan()
      #expect(running.version(2)?.reason == "found 300 of \(bytes.count) bytes")
      #expect(try running.answer() == (1, 1))
      try running.files.append(bytes[300...], to: "m/2.ntb")
      try await running.waitUntilServing(2)
      #expect(try running.answer() == (2, 2))
      #expect(!running.metrics.render().contains("needletail_bundles_rejected_total"))
    }
  }

  @Test func servesTheFileThatAReplacedLinkPointsTo() async throws {
    try await RunningStore.run { files, _ in
      try files.write(TemporaryStore.line("m", 1, weight: 1), to: "m/..a/1.ntb")
      try files.link("m/..data", to: "..a")
      try files.link("m/1.ntb", to: "..data/1.ntb")
    } _: { running in
      try await running.waitUntilServing(1)
      try running.files.write(TemporaryStore.line("m", 2, weight: 2), to: "m/..b/2.ntb")
      try running.files.link("m/2.ntb", to: "..data/2.ntb")
      try running.files.link("m/..next", to: "..b")
      try running.files.rename("m/..next", to: "m/..data")
      try await running.waitUntilServing(2)
      #expect(try running.answer() == (2, 2))
      #expect(running.version(1)?.reason == "file removed from the store; still serving")
    }
  }

  // MARK: refusals

  @Test func aCorruptDropIsRejectedWhileTheOldVersionServesOn() async throws {
    try await RunningStore.serving { running in
      var bytes = try TemporaryStore.line("m", 2, weight: 2)
      bytes[bytes.count - 1] ^= 1
      try running.files.write(bytes, to: "m/2.ntb")
      try await running.waitUntil(2, is: .rejected)
      #expect(try running.answer() == (1, 1))
      #expect(running.version(2)?.reason.isEmpty == false)
      #expect(running.metric("needletail_bundles_rejected_total{model=\"m\",reason=\"bad_hash\"}") == 1)
      #expect(
        running.metric("needletail_model_version_state{model=\"m\",state=\"rejected\",version=\"2\"}") == 1)
      try running.files.write(TemporaryStore.line("m", 2, weight: 2), to: "m/2.ntb")
      try await running.waitUntilServing(2)
    }
  }

  @Test func refusesEveryFaultByItsName() async throws {
    var wrongGolden = BundleFixtures.contents(BundleFixtures.line(weight: 2))
    wrongGolden.golden = [
      GoldenSample(
        name: "wrong", cells: [.number(1)], expectation: .answers([("prediction", .numbers([3]))]), tolerance: 1e-6)
    ]
    let drops: [(version: UInt64, reason: String, bytes: [UInt8])] = [
      (11, "unsigned", try TemporaryStore.line("m", 11, weight: 1, keys: [])),
      (12, "untrusted", try TemporaryStore.line("m", 12, weight: 1, keys: [BundleFixtures.strangersKey])),
      (13, "wrong_name", try TemporaryStore.line("m", 14, weight: 1)),
      (15, "wrong_name", try TemporaryStore.line("other", 15, weight: 1)),
      (16, "golden", try BundleFixtures.bundle(model: "m", version: 16, wrongGolden)),
      (17, "bad_magic", Array(repeating: 65, count: 500)),
      (18, "expired", try BundleFixtures.bundle(model: "m", version: 18, notAfterMilliseconds: 1)),
    ]
    try await RunningStore.serving { running in
      for drop in drops {
        try running.files.write(drop.bytes, to: "m/\(drop.version).ntb")
        try await running.waitUntil(drop.version, is: .rejected)
        #expect(try running.answer() == (1, 1))
        #expect(running.version(drop.version)?.reason.isEmpty == false)
      }
      for reason in Set(drops.map(\.reason)) {
        let series = "needletail_bundles_rejected_total{model=\"m\",reason=\"\(reason)\"}"
        #expect(running.metric(series) == Double(drops.filter { $0.reason == reason }.count), "\(reason)")
      }
      #expect(running.version(16)?.reason.contains("\"wrong\"") == true)
      #expect(running.store.isSettled)
    }
  }

  @Test func acceptsUnsignedBundlesOnlyWhereThatIsAllowed() async throws {
    try await RunningStore.run { files, configuration in
      configuration.allowUnsigned = true
      try files.publish("m", 1, keys: [])
    } _: { running in
      try await running.waitUntilServing(1)
      #expect(running.version(1)?.signer == "")
      #expect(running.metric("needletail_allow_unsigned") == 1)
    }
  }

  // MARK: files that change

  @Test func aVersionStaysWhatItWasWhenItsFileIsReplaced() async throws {
    try await RunningStore.serving { running in
      let digest = running.version(1)?.digest
      try running.files.publish("m", 1, weight: 9, replace: true)
      try await running.store.wait { $0.model("m")?.version(1)?.reason.hasPrefix("file replaced") == true }
      #expect(try running.answer() == (1, 1))
      #expect(running.version(1)?.digest == digest)
      #expect(running.metric("needletail_bundles_rejected_total{model=\"m\",reason=\"replaced\"}") == 1)
    }
  }

  @Test func theSameBundleInANewFileIsNoReplacement() async throws {
    try await RunningStore.serving { running in
      try running.files.publish("m", 1, replace: true)
      await running.store.rescan()
      #expect(running.version(1)?.reason == "")
      #expect(running.metric("needletail_bundles_rejected_total{model=\"m\",reason=\"replaced\"}") == nil)
    }
  }

  @Test func servesOnWhenItsFileIsDeleted() async throws {
    try await RunningStore.serving { running in
      try running.files.remove("m")
      try await running.store.wait {
        $0.model("m")?.version(1)?.reason == "file removed from the store; still serving"
      }
      #expect(try running.answer() == (1, 1))
    }
  }

  @Test func servesOnWhenItsFileIsCutOff() async throws {
    try await RunningStore.serving { running in
      try running.files.write([UInt8](), to: "m/1.ntb")
      await running.store.rescan()
      #expect(try running.answer() == (1, 1))
      #expect(running.version(1)?.state == .live)
    }
  }

  // MARK: retirement

  @Test func returnsTheMemoryOfAVersionAfterTheLastLeaseOnIt() async throws {
    try await RunningStore.run { files, configuration in
      configuration.keep = 0
      try files.publish("m", 1)
    } _: { running in
      try await running.waitUntilServing(1)
      let reader = running.registry.reader(0)
      let lease = reader.lease()
      weak let plan = try lease.table.model(named: "m").compiled.plan
      try running.files.publish("m", 2)
      try await running.waitUntilServing(2)
      await running.store.rescan()
      #expect(running.version(1)?.state == .retiring)
      #expect(try lease.table.model(named: "m").version.number == 1)
      lease.end()
      try await running.waitUntil(1, is: .retired)
      #expect(plan == nil, "the weights were freed before the version is told to be retired")
      #expect(running.version(1)?.residentBytes == 0)
      #expect(!running.metrics.render().contains("version=\"1\""), "its series are gone")
      #expect(running.metric("needletail_model_version_state{model=\"m\",state=\"live\",version=\"2\"}") == 1)
    }
  }

  @Test func fiftyQuickSwapsLeaveTheNewestServingAndNothingBehind() async throws {
    try await RunningStore.serving { running in
      for version in 2...51 as ClosedRange<UInt64> {
        try running.files.publish("m", version)
        try await running.waitUntilServing(version)
        #expect(try running.answer() == (version, Double(version)))
      }
      try await running.waitUntil(49, is: .retired)
      let live = running.store.status.model("m")?.versions.filter { $0.state == .live }.map(\.version.number)
      #expect(live == [51, 50])
      #expect(running.metric("needletail_model_swaps_total{model=\"m\"}") == 50)
      #expect(running.registry.reclaim() == 0)
    }
  }

  // MARK: memory

  @Test func theScratchOfEveryThreadIsCountedBeforeAVersionIsLive() async throws {
    try await RunningStore.run { files, configuration in
      // A terabyte in all, although one thread's is some hundred bytes.
      configuration.threads = 1 << 34
      try files.publish("m", 1)
    } _: { running in
      try await running.waitUntil(1, is: .rejected)
      let reason = running.version(1)?.reason ?? ""
      #expect(reason.hasPrefix("memory: expected room for "))
      #expect(reason.contains("for scratch of \((1 << 34) + 1) threads, found"))
    }
  }

  @Test func aLiveVersionHasScratchForEveryThread() async throws {
    try await RunningStore.run { files, configuration in
      configuration.threads = 3
      try files.publish("m", 1)
    } _: { running in
      try await running.waitUntilServing(1)
      let model = try running.registry.current.model(named: "m")
      let plan = model.compiled.plan
      #expect(model.residentBytes == plan.residentBytes + 4 * plan.workspaceBytes)
      #expect(Set((0..<3).map { ObjectIdentifier(model.workspaces[$0]) }).count == 3)
    }
  }

  @Test func aModelThatDoesNotFitIsRefusedBeforeItIsRead() async throws {
    try await RunningStore.run { files, configuration in
      configuration.memoryBytesMax = 1
      try files.publish("m", 1)
    } _: { running in
      try await running.waitUntil(1, is: .rejected)
      #expect(running.version(1)?.reason.contains("memory_max 1, of which") == true)
      #expect(running.metric("needletail_bundles_rejected_total{model=\"m\",reason=\"memory\"}") == 1)
      #expect(running.metric("needletail_bundle_load_seconds_count{phase=\"read\"}") == 0)
    }
  }

  @Test func doesNotStartWithoutItsTrustFile() throws {
    let files = try TemporaryStore()
    #expect(throws: BundleError.self) {
      try ModelStore(
        configuration: StoreConfiguration(
          source: .directory(path: files.path), trust: .file(path: files.file("none.yaml"))),
        registry: ModelRegistry(readers: 1), metrics: .init(shards: 1), logger: .init(label: "test"))
    }
  }

  // MARK: stopping

  @Test func stopsWithoutTakingAnythingFromService() async throws {
    var kept: RunningStore?
    try await RunningStore.serving { running in
      kept = running
    }
    let running = try #require(kept)
    #expect(try running.answer() == (1, 1))
    await running.store.rescan()
    await #expect(throws: CancellationError.self) { try await running.store.wait { _ in false } }
    #expect(await running.store.events().first { _ in true } == nil)
  }

  @Test func aCancelledWaitEnds() async throws {
    try await RunningStore.run { running in
      let waiting = Task { try await running.store.wait { _ in false } }
      waiting.cancel()
      await #expect(throws: CancellationError.self) { try await waiting.value }
    }
  }
}
