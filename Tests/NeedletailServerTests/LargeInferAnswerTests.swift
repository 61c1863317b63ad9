import Foundation
import NeedletailClient
import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailServer

/// Large answers over HTTP go out piece by piece, whole and in order, in every form.
@Suite("Large answers over HTTP", .timeLimit(.minutes(10)), .serialized)
struct LargeInferAnswerTests {
  private static let columns = 4000

  private static func with(
    configure: (inout ServerConfiguration) -> Void = { _ in },
    _ body: @escaping @Sendable (_ port: Int, _ expected: (Int) -> Prediction) async throws -> Void
  ) async throws {
    try await TestServer.with(
      models: LargeAnswerTests.models,
      configure: {
        $0.http = ListenAddress(host: "127.0.0.1", port: 0)
        configure(&$0)
      }
    ) { test in
      let client = try await test.client()
      var answers: [Int: Prediction] = [:]
      for rows in [1, 3, 50, 100] {
        answers[rows] = try await client.predict("wide", inputs: [.features(input(rows: rows), columns: 1)])
      }
      let found = answers
      try await body(try #require(test.server.httpAddress).port) { found[$0]! }
      try await test.wait(for: "needletail_output_waiting_bytes") { $0 == 0 }
      await client.close()
    }
  }

  private static func input(rows: Int) -> [Float] { (0..<rows).map { Float($0) / 4096 } }

  /// A request for rows of the model, with whatever stands behind its inputs.
  private static func request(rows: Int, _ more: String = "", version: String = "1.1") -> [UInt8] {
    let data = input(rows: rows).map(\.description).joined(separator: ",")
    let json =
      "{\"inputs\":[{\"name\":\"features\",\"datatype\":\"FP32\",\"shape\":[\(rows),1],\"data\":[\(data)]}]\(more)}"
    let head = "POST /v2/models/wide/infer HTTP/\(version)\r\nHost: x\r\nContent-Length: \(json.utf8.count)\r\n\r\n"
    return Array((head + json).utf8)
  }

  private static func expectJSON(_ answer: HTTPReader.Answer, _ expected: Prediction, rows: Int) throws {
    let json = try #require(try JSONSerialization.jsonObject(with: Data(answer.json)) as? [String: Any])
    let outputs = try #require(json["outputs"] as? [[String: Any]])
    #expect(outputs.map { $0["name"] as? String } == ["probabilities", "class", "label"])
    #expect(outputs[0]["shape"] as? [Int] == [rows, columns])
    let numbers = try #require(outputs[0]["data"] as? [NSNumber])
    #expect(numbers.map(\.floatValue) == expected.floats("probabilities"))
    #expect((outputs[1]["data"] as? [Int])?.map(Int64.init) == expected.integers("class"))
    #expect(outputs[2]["data"] as? [String] == expected.strings("label"))
  }

  @Test(arguments: [3, 50, 100]) func anAnswerInJSONComesInChunks(rows: Int) async throws {
    try await Self.with { port, expected in
      let answer = try await BlockingPeer.run {
        let reader = try HTTPReader(port: port)
        try reader.socket.send(Self.request(rows: rows))
        return try reader.next()
      }
      #expect(answer.status == 200 && answer.fields["transfer-encoding"] == "chunked")
      #expect(answer.fields["content-length"] == nil && answer.fields["content-type"] == "application/json")
      // A piece has 2,048 elements, of at most 16 bytes each.
      #expect(answer.chunks.count > rows && answer.chunks.max()! <= 40 << 10)
      try Self.expectJSON(answer, expected(rows), rows: rows)
    }
  }

  @Test func aSmallAnswerNamesItsLength() async throws {
    try await Self.with { port, expected in
      let answer = try await BlockingPeer.run {
        let reader = try HTTPReader(port: port)
        try reader.socket.send(Self.request(rows: 100, ",\"outputs\":[{\"name\":\"label\"}]"))
        return try reader.next()
      }
      #expect(answer.chunks == [] && answer.fields["content-length"] == "\(answer.body.count)")
      let json = try JSONSerialization.jsonObject(with: Data(answer.body)) as? [String: Any]
      let label = (json?["outputs"] as? [[String: Any]])?.first
      #expect(label?["data"] as? [String] == expected(100).strings("label"))
    }
  }

  @Test func bytesAreWholeBehindTheirJSON() async throws {
    try await Self.with { port, expected in
      let answer = try await BlockingPeer.run {
        let reader = try HTTPReader(port: port)
        try reader.socket.send(Self.request(rows: 100, ",\"parameters\":{\"binary_data_output\":true}"))
        return try reader.next()
      }
      #expect(answer.chunks == [] && answer.fields["content-length"] == "\(answer.body.count)")
      #expect(answer.json.count < 1000)
      let bytes = answer.body[answer.json.count...]
      let floats = 4 * 100 * Self.columns
      let found = Array(bytes.prefix(floats)).withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
      #expect(found == expected(100).floats("probabilities"))
      let classes = Array(bytes.dropFirst(floats).prefix(800)).withUnsafeBytes { Array($0.bindMemory(to: Int64.self)) }
      #expect(classes == expected(100).integers("class"))
      let labels = bytes.dropFirst(floats + 800)
      var wanted: [UInt8] = []
      for label in try #require(expected(100).strings("label")) {
        wanted += [UInt8(label.utf8.count), 0, 0, 0] + Array(label.utf8)
      }
      #expect(Array(labels) == wanted)
    }
  }

  @Test func jsonBesideBytesIsGatheredFirst() async throws {
    try await Self.with { port, expected in
      let answer = try await BlockingPeer.run {
        let reader = try HTTPReader(port: port)
        let outputs = """
          ,"outputs":[{"name":"probabilities"},{"name":"class","parameters":{"binary_data":true}},{"name":"label"}]
          """
        try reader.socket.send(Self.request(rows: 100, outputs))
        return try reader.next()
      }
      #expect(answer.chunks == [] && answer.fields["content-length"] == "\(answer.body.count)")
      let json = try #require(try JSONSerialization.jsonObject(with: Data(answer.json)) as? [String: Any])
      let outputs = try #require(json["outputs"] as? [[String: Any]])
      let numbers = try #require(outputs[0]["data"] as? [NSNumber])
      #expect(numbers.map(\.floatValue) == expected(100).floats("probabilities"))
      #expect(outputs[2]["data"] as? [String] == expected(100).strings("label"))
      let classes = Array(answer.body[answer.json.count...]).withUnsafeBytes { Array($0.bindMemory(to: Int64.self)) }
      #expect(classes == expected(100).integers("class"))
    }
  }

  @Test func aPeerOfTheOldVersionGetsALength() async throws {
    try await Self.with { port, expected in
      let answer = try await BlockingPeer.run {
        let reader = try HTTPReader(port: port)
        try reader.socket.send(Self.request(rows: 50, version: "1.0"))
        let answer = try reader.next()
        #expect(try reader.socket.read().isEmpty, "the connection ends with the answer")
        return answer
      }
      #expect(answer.chunks == [] && answer.fields["content-length"] == "\(answer.body.count)")
      #expect(answer.fields["connection"] == "close")
      try Self.expectJSON(answer, expected(50), rows: 50)
    }
  }

  @Test func answersOfOneConnectionComeInOrder() async throws {
    try await Self.with { port, expected in
      let rows = [1, 100, 1, 50, 100, 3, 1]
      let answers = try await BlockingPeer.run {
        // The kernel takes little, so that answers wait for one another.
        let reader = try HTTPReader(port: port, receiveBytes: 64 << 10)
        try reader.socket.send(rows.flatMap { Self.request(rows: $0) })
        return try rows.map { _ in try reader.next() }
      }
      for (count, answer) in zip(rows, answers) { try Self.expectJSON(answer, expected(count), rows: count) }
    }
  }

  @Test func othersAreAnsweredWhileALargeAnswerIsWritten() async throws {
    try await Self.with(configure: { $0.threads = 1 }) { port, expected in
      let reader = try HTTPReader(port: port, receiveBytes: 64 << 10)
      try reader.socket.send(Self.request(rows: 100))
      nonisolated(unsafe) let waiting = reader
      let answer = try await BlockingPeer.run {
        let other = try HTTPReader(port: port)
        for _ in 0..<50 {
          try other.socket.send(Self.request(rows: 1, ",\"outputs\":[{\"name\":\"label\"}]"))
          #expect(try other.next().status == 200)
        }
        return try waiting.next()
      }
      try Self.expectJSON(answer, expected(100), rows: 100)
    }
  }
}

/// Reads answers of HTTP/1.1 from a blocking socket.
final class HTTPReader {
  struct Answer {
    var status = 0
    /// By name in lower case.
    var fields: [String: String] = [:]
    var body: [UInt8] = []
    /// Bytes of each chunk; none without chunks.
    var chunks: [Int] = []

    /// The body, or its part in front of bytes.
    var json: ArraySlice<UInt8> {
      body.prefix(fields["inference-header-content-length"].flatMap { Int($0) } ?? body.count)
    }
  }

  let socket: BlockingPeer
  private var received: [UInt8] = []
  private var start = 0

  init(port: Int, receiveBytes: CInt = 0) throws { socket = try BlockingPeer(port: port, receiveBytes: receiveBytes) }

  func next() throws -> Answer {
    var answer = Answer()
    answer.status = Int(try line().split(separator: " ").dropFirst().first ?? "") ?? 0
    while case let field = try line(), !field.isEmpty {
      let parts = field.split(separator: ":", maxSplits: 1)
      answer.fields[parts[0].lowercased()] = parts.last?.trimmingCharacters(in: .whitespaces)
    }
    if let length = answer.fields["content-length"].flatMap({ Int($0) }) {
      answer.body = try take(length)
    } else {
      while case let size = try #require(Int(try line(), radix: 16)), size > 0 {
        answer.chunks.append(size)
        answer.body += try take(size)
        #expect(try line().isEmpty)
      }
      #expect(try line().isEmpty)
    }
    return answer
  }

  private func line() throws -> String {
    while true {
      if let end = received[start...].firstIndex(of: UInt8(ascii: "\n")) {
        defer { start = end + 1 }
        return String(decoding: received[start..<end].dropLast(), as: UTF8.self)
      }
      try more()
    }
  }

  private func take(_ count: Int) throws -> [UInt8] {
    while received.count - start < count { try more() }
    defer { start += count }
    return Array(received[start..<start + count])
  }

  private func more() throws {
    let bytes = try socket.read()
    guard !bytes.isEmpty else { throw ServingError.internal("expected more of an answer, found the end") }
    if start == received.count { (received, start) = ([], 0) }
    received += bytes
  }
}
