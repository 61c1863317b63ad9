internal import FuzzDriver
internal import NIOCore
internal import NIOEmbedded
internal import NIOHTTP1
internal import NeedletailCore
internal import NeedletailProtobuf
internal import NeedletailSystem
internal import NeedletailWire

@testable internal import NeedletailServer

/// Feeds a stream to the codec of the Open Inference Protocol. The first byte says how long the pieces are in which it
/// arrives.
///
/// Invariants: no trap; whole and cut up, the stream gives the same calls and the same end; where the head parser of
/// SwiftNIO (llhttp) understands a head too, both find the same path and the same length of the body, so that no proxy
/// takes the rest of a request for another one.
@main
enum FuzzHTTP {
  static func main() {
    fuzz { data, count in
      let bytes = UnsafeRawBufferPointer(start: data, count: count)
      guard let first = bytes.first else { return 0 }
      let stream = UnsafeRawBufferPointer(rebasing: bytes.dropFirst())
      let whole = FuzzHTTP.serve(stream, pieceBytes: max(stream.count, 1))
      let cut = FuzzHTTP.serve(stream, pieceBytes: Int(first) + 1)
      precondition(whole == cut, "calls depend on where the stream was cut")
      FuzzHTTP.compareHead(stream)
      return 0
    }
  }

  // MARK: calls

  /// What the codec found: a line for each event and each tensor.
  private static func serve(_ stream: UnsafeRawBufferPointer, pieceBytes: Int) -> [String] {
    let codec = OpenInferenceCodec(callBytesMax: 8192)
    let arena = MessageArena()
    var input = ReceiveBuffer()
    var output = ByteBuffer()
    var found: [String] = []
    var start = 0
    while start < stream.count {
      let end = min(stream.count, start + pieceBytes)
      let piece = UnsafeRawBufferPointer(rebasing: stream[start..<end])
      start = end
      input.append(borrowing: piece)
      while let line = next(codec, &input, arena, &output) {
        found.append(line)
        if line.hasPrefix("end") || line.hasPrefix("fail") { return found + [written(output)] }
      }
      input.keepUnread()
    }
    return found + [written(output)]
  }

  /// One event, answered at once; nil: more bytes are needed.
  private static func next(
    _ codec: OpenInferenceCodec, _ input: inout ReceiveBuffer, _ arena: MessageArena, _ output: inout ByteBuffer
  ) -> String? {
    switch codec.next(&input, arena, &output) {
    case .call(let request):
      let line = describe(request, codec, arena)
      if case .authenticate = request.call {
        codec.writeAuthenticated(id: request.id, principal: "fuzz", to: &output)
      } else {
        codec.write(ServingError.notFound("fuzz"), id: request.id, to: &output)
      }
      return line
    case .job(let call): return answer(call, codec, &output)
    case .malformed(let id, let error):
      codec.write(error, id: id, to: &output)
      return "malformed \(error.code) \(error.message)"
    case .wait: return nil
    case .hold: preconditionFailure("a call was answered, and the codec waits for its answer")
    case .end: return "end"
    case .fail(let failure):
      codec.write(ServingError.invalidArgument(failure.message), id: 0, to: &output)
      return "fail \(failure.reason) \(failure.message)"
    }
  }

  /// Takes what fits, and refuses what a job would be.
  private static func answer(_ call: JobCall, _ codec: OpenInferenceCodec, _ output: inout ByteBuffer) -> String {
    var line: String
    switch call {
    case .begin(let head):
      line = "begin \(head.model.model) \(head.model.selector) \(head.jsonBytes ?? -1) \(head.key ?? "none")"
      let budget = JobBudget(bytesMax: 8192, wakeup: Wakeup())
      if let upload = budget.reserve(head.bodyBytes).flatMap({ JobUpload(head, $0) }) {
        codec.accept(upload)
        return line
      }
    case .submit(let upload): line = "submit \(upload.bytes.reduce(UInt64(0)) { $0 &* 31 &+ UInt64($1) })"
    case .ask(let question, let id, _): line = "ask \(question) \(id)"
    }
    codec.write(ServingError.notFound("fuzz"), id: call.callID, to: &output)
    return line
  }

  private static func describe(_ request: RequestView, _ codec: OpenInferenceCodec, _ arena: MessageArena) -> String {
    switch request.call {
    case .predict(let predict):
      var line = "predict \(text(predict.model)) \(predict.rows) \(request.timeoutMicroseconds)"
      do throws(ServingError) {
        let body = try codec.body(arena)
        for tensor in body.tensors {
          // All of it is read: a view beyond its memory is found by the sanitizer.
          var sum = tensor.data.reduce(UInt64(0)) { $0 &* 31 &+ UInt64($1) }
          for index in tensor.strings.indices { sum = tensor.strings[index].reduce(sum) { $0 &* 31 &+ UInt64($1) } }
          line += "\n  \(text(tensor.name)) \(tensor.type.map { "\($0)" } ?? "none") \(Array(tensor.shape)) \(sum)"
        }
        for output in body.outputs { line += "\n  output \(text(output))" }
      } catch {
        line += "\n  \(error)"
      }
      return line
    case .authenticate(let key): return "authenticate \(text(key))"
    case .describeModel(let view): return "describe \(text(view.model)) \(view.selector)"
    default: return "control"
    }
  }

  /// What was sent. Whether a body is asked for depends on how much of it is there already.
  private static func written(_ output: ByteBuffer) -> String {
    String(decoding: output.readableBytesView, as: UTF8.self).replacing("HTTP/1.1 100 Continue\r\n\r\n", with: "")
  }

  private static func text(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }

  // MARK: heads

  /// Compares the first head with what SwiftNIO's decoder finds in the same bytes.
  private static func compareHead(_ stream: UnsafeRawBufferPointer) {
    guard let head = try? HTTPHead.parse(stream) else { return }
    let channel = EmbeddedChannel()
    defer { _ = try? channel.finish(acceptAlreadyClosed: true) }
    let decoder = HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes)
    guard (try? channel.pipeline.syncOperations.addHandler(ByteToMessageHandler(decoder))) != nil else { return }
    guard (try? channel.writeInbound(ByteBuffer(bytes: stream[..<head.bytes]))) != nil,
      case .head(let other)? = try? channel.readInbound(as: HTTPServerRequestPart.self)
    else { return }  // Each may refuse what the other takes.
    let target = other.uri.utf8.prefix { $0 != UInt8(ascii: "?") }
    precondition(target.elementsEqual(head.path), "two readers find different paths")
    let lengths = other.headers["content-length"]
    precondition(lengths.allSatisfy { Int($0) == head.bodyBytes }, "two readers find different lengths")
    let isChunked = other.headers["transfer-encoding"].contains { $0.lowercased() == "chunked" }
    precondition(isChunked == head.isChunked, "two readers find different ends")
    precondition(!(isChunked && !lengths.isEmpty), "a body has two lengths")
  }
}
