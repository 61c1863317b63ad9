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

/// Versions are published one after another while clients ask without pause. A version's model answers
/// its own number, so an answer whose number is not that of its version would be a mixed one.
@Suite("Hot swap", .timeLimit(.minutes(10)))
struct HotSwapTests {
  static let swaps = ProcessInfo.processInfo.environment["NEEDLETAIL_SWAPS"].flatMap { Int($0) } ?? 50

  @Test func swapsUnderLoadFailNoCallAndMixNoAnswer() async throws {
    try await TestServer.with(models: ["swap": ModelFixtures.constant(1)], signed: true) { test in
      let traffic = Traffic()
      let swaps = Self.swaps
      let rejected = try await withThrowingTaskGroup(of: Void.self) { group in
        for connection in 0..<4 {
          let client = try await test.client()
          group.addTask { await traffic.run(client, rows: connection % 2 == 0 ? 1 : 7) }
        }
        let rejected = try await Self.swap(test, times: swaps, traffic)
        traffic.stop()
        try await group.waitForAll()
        return rejected
      }
      print(
        "\(swaps) swaps: \(traffic.answered) answers, \(traffic.failed) failed, \(traffic.mixed) mixed;",
        "\(rejected) of \(swaps) corrupted bundles rejected")
      #expect(traffic.failed == 0, "\(traffic.firstFailure ?? "")")
      #expect(traffic.mixed == 0)
      #expect(traffic.answered > swaps)
      #expect(traffic.newest == UInt64(swaps) + 1, "clients saw the last version")
      #expect(rejected == swaps, "every corrupted bundle was refused")
      #expect(try await test.metric("needletail_model_swaps_total", ["model": "swap"]) == Double(swaps))
      #expect(try await test.metric("needletail_bundles_rejected_total", ["model": "swap"]) == Double(swaps))
      #expect(try await test.metric("needletail_requests_in_flight") == 0)
    }
  }

  /// Publishes version after version, each behind a corrupted bundle under a higher number.
  /// - Returns: how many of the corrupted ones were rejected.
  private static func swap(_ test: TestServer, times: Int, _ traffic: Traffic) async throws -> Int {
    var random = SplitMix64(seed: 5)
    var rejected = 0
    for number in 2...UInt64(times) + 1 {
      let corrupted = number + 1_000_000
      try test.directory.write(try corrupt(corrupted, &random), to: "store/swap/\(corrupted).ntb")
      await test.server.modelStore.rescan()
      let state = test.server.modelStore.status.model("swap")?.version(corrupted)?.state
      if state == .rejected { rejected += 1 }
      try test.publish(ModelFixtures.constant(Float(number)), "swap", number)
      try await test.waitUntilServing("swap", number)
      // Each version answers somebody before the next one comes.
      await traffic.wait(for: number)
      try FileManager.default.removeItem(atPath: "\(test.store)/swap/\(corrupted).ntb")
      if number > 3 { try FileManager.default.removeItem(atPath: "\(test.store)/swap/\(number - 2).ntb") }
    }
    return rejected
  }

  /// A well-signed bundle with one bit flipped, of its directory or of a section.
  private static func corrupt(_ version: UInt64, _ random: inout SplitMix64) throws -> [UInt8] {
    var bytes = try BundleFixtures.bundle(
      model: "swap", version: version, BundleContents(definition: ModelFixtures.constant(-1), golden: []))
    let directoryBytes = bytes[40..<44].reversed().reduce(0) { $0 << 8 | Int($1) }
    let signatureBytes = bytes[44..<48].reversed().reduce(0) { $0 << 8 | Int($1) }
    let sections = 64 + directoryBytes + signatureBytes
    let position =
      random.next() % 2 == 0
      ? 64 + Int(random.next() % UInt64(directoryBytes))
      : sections + Int(random.next() % UInt64(bytes.count - sections))
    bytes[position] ^= 1 << UInt8(random.next() % 8)
    return bytes
  }
}

/// Closed-loop clients that check every answer.
private final class Traffic: Sendable {
  private struct State {
    var isStopped = false
    var answered = 0
    var failed = 0
    var mixed = 0
    var newest: UInt64 = 0
    var firstFailure: String?
    var waiting: (version: UInt64, continuation: CheckedContinuation<Void, Never>)?
  }

  private let state = Mutex(State())

  var answered: Int { state.withLock { $0.answered } }
  var failed: Int { state.withLock { $0.failed } }
  var mixed: Int { state.withLock { $0.mixed } }
  var newest: UInt64 { state.withLock { $0.newest } }
  var firstFailure: String? { state.withLock { $0.firstFailure } }

  func stop() { state.withLock { $0.isStopped = true } }

  func run(_ client: NeedletailClient, rows: Int) async {
    let inputs = [InputTensor.features([Float](repeating: 0, count: rows), columns: 1)]
    while !state.withLock({ $0.isStopped }) {
      do throws(ClientError) {
        note(try await client.predict("swap", inputs: inputs), rows: rows)
      } catch {
        fail("\(error)")
        return
      }
    }
    await client.close()
  }

  private func fail(_ reason: String) {
    let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
      state.failed += 1
      state.firstFailure = state.firstFailure ?? reason
      defer { state.waiting = nil }
      return state.waiting?.continuation
    }
    waiter?.resume()
  }

  private func note(_ answer: Prediction, rows: Int) {
    let isRight = answer.floats("prediction") == [Float](repeating: Float(answer.version), count: rows)
    let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
      state.answered += 1
      if !isRight { state.mixed += 1 }
      state.newest = max(state.newest, answer.version)
      guard let waiting = state.waiting, state.newest >= waiting.version else { return nil }
      state.waiting = nil
      return waiting.continuation
    }
    waiter?.resume()
  }

  /// Returns when some answer came from `version` or a newer one, or a call failed.
  func wait(for version: UInt64) async {
    await withCheckedContinuation { continuation in
      let isThere = state.withLock { state in
        if state.newest >= version || state.failed > 0 { return true }
        state.waiting = (version, continuation)
        return false
      }
      if isThere { continuation.resume() }
    }
  }
}
