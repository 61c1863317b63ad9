import NeedletailCore
import NeedletailProtobuf
import Testing

@testable import NeedletailServer

@Suite("Heads of HTTP requests") struct HTTPHeadTests {
  /// Status that a head is answered with; 200 for a good one, nil for one that has not ended.
  private static func status(_ text: String) -> Int? {
    Array(text.utf8).withUnsafeBytes { bytes in
      do throws(HTTPHead.Fault) {
        return try HTTPHead.parse(bytes) == nil ? nil : 200
      } catch {
        return error.status
      }
    }
  }

  @Test func aHeadSaysWhatFollows() throws {
    let bytes = Array(
      """
      POST /v2/models/a%20b/infer?x=1 HTTP/1.1\r\nHost: x\r\ncontent-LENGTH:  12 \r\nExpect: 100-Continue\r\n\
      Authorization: bearer  key-1 \r\nInference-Header-Content-Length: 7\r\nConnection: keep-alive, Close\r\n\r\nbody
      """.utf8)
    try bytes.withUnsafeBytes { bytes in
      let head = try #require(try HTTPHead.parse(bytes))
      #expect(head.method == .post && head.bodyBytes == 12 && head.expectsContinue && head.closes && !head.isChunked)
      #expect(head.jsonBytes == 7 && head.bytes == bytes.count - 4)
      #expect(head.path.elementsEqual("/v2/models/a%20b/infer".utf8))
      #expect(head.token?.elementsEqual("key-1".utf8) == true)
    }
  }

  @Test func aHeadThatHasNotEndedIsWaitedFor() throws {
    let text = "GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n"
    for count in 0..<text.utf8.count {
      #expect(Self.status(String(decoding: text.utf8.prefix(count), as: UTF8.self)) == nil, "\(count)")
    }
    #expect(Self.status(text) == 200)
  }

  @Test(arguments: [
    ("GET /v2 HTTP/1.1\r\n\r\n", 400),  // no Host
    ("GET /v2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("GET  /v2 HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET /v2\r\nHost: a\r\n\r\n", 400),
    ("GET http://a/v2 HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET /v2 HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ("GET /v2 HTTP/1.1\nHost: a\r\n\r\n", 400), ("GET /v2 HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400),
    ("GET /v2 HTTP/1.1\r\nHost : a\r\n\r\n", 400), ("GET /v2 HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
    ("GET /v2 HTTP/1.1\r\nHost: a\r\nX\u{0}: 1\r\n\r\n", 400), ("GET /v2 HTTP/1.1\r\n: a\r\n\r\n", 400),
    ("POST /v2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
    ("POST /v2 HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
    ("POST /v2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400),
    ("POST /v2 HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999999\r\n\r\n", 400),
    ("POST /v2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ("POST /v2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
    ("POST /v2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    ("POST /v2 HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ("POST /v2 HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417),
    ("GET /v2 HTTP/1.0\r\n\r\n", 200),
    ("GET / HTTP/1.1\r\nHost: a\r\n" + String(repeating: "X: 1\r\n", count: 200) + "\r\n", 431),
    ("GET /" + String(repeating: "a", count: 20_000), 431),
  ])
  func whatTwoReadersCouldReadDifferentlyIsRefused(text: String, status: Int) {
    #expect(Self.status(text) == status, "\(text.prefix(60).debugDescription)")
  }

  @Test func chunksThatArriveByteByByteAreOneBody() throws {
    let wire = Array("5;name=\"x\"\r\nhello\r\n1\r\n,\r\n6\r\n world\r\n0\r\nTrailer: 1\r\n\r\nGET".utf8)
    var body = ChunkedBody()
    for count in 0...wire.count {
      let end = try wire[..<count].withUnsafeBytes { try body.read($0, bytesMax: 100) }
      if let end {
        #expect(end == wire.count - 3 && count == end)
        #expect(body.bytes == Array("hello, world".utf8))
        return
      }
    }
    Issue.record("the body has no end")
  }

  @Test(arguments: [
    "x\r\n", "5\r\nhelloX\r\n", "123456789\r\n", "5\nhello\r\n", "ff\r\n" + String(repeating: "a", count: 255) + "\r\n",
    "5" + String(repeating: ";", count: 300), "-1\r\n", " 5\r\nhello\r\n",
  ])
  func brokenChunksAreRefused(wire: String) {
    var body = ChunkedBody()
    #expect(throws: HTTPHead.Fault.self) {
      _ = try Array(wire.utf8).withUnsafeBytes { try body.read($0, bytesMax: 100) }
    }
  }
}

@Suite("Inference requests in JSON") struct InferRequestTests {
  /// Reads a body and its tensors.
  private static func read(
    _ body: [UInt8], jsonBytes: Int? = nil,
    _ look: (InferRequest, UnsafeBufferPointer<TensorView>, UnsafeBufferPointer<UnsafeRawBufferPointer>) -> Void = {
      _, _, _ in
    }
  ) throws {
    let arena = MessageArena()
    var request = InferRequest()
    try body.withUnsafeBytes { body in
      try request.read(body, jsonBytes: jsonBytes, arena: arena)
      let (tensors, outputs) = try request.tensors(arena: arena)
      look(request, tensors, outputs)
    }
  }

  private static func error(_ body: String, jsonBytes: Int? = nil) -> String? {
    do {
      try read(Array(body.utf8), jsonBytes: jsonBytes)
      return nil
    } catch {
      return (error as? ServingError)?.message ?? "another error"
    }
  }

  private static func input(_ rest: String) -> String { "{\"inputs\":[{\"name\":\"x\",\(rest)}]}" }

  @Test func everythingThatARequestSaysIsRead() throws {
    let body = """
      {"id":"a\\"1","parameters":{"label":"can\\u0061ry","routing_key":"u 1","priority":2,"timeout":5000,"x":[{}]},
       "extra": null, "inputs":[{"name":"f\\n","shape":[2,3],"datatype":"FP32","data":[[1,-2.5e1,null],[0.1,3,4]]},
       {"name":"t","datatype":"BYTES","shape":[2],"data":["a\\u00e4\\ud83d\\ude00","b"]}],
       "outputs":[{"name":"p","parameters":{"binary_data":true}},{"name":"l"}]}
      """
    try Self.read(Array(body.utf8)) { request, tensors, outputs in
      #expect(request.idText == Array("\"a\\\"1\"".utf8))
      #expect(request.head.label?.elementsEqual("canary".utf8) == true)
      #expect(request.head.routingKey.elementsEqual("u 1".utf8))
      #expect(request.head.priority == .bulk && request.head.timeoutMicroseconds == 5000 && request.head.rows == 2)
      #expect(tensors.count == 2 && tensors[0].name.elementsEqual("f\n".utf8) && Array(tensors[0].shape) == [2, 3])
      let numbers = tensors[0].data.bindMemory(to: Double.self)
      #expect(numbers[0] == 1 && numbers[1] == -25 && numbers[2].isNaN && numbers[3] == Double(Float(0.1)))
      #expect(tensors[1].strings[0].elementsEqual("aä😀".utf8) && tensors[1].strings[1].elementsEqual("b".utf8))
      #expect(outputs.map { String(decoding: $0, as: UTF8.self) } == ["p", "l"])
      #expect(request.isBinary(Array("p".utf8)) && !request.isBinary(Array("l".utf8)))
    }
  }

  @Test func bytesBehindTheJSONAreTheElementsInTheOrderOfTheInputs() throws {
    let json = """
      {"inputs":[{"name":"a","shape":[2],"datatype":"FP32","parameters":{"binary_data_size":8}},
      {"name":"s","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}}],
      "parameters":{"binary_data_output":true}}
      """
    let blob: [UInt8] = [0, 0, 128, 63, 0, 0, 0, 64, 3, 0, 0, 0, 97, 98, 99, 0, 0, 0, 0]
    try Self.read(Array(json.utf8) + blob, jsonBytes: json.utf8.count) { request, tensors, _ in
      #expect(tensors[0].type == .float32 && tensors[0].data.loadUnaligned(fromByteOffset: 4, as: Float.self) == 2)
      #expect(tensors[1].strings[0].elementsEqual("abc".utf8) && tensors[1].strings[1].isEmpty)
      #expect(request.isBinary(Array("anything".utf8)))
    }
    try Self.read([0, 0, 128, 63, 0, 0, 0, 64], jsonBytes: 0) { _, tensors, _ in
      #expect(Array(tensors[0].shape) == [1, 2] && tensors[0].name.elementsEqual("features".utf8))
    }
  }

  @Test(arguments: [
    ("", "expected an object, found its end"), ("[]", "expected an object"), ("{}", "at least one tensor"),
    ("{\"inputs\":[]}", "at least one tensor"), ("{\"inputs\":[{}]}", "expected a name"),
    ("{\"inputs\":[]} x", "nothing behind"), ("{\"inputs\":[", "found its end"),
    (input("\"shape\":[1],\"data\":[1]"), "expected a datatype"),
    (input("\"datatype\":\"FP32\",\"data\":[1]"), "expected a shape"),
    (input("\"datatype\":\"FP32\",\"shape\":[1]"), "expected data, or binary_data_size"),
    (input("\"datatype\":\"FLOAT\",\"shape\":[1],\"data\":[1]"), "found \"FLOAT\""),
    (input("\"datatype\":\"FP32\",\"shape\":[2],\"data\":[1]"), "expected 2 elements for its shape, found 1"),
    (input("\"datatype\":\"FP32\",\"shape\":[1],\"data\":[1,2]"), "expected 1 elements for its shape, found more"),
    (input("\"datatype\":\"FP32\",\"shape\":[-1],\"data\":[1]"), "a dimension from 0"),
    (input("\"datatype\":\"FP32\",\"shape\":[1e3],\"data\":[1]"), "a dimension from 0"),
    (input("\"datatype\":\"FP32\",\"shape\":[18446744073709551615,2],\"data\":[1]"), "found fewer"),
    (input("\"datatype\":\"FP32\",\"shape\":[1],\"data\":[01]"), "a number or null"),
    (input("\"datatype\":\"FP32\",\"shape\":[1],\"data\":[NaN]"), "a number or null"),
    (input("\"datatype\":\"FP32\",\"shape\":[1],\"data\":[\"1\"]"), "a number or null"),
    (input("\"datatype\":\"FP32\",\"shape\":[1],\"data\":[true]"), "a number or null"),
    (input("\"datatype\":\"INT8\",\"shape\":[1],\"data\":[128]"), "whole number of INT8"),
    (input("\"datatype\":\"INT32\",\"shape\":[1],\"data\":[1.5]"), "whole number of INT32"),
    (input("\"datatype\":\"BOOL\",\"shape\":[1],\"data\":[2]"), "expected true, false"),
    (input("\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[1]"), "a string or null"),
    (input("\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"\\ud800\"]"), "valid escapes"),
    (input("\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"\\x\"]"), "valid escapes"),
    (input("\"datatype\":\"FP32\",\"shape\":[1],\"data\":1"), "a list of elements"),
    (input("\"datatype\":\"FP32\",\"shape\":[1],\"parameters\":{\"binary_data_size\":4}"), "Inference-Header"),
    (input("\"datatype\":\"FP32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data\":[1]"), "at most 8 dimensions"),
    (String(repeating: "[", count: 100_000), "expected an object"),
    ("{\"x\":" + String(repeating: "[", count: 100_000), "at most 32 levels"),
    ("{\"x\":" + String(repeating: "{\"a\":", count: 100_000), "at most 32 levels"),
  ])
  func whatIsWrongIsNamed(body: String, words: String) {
    let message = Self.error(body)
    #expect(message?.contains(words) == true, "\(message ?? "no error"), expected \(words)")
  }

  @Test func bytesThatDoNotAddUpAreRefused() {
    let one = Self.input("\"datatype\":\"FP32\",\"shape\":[1],\"parameters\":{\"binary_data_size\":4}")
    #expect(Self.error(one + "abc", jsonBytes: one.utf8.count)?.contains("expected at most 3 bytes") == true)
    #expect(Self.error(one + "abcde", jsonBytes: one.utf8.count)?.contains("expected 4 bytes behind") == true)
    #expect(Self.error(one, jsonBytes: one.utf8.count + 1)?.contains("bytes of the body") == true)
    let text = Self.input("\"datatype\":\"BYTES\",\"shape\":[1],\"parameters\":{\"binary_data_size\":4}")
    #expect(Self.error(text + "\u{1}\0\0\0", jsonBytes: text.utf8.count)?.contains("element 0") == true)
    #expect(Self.error("abc", jsonBytes: 0)?.contains("one row of FP32") == true)
  }

  /// Every prefix and every changed byte of a good body is read or refused, and nothing traps.
  @Test func noBodyTraps() {
    let good =
      Array(
        #"{"id":"1","inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1.5,[2]]},{"name":"\u00e4","shape":[1],"#
          .utf8)
      + Array(
        #""datatype":"BYTES","data":["\ud83d\ude00"]}],"outputs":[{"name":"a","parameters":{"binary_data":true}}]}"#
          .utf8)
    for count in 0..<good.count { try? Self.read(Array(good[..<count])) }
    var random = SplitMix64(seed: 1)
    for _ in 0..<20_000 {
      var bytes = good
      for _ in 0..<(1 + random.next() % 3) {
        bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
      }
      try? Self.read(bytes, jsonBytes: random.next() % 2 == 0 ? nil : Int(random.next() % 300))
    }
  }
}
