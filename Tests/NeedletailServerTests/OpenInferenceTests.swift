import Foundation
import NeedletailCore
import NeedletailEngine
import NeedletailSecurity
import NeedletailTestSupport
import Testing

@testable import NeedletailServer

/// The Open Inference Protocol against a server; the expected numbers are the engine's.
@Suite("Open Inference Protocol", .timeLimit(.minutes(10)))
struct OpenInferenceTests {
  /// Runs `body` with a blocking client, on a thread of its own: calls that are no predictions are answered by tasks, which
  /// it must not keep from running.
  private static func with(
    configure: (inout ServerConfiguration) -> Void = { _ in },
    _ body: @escaping @Sendable (TestServer, HTTPPeer) throws -> Void
  ) async throws {
    try await TestServer.with(
      models: PredictTests.models,
      configure: {
        $0.http = ListenAddress(host: "127.0.0.1", port: 0)
        configure(&$0)
      }
    ) { test in
      let port = try #require(test.server.httpAddress).port
      try await BlockingPeer.run { try body(test, try HTTPPeer(port: port)) }
    }
  }

  private static func people(_ income: String = "55.5", _ more: String = "") -> String {
    """
    {"id":"7","inputs":[{"name":"colour","shape":[2],"datatype":"BYTES","data":["green",null]},
    {"name":"income","shape":[2],"datatype":"FP64","data":[\(income),20]},
    {"name":"age","shape":[2,1],"datatype":"INT32","data":[[30],[null]]}]\(more)}
    """
  }

  @Test func aRequestInJSONGetsTheAnswerOfTheEngine() async throws {
    let expected = try CompiledModel(PredictTests.models["people"]!).answers(for: [
      [.number(30), .number(55.5), .text("green")], [.missing, .number(20), .missing],
    ])
    try await Self.with { _, peer in
      let answer = try peer.post("/v2/models/people/infer", Self.people())
      #expect(answer.status == 200 && answer.fields["content-type"] == "application/json")
      #expect(answer.text("model_name") == "people" && answer.text("model_version") == "1" && answer.text("id") == "7")
      #expect(answer.output("probabilities")?["datatype"] as? String == "FP32")
      #expect(answer.output("probabilities")?["shape"] as? [Int] == [2, 2])
      #expect(
        answer.output("probabilities")?["data"] as? [Double]
          == expected.numbers("probabilities")?.map { Double("\(Float($0))")! })
      #expect(answer.output("label")?["data"] as? [String] == expected.strings("label"))
      // The same connection goes on.
      let one = try peer.post(
        "/v2/models/people/versions/1/infer", Self.people("55.5", ",\"outputs\":[{\"name\":\"label\"}]"))
      #expect(one.json["outputs"].flatMap { ($0 as? [Any])?.count } == 1)
    }
  }

  @Test func tensorsAsBytesGetTheSameBits() async throws {
    let engine = try CompiledModel(PredictTests.models["digits"]!)
    var random = SplitMix64(seed: 3)
    let rows = (0..<20).map { _ in (0..<8).map { _ in random.nextFloat() } }
    let expected = try engine.answers(for: rows.map { $0.map { Cell.number(Double($0)) } })
    let json = """
      {"inputs":[{"name":"features","shape":[20,8],"datatype":"FP32","parameters":{"binary_data_size":640}}],
      "outputs":[{"name":"probabilities","parameters":{"binary_data":true}},{"name":"class","parameters":{"binary_data":true}},
      {"name":"label","parameters":{"binary_data":true}}]}
      """
    let blob = rows.flatMap { $0 }.flatMap { withUnsafeBytes(of: $0) { Array($0) } }
    try await Self.with { _, peer in
      let answer = try peer.post(
        "/v2/models/digits/infer", Array(json.utf8) + blob,
        fields: ["Inference-Header-Content-Length": "\(json.utf8.count)"])
      #expect(answer.status == 200)
      let head = try #require(answer.fields["inference-header-content-length"].flatMap { Int($0) })
      let bytes = Array(answer.body[head...])
      let floats = (0..<100).map { index in
        bytes.withUnsafeBytes { Double($0.loadUnaligned(fromByteOffset: 4 * index, as: Float.self)) }
      }
      #expect(floats == expected.numbers("probabilities"))
      var texts: [String] = []
      var at = 400 + 160
      while at < bytes.count {
        let count = Int(bytes[at])
        texts.append(String(decoding: bytes[(at + 4)..<(at + 4 + count)], as: UTF8.self))
        at += 4 + count
      }
      #expect(texts == expected.strings("label"))
      // A body of nothing but elements is one row.
      let raw = try peer.post(
        "/v2/models/digits/infer", Array(blob[..<32]), fields: ["Inference-Header-Content-Length": "0"])
      #expect(raw.status == 200 && raw.fields["inference-header-content-length"] != nil)
    }
  }

  @Test func theServerTellsItsLimitsAndErrorsTheirPlace() async throws {
    try await Self.with(configure: { $0.limits.batchRowsMax = 9 }) { _, peer in
      let server = try peer.get("/v2/server")
      #expect(
        server.status == 200 && server.text("name") == "needletail" && server.text("version") == needletailVersion)
      #expect((server.json["features"] as? [String])?.contains("open_inference") == true)
      let limits = server.json["limits"] as? [String: Int]
      #expect(limits?["rows_max"] == 9 && limits?["answer_bytes_max"] == Limits.answerBytesMax)
      #expect(try peer.post("/v2/server", "").status == 405)
      let unknown = try peer.post(
        "/v2/models/people/infer",
        Self.people().replacingOccurrences(of: "\"green\",null", with: "null,\"mauve\""))
      #expect(unknown.status == 400 && unknown.text("field") == "colour" && unknown.json["row"] as? Int == 1)
      #expect(try peer.get("/v2/models/none").text("field") == "model")
      let rows = Array(repeating: "[0,0,0,0,0,0,0,0]", count: 10).joined(separator: ",")
      let many = try peer.post(
        "/v2/models/digits/infer",
        "{\"inputs\":[{\"name\":\"features\",\"shape\":[10,8],\"datatype\":\"FP32\",\"data\":[\(rows)]}]}")
      let limit = many.json["limit"] as? [String: Any]
      #expect(many.status == 400 && many.text("field") == "features" && limit?["name"] as? String == "rows_max")
      #expect(limit?["maximum"] as? Int == 9 && limit?["found"] as? Int == 10)
    }
  }

  @Test func theServerAndItsModelsAreDescribed() async throws {
    try await Self.with { _, peer in
      #expect(try peer.get("/v2").text("name") == "needletail")
      #expect(try peer.get("/v2/health/live").json["live"] as? Bool == true)
      #expect(try peer.get("/v2/health/ready").json["ready"] as? Bool == true)
      let digits = try peer.get("/v2/models/digits")
      #expect((digits.json["inputs"] as? [[String: Any]])?.first?["name"] as? String == "features")
      #expect((digits.json["inputs"] as? [[String: Any]])?.first?["shape"] as? [Int] == [-1, 8])
      let people = try peer.get("/v2/models/people/versions/1")
      #expect(
        (people.json["inputs"] as? [[String: Any]])?.map { $0["datatype"] as? String } == ["FP32", "FP32", "BYTES"])
      #expect(people.json["versions"] as? [String] == ["1"])
      #expect(try peer.get("/v2/models/people/ready").json["ready"] as? Bool == true)
      #expect(try peer.get("/v2/models/people/config").json["max_batch_size"] as? Int == Limits.batchRowsMaxDefault)
      _ = try peer.post("/v2/models/people/infer", Self.people())
      let statistics = try peer.get("/v2/models/people/stats").json["model_stats"] as? [[String: Any]]
      #expect(statistics?.first?["name"] as? String == "people")
      let index = try peer.post("/v2/repository/index", "{}")
      let entries = try JSONSerialization.jsonObject(with: Data(index.body)) as? [[String: Any]]
      #expect(Set(entries?.compactMap { $0["name"] as? String } ?? []) == ["people", "line", "digits"])
      #expect(entries?.allSatisfy { $0["state"] as? String == "READY" } == true)
      #expect(try peer.post("/v2/repository/models/people/load", "").status == 200)
      #expect(try peer.post("/v2/repository/models/people/unload", "").status == 501)
      #expect(try peer.head("/v2/models/people").body.isEmpty)
      #expect(try peer.get("/v2/health/live").status == 200, "the answer to HEAD had no body")
    }
  }

  @Test func errorsHaveTheFormOfTheProtocolAndTheConnectionGoesOn() async throws {
    try await Self.with { _, peer in
      func error(_ answer: HTTPPeer.Answer) -> String { answer.text("error") ?? "" }
      let unknown = try peer.post("/v2/models/peopel/infer", Self.people())
      #expect(unknown.status == 404 && error(unknown).contains("did you mean \"people\""))
      let cell = try peer.post("/v2/models/people/infer", Self.people("\"many\""))
      #expect(cell.status == 400 && error(cell).contains("income"))
      #expect(try peer.post("/v2/models/people/versions/9/infer", Self.people()).status == 404)
      #expect(try peer.post("/v2/models/people/versions/x/infer", Self.people()).status == 404)
      #expect(try peer.post("/v2/models/people/infer", "{").status == 400)
      #expect(try peer.get("/v2/nothing").status == 404)
      #expect(try peer.get("/v3").status == 404)
      let method = try peer.get("/v2/models/people/infer")
      #expect(method.status == 405 && method.fields["allow"] == "POST")
      #expect(
        try peer.post("/v2/models/people/infer", Array("x".utf8), fields: ["Content-Encoding": "gzip"]).status == 415)
      let late = Self.people("55.5", ",\"parameters\":{\"label\":\"none\"}")
      #expect(try peer.post("/v2/models/people/infer", late).status == 404)
      #expect(try peer.post("/v2/models/people/infer", Self.people()).status == 200)
    }
  }

  @Test func requestsInARowAreAnsweredInTheirOrder() async throws {
    try await Self.with { _, peer in
      let body = #"{"inputs":[{"name":"features","shape":[1,2],"datatype":"FP32","data":[1,1]}]}"#
      for index in 0..<50 {
        peer.send(
          peer.request("POST", "/v2/models/line/infer", Array(body.replacing("[1,1]", with: "[\(index),0]").utf8)))
        peer.send("\r\n" + "GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
      }
      for index in 0..<50 {
        let answer = try #require(peer.answer())
        #expect(answer.output("prediction")?["data"] as? [Double] == [Double(2 * index + 1)])
        #expect(peer.answer()?.json["live"] as? Bool == true)
      }
    }
  }

  @Test func aBodyInChunksAndInPiecesIsOneBody() async throws {
    try await Self.with { _, peer in
      let body = #"{"inputs":[{"name":"features","shape":[1,2],"datatype":"FP32","data":[3,0]}]}"#
      peer.send("POST /v2/models/line/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
      for character in body {
        peer.send("1\r\n\(character)\r\n")
        if character == "[" { usleep(1000) }
      }
      peer.send("0\r\n\r\n")
      #expect(peer.answer()?.output("prediction")?["data"] as? [Double] == [7])
      peer.send(
        "POST /v2/models/line/infer HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: \(body.utf8.count)\r\n\r\n"
      )
      #expect(peer.answer()?.status == 100)
      peer.send(body)
      #expect(peer.answer()?.output("prediction")?["data"] as? [Double] == [7])
    }
  }

  @Test(arguments: [
    "GET /v2 HTTP/1.1\r\n\r\n", "POST /v2/models/line/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
    "POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v2 HTTP/1.1\r\n",
    "\u{0}\u{0}\u{0}\u{8}nonsense\r\n\r\n",
  ])
  func aRequestWithoutAClearEndIsAnsweredOnceAndEndsTheConnection(bytes: String) async throws {
    try await Self.with { _, peer in
      peer.send(bytes)
      let answer = try #require(peer.answer())
      #expect((400..<500).contains(answer.status) && answer.fields["connection"] == "close")
      #expect(peer.answer() == nil)
    }
  }

  @Test func aConnectionEndsWhenItsClientSaysSo() async throws {
    try await Self.with { _, peer in
      peer.send("GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(peer.answer()?.fields["connection"] == "close")
      #expect(peer.answer() == nil)
    }
    try await Self.with { _, peer in
      peer.send("GET /v2 HTTP/1.0\r\n\r\n")
      #expect(peer.answer()?.status == 200)
      #expect(peer.answer() == nil)
    }
  }

  @Test func everyRequestCountsByItsOwnKey() async throws {
    let (one, other) = (APIKey(), APIKey())
    let file = try KeyFileFixture(
      "keys:\n" + KeyFileFixture.entry("one", one, "models: [line]") + KeyFileFixture.entry("other", other))
    try await Self.with(configure: { $0.apiKeys = file.path }) { _, peer in
      let path = "/v2/models/people/infer"
      func post(_ token: String?) throws -> HTTPPeer.Answer {
        try peer.post(path, Array(Self.people().utf8), fields: token.map { ["Authorization": "Bearer \($0)"] } ?? [:])
      }
      let stranger = try post(nil)
      #expect(stranger.status == 401 && stranger.fields["www-authenticate"] == "Bearer")
      #expect(try peer.get("/v2/health/live").status == 200)
      #expect(try post(other.text).status == 200)
      #expect(try post(one.text).status == 403, "this key may call another model only")
      #expect(try post(other.text).status == 200)
      let wrong = try post("nt_wrong")
      #expect(wrong.status == 401 && wrong.fields["connection"] == nil)
      #expect(try post(nil).status == 401, "the key of an earlier request says nothing of this one")
      #expect(peer.answer() == nil)
    }
  }

  @Test func aServerWithoutKeysTakesAnyToken() async throws {
    try await Self.with { _, peer in
      let fields = ["Authorization": "Bearer abc"]
      for _ in 0..<3 {
        let answer = try peer.post("/v2/models/people/infer", Array(Self.people().utf8), fields: fields)
        #expect(answer.status == 200)
      }
    }
  }
}

/// A blocking client of HTTP that sends what it is told and reads answers by their length.
final class HTTPPeer {
  struct Answer {
    var status: Int
    /// By name in lower case.
    var fields: [String: String]
    var body: [UInt8]

    var json: [String: Any] {
      let head = fields["inference-header-content-length"].flatMap { Int($0) } ?? body.count
      return (try? JSONSerialization.jsonObject(with: Data(body[..<head]))) as? [String: Any] ?? [:]
    }

    func text(_ key: String) -> String? { json[key] as? String }

    func output(_ name: String) -> [String: Any]? {
      (json["outputs"] as? [[String: Any]])?.first { $0["name"] as? String == name }
    }
  }

  private let socket: BlockingPeer
  private var received: [UInt8] = []

  init(port: Int) throws { socket = try BlockingPeer(port: port, receiveBytes: 0) }

  func send(_ text: String) { send(Array(text.utf8)) }

  /// Sends as much as the server takes: one that has ended the connection may have answered before.
  func send(_ bytes: [UInt8]) { try? socket.send(bytes) }

  func request(_ method: String, _ path: String, _ body: [UInt8], fields: [String: String] = [:]) -> [UInt8] {
    let more = fields.map { "\($0.key): \($0.value)\r\n" }.joined()
    let length = method == "POST" ? "Content-Length: \(body.count)\r\n" : ""
    return Array("\(method) \(path) HTTP/1.1\r\nHost: x\r\n\(length)\(more)\r\n".utf8) + body
  }

  func get(_ path: String) throws -> Answer {
    send(request("GET", path, []))
    return try #require(answer())
  }

  func head(_ path: String) throws -> Answer {
    send(request("HEAD", path, []))
    return try #require(answer(hasBody: false))
  }

  func post(_ path: String, _ body: String) throws -> Answer { try post(path, Array(body.utf8)) }

  func post(_ path: String, _ body: [UInt8], fields: [String: String] = [:]) throws -> Answer {
    send(request("POST", path, body, fields: fields))
    return try #require(answer())
  }

  /// The next answer; nil at the end of the stream.
  func answer(hasBody: Bool = true) -> Answer? {
    while true {
      if let end = received.indices.first(where: { received[$0...].starts(with: Array("\r\n\r\n".utf8)) }) {
        let lines = String(decoding: received[..<end], as: UTF8.self).components(separatedBy: "\r\n")
        var fields: [String: String] = [:]
        for line in lines.dropFirst() {
          guard let colon = line.firstIndex(of: ":") else { continue }
          fields[line[..<colon].lowercased()] = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
        }
        let length = hasBody ? Int(fields["content-length"] ?? "0") ?? 0 : 0
        if received.count >= end + 4 + length {
          defer { received.removeFirst(end + 4 + length) }
          let status = Int(lines[0].split(separator: " ")[1]) ?? 0
          return Answer(status: status, fields: fields, body: Array(received[(end + 4)..<(end + 4 + length)]))
        }
      }
      guard let bytes = try? socket.read(atMost: 64 << 10), !bytes.isEmpty else { return nil }
      received += bytes
    }
  }
}
