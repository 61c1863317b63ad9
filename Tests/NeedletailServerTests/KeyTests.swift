import Foundation
import NeedletailClient
import NeedletailCore
import NeedletailSecurity
import NeedletailTestSupport
import NeedletailWire
import Testing

@testable import NeedletailServer

/// A key file that a test writes and changes.
struct KeyFileFixture {
  let directory: TemporaryDirectory
  let path: String

  init(_ yaml: String) throws {
    directory = try TemporaryDirectory()
    path = directory.file("keys.yaml")
    try write(yaml)
  }

  func write(_ yaml: String) throws { try yaml.write(toFile: path, atomically: true, encoding: .utf8) }

  static func entry(_ name: String, _ key: APIKey, _ more: String = "") -> String {
    "  - {name: \(name), hash: \"\(key.digest)\"\(more.isEmpty ? "" : ", " + more)}\n"
  }
}

@Suite("API keys", .timeLimit(.minutes(10)))
struct KeyTests {
  static let models = ["people": ModelFixtures.logistic(), "wide": ModelFixtures.mlp(widths: [1, 4000])]
  static let key = APIKey()

  private static func client(_ test: TestServer, _ key: APIKey? = key) async throws -> NeedletailClient {
    var configuration = NeedletailClient.Configuration()
    configuration.apiKey = key?.text
    return try await .connect(to: test.address, configuration: configuration)
  }

  /// The code that a call ends with; `.ok` if it is answered.
  private static func code(_ body: () async throws(ClientError) -> Void) async -> StatusCode {
    do throws(ClientError) {
      try await body()
      return .ok
    } catch {
      return error.code
    }
  }

  private static func with(
    _ yaml: String, configure: @escaping (inout ServerConfiguration) -> Void = { _ in },
    _ body: (TestServer, KeyFileFixture) async throws -> Void
  ) async throws {
    let file = try KeyFileFixture("keys:\n" + yaml)
    try await TestServer.with(
      models: models,
      configure: {
        $0.apiKeys = file.path
        $0.reload = .milliseconds(10)
        configure(&$0)
      }
    ) { try await body($0, file) }
  }

  @Test func onlyTheHolderOfAKeyIsAnswered() async throws {
    try await Self.with(KeyFileFixture.entry("checkout", Self.key)) { test, _ in
      let stranger = try await Self.client(test, nil)
      #expect(await Self.code { () throws(ClientError) in _ = try await stranger.health() } == .unauthenticated)
      #expect(
        await Self.code { () throws(ClientError) in _ = try await stranger.predict("people", inputs: BadCall.good) }
          == .unauthenticated)
      #expect(
        await Self.code { () throws(ClientError) in try await stranger.authenticate(key: APIKey().text) }
          == .unauthenticated)
      #expect(try await stranger.authenticate(key: Self.key.text) == "checkout")
      #expect(try await stranger.predict("people", inputs: BadCall.good).version == 1)
      let metrics = try await stranger.metrics()
      #expect(TestServer.sum(of: "needletail_authentications_total", ["outcome": "accepted"], in: metrics) == 1)
      #expect(TestServer.sum(of: "needletail_authentications_total", ["outcome": "unknown_key"], in: metrics) == 1)
      #expect(TestServer.sum(of: "needletail_calls_refused_total", ["reason": "unauthenticated"], in: metrics) == 2)
      #expect(TestServer.sum(of: "needletail_api_keys", [:], in: metrics) == 1)
      await stranger.close()
    }
  }

  @Test func connectFailsWithAWrongKey() async throws {
    try await Self.with(KeyFileFixture.entry("checkout", Self.key)) { test, _ in
      #expect(
        await Self.code { () throws(ClientError) in
          var configuration = NeedletailClient.Configuration()
          configuration.apiKey = "wrong"
          _ = try await NeedletailClient.connect(to: test.address, configuration: configuration)
        } == .unauthenticated)
    }
  }

  @Test func aKeyReachesItsModelsAndItsCallsOnly() async throws {
    let scope = "models: [\"peop*\"], calls: [predict, list, describe]"
    try await Self.with(KeyFileFixture.entry("checkout", Self.key, scope)) { test, _ in
      let client = try await Self.client(test)
      #expect(try await client.predict("people", inputs: BadCall.good).version == 1)
      do throws(ClientError) {
        _ = try await client.predict("wide", inputs: BadCall.good)
        Issue.record("a foreign model answered")
      } catch {
        #expect(error.code == .permissionDenied)
        #expect(error.message == "key \"checkout\" may not use model \"wide\"")
      }
      #expect(
        await Self.code { () throws(ClientError) in _ = try await client.describeModel("wide") } == .permissionDenied)
      #expect(await Self.code { () throws(ClientError) in _ = try await client.metrics() } == .permissionDenied)
      #expect(await Self.code { () throws(ClientError) in _ = try await client.health() } == .permissionDenied)
      // A list shows what the key reaches.
      #expect(try await client.listModels().models.map(\.model) == ["people"])
      await client.close()
    }
  }

  @Test func aTypoIsNotAnsweredWithTheNameOfAForeignModel() async throws {
    func message(_ call: () async throws(ClientError) -> Void) async -> String {
      do throws(ClientError) {
        try await call()
        return ""
      } catch {
        return error.message
      }
    }
    let scope = "models: [\"w*\"], calls: [predict, describe, list]"
    try await Self.with(KeyFileFixture.entry("checkout", Self.key, scope)) { test, _ in
      let client = try await Self.client(test)
      let predicted = await message { () throws(ClientError) in
        _ = try await client.predict("weople", inputs: BadCall.good)
      }
      #expect(predicted == "model \"weople\": not found")
      let described = await message { () throws(ClientError) in _ = try await client.describeModel("weople") }
      #expect(described == "model \"weople\": not found")
      let own = await message { () throws(ClientError) in _ = try await client.describeModel("wde") }
      #expect(own == "model \"wde\": not found, did you mean \"wide\"?")
      await client.close()
    }
  }

  @Test func aRevokedKeyEndsOnItsOpenConnections() async throws {
    try await Self.with(KeyFileFixture.entry("checkout", Self.key)) { test, file in
      let client = try await Self.client(test)
      _ = try await client.health()
      try file.write("keys:\n" + KeyFileFixture.entry("checkout", Self.key, "state: revoked"))
      var last = StatusCode.ok
      while last == .ok { last = await Self.code { () throws(ClientError) in _ = try await client.health() } }
      #expect(last == .unauthenticated)
      #expect(
        await Self.code { () throws(ClientError) in try await client.authenticate(key: Self.key.text) }
          == .unauthenticated)
      await client.close()
    }
  }

  @Test func aWrongKeyFileChangesNothing() async throws {
    try await Self.with(KeyFileFixture.entry("checkout", Self.key)) { test, file in
      let client = try await Self.client(test)
      try file.write("keys:\n  - name: checkout\n    hsah: x\n")
      while try await TestServer.sum(
        of: "needletail_api_key_reloads_total", ["outcome": "refused"], in: client.metrics()) == 0
      { try await Task.sleep(for: .milliseconds(5)) }
      #expect(try await client.predict("people", inputs: BadCall.good).version == 1)
      #expect(test.log.lines.contains { $0.contains("keys not reloaded") && $0.contains("keys.yaml:3") })
      // The gauge stays as long as the fault, for the alert NeedletailKeyFile.
      func waitUntilInvalid(_ value: Double, _ client: NeedletailClient) async throws {
        while try await TestServer.sum(of: "needletail_api_key_file_invalid", [:], in: client.metrics()) != value {
          try await Task.sleep(for: .milliseconds(5))
        }
      }
      try await waitUntilInvalid(1, client)
      // The next good one counts again.
      let other = APIKey()
      try file.write("keys:\n" + KeyFileFixture.entry("other", other))
      while await Self.code({ () throws(ClientError) in _ = try await client.health() }) == .ok {
        try await Task.sleep(for: .milliseconds(5))
      }
      let second = try await Self.client(test, other)
      #expect(try await second.health().live)
      try await waitUntilInvalid(0, second)
      await client.close()
      await second.close()
    }
  }

  @Test func limitsOfAKeyHoldOverAllItsConnections() async throws {
    try await Self.with(KeyFileFixture.entry("checkout", Self.key, "limits: {requests_per_second: 20}")) { test, _ in
      var connections: [RawConnection] = []
      for _ in 0..<3 {
        let raw = try await RawConnection.connect(to: test.address)
        try await raw.send(id: 1, .authenticate(key: Self.key.text))
        #expect(await raw.next()?.result == .authenticated(principal: "checkout"))
        connections.append(raw)
      }
      // All calls are on their way before the first answer is read, so that a slow machine earns no more of them.
      let start = ContinuousClock.now
      for raw in connections {
        var bytes: [UInt8] = []
        for id in 2...31 as ClosedRange<UInt64> {
          bytes += try RawConnection.frame(id: id, .predict(.init(model: "people", inputs: BadCall.good)))
        }
        raw.push(bytes)
      }
      var answered = 0
      var refusals: [ServingError] = []
      for raw in connections {
        for _ in 2...31 {
          switch await raw.next()?.result {
          case .predict: answered += 1
          case .failed(let error): refusals.append(error)
          case let other: Issue.record("expected an answer or a refusal, found \(String(describing: other))")
          }
        }
        await raw.close()
      }
      let earned = Double((ContinuousClock.now - start) / .seconds(1)) * 20
      #expect(answered >= 20 && Double(answered) <= 21 + earned, "answered \(answered), earned \(earned)")
      #expect(refusals.allSatisfy { $0.code == .overloaded && $0.retryAfterMicroseconds > 0 })
      // A machine that takes three seconds for 90 small calls has earned them all.
      #expect(!refusals.isEmpty || earned > 60)
    }
  }

  @Test func callsInFlightAreReleasedHoweverTheyEnd() async throws {
    let limits = "limits: {in_flight: 2}"
    try await Self.with(KeyFileFixture.entry("checkout", Self.key, limits)) { test, _ in
      let client = try await Self.client(test)
      for _ in 0..<10 {
        #expect(try await client.predict("people", inputs: BadCall.good).version == 1)
        #expect(
          await Self.code { () throws(ClientError) in _ = try await client.predict("nobody", inputs: BadCall.good) }
            == .notFound)
        #expect(try await client.health().live)
      }
      // Calls whose connection ends before their answer.
      for _ in 0..<10 {
        let raw = try await RawConnection.connect(to: test.address)
        var bytes = try RawConnection.frame(id: 1, .authenticate(key: Self.key.text))
        for id in 2...5 as ClosedRange<UInt64> { bytes += try RawConnection.frame(id: id, .metrics) }
        try await raw.send(bytes)
        await raw.close()
      }
      var last = StatusCode.overloaded
      while last == .overloaded { last = await Self.code { () throws(ClientError) in _ = try await client.health() } }
      #expect(last == .ok)
      await client.close()
    }
  }

  @Test func aLongFrameBeforeTheKeyEndsTheConnection() async throws {
    try await Self.with(KeyFileFixture.entry("checkout", Self.key)) { test, _ in
      let raw = try await RawConnection.connect(to: test.address)
      raw.push([0, 0, 0x40, 0x01])
      let responses = await raw.rest()
      guard case .failed(let error)? = responses.first?.result else {
        Issue.record("no word of the refusal")
        return
      }
      #expect(error.code == .unauthenticated && error.message.contains("16384") && error.message.contains("16385"))
      // The same length after it is a frame like any other.
      let known = try await RawConnection.connect(to: test.address)
      try await known.send(id: 1, .authenticate(key: Self.key.text))
      _ = await known.next()
      try await known.send([0, 0, 0x40, 0x01])
      try await known.send([UInt8](repeating: 0, count: 0x4001))
      guard case .failed(let undecodable)? = await known.next()?.result else {
        Issue.record("no answer")
        return
      }
      #expect(undecodable.code == .invalidArgument)
      await known.close()
    }
  }

  @Test func aConnectionThatGuessesKeysIsClosed() async throws {
    try await Self.with(KeyFileFixture.entry("checkout", Self.key)) { test, _ in
      let raw = try await RawConnection.connect(to: test.address)
      for id in 1...20 as ClosedRange<UInt64> {
        raw.push(try RawConnection.frame(id: id, .authenticate(key: "guess \(id)")))
      }
      #expect(await raw.rest().count == Limits.authenticationFailuresMax)
    }
  }

  @Test func aConnectionWithoutAKeyIsClosedInTime() async throws {
    // The client that shows its key needs seconds for it while all other tests run.
    try await Self.with(
      KeyFileFixture.entry("checkout", Self.key), configure: { $0.limits.handshake = .seconds(10) }
    ) { test, _ in
      let client = try await Self.client(test)
      let silent = try await RawConnection.connect(to: test.address)
      #expect(await silent.rest().isEmpty)
      // One that has shown it stays.
      let metrics = try await client.metrics()
      #expect(
        TestServer.sum(of: "needletail_connections_evicted_total", ["reason": "unauthenticated"], in: metrics) == 1)
      await client.close()
    }
  }

  @Test func aServerWithoutKeysAnswersUnimplemented() async throws {
    try await TestServer.with(models: Self.models) { test in
      #expect(
        await Self.code { () throws(ClientError) in
          var configuration = NeedletailClient.Configuration()
          configuration.apiKey = Self.key.text
          _ = try await NeedletailClient.connect(to: test.address, configuration: configuration)
        } == .unimplemented)
    }
  }
}
