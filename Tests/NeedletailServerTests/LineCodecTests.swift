import Foundation
import Glibc
import NIOCore
import NeedletailClient
import NeedletailCore
import NeedletailEngine
import NeedletailProtobuf
import NeedletailServing
import NeedletailSockets
import NeedletailSystem
import NeedletailTestSupport
import NeedletailWire
import Testing

@testable import NeedletailServer

/// A protocol of lines, as an example of a codec: `predict MODEL 1,2,3` gives a line of the first output's numbers.
/// Lines have no ids, so that answers come in the order of the calls.
private final class LineCodec: ConnectionCodec {
  private var nextID: UInt64 = 1
  /// Id of the answer that must be written next.
  private var nextAnswer: UInt64 = 1
  /// Answers that wait for earlier ones.
  private var early: [UInt64: String] = [:]
  private var values: [Float] = []
  private var shape: [UInt64] = []
  private static let tensorName = Array("features".utf8)
  private var tensors: [TensorView] = []

  override func next(
    _ input: inout ReceiveBuffer, _ arena: MessageArena, _ output: inout ByteBuffer
  ) -> CodecEvent {
    guard let end = input.unread.firstIndex(of: UInt8(ascii: "\n")) else {
      guard input.unread.count <= callBytesMax else {
        return .fail(CodecFailure(reason: .tooLong, message: "line: expected an end, found none"))
      }
      return .wait
    }
    let line = UnsafeRawBufferPointer(rebasing: input.unread[..<end])
    input.consume(end + 1)
    let id = nextID
    nextID += 1
    let words = line.split(separator: UInt8(ascii: " "), maxSplits: 2)
    guard words.count == 3, words[0].elementsEqual("predict".utf8) else {
      if line.elementsEqual("quit".utf8) { return .end }
      return .malformed(id: id, .invalidArgument("line: expected predict MODEL NUMBERS"))
    }
    values = words[2].split(separator: UInt8(ascii: ",")).map { Float(String(decoding: $0, as: UTF8.self)) ?? .nan }
    return .call(
      RequestView(
        id: id, timeoutMicroseconds: 0,
        call: .predict(PredictView(model: UnsafeRawBufferPointer(rebasing: words[1]), selector: .serving))))
  }

  override func body(
    _ arena: MessageArena
  ) throws(ServingError) -> (
    tensors: UnsafeBufferPointer<TensorView>, outputs: UnsafeBufferPointer<UnsafeRawBufferPointer>
  ) {
    shape = [1, UInt64(values.count)]
    // Arrays of a class that nothing changes until the next call: their addresses stay.
    tensors = [
      TensorView(
        name: Self.tensorName.withUnsafeBytes { $0 }, type: .float32, shape: shape.withUnsafeBufferPointer { $0 },
        data: values.withUnsafeBytes { $0 })
    ]
    return (tensors.withUnsafeBufferPointer { $0 }, UnsafeBufferPointer(start: nil, count: 0))
  }

  override func write(_ answer: PredictAnswer, to output: inout ByteBuffer) {
    let numbers = (0..<answer.rows * answer.schema.tensors[0].form.columns).map { "\(answer.values[0][$0])" }
    write(numbers.joined(separator: ","), id: answer.id, to: &output)
  }

  override func write(_ error: ServingError, id: UInt64, to output: inout ByteBuffer) {
    write("error \(error.code) \(error.message)", id: id, to: &output)
  }

  override func write(_ answer: ControlAnswer, id: UInt64, to output: inout ByteBuffer) {}

  override func writeAuthenticated(id: UInt64, principal: String, to output: inout ByteBuffer) {}

  override func writeGoAway(lastID: UInt64, to output: inout ByteBuffer) { output.writeString("bye\n") }

  private func write(_ line: String, id: UInt64, to output: inout ByteBuffer) {
    guard id > 0 else {
      output.writeString(line + "\n")
      return
    }
    early[id] = line
    while let line = early.removeValue(forKey: nextAnswer) {
      output.writeString(line + "\n")
      nextAnswer += 1
    }
  }
}

/// A second protocol on the same loops: one file with one subclass of ``ConnectionCodec``, and a port.
@Suite("Line codec", .timeLimit(.minutes(10)))
struct LineCodecTests {
  private static let models = [
    "line": ModelFixtures.linearRegression(weights: [2, -3], bias: 1),
    "slow": ModelFixtures.mlp(widths: [2, 512, 512, 3]),
  ]

  /// Runs `body` with a blocking socket on a port that speaks lines.
  private static func with(
    configure: (inout ServerConfiguration) -> Void = { _ in }, _ body: (TestServer, LinePeer) async throws -> Void
  ) async throws {
    try await TestServer.with(models: models, configure: configure) { test in
      let socket = try ListeningSocket(SocketAddress(ipAddress: "127.0.0.1", port: 0))
      let port = try #require(socket.port)
      test.server.listener.serve(socket, codec: LineCodec.self)
      try await body(test, try LinePeer(port: port))
    }
  }

  @Test func aLineIsAnsweredByALine() async throws {
    try await Self.with { _, peer in
      peer.send("predict line 1,1\npredict line 3,0\nnonsense\npredict other 1\npredict line 1\n")
      #expect(peer.line() == "0.0")
      #expect(peer.line() == "7.0")
      #expect(peer.line()?.hasPrefix("error INVALID_ARGUMENT line: expected") == true)
      #expect(peer.line()?.hasPrefix("error NOT_FOUND") == true)
      #expect(peer.line()?.hasPrefix("error INVALID_ARGUMENT") == true)
    }
  }

  @Test func answersOfLoopAndWorkersComeInTheOrderOfTheirCalls() async throws {
    try await Self.with(configure: { $0.serving.inlineCost = .microseconds(1) }) { _, peer in
      // The slow model goes to a worker; a call that cannot be read is answered at once.
      peer.send(String(repeating: "predict slow 1,2\nnonsense\npredict line 1,1\n", count: 20))
      for index in 0..<20 {
        // A busy machine may have no room for all of them; the first finds an empty queue.
        let slow = peer.line() ?? ""
        let isComputed = slow.split(separator: ",").count == 3 && !slow.hasPrefix("error")
        #expect(isComputed || (index > 0 && slow.hasPrefix("error OVERLOADED")), "\(slow)")
        #expect(peer.line()?.hasPrefix("error INVALID_ARGUMENT") == true)
        let line = peer.line() ?? ""
        #expect(line == "0.0" || (index > 0 && line.hasPrefix("error OVERLOADED")), "\(line)")
      }
    }
  }

  @Test func callsOfBothProtocolsShareABatch() async throws {
    try await Self.with { test, peer in
      let client = try await test.client()
      for _ in 0..<20 {
        peer.send("predict line 1,1\n")
        let answer = try await client.predict("line", inputs: [.features([3, 0], columns: 2)])
        #expect(answer.floats("prediction") == [7])
        #expect(peer.line() == "0.0")
      }
      await client.close()
    }
  }

  @Test func aLineInPiecesIsOneCallAndTheLastLineEndsTheConnection() async throws {
    try await Self.with { _, peer in
      for piece in ["pre", "dict l", "ine 1,", "1\nqui"] {
        peer.send(piece)
        usleep(2000)
      }
      #expect(peer.line() == "0.0")
      peer.send("t\npredict line 1,1\n")
      #expect(peer.line() == nil, "calls after the last one are not taken")
    }
  }

  @Test func aPeerIsToldThatTheServerStops() async throws {
    try await Self.with { test, peer in
      peer.send("predict line 1,1\n")
      #expect(peer.line() == "0.0")
      await test.server.stop()
      #expect(peer.line() == "bye")
      #expect(peer.line() == nil)
    }
  }
}

/// A blocking socket that reads lines.
private final class LinePeer {
  private let descriptor: CInt
  private var received: [UInt8] = []

  init(port: Int) throws {
    descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
    var limit = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    let address = try SocketAddress(ipAddress: "127.0.0.1", port: port)
    let status = address.withSockAddr { connect(descriptor, $0, socklen_t($1)) }
    guard status == 0 else { throw SystemError("connect") }
  }

  deinit { close(descriptor) }

  func send(_ text: String) {
    let bytes = Array(text.utf8)
    _ = Glibc.send(descriptor, bytes, bytes.count, CInt(MSG_NOSIGNAL))
  }

  /// The next line; nil at the end of the stream.
  func line() -> String? {
    while true {
      if let end = received.firstIndex(of: UInt8(ascii: "\n")) {
        defer { received.removeFirst(end + 1) }
        return String(decoding: received[..<end], as: UTF8.self)
      }
      var chunk = [UInt8](repeating: 0, count: 4096)
      let count = recv(descriptor, &chunk, chunk.count, 0)
      guard count > 0 else { return nil }
      received += chunk[..<count]
    }
  }
}
