import Dispatch
import NeedletailBundle
import NeedletailCore
import NeedletailModels
import NeedletailTestSupport
import Synchronization
import Testing

/// A store without files: objects by name, each with an ETag, as an object store has them. It is the proof that a second
/// kind of store is one type.
final class MemoryStore: StoreSource {
  private struct Object {
    var bytes: [UInt8]
    var tag: String
  }

  private struct State {
    var bundles: [VersionKey: Object] = [:]
    var rollouts: [ModelID: String] = [:]
    var isReachable = true
    var puts = 0
  }

  private let state = Mutex(State())
  private let changes = DispatchSemaphore(value: 0)

  func snapshot(limits: BundleLimits) -> StoreSnapshot {
    state.withLock { state in
      var snapshot = StoreSnapshot()
      guard state.isReachable else {
        snapshot.isReadable = false
        snapshot.problems = [StoreProblem(path: "", reason: "memory: out of reach")]
        return snapshot
      }
      snapshot.bundles = state.bundles.sorted { $0.key < $1.key }.map { key, object in
        StoredBundle(
          key: key, place: Self.place(key), fingerprint: StoreFingerprint(object.tag),
          bytes: UInt64(object.bytes.count),
          // An object appears whole or not at all.
          completeness: .complete)
      }
      for (model, text) in state.rollouts {
        snapshot.rollouts[model] = (try? RolloutFile(parsing: text)).map { .file($0) } ?? .invalid("not understood")
      }
      return snapshot
    }
  }

  func waitForChange(atMost duration: Duration) { _ = changes.wait(timeout: .now() + .seconds(3600)) }

  func wake() { changes.signal() }

  func read(_ bundle: StoredBundle, limits: BundleLimits) throws(StoreReadError) -> StoredCopy {
    guard let object = state.withLock({ $0.bundles[bundle.key] }), object.tag == bundle.fingerprint.token else {
      throw .changed
    }
    do throws(BundleError) {
      return StoredCopy(file: try BundleFile(bytes: object.bytes), fingerprint: bundle.fingerprint)
    } catch {
      throw .failed(error)
    }
  }

  func fingerprint(of key: VersionKey) -> StoreFingerprint? {
    state.withLock { $0.bundles[key].map { StoreFingerprint($0.tag) } }
  }

  func publish(_ bytes: [UInt8], as key: VersionKey, replace: Bool) throws(BundleError) -> String {
    let isDone = state.withLock { state in
      guard replace || state.bundles[key] == nil else { return false }
      state.puts += 1
      state.bundles[key] = Object(bytes: bytes, tag: "put \(state.puts)")
      return true
    }
    guard isDone else { throw BundleError(.exists, "\(Self.place(key)): expected no such version, found one") }
    wake()
    return Self.place(key)
  }

  func writeRollout(_ text: String, of model: ModelID) throws(BundleError) -> String {
    state.withLock { $0.rollouts[model] = text }
    wake()
    return "memory:\(model)/rollout"
  }

  private static func place(_ key: VersionKey) -> String { "memory:\(key.model)/\(key.version)" }

  // MARK: what happens to a store

  func remove(_ key: VersionKey) {
    state.withLock { $0.bundles[key] = nil }
    wake()
  }

  func setReachable(_ isReachable: Bool) {
    state.withLock { $0.isReachable = isReachable }
    wake()
  }
}

@Suite("A store without files", .timeLimit(.minutes(10)))
struct MemoryStoreTests {
  private let store = MemoryStore()
  private let model = try! ModelID("m")

  private func publish(_ version: UInt64, weight: Float? = nil, replace: Bool = false) throws {
    let bytes = try TemporaryStore.line("m", version, weight: weight ?? Float(version))
    _ = try store.publish(bytes, as: VersionKey(model, ModelVersion(version)!), replace: replace)
  }

  private func running(_ body: (RunningStore) async throws -> Void) async throws {
    try await RunningStore.run { _, configuration in
      configuration.source = .other(store)
    } _: {
      try await body($0)
    }
  }

  @Test func bringsVersionsUpAndSwapsThem() async throws {
    try publish(1)
    try await running { running in
      try await running.waitUntilServing(1)
      #expect(try running.answer() == (1, 1))
      try publish(2)
      try await running.waitUntilServing(2)
      #expect(try running.answer() == (2, 2))
      #expect(try running.answer("m", .version(1)) == (1, 1), "the previous version stays for the way back")
    }
  }

  @Test func goesBackByARolloutFileAndByUndo() async throws {
    try publish(1)
    try await running { running in
      try await running.waitUntilServing(1)
      try publish(2)
      try await running.waitUntilServing(2)
      _ = try store.writeRollout("serve: 1", of: model)
      try await running.waitUntilServing(1)
      #expect(try running.answer() == (1, 1))
      _ = try store.writeRollout("serve: latest", of: model)
      try await running.waitUntilServing(2)
      try await running.store.undoRollout(UndoOrder(model))
      #expect(try running.answer() == (1, 1))
    }
  }

  @Test func refusesABundleThatWasDamagedOnTheWay() async throws {
    try publish(1)
    try await running { running in
      try await running.waitUntilServing(1)
      var bytes = try TemporaryStore.line("m", 2, weight: 2)
      bytes[bytes.count - 1] ^= 1
      _ = try store.publish(bytes, as: VersionKey(model, ModelVersion(2)!), replace: false)
      try await running.waitUntil(2, is: .rejected)
      #expect(try running.answer() == (1, 1))
      try publish(2, replace: true)
      try await running.waitUntilServing(2)
    }
  }

  @Test func servesOnWhileTheStoreIsOutOfReachAndWhenAVersionIsRemoved() async throws {
    try publish(1)
    try await running { running in
      try await running.waitUntilServing(1)
      store.setReachable(false)
      await running.store.rescan()
      #expect(running.version(1)?.reason == "", "nothing is known, which is not the same as gone")
      #expect(running.store.status.problems.map(\.reason) == ["memory: out of reach"])
      store.setReachable(true)
      store.remove(VersionKey(model, ModelVersion(1)!))
      await running.store.rescan()
      #expect(running.version(1)?.reason == "file removed from the store; still serving")
      #expect(try running.answer() == (1, 1))
    }
  }
}
