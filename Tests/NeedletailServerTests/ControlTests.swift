import Foundation
import FoundationNetworking
import NeedletailClient
import NeedletailCore
import NeedletailModels
import NeedletailTestSupport
import NeedletailWire
import Testing

@testable import NeedletailServer

@Suite("Control calls and admin HTTP", .timeLimit(.minutes(10)))
struct ControlTests {
  @Test func healthReportsReadinessAndModels() async throws {
    try await TestServer.with(models: ["people": ModelFixtures.logistic()]) { test in
      let client = try await test.client()
      let health = try await client.health()
      #expect(health.live && health.ready)
      #expect(health.models.map(\.model) == ["people"])
      #expect(health.models.first?.servingVersion == 1)
      #expect(health.models.first?.versions.first?.state == .live)
      await client.close()
    }
  }

  @Test func theServerTellsWhatItIs() async throws {
    try await TestServer.with(
      models: ["people": ModelFixtures.logistic()],
      configure: {
        $0.limits.batchRowsMax = 9
        $0.limits.idle = .seconds(77)
      }
    ) { test in
      let client = try await test.client()
      let info = try await client.serverInfo()
      #expect(info.name == "needletail" && info.version == needletailVersion && !info.isa.isEmpty)
      #expect(info.features == ["bulk", "error_detail", "events", "rollout", "text"])
      #expect(info.limits.rowsMax == 9 && info.limits.idleMilliseconds == 77_000)
      #expect(info.limits.named.allSatisfy { $0.value > 0 })
      let error = await #expect(throws: ClientError.self) {
        _ = try await client.predict("people", inputs: [.features([Float](repeating: 0, count: 30), columns: 3)])
      }
      #expect(error?.detail?.limit == ErrorDetail.Limit("rows_max", maximum: 9, found: 10))
      await client.close()
    }
  }

  @Test func theListShowsRejectedBundlesAndStrayFiles() async throws {
    try await TestServer.with(models: ["people": ModelFixtures.logistic()]) { test in
      try test.directory.write([1, 2, 3], to: "store/stray.txt")
      try test.directory.write([UInt8](repeating: 7, count: 500), to: "store/people/2.ntb")
      await test.server.modelStore.rescan()
      let client = try await test.client()
      let list = try await client.listModels()
      #expect(list.models.first?.versions.map(\.version) == [2, 1])
      #expect(list.models.first?.versions.first?.state == .rejected)
      #expect(list.models.first?.versions.first?.reason.isEmpty == false)
      #expect(list.models.first?.servingVersion == 1)
      #expect(list.problems.contains { $0.path.contains("stray.txt") })
      await client.close()
    }
  }

  @Test func describeListsInputsOutputsAndOrigin() async throws {
    try await TestServer.with(models: ["people": ModelFixtures.logistic()]) { test in
      let client = try await test.client()
      let description = try await client.describeModel("people")
      #expect(description.version == 1)
      #expect(description.state == .live)
      #expect(description.task == "classification")
      #expect(description.inputs.map(\.name) == ["age", "income", "colour"])
      #expect(description.inputs.map(\.type) == [.float32, .float32, .string])
      #expect(description.inputs.map(\.optional) == [true, false, true])
      #expect(description.inputs.last?.categories == ["red", "green", "blue"])
      #expect(description.outputs.map(\.name) == ["probabilities", "class", "label"])
      #expect(description.outputs.map(\.shape) == [[0, 2], [0], [0]])
      #expect(description.labels == ["no", "yes"])
      #expect(description.digest.count == 64)
      #expect(description.precision == "fp32")
      #expect(!description.isa.isEmpty && !description.plan.isEmpty && description.residentBytes > 0)
      #expect(description.status?.state == .live && description.status?.sinceMilliseconds ?? 0 > 0)
      var again = try await client.describeModel("people", selector: .version(1))
      // Traffic was read once more in between, perhaps.
      again.status = description.status
      #expect(again == description)
      await #expect(throws: ClientError.self) { try await client.describeModel("people", selector: .version(2)) }
      await #expect(throws: ClientError.self) { try await client.describeModel("people", selector: .label("x")) }
      await client.close()
    }
  }

  @Test func listAndDescribeReportTheTrafficOfALiveVersion() async throws {
    try await TestServer.with(models: ["people": ModelFixtures.logistic()]) { test in
      let client = try await test.client()
      let start = Instant.now()
      test.server.traffic.read(now: start)
      for _ in 1...9 { _ = try await client.predict("people", inputs: BadCall.good) }
      await #expect(throws: ClientError.self) { try await client.predict("people", inputs: []) }
      // From now, not from `start`: on a busy machine the server may have read by itself later than that.
      test.server.traffic.read(now: Instant.now().advanced(byMicroseconds: 5_000_000))
      let traffic = try #require(try await client.listModels().models.first?.versions.first?.traffic)
      #expect(traffic.requests == 10 && traffic.failed == 1 && traffic.rows == 9)
      #expect(traffic.recentRequests == 10 && traffic.recentFailed == 1 && traffic.recentRows == 9)
      // The server reads by itself too: what it has read before `start` lengthens the window, and each
      // reading cuts a fraction of a microsecond off.
      #expect(traffic.windowMilliseconds >= 4999)
      #expect(abs(traffic.requestsPerSecond - 10_000 / Double(traffic.windowMilliseconds)) < 0.001)
      #expect(traffic.shareMillionths == 1_000_000)
      #expect(traffic.p50Microseconds > 0 && traffic.p99Microseconds >= traffic.p50Microseconds)
      #expect(try await client.describeModel("people").status?.traffic?.requests == 10)
      await client.close()
    }
  }

  @Test func eventsReportEveryTransitionInOrder() async throws {
    try await TestServer.with(models: ["people": ModelFixtures.logistic()]) { test in
      let client = try await test.client()
      let first = try await client.events()
      #expect(first.events.map(\.sequence) == Array(1...first.newest) && first.oldest == 1)
      #expect(first.beganMilliseconds > 0)
      #expect(
        first.events.filter { $0.kind == "version" }.map { $0.facts.first { $0.name == "state" }?.value }
          == ["verifying", "loading", "checking", "warming", "live"])
      try test.directory.write([UInt8](repeating: 7, count: 500), to: "store/people/2.ntb")
      await test.server.modelStore.rescan()
      let second = try await client.events(after: first.newest)
      let rejection = try #require(second.events.first { $0.severity == "warning" })
      #expect(rejection.model == "people" && rejection.version == 2)
      #expect(rejection.message == "model version rejected")
      #expect(rejection.facts.contains { $0.name == "reason" && !$0.value.isEmpty })
      #expect(try await client.events(after: first.newest, limit: 1).events.count == 1)
      #expect(try await client.events(after: .max).events.isEmpty)
      await client.close()
    }
  }

  @Test func tooManyControlCallsAreRejectedWithARetryTime() async throws {
    try await TestServer.with(models: ["people": ModelFixtures.logistic()]) { test in
      let raw = try await RawConnection.connect(to: test.address)
      var bytes: [UInt8] = []
      for id in 1...200 as ClosedRange<UInt64> { bytes += try RawConnection.frame(id: id, .metrics) }
      try await raw.send(bytes)
      var answered = 0
      var refused = 0
      for _ in 1...200 {
        switch await raw.next()?.result {
        case .metrics: answered += 1
        case .failed(let error):
          #expect(error.code == .overloaded && error.retryAfterMicroseconds > 0)
          refused += 1
        default: Issue.record("unexpected answer")
        }
      }
      #expect(answered >= Limits.controlCallsInFlightMax && refused > 0)
      await raw.close()
    }
  }

  // MARK: admin HTTP

  private func get(_ path: String, _ address: ListenAddress) async throws -> (status: Int, type: String, body: String) {
    let (data, response) = try await URLSession.shared.data(from: URL(string: "http://\(address)\(path)")!)
    guard let http = response as? HTTPURLResponse else { throw CancellationError() }
    return (
      http.statusCode, http.value(forHTTPHeaderField: "Content-Type") ?? "", String(decoding: data, as: UTF8.self)
    )
  }

  @Test func adminServesMetricsAndProbes() async throws {
    try await TestServer.with(
      models: ["people": ModelFixtures.logistic()],
      configure: { $0.admin = ListenAddress(host: "127.0.0.1", port: 0) }
    ) { test in
      guard let admin = await test.server.adminAddress() else {
        Issue.record("no admin address")
        return
      }
      let client = try await test.client()
      _ = try await client.predict("people", inputs: BadCall.good)
      let metrics = try await get("/metrics", admin)
      #expect(metrics.status == 200)
      #expect(metrics.type == "text/plain; version=0.0.4; charset=utf-8")
      for name in [
        "needletail_requests_total", "needletail_request_duration_seconds_bucket", "needletail_rows_total",
        "needletail_batch_rows_bucket", "needletail_connections", "needletail_connections_total",
        "needletail_frame_errors_total", "needletail_requests_in_flight", "needletail_model_version_state",
        "needletail_serving_version", "needletail_allow_unsigned", "needletail_build_info",
        "process_resident_memory_bytes", "process_start_time_seconds",
      ] {
        #expect(metrics.body.contains("\n\(name)"), "\(name) is missing")
      }
      #expect(TestServer.sum(of: "needletail_allow_unsigned", [:], in: metrics.body) == 1)
      #expect(TestServer.sum(of: "needletail_connections", [:], in: metrics.body) == 1)
      #expect(
        TestServer.sum(
          of: "needletail_requests_total", ["model": "people", "version": "1", "status": "OK"], in: metrics.body)
          == 1)
      #expect(try await get("/livez", admin).body == "live\n")
      let ready = try await get("/readyz", admin)
      #expect(ready.status == 200 && ready.body == "ready\n")
      #expect(try await get("/", admin).body.contains("href=\"metrics\""))
      #expect(try await get("/nothing", admin).status == 404)
      await client.close()
    }
  }

  @Test func whileStoppingTheServerAnswersButIsNotReady() async throws {
    let test = try await TestServer(
      models: ["people": ModelFixtures.logistic()],
      configure: {
        $0.admin = ListenAddress(host: "127.0.0.1", port: 0)
        // Room for a busy machine: all that follows must fit.
        $0.grace = .seconds(10)
      })
    try await test.server.waitUntilSettled()
    let address = await test.server.adminAddress()
    let client = try await test.client()
    _ = try await client.health()
    await test.server.stop()
    // Not ready at once, and says why; calls are still answered.
    while try await client.health().ready { await Task.yield() }
    if let address {
      let ready = try await get("/readyz", address)
      #expect(ready.status == 503)
      #expect(ready.body == "not ready: the server is stopping\n")
    }
    #expect(try await client.predict("people", inputs: BadCall.good).version == 1)
    try await test.waitUntilStopped()
    await client.close()
  }
}
