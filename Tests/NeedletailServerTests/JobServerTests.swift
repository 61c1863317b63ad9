import Foundation
import NeedletailCore
import NeedletailEngine
import NeedletailSecurity
import NeedletailTestSupport
import Testing

@testable import NeedletailServer

/// Asynchronous jobs over HTTP; the expected numbers are those of ordinary calls.
@Suite("Jobs", .timeLimit(.minutes(10)))
struct JobServerTests {
  private static func with(
    configure: (inout ServerConfiguration) -> Void = { _ in },
    _ body: @escaping @Sendable (TestServer, HTTPPeer) throws -> Void
  ) async throws {
    try await TestServer.with(
      models: PredictTests.models,
      configure: {
        $0.http = ListenAddress(host: "127.0.0.1", port: 0)
        $0.jobs?.niceness = 0
        configure(&$0)
      }
    ) { test in
      let port = try #require(test.server.httpAddress).port
      try await BlockingPeer.run { try body(test, try HTTPPeer(port: port)) }
    }
  }

  /// Rows of the model `line`, whose answer is twice the first column and one.
  private static func line(_ values: some Collection<Int>, _ more: String = "") -> String {
    let data = values.map { "\($0),0" }.joined(separator: ",")
    return """
      {"id":"7","inputs":[{"name":"features","shape":[\(values.count),2],"datatype":"FP32","data":[\(data)]}]\(more)}
      """
  }

  /// Answers of the model to the rows from 0 on.
  private static func answers(_ rows: Int) -> [Double] { (0..<rows).map { Double(2 * $0 + 1) } }

  private static func floats(_ bytes: some Collection<UInt8>) -> [Float] {
    Array(bytes).withUnsafeBytes { bytes in
      (0..<bytes.count / 4).map { bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
    }
  }

  /// Asks until the job is in a state that ends.
  private static func wait(_ peer: HTTPPeer, _ id: String, key: String? = nil) throws -> HTTPPeer.Answer {
    while true {
      let answer = try peer.ask("GET", "/v2/jobs/\(id)", key: key)
      guard ["queued", "running"].contains(answer.text("state")) else { return answer }
    }
  }

  @Test func aJobHasTheAnswerOfACall() async throws {
    // More rows than a call may have, and than one run of a plan takes.
    try await Self.with(configure: { $0.limits.batchRowsMax = 100 }) { test, peer in
      let submitted = try peer.post("/v2/models/line/jobs", Self.line(0..<1000))
      let id = try #require(submitted.text("id"))
      #expect(submitted.status == 202 && submitted.fields["location"] == "/v2/jobs/\(id)")
      #expect(submitted.text("model_name") == "line")
      let done = try Self.wait(peer, id)
      #expect(done.status == 200 && done.text("state") == "done" && done.text("model_version") == "1")
      #expect(done.json["rows"] as? Int == 1000 && done.json["rows_done"] as? Int == 1000)
      #expect((done.json["expires_in_seconds"] as? Double).map { $0 > 3000 } == true)
      let result = try peer.get("/v2/jobs/\(id)/result")
      #expect(result.status == 200 && result.text("model_version") == "1" && result.text("id") == "7")
      #expect(result.output("prediction")?["data"] as? [Double] == Self.answers(1000))
      #expect(try peer.head("/v2/jobs/\(id)/result").body.isEmpty)
      let part = try peer.post("/v2/models/line/infer", Self.line(0..<100))
      #expect(part.output("prediction")?["data"] as? [Double] == Self.answers(100))
      #expect(test.figure("needletail_job_rows_total") == 1000)
      #expect(test.figure("needletail_rows_total", ["model": "line"]) == 100, "rows of jobs are no traffic")
      // What is dropped is gone.
      #expect(try peer.ask("DELETE", "/v2/jobs/\(id)").text("state") == "expired")
      #expect(try peer.get("/v2/jobs/\(id)/result").status == 410)
      #expect(test.figure("needletail_job_bytes") == 0)
    }
  }

  @Test func tensorsAsBytesComeBackAsBytes() async throws {
    try await Self.with { _, peer in
      let json = """
        {"inputs":[{"name":"features","shape":[300,2],"datatype":"FP32","parameters":{"binary_data_size":2400}}],
        "parameters":{"binary_data_output":true}}
        """
      var blob: [UInt8] = []
      for row in 0..<300 {
        for value in [Float(row), 0] { withUnsafeBytes(of: value) { blob += $0 } }
      }
      let fields = ["Inference-Header-Content-Length": "\(json.utf8.count)"]
      let submitted = try peer.post("/v2/models/line/versions/1/jobs", Array(json.utf8) + blob, fields: fields)
      let id = try #require(submitted.text("id"))
      #expect(try Self.wait(peer, id).text("state") == "done")
      let result = try peer.get("/v2/jobs/\(id)/result")
      let head = try #require(result.fields["inference-header-content-length"].flatMap { Int($0) })
      #expect(Self.floats(result.body[head...]).map(Double.init) == Self.answers(300))
    }
  }

  @Test func whatIsWrongWithARequestIsTheErrorOfItsJob() async throws {
    try await Self.with(configure: { $0.jobs?.rowsMax = 500 }) { _, peer in
      func fault(_ body: String, model: String = "line") throws -> (HTTPPeer.Answer, HTTPPeer.Answer) {
        let id = try #require(try peer.post("/v2/models/\(model)/jobs", body).text("id"))
        return (try Self.wait(peer, id), try peer.get("/v2/jobs/\(id)/result"))
      }
      for body in ["", "{", "[]", "{\"inputs\":[]}", Self.line(0..<501)] {
        let (status, result) = try fault(body)
        #expect(status.status == 200 && status.text("state") == "failed", "\(body.prefix(20))")
        #expect(status.text("code") == "INVALID_ARGUMENT" && status.text("error") == result.text("error"))
        #expect(result.status == 400 && result.text("state") == nil)
      }
      let row = Self.line(0..<400).replacing("399,0", with: "1e300,0")
      let (status, _) = try fault(row)
      #expect(status.json["row"] as? Int == 399, "rows count from the first of the job")
      let (label, result) = try fault(Self.line(0..<1, ",\"parameters\":{\"label\":\"none\"}"))
      #expect(label.text("code") == "NOT_FOUND" && result.status == 404)
      let (late, lateResult) = try fault(Self.line(0..<1, ",\"parameters\":{\"timeout\":1}"))
      #expect(late.text("code") == "DEADLINE_EXCEEDED" && lateResult.status == 504)
    }
  }

  @Test func anAnswerThatWouldBeTooLongIsFoundBeforeItIsComputed() async throws {
    try await Self.with(configure: { $0.jobs?.resultBytesMax = 4096 }) { test, peer in
      let id = try #require(try peer.post("/v2/models/line/jobs", Self.line(0..<1000)).text("id"))
      let failed = try Self.wait(peer, id)
      #expect(failed.text("state") == "failed" && failed.text("code") == "INVALID_ARGUMENT")
      #expect((failed.json["limit"] as? [String: Any])?["name"] as? String == "job_result_bytes_max")
      #expect(failed.json["rows"] as? Int == 1000 && failed.json["rows_done"] as? Int == 0)
      #expect(test.figure("needletail_job_bytes", ["kind": "results"]) == 0)
    }
  }

  @Test func submissionsThatCannotBeAreRefusedAndTheConnectionGoesOn() async throws {
    try await Self.with(configure: { $0.jobs?.requestBytesMax = 4096 }) { test, peer in
      let body = Array(Self.line(0..<2).utf8)
      #expect(try peer.post("/v2/models/none/jobs", body).status == 404)
      #expect(try peer.post("/v2/models/line/versions/9/jobs", body).status == 404)
      #expect(try peer.post("/v2/models/line/versions/x/jobs", body).status == 404)
      #expect(try peer.post("/v2/models/line/j%6fbs", body).status == 404)
      #expect(try peer.get("/v2/models/line/jobs").status == 405)
      #expect(try peer.post("/v2/models/line/jobs", body, fields: ["Content-Encoding": "gzip"]).status == 415)
      for key in ["", String(repeating: "k", count: Limits.jobKeyBytesMax + 1)] {
        #expect(try peer.post("/v2/models/line/jobs", body, fields: ["Idempotency-Key": key]).status == 400)
      }
      let long = try peer.post("/v2/models/line/jobs", Self.line(0..<4000))
      #expect(long.status == 413 && (long.json["limit"] as? [String: Any])?["maximum"] as? Int == 4096)
      #expect(test.figure("needletail_jobs_refused_total", ["reason": "request"]) >= 3)
      #expect(try peer.post("/v2/models/line/jobs", body).status == 202)
      #expect(test.figure("needletail_job_bytes", ["kind": "requests"]) <= Double(body.count))
      let unknown = try peer.get("/v2/jobs/0123456789abcdef0123456789abcdef")
      #expect(unknown.status == 404 && unknown.text("field") == "job")
      #expect(try peer.get("/v2/jobs/0123456789abcdef0123456789abcdef/result").status == 404)
      #expect(try peer.get("/v2/jobs/nonsense").status == 404)
      let method = try peer.post("/v2/jobs/0123456789abcdef0123456789abcdef", "")
      #expect(method.status == 405 && method.fields["allow"] == "GET, HEAD, DELETE")
    }
  }

  @Test(arguments: [
    ("POST /v2/models/line/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
    ("POST /v2/models/line/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413),
    ("POST /v2/models/line/jobs HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 999999999\r\n\r\n", 413),
  ])
  func aBodyThatIsNotTakenEndsTheConnection(head: String, status: Int) async throws {
    try await Self.with { _, peer in
      peer.send(head)
      let answer = try #require(peer.answer())
      #expect(answer.status == status && answer.fields["connection"] == "close")
      #expect(peer.answer() == nil)
    }
  }

  @Test func aBodyInPiecesIsTakenOverAsItArrivesAndLetGoWithItsConnection() async throws {
    try await Self.with { test, peer in
      let body = Self.line(0..<2000)
      peer.send(
        "POST /v2/models/line/jobs HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: \(body.utf8.count)\r\n\r\n"
      )
      #expect(peer.answer()?.status == 100)
      for start in stride(from: 0, to: body.utf8.count, by: 1000) {
        peer.send(Array(Array(body.utf8)[start..<min(start + 1000, body.utf8.count)]))
      }
      let id = try #require(peer.answer()?.text("id"))
      #expect(try Self.wait(peer, id).text("state") == "done")
      let port = try #require(test.server.httpAddress).port
      var leaving: HTTPPeer? = try HTTPPeer(port: port)
      leaving?.send("POST /v2/models/line/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n{")
      while test.figure("needletail_job_bytes", ["kind": "requests"]) < 50_000_000 { usleep(1000) }
      leaving = nil
      while test.figure("needletail_job_bytes", ["kind": "requests"]) > 0 { usleep(1000) }
    }
  }

  @Test func thereIsRoomForSoManyBytesOfRequests() async throws {
    try await Self.with(configure: { $0.jobs?.bytesMax = 2 << 20 }) { test, peer in
      let port = try #require(test.server.httpAddress).port
      let holder = try HTTPPeer(port: port)
      holder.send("POST /v2/models/line/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1048570\r\n\r\n")
      while test.figure("needletail_job_bytes", ["kind": "requests"]) < 1_048_570 { usleep(1000) }
      let refused = try peer.post("/v2/models/line/jobs", Self.line(0..<2))
      #expect(refused.status == 503 && refused.text("code") == "OVERLOADED" && refused.fields["retry-after"] == "1")
      #expect(test.figure("needletail_jobs_refused_total", ["reason": "memory"]) == 1)
      withExtendedLifetime(holder) {}
    }
  }

  @Test func manyJobsOfOneCallerAreRefusedAndCounted() async throws {
    try await Self.with(configure: { $0.jobs?.perCallerMax = 5 }) { test, peer in
      var statuses: [Int] = []
      for _ in 0..<200 { statuses.append(try peer.post("/v2/models/line/jobs", Self.line(0..<1)).status) }
      #expect(statuses.prefix(5) == [202, 202, 202, 202, 202])
      #expect(statuses.dropFirst(5).allSatisfy { $0 == 503 })
      #expect(test.figure("needletail_jobs_refused_total", ["reason": "count"]) == 195)
    }
  }

  @Test func aKeyOfTheCallerMakesTwoSubmissionsOneJob() async throws {
    try await Self.with { _, peer in
      func submit(_ body: String) throws -> HTTPPeer.Answer {
        try peer.post("/v2/models/line/jobs", Array(body.utf8), fields: ["Idempotency-Key": "night 7"])
      }
      let first = try submit(Self.line(0..<3))
      let again = try submit(Self.line(0..<3))
      #expect(first.status == 202 && again.status == 200 && first.text("id") == again.text("id"))
      let other = try submit(Self.line(0..<4))
      #expect(other.status == 409 && other.text("field") == "Idempotency-Key")
    }
  }

  @Test func resultsExpire() async throws {
    try await Self.with(configure: { $0.jobs?.resultTime = .milliseconds(1) }) { test, peer in
      let id = try #require(try peer.post("/v2/models/line/jobs", Self.line(0..<3)).text("id"))
      while try peer.get("/v2/jobs/\(id)").text("state") != "expired" { usleep(1000) }
      let result = try peer.get("/v2/jobs/\(id)/result")
      #expect(result.status == 410 && result.text("code") == "NOT_FOUND")
      #expect(test.figure("needletail_jobs_total", ["state": "expired"]) == 1)
      #expect(test.figure("needletail_job_bytes", ["kind": "results"]) == 0)
    }
  }

  @Test func aJobIsKnownToItsKeyOnly() async throws {
    let (one, other) = (APIKey(), APIKey())
    let file = try KeyFileFixture(
      "keys:\n" + KeyFileFixture.entry("one", one, "models: [line]")
        + KeyFileFixture.entry("other", other, "calls: [predict]"))
    try await Self.with(configure: { $0.apiKeys = file.path }) { test, peer in
      let port = try #require(test.server.httpAddress).port
      func submit(_ key: String, _ model: String = "line") throws -> HTTPPeer.Answer {
        let fields = ["Authorization": "Bearer \(key)"]
        return try peer.post("/v2/models/\(model)/jobs", Array(Self.line(0..<3000).utf8), fields: fields)
      }
      #expect(try submit(one.text, "digits").status == 403)
      let id = try #require(try submit(one.text).text("id"))
      #expect(try Self.wait(peer, id, key: one.text).text("state") == "done")
      for (method, path) in [("GET", ""), ("GET", "/result"), ("DELETE", "")] {
        #expect(try peer.ask(method, "/v2/jobs/\(id)\(path)", key: other.text).status == 404)
      }
      #expect(try peer.ask("GET", "/v2/jobs/\(id)/result", key: one.text).status == 200)
      let stranger = try HTTPPeer(port: port)
      stranger.send("POST /v2/models/line/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n")
      let refused = try #require(stranger.answer())
      #expect(refused.status == 401 && refused.fields["connection"] == "close", "a stranger's long body is not read")
    }
  }

  @Test func aServerMayTakeNone() async throws {
    try await Self.with(configure: { $0.jobs = nil }) { _, peer in
      let refused = try peer.post("/v2/models/line/jobs", Self.line(0..<3))
      #expect(refused.status == 501 && refused.text("code") == "UNIMPLEMENTED")
      #expect(try peer.get("/v2/jobs/0123456789abcdef0123456789abcdef").status == 501)
      #expect(try peer.get("/v2/health/live").status == 200)
    }
  }

  @Test func aJobAnswersWithOneVersionWhileAnotherGoesLive() async throws {
    try await TestServer.with(
      models: PredictTests.models,
      configure: {
        $0.http = ListenAddress(host: "127.0.0.1", port: 0)
        $0.jobs?.niceness = 0
      }
    ) { test in
      let port = try #require(test.server.httpAddress).port
      let rows = 400_000
      let id = try await BlockingPeer.run {
        let peer = try HTTPPeer(port: port)
        let json = """
          {"inputs":[{"name":"features","shape":[\(rows),2],"datatype":"FP32","parameters":{"binary_data_size":\(rows * 8)}}],
          "parameters":{"binary_data_output":true}}
          """
        let fields = ["Inference-Header-Content-Length": "\(json.utf8.count)"]
        let blob = [UInt8](repeating: 0, count: rows * 8)
        let submitted = try peer.post("/v2/models/line/jobs", Array(json.utf8) + blob, fields: fields)
        let id = try #require(submitted.text("id"))
        while try peer.get("/v2/jobs/\(id)").text("model_version") == nil {}
        return id
      }
      try test.publish(ModelFixtures.linearRegression(weights: [5, 0], bias: 9), "line", 2)
      try await test.waitUntilServing("line", 2)
      try await BlockingPeer.run {
        let peer = try HTTPPeer(port: port)
        let done = try Self.wait(peer, id)
        #expect(done.text("state") == "done" && done.text("model_version") == "1")
        let result = try peer.get("/v2/jobs/\(id)/result")
        let head = try #require(result.fields["inference-header-content-length"].flatMap { Int($0) })
        #expect(Set(Self.floats(result.body[head...])) == [1], "every row by version 1")
      }
    }
  }

  @Test func aServerThatStopsFailsItsJobsAndSaysSo() async throws {
    try await TestServer.with(
      models: PredictTests.models,
      configure: {
        $0.http = ListenAddress(host: "127.0.0.1", port: 0)
        $0.jobs?.niceness = 0
        $0.grace = .seconds(2)
      }
    ) { test in
      let port = try #require(test.server.httpAddress).port
      try await BlockingPeer.run {
        let peer = try HTTPPeer(port: port)
        let ids = try (0..<3).map { _ in
          try #require(try peer.post("/v2/models/line/jobs", Self.line(0..<5000)).text("id"))
        }
        let stopping = Task { await test.server.stop() }
        while try peer.get("/v2/health/ready").status == 200 {}
        #expect(try peer.post("/v2/models/line/jobs", Self.line(0..<3)).status == 503)
        let states = try ids.map { id in
          let answer = try Self.wait(peer, id)
          if answer.text("state") == "failed" { #expect(answer.text("code") == "UNAVAILABLE") }
          return answer.text("state")
        }
        // Those that waited have failed; the one that ran had the grace time to end.
        #expect(states.allSatisfy { $0 == "done" || $0 == "failed" })
        withExtendedLifetime(stopping) {}
      }
    }
  }
}

extension HTTPPeer {
  /// Makes a request without a body.
  func ask(_ method: String, _ path: String, key: String? = nil) throws -> Answer {
    send(request(method, path, [], fields: key.map { ["Authorization": "Bearer \($0)"] } ?? [:]))
    return try #require(answer())
  }
}
