import NeedletailClient
import NeedletailCore
import NeedletailTestSupport
import NeedletailWire
import Synchronization
import Testing

@testable import NeedletailServer

@Suite("Stopping", .timeLimit(.minutes(10)))
struct DrainTests {
  static let inputs = [InputTensor.features([3, 1], columns: 2)]

  @Test func noAcceptedCallIsLostWhenTheServerStopsUnderTraffic() async throws {
    let test = try await TestServer(
      models: ["line": ModelFixtures.linearRegression(weights: [2, -3], bias: 1)],
      configure: { $0.grace = .milliseconds(100) })
    try await test.server.waitUntilSettled()
    let answered = Tally()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        let client = try await test.client()
        group.addTask {
          while true {
            do throws(ClientError) {
              let answer = try await client.predict("line", inputs: Self.inputs)
              #expect(answer.floats("prediction") == [4])
              answered.add()
            } catch {
              // The only end there may be: told in time, and never executed.
              #expect(error.isSafeToRetry, "a call was lost: \(error) \(error.origin)")
              #expect(error.origin == .goAway || error.origin == .server, "\(error) \(error.origin)")
              return
            }
          }
        }
      }
      while answered.count < 100 { await Task.yield() }
      await test.server.stop()
      try await group.waitForAll()
    }
    try await test.waitUntilStopped()
    #expect(answered.count > 100, "it went on answering during the grace time")
    #expect(test.log.lines.contains { $0.contains(" stopped ") })
  }

  @Test func goAwayNamesTheLastCallAndLaterOnesAreRefused() async throws {
    let test = try await TestServer(models: ["line": ModelFixtures.linearRegression(weights: [2, -3], bias: 1)]) {
      // A busy machine may take seconds from GoAway to the call after it.
      $0.limits.linger = .seconds(30)
    }
    try await test.server.waitUntilSettled()
    let raw = try await RawConnection.connect(to: test.address)
    try await raw.send(id: 17, .predict(.init(model: "line", inputs: Self.inputs)))
    #expect(await raw.next()?.id == 17)
    await test.server.stop()
    #expect(await raw.next()?.result == .goAway(lastID: 17))
    try await raw.send(id: 18, .predict(.init(model: "line", inputs: Self.inputs)))
    let refused = await raw.next()
    #expect(refused?.id == 18)
    guard case .failed(let error)? = refused?.result else {
      Issue.record("call 18 was not refused")
      return
    }
    #expect(error.code == .unavailable)
    await raw.close()
    try await test.waitUntilStopped()
  }

  @Test func aClientThatStaysAfterGoAwayIsClosed() async throws {
    let test = try await TestServer(models: [:]) { $0.stopLimit = .milliseconds(300) }
    try await test.server.waitUntilSettled()
    let raw = try await RawConnection.connect(to: test.address)
    try await raw.send([0, 0])
    try await raw.send(id: 1, .health)
    await test.server.stop()
    try await test.waitUntilStopped()
    _ = await raw.rest()
  }

  @Test func theSocketFileIsRemovedAtTheEnd() async throws {
    let test = try await TestServer(models: [:]) { _ in }
    #expect(try test.directory.entries().contains("s"))
    try await test.stop()
    #expect(try !test.directory.entries().contains("s"))
  }
}

/// Counts from any task.
private final class Tally: Sendable {
  private let value = Atomic(0)

  var count: Int { value.load(ordering: .relaxed) }

  func add() { value.add(1, ordering: .relaxed) }
}
