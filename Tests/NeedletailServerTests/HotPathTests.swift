import Glibc
import NeedletailClient
import NeedletailCore
import NeedletailMetrics
import NeedletailTestSupport
import NeedletailWire
import Testing

@testable import NeedletailServer

@Suite("Hot path", .timeLimit(.minutes(10)))
struct HotPathTests {
  private static let models = ["mlp": ModelFixtures.mlp(widths: [16, 32, 10], precision: .int8)]

  /// That a steady stream of calls makes none is for Tests/hot-path/run, on a release build: a debug build allocates for
  /// what an optimised one keeps in registers.
  @Test(.enabled(if: Allocations.areCounted)) func everyAllocationOfATickIsCountedAndThoseOfTheTimerAreNot() throws {
    let metrics = MetricsRegistry(shards: 1)
    var allocations = try #require(LoopAllocations(metrics: metrics, shard: 0))
    var blocks: [UnsafeMutableRawPointer?] = []
    blocks.reserveCapacity(100)
    defer { for block in blocks { free(block) } }
    func counted() -> Double { TestServer.sum(of: "needletail_loop_allocations_total", [:], in: metrics.render()) }
    for _ in 0..<9 { blocks.append(malloc(64)) }
    allocations.count()
    #expect(counted() == 0, "what the thread did before its first tick was its start")
    allocations.skip()
    for _ in 0..<37 { blocks.append(malloc(64)) }
    allocations.count()
    #expect(counted() == 37)
    allocations.skip()
    for _ in 0..<5 { blocks.append(malloc(64)) }
    allocations.skip()
    allocations.count()
    #expect(counted() == 37)
  }

  @Test func aCallTooExpensiveForItsLoopGetsTheSameAnswerFromAWorker() async throws {
    let inputs = [InputTensor.features((0..<16).map { Float($0) * 0.1 }, columns: 16)]
    func answer(_ inlineCost: Duration) async throws -> Prediction {
      try await TestServer.with(models: Self.models, configure: { $0.serving.inlineCost = inlineCost }) { test in
        let client = try await test.client()
        for _ in 0..<50 { _ = try await client.predict("mlp", inputs: inputs) }
        let answer = try await client.predict("mlp", inputs: inputs)
        // The limit of the workers' queue is 0 until calls go there.
        let limit = TestServer.sum(
          of: "needletail_queue_limit_rows", ["model": "mlp"], in: test.server.metricsText)
        #expect((limit > 0) == (inlineCost == .zero))
        await client.close()
        return answer
      }
    }
    let (onLoop, onWorker) = (try await answer(.seconds(1)), try await answer(.zero))
    #expect(onLoop.floats("probabilities") == onWorker.floats("probabilities"))
    #expect(onWorker.floats("probabilities")?.count == 10)
  }

  @Test func everyPhaseOfACallIsRecordedPerModelAndVersion() async throws {
    try await TestServer.with(models: Self.models) { test in
      let client = try await test.client()
      let inputs = [InputTensor.features([Float](repeating: 0.5, count: 16), columns: 16)]
      for _ in 0..<5 { _ = try await client.predict("mlp", inputs: inputs) }
      let text = try await client.metrics()
      for phase in ["receive", "queue", "compute", "send"] {
        #expect(
          TestServer.sum(
            of: "needletail_request_duration_seconds_count", ["model": "mlp", "version": "1", "phase": phase], in: text)
            == 5, "phase \(phase)")
      }
      await client.close()
    }
  }
}
