import NeedletailClient
import NeedletailCore
import NeedletailTestSupport
import NeedletailWire
import Testing

@testable import NeedletailServer

/// One wrong call and how it must be answered.
struct BadCall: Sendable, CustomTestStringConvertible {
  var name: String
  var model = "people"
  var selector = VersionSelector.serving
  var inputs: [InputTensor]
  var outputs: [String] = []
  var code: StatusCode
  /// What the sentence must hold: the field, what was expected, what was found.
  var says: [String]

  var testDescription: String { name }

  static let good: [InputTensor] = [.column("age", [30.0]), .column("income", [50.0]), .column("colour", ["red"])]

  static func replacing(_ index: Int, _ tensor: InputTensor) -> [InputTensor] {
    var inputs = good
    inputs[index] = tensor
    return inputs
  }

  static let all: [BadCall] = [
    BadCall(name: "unknown model", model: "peple", inputs: good, code: .notFound, says: ["\"peple\"", "\"people\""]),
    BadCall(name: "no model", model: "", inputs: good, code: .invalidArgument, says: ["model", "found none"]),
    BadCall(
      name: "unknown version", selector: .version(9), inputs: good, code: .notFound, says: ["people", "version 9", "1"]),
    BadCall(name: "unknown label", selector: .label("canary"), inputs: good, code: .notFound, says: ["\"canary\""]),
    BadCall(
      name: "unknown output", inputs: good, outputs: ["lable"], code: .notFound, says: ["\"lable\"", "\"label\""]),
    BadCall(name: "no inputs", inputs: [], code: .invalidArgument, says: ["expected", "found"]),
    BadCall(name: "absent column", inputs: Array(good.dropLast()), code: .invalidArgument, says: ["colour"]),
    BadCall(
      name: "unknown column", inputs: good + [.column("size", [1.0])], code: .invalidArgument, says: ["size"]),
    BadCall(name: "column twice", inputs: good + [good[0]], code: .invalidArgument, says: ["age"]),
    BadCall(
      name: "columns of different lengths", inputs: replacing(1, .column("income", [1.0, 2.0])),
      code: .invalidArgument, says: ["income", "1", "2"]),
    BadCall(
      name: "matrix too narrow", inputs: [.features([1, 2], columns: 2)], code: .invalidArgument,
      says: ["features", "3", "2"]),
    BadCall(
      name: "shape beyond its data",
      inputs: replacing(1, InputTensor(name: "income", type: .float32, shape: [3], data: [0, 0, 0, 0])),
      code: .invalidArgument, says: ["income", "1 rows", "found 3"]),
    BadCall(
      name: "shape that overflows",
      inputs: [
        InputTensor(name: "features", type: .float32, shape: [.max, .max], data: [0, 0, 0, 0])
      ], code: .invalidArgument, says: ["features"]),
    BadCall(
      name: "too many rows",
      inputs: [.features([Float](repeating: 1, count: 3 * 101), columns: 3)], code: .invalidArgument,
      says: ["100", "101"]),
    BadCall(
      name: "text where numbers are due", inputs: replacing(1, .column("income", ["lots"])), code: .invalidArgument,
      says: ["income"]),
    BadCall(
      name: "numbers where text is due", inputs: replacing(2, .column("colour", [1.5])), code: .invalidArgument,
      says: ["colour"]),
    BadCall(
      name: "NaN where it is refused", inputs: replacing(1, .column("income", [Double.nan])), code: .invalidArgument,
      says: ["income", "row 0"]),
    BadCall(
      name: "infinity", inputs: replacing(1, .column("income", [Double.infinity])), code: .invalidArgument,
      says: ["income", "inf"]),
    BadCall(
      name: "a number beyond fp32", inputs: replacing(1, .column("income", [1e300])), code: .invalidArgument,
      says: ["income"]),
    BadCall(
      name: "unknown category", inputs: replacing(2, .column("colour", ["mauve"])), code: .invalidArgument,
      says: ["colour", "\"mauve\""]),
    BadCall(
      name: "text that is no number in a matrix of text", inputs: [.features(text: [["x", "50", "red"]])],
      code: .invalidArgument, says: ["age", "\"x\""]),
  ]
}

@Suite("Bad input", .timeLimit(.minutes(10)))
struct BadInputTests {
  static let models = ["people": ModelFixtures.logistic()]

  @Test func everyWrongCallGetsAReasonAndTheConnectionGoesOn() async throws {
    try await TestServer.with(models: Self.models, configure: { $0.limits.batchRowsMax = 100 }) { test in
      let client = try await test.client()
      for call in BadCall.all {
        let before = try await test.metric("needletail_requests_total", ["status": call.code.description])
        do throws(ClientError) {
          _ = try await client.predict(
            call.model, selector: call.selector, inputs: call.inputs, outputs: call.outputs)
          Issue.record("\(call.name) was accepted")
        } catch {
          #expect(error.code == call.code, "\(call.name): \(error)")
          #expect(error.origin == .server)
          for word in call.says { #expect(error.message.contains(word), "\(call.name): \(error.message)") }
          #expect(!error.message.contains("\n") && !error.message.contains(test.store))
        }
        let after = try await test.metric("needletail_requests_total", ["status": call.code.description])
        #expect(after == before + 1, "\(call.name) was not counted")
        // The same connection still answers.
        let answer = try await client.predict("people", inputs: BadCall.good)
        #expect(answer.version == 1)
      }
      await client.close()
    }
  }

  @Test func wrongCallsDoNotAffectRightOnes() async throws {
    try await TestServer.with(models: Self.models) { test in
      let raw = try await RawConnection.connect(to: test.address)
      var bytes: [UInt8] = []
      for id in 1...200 as ClosedRange<UInt64> {
        let inputs = id % 3 == 0 ? BadCall.replacing(1, .column("income", [Double.nan])) : BadCall.good
        bytes += try RawConnection.frame(id: id, .predict(.init(model: "people", inputs: inputs)))
      }
      try await raw.send(bytes)
      for _ in 1...200 {
        guard let response = await raw.next() else {
          Issue.record("the connection ended")
          break
        }
        switch response.result {
        case .predict: #expect(response.id % 3 != 0)
        case .failed(let error): #expect(response.id % 3 == 0 && error.code == .invalidArgument)
        default: Issue.record("unexpected \(response)")
        }
      }
      await raw.close()
    }
  }

  // MARK: messages inside good frames

  @Test(arguments: [
    (name: "not protobuf", message: [0xFF, 0xFF, 0xFF] as [UInt8], id: 0 as UInt64),
    (name: "id, then a torn predict", message: [0x08, 0x2A, 0x1A, 0x20, 0x01], id: 42),
    (name: "id 0", message: [0x22, 0x00], id: 0),
  ])
  func anUndecodableMessageIsAnsweredByItsIdAndTheConnectionGoesOn(name: String, message: [UInt8], id: UInt64)
    async throws
  {
    try await TestServer.with(models: Self.models) { test in
      let raw = try await RawConnection.connect(to: test.address)
      try await raw.send(RawConnection.frame(message))
      let response = await raw.next()
      #expect(response?.id == id)
      guard case .failed(let error)? = response?.result else {
        Issue.record("\(name): \(String(describing: response))")
        return
      }
      #expect(error.code == .invalidArgument)
      try await raw.send(id: 99, .health)
      #expect(await raw.next()?.id == 99)
      #expect(try await test.metric("needletail_frame_errors_total", ["reason": "undecodable"]) == 1)
      await raw.close()
    }
  }

  @Test func callsThatTheServerDoesNotKnowAreUnimplemented() async throws {
    try await TestServer.with(models: Self.models) { test in
      let raw = try await RawConnection.connect(to: test.address)
      try await raw.send(id: 1, .authenticate(key: "secret"))
      // A call with field number 99, and no call at all.
      try await raw.send(RawConnection.frame([0x08, 0x02, 0x9A, 0x06, 0x00]))
      try await raw.send(RawConnection.frame([0x08, 0x03]))
      for id in 1...3 as ClosedRange<UInt64> {
        let response = await raw.next()
        #expect(response?.id == id)
        guard case .failed(let error)? = response?.result else {
          Issue.record("call \(id) did not fail")
          continue
        }
        #expect(error.code == .unimplemented)
      }
      await raw.close()
    }
  }

  // MARK: frames

  @Test(arguments: [
    (name: "zero", bytes: [0, 0, 0, 0] as [UInt8], reason: "empty_frame", says: "found 0"),
    (name: "too long", bytes: [0x00, 0x01, 0x00, 0x01], reason: "too_long", says: "65537"),
    (name: "HTTP", bytes: Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8), reason: "too_long", says: "at most"),
    (name: "TLS", bytes: [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xFC], reason: "too_long", says: "at most"),
    (name: "all ones", bytes: [UInt8](repeating: 0xFF, count: 1000), reason: "too_long", says: "at most"),
  ])
  func aBadLengthIsReportedAndEndsTheConnection(name: String, bytes: [UInt8], reason: String, says: String) async throws
  {
    try await TestServer.with(models: Self.models, configure: { $0.limits.frameBytesMax = 65_536 }) { test in
      let raw = try await RawConnection.connect(to: test.address)
      // What stands before it is answered as usual.
      try await raw.send(
        RawConnection.frame(id: 5, .predict(.init(model: "people", inputs: BadCall.good))) + bytes)
      let responses = await raw.rest()
      #expect(responses.count == 2, "\(name)")
      #expect(responses.contains { $0.id == 5 })
      guard case .failed(let error)? = responses.first(where: { $0.id == 0 })?.result else {
        Issue.record("\(name): no word of the error")
        return
      }
      #expect(error.code == .invalidArgument)
      #expect(error.message.contains(says), "\(error.message)")
      #expect(try await test.metric("needletail_frame_errors_total", ["reason": reason]) == 1)
    }
  }

  @Test func garbageNeverStopsTheServer() async throws {
    try await TestServer.with(models: Self.models, configure: { $0.limits.frame = .milliseconds(200) }) { test in
      var random = SplitMix64(seed: 11)
      for _ in 0..<40 {
        let raw = try await RawConnection.connect(to: test.address)
        var bytes = (0..<Int(random.next() % 2000) + 5).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        if random.next() % 2 == 0 { bytes = RawConnection.frame(bytes) }
        try? await raw.send(bytes)
        try? await raw.endOutput()
        _ = await raw.rest()
        await raw.close()
      }
      let client = try await test.client()
      #expect(try await client.predict("people", inputs: BadCall.good).version == 1)
      await client.close()
    }
  }

  @Test func halfAFrameAndThenSilenceEndsTheConnection() async throws {
    try await TestServer.with(models: Self.models, configure: { $0.limits.frame = .milliseconds(50) }) { test in
      let raw = try await RawConnection.connect(to: test.address)
      try await raw.send(Array(RawConnection.frame(id: 1, .health).dropLast()))
      let responses = await raw.rest()
      #expect(responses.map(\.id) == [0])
      #expect(try await test.metric("needletail_frame_errors_total", ["reason": "stalled"]) == 1)
    }
  }

  @Test func aStreamThatEndsWithinAFrameIsCounted() async throws {
    try await TestServer.with(models: Self.models) { test in
      let raw = try await RawConnection.connect(to: test.address)
      try await raw.send([0, 0, 0, 9, 1, 2])
      try await raw.endOutput()
      #expect(await raw.rest().isEmpty)
      #expect(try await test.metric("needletail_frame_errors_total", ["reason": "torn"]) == 1)
    }
  }
}
