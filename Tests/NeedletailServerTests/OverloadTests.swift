import NeedletailClient
import NeedletailCore
import NeedletailTestSupport
import NeedletailWire
import Testing

@testable import NeedletailServer

@Suite("Overload", .timeLimit(.minutes(10)))
struct OverloadTests {
  /// y = 2 a − 3 b + 1
  private static let line = ModelFixtures.linearRegression(weights: [2, -3], bias: 1)

  /// More rows at once than one worker may have waiting: peers whose calls are refused go unread for a while,
  /// again and again.
  @Test(arguments: [false, true])
  func everyCallOfAFloodIsAnsweredOnceAndOthersAreServed(isEndingItsSide: Bool) async throws {
    try await TestServer.with(
      models: ["slow": ModelFixtures.mlp(widths: [64, 1536, 1536, 2]), "line": Self.line],
      configure: {
        $0.threads = 1
        $0.serving.workers = 1
        $0.serving.inlineCost = .microseconds(10)
      }
    ) { test in
      let inputs = [InputTensor.features([Float](repeating: 0.5, count: 64 * 4), columns: 64)]
      let calls = 600 as UInt64
      var flood: [UInt8] = []
      for id in 1...calls { flood += try RawConnection.frame(id: id, .predict(.init(model: "slow", inputs: inputs))) }
      var peers: [RawConnection] = []
      for _ in 0..<3 {
        let raw = try await RawConnection.connect(to: test.address)
        raw.push(flood)
        if isEndingItsSide { try await raw.endOutput() }
        peers.append(raw)
      }
      let client = try await test.client()
      for _ in 0..<20 {
        let answer = try await client.predict("line", inputs: [.features([1, 1], columns: 2)])
        #expect(answer.floats("prediction") == [0])
      }
      var refused = 0
      for raw in peers {
        var seen: Set<UInt64> = []
        while seen.count < calls {
          let response = try #require(await raw.next(), "after \(seen.count) answers")
          #expect(seen.insert(response.id).inserted, "call \(response.id) was answered twice")
          guard case .failed(let error) = response.result else { continue }
          #expect(error.code == .overloaded && error.retryAfterMicroseconds > 0)
          refused += 1
        }
        if isEndingItsSide { #expect(await raw.next() == nil) }
        await raw.close()
      }
      #expect(refused > 0)
      // Goodput: what was computed was answered, and the workers were given work all the time.
      let answered = 3 * Int(calls) - refused
      #expect(test.figure("needletail_rows_total", ["model": "slow"]) == Double(4 * answered))
      #expect(test.figure("needletail_batch_rows_sum", ["model": "slow"]) == Double(4 * answered))
      #expect(answered >= 3, "an empty queue takes a call, whatever came before")
      // It rests no longer: a lone call is served.
      let lone = try await client.predict("slow", inputs: inputs)
      #expect(lone.floats("probabilities")?.count == 8)
      await client.close()
    }
  }
}
