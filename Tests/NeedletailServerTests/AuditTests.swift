import Foundation
import NeedletailClient
import NeedletailCore
import NeedletailModels
import NeedletailSecurity
import NeedletailTestSupport
import NeedletailWire
import Testing

@testable import NeedletailServer

@Suite("Audit", .timeLimit(.minutes(10)))
struct AuditTests {
  private static func instant(seconds: Double) -> Instant { Instant(nanoseconds: UInt64(seconds * 1e9)) }

  // MARK: the ledger

  @Test func theWaitGrowsWithEachRefusalOfAHostAndEndsWithQuiet() {
    var ledger = RefusalLedger()
    let delays = (0..<14).map { ledger.add("a", now: Self.instant(seconds: 100 + Double($0))).delayMilliseconds }
    #expect(delays == [0, 0, 0, 0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000])
    #expect(ledger.add("b", now: Self.instant(seconds: 113)).delayMilliseconds == 0)
    // A minute after the last one.
    #expect(ledger.add("a", now: Self.instant(seconds: 173)).count == 1)
    #expect(ledger.add("a", now: Self.instant(seconds: 232)).count == 2)
  }

  @Test func aHostThatGoesOnHasALineEveryTenSecondsThatSaysHowManyWereLeftOut() {
    var ledger = RefusalLedger()
    var said: [(second: Int, unsaid: Int)] = []
    for second in 0..<40 {
      let entry = ledger.add("a", now: Self.instant(seconds: 1000 + Double(second)))
      if entry.isSaid { said.append((second, entry.unsaid)) }
    }
    #expect(said.map(\.second) == [0, 1, 2, 3, 4, 14, 24, 34])
    #expect(said.map(\.unsaid) == [0, 0, 0, 0, 0, 9, 9, 9])
  }

  @Test func manyHostsTogetherDoNotFillTheLogOrTheMemory() {
    var ledger = RefusalLedger()
    let count = Limits.refusalHostsMax + 200
    let entries = (0..<count).map { ledger.add("host \($0)", now: Self.instant(seconds: 50 + Double($0) / 10_000)) }
    #expect(entries.count(where: \.isSaid) == Limits.refusalLinesPerSecond)
    let next = ledger.add("one more", now: Self.instant(seconds: 51))
    #expect(next.isSaid && next.unsaid == count - Limits.refusalLinesPerSecond)
    // Those that were refused last are known, and the first are forgotten.
    #expect(ledger.add("host \(count - 1)", now: Self.instant(seconds: 51)).count == 2)
    #expect(ledger.add("host 0", now: Self.instant(seconds: 51)).count == 1)
  }

  // MARK: a server

  private static func failure(_ test: TestServer, _ key: APIKey) async -> String? {
    var configuration = NeedletailClient.Configuration()
    configuration.apiKey = key.text
    do throws(ClientError) {
      let client = try await NeedletailClient.connect(to: test.address, configuration: configuration)
      await client.close()
      return nil
    } catch {
      return error.message
    }
  }

  @Test func wrongKeysAreLoggedWithTheirAddressAndSlowedDownAcrossConnections() async throws {
    let right = APIKey()
    let file = try KeyFileFixture("keys:\n" + KeyFileFixture.entry("checkout", right))
    try await TestServer.with(configure: { $0.apiKeys = file.path }) { test in
      let clock = ContinuousClock()
      var times: [Duration] = []
      let wrong = APIKey()
      for _ in 0..<8 {
        let began = clock.now
        #expect(await Self.failure(test, wrong)?.contains("expected a key that this server knows") == true)
        times.append(clock.now - began)
      }
      // The sixth waits 100 ms, the next two 200 and 400.
      #expect(times[5] >= .milliseconds(100) && times[6] >= .milliseconds(200) && times[7] >= .milliseconds(400))
      // The right key of the same host does not wait, where the next wrong one would for 800 ms. On a busy machine one of
      // three is fast.
      var rightTimes: [Duration] = []
      for _ in 0..<3 {
        let began = clock.now
        #expect(await Self.failure(test, right) == nil)
        rightTimes.append(clock.now - began)
      }
      #expect(rightTimes.contains { $0 < .milliseconds(800) }, "\(rightTimes)")
      // On a machine so slow that ten seconds have passed there is one more, which says what was left out.
      let lines = test.log.lines.filter { $0.contains("authentication refused") }
      #expect(lines.count(where: { !$0.contains("unsaid=") }) == 5, "\(lines)")
      for line in lines {
        #expect(
          line.contains(" warning ") && line.contains("from=127.0.0.1:") && line.contains("audit=refused"), "\(line)")
        #expect(!line.contains(wrong.text))
      }
    }
  }

  @Test func aRetiredModelAndARefusedRolloutFileSayWhoseFileItWas() async throws {
    try await TestServer.with(models: ["m": ModelFixtures.logistic()]) { test in
      func facts(_ message: String) async throws -> [String: String] {
        let client = try await test.client()
        defer { Task { await client.close() } }
        let event = try #require(try await client.events().events.last { $0.message == message && $0.model == "m" })
        return Dictionary(uniqueKeysWithValues: event.facts.map { ($0.name, $0.value) })
      }
      try test.writeRollout("serve: nobody", "m")
      try await test.waitForRollout("m") { !$0.problem.isEmpty }
      let refused = try await facts("rollout file refused and no earlier one known: nothing new goes live")
      #expect(refused["audit"] == "failed" && refused["by"] == "uid \(getuid())", "\(refused)")
      #expect(refused["reason"]?.contains("rollout.yaml:1") == true)

      // What `needletail rollout retire` writes.
      try test.writeRollout("serve: none", "m")
      try await test.waitForRollout("m") { $0.isRetired }
      let retired = try await facts("model retired by its rollout file")
      #expect(retired == ["audit": "done", "by": "uid \(getuid())", "policy": "serve: none"])
      let line = test.log.lines.first { $0.contains("model retired by its rollout file") }
      #expect(line?.contains("audit=done") == true && line?.contains("by=\"uid \(getuid())\"") == true)
    }
  }

  @Test func anUndoSaysWhoAskedForItAndFromWhere() async throws {
    let operatorKey = APIKey()
    let readerKey = APIKey()
    let file = try KeyFileFixture(
      "keys:\n" + KeyFileFixture.entry("operator", operatorKey, "calls: [\"*\"]")
        + KeyFileFixture.entry("reader", readerKey))
    try await TestServer.with(models: ["m": ModelFixtures.logistic()], configure: { $0.apiKeys = file.path }) { test in
      try test.publish(ModelFixtures.logistic(), "m", 2)
      try await test.waitUntilServing("m", 2)
      func client(_ key: APIKey) async throws -> NeedletailClient {
        var configuration = NeedletailClient.Configuration()
        configuration.apiKey = key.text
        return try await .connect(to: test.address, configuration: configuration)
      }
      let reader = try await client(readerKey)
      await #expect(throws: ClientError.self) { try await reader.undoRollout(of: "m") }
      let refused = test.log.lines.first { $0.contains("change refused") }
      #expect(refused?.contains(#"by="key \"reader\"""#) == true && refused?.contains("from=127.0.0.1:") == true)
      await reader.close()

      let person = try await client(operatorKey)
      #expect(try await person.undoRollout(of: "m").servingVersion == 1)
      await #expect(throws: ClientError.self) { try await person.undoRollout(of: "m") }
      let events = try await person.events().events.filter { $0.message == "undo asked for" }
      let facts = events.map { Dictionary(uniqueKeysWithValues: $0.facts.map { ($0.name, $0.value) }) }
      #expect(facts.map { $0["audit"] } == ["done", "failed"])
      for fact in facts {
        #expect(fact["by"] == "key \"operator\"" && fact["from"]?.hasPrefix("127.0.0.1:") == true, "\(fact)")
      }
      #expect(facts.last?["reason"]?.isEmpty == false && events.allSatisfy { $0.model == "m" })
      await person.close()
      // Over a Unix socket there is no address.
      var configuration = NeedletailClient.Configuration()
      configuration.apiKey = operatorKey.text
      let local = try await NeedletailClient.connect(
        to: .unix(path: test.directory.file("s")), configuration: configuration)
      await #expect(throws: ClientError.self) { try await local.undoRollout(of: "m") }
      #expect(
        try await local.events().events.last { $0.message == "undo asked for" }?.facts.contains {
          $0.name == "from" && $0.value == "uid \(getuid()), pid \(getpid())"
        } == true)
      await local.close()
    }
  }
}
