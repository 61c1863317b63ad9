import Foundation
import NIOCore
import NeedletailCore
import NeedletailProtobuf
import NeedletailWire
import Testing

/// The vectors of `proto/golden/`, made by Google's protobuf.
struct GoldenVectors {
  struct Vector: Sendable, CustomTestStringConvertible {
    var name: String
    var kind: String
    /// As an encoder writes it: fields by number, defaults left out.
    var isCanonical: Bool
    var messageJSON: Data
    /// Expected of a server about a malformed one: `close`, `wait`, or a status code.
    var reaction: String
    var frames: [String]
    /// Length word included.
    var bytes: [UInt8]

    /// The message in protobuf's JSON form.
    var message: [String: Any] {
      (try? JSONSerialization.jsonObject(with: messageJSON)) as? [String: Any] ?? [:]
    }
    var payload: [UInt8] { Array(bytes.dropFirst(4)) }
    var testDescription: String { name }
  }

  static let all: [Vector] = {
    let directory = URL(fileURLWithPath: #filePath)
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("proto/golden")
    // A missing or broken vector fails every test of this suite.
    let data = try! Data(contentsOf: directory.appendingPathComponent("index.json"))
    let index = try! JSONSerialization.jsonObject(with: data) as! [[String: Any]]
    return index.map { entry in
      let name = entry["name"] as! String
      return Vector(
        name: name, kind: entry["kind"] as! String, isCanonical: entry["canonical"] as? Bool ?? false,
        messageJSON: try! JSONSerialization.data(withJSONObject: entry["message"] ?? [:]),
        reaction: entry["reaction"] as? String ?? "",
        frames: entry["frames"] as? [String] ?? [],
        bytes: Array(try! Data(contentsOf: directory.appendingPathComponent("\(name).bin"))))
    }
  }()

  static func of(kind: String) -> [Vector] { all.filter { $0.kind == kind } }

  static func named(_ name: String) -> Vector { all.first { $0.name == name }! }
}

@Suite("Golden vectors: we and Google's protobuf write and read the same")
struct GoldenVectorTests {
  @Test("reads every request as Google's parser does", arguments: GoldenVectors.of(kind: "request"))
  func readsRequests(_ vector: GoldenVectors.Vector) throws {
    let arena = MessageArena()
    let read = try vector.payload.withUnsafeBytes { try ProtobufJSON.of(RequestDecoder.decode($0, arena: arena)) }
    // A type that we do not know is none for us; Google keeps its number.
    guard vector.name != "unknown-data-type" else { return }
    #expect(NSDictionary(dictionary: read) == NSDictionary(dictionary: vector.message))
  }

  @Test("writes every request as Google's encoder does", arguments: GoldenVectors.of(kind: "request"))
  func writesRequests(_ vector: GoldenVectors.Vector) throws {
    // The last two hold what our encoder cannot be asked for.
    guard vector.isCanonical, vector.name != "no-call" else { return }
    let arena = MessageArena()
    var written = ByteBuffer()
    try vector.payload.withUnsafeBytes { bytes in
      let view = try RequestDecoder.decode(bytes, arena: arena)
      try RequestEncoder.append(
        id: view.id, timeoutMicroseconds: view.timeoutMicroseconds, try #require(view.outgoing),
        frameBytesMax: 1 << 20, to: &written)
    }
    #expect(Array(written.readableBytesView) == vector.bytes)
  }

  @Test("reads every response as Google's parser does", arguments: GoldenVectors.of(kind: "response"))
  func readsResponses(_ vector: GoldenVectors.Vector) throws {
    let read = try ProtobufJSON.of(ResponseDecoder.decode(ByteBuffer(bytes: vector.payload)))
    #expect(NSDictionary(dictionary: read) == NSDictionary(dictionary: vector.message))
  }

  @Test("writes every response as Google's encoder does", arguments: GoldenVectors.of(kind: "response"))
  func writesResponses(_ vector: GoldenVectors.Vector) throws {
    let response = try ResponseDecoder.decode(ByteBuffer(bytes: vector.payload))
    var written = ByteBuffer()
    response.append(to: &written)
    #expect(Array(written.readableBytesView) == vector.bytes)
  }

  @Test("reacts to every malformed vector as the index says", arguments: GoldenVectors.of(kind: "malformed"))
  func refusesMalformed(_ vector: GoldenVectors.Vector) throws {
    var decoder = FrameDecoder(frameBytesMax: Limits.frameBytesHardCap)
    var bytes = ByteBuffer(bytes: vector.bytes)
    decoder.append(&bytes)
    switch vector.reaction {
    case "close":
      #expect(throws: FrameError.self) { try decoder.next() }
    case "wait":
      #expect(try decoder.next() == nil)
      #expect(decoder.isMidFrame)
    default:
      let frame = try #require(try decoder.next())
      let arena = MessageArena()
      let error = #expect(throws: ServingError.self) {
        try frame.withUnsafeReadableBytes { _ = try RequestDecoder.decode($0, arena: arena) }
      }
      #expect(error?.code.description == vector.reaction)
      let id = frame.withUnsafeReadableBytes(RequestDecoder.peekID)
      #expect(id == (vector.name == "request-garbage" ? 0 : 9))
    }
  }

  @Test("every status code has a vector")
  func everyStatusHasAVector() {
    let seen = GoldenVectors.of(kind: "response").compactMap {
      ($0.message["status"] as? [String: Any])?["code"] as? String
    }
    #expect(Set(seen) == Set(StatusCode.allCases.map(\.description)).subtracting(["OK"]))
  }
}

extension RequestView {
  /// The same call as a client would make it.
  fileprivate var outgoing: RequestEncoder.Call? {
    switch call {
    case .predict(let predict): .predict(predict.outgoing)
    case .health: .health
    case .metrics: .metrics
    case .listModels: .listModels
    case .describeModel(let describe):
      .describeModel(String(decoding: describe.model, as: UTF8.self), VersionSelector(describe.selector))
    case .authenticate(let key): .authenticate(key: String(decoding: key, as: UTF8.self))
    case .events(let after, let limit): .events(after: after, limit: limit)
    case .rollout(let model, let undo): .rollout(model: String(decoding: model, as: UTF8.self), undo: undo)
    case .serverInfo: .serverInfo
    case .feedback(let view): view.outgoing
    case .none: nil
    }
  }
}

extension PredictView {
  fileprivate var outgoing: RequestEncoder.Predict {
    RequestEncoder.Predict(
      model: String(decoding: model, as: UTF8.self), selector: VersionSelector(selector),
      inputs: tensors.map { tensor in
        InputTensor(
          name: String(decoding: tensor.name, as: UTF8.self), type: tensor.type ?? .float32, shape: Array(tensor.shape),
          data: Array(tensor.data), strings: tensor.strings.map { String(decoding: $0, as: UTF8.self) })
      },
      outputs: outputs.map { String(decoding: $0, as: UTF8.self) },
      routingKey: String(decoding: routingKey, as: UTF8.self), priority: priority,
      key: String(decoding: key, as: UTF8.self))
  }
}

extension FeedbackView {
  fileprivate var outgoing: RequestEncoder.Call? {
    guard case .message(let message) = body, let bytes = try? message.bytes(),
      let outcomes = try? bytes.withUnsafeBytes({ try ReportedOutcome.decode($0) })
    else { return nil }
    return .feedback(model: String(decoding: model, as: UTF8.self), outcomes)
  }
}

extension VersionSelector {
  fileprivate init(_ selector: ModelSelector) {
    self =
      switch selector {
      case .serving: .serving
      case .version(let version): .version(version)
      case .label(let label): .label(String(decoding: label, as: UTF8.self))
      }
  }
}

extension ResponseMessage {
  fileprivate func append(to buffer: inout ByteBuffer) {
    switch result {
    case .predict(let prediction): prediction.append(id: id, to: &buffer)
    case .health(let report): ResponseEncoder.appendHealth(id: id, report, to: &buffer)
    case .metrics(let text): ResponseEncoder.appendMetrics(id: id, text, to: &buffer)
    case .models(let report): ResponseEncoder.appendModels(id: id, report, to: &buffer)
    case .description(let description): ResponseEncoder.appendDescription(id: id, description, to: &buffer)
    case .authenticated(let principal): ResponseEncoder.appendAuthenticated(id: id, principal: principal, to: &buffer)
    case .events(let report): ResponseEncoder.appendEvents(id: id, report, to: &buffer)
    case .rollout(let report): ResponseEncoder.appendRollout(id: id, report, to: &buffer)
    case .serverInfo(let report): ResponseEncoder.appendServerInfo(id: id, report, to: &buffer)
    case .feedback(let report): ResponseEncoder.appendFeedback(id: id, report, to: &buffer)
    case .goAway(let lastID): ResponseEncoder.appendGoAway(lastID: lastID, to: &buffer)
    case .failed(let error): ResponseEncoder.appendError(id: id, error, to: &buffer)
    case .none: break
    }
  }
}

extension Prediction {
  /// Through the encoder that a live model version has.
  fileprivate func append(id: UInt64, to buffer: inout ByteBuffer) {
    var labels: [String] = []
    var columns: [[Float]] = []
    let specs = outputs.map { output -> PredictResponseEncoder.Output in
      switch output.values {
      case .floats(let values):
        columns.append(values)
        return .init(name: output.name, kind: .number, columns: output.shape.count > 1 ? output.shape[1] : 1)
      case .integers(let values):
        columns.append(values.map(Float.init))
        return .init(name: output.name, kind: .classIndex, columns: 1)
      case .strings(let values):
        labels = Array(Set(values)).sorted()
        columns.append(values.map { Float(labels.firstIndex(of: $0) ?? -1) })
        return .init(name: output.name, kind: .classLabel, columns: 1)
      }
    }
    let encoder = PredictResponseEncoder(model: model, version: version, outputs: specs, labels: labels)
    let memory = columns.map { column in
      let pointer = UnsafeMutablePointer<Float>.allocate(capacity: max(column.count, 1))
      pointer.initialize(from: column, count: column.count)
      return pointer
    }
    defer { for pointer in memory { pointer.deallocate() } }
    memory.map { UnsafePointer($0) }.withUnsafeBufferPointer { values in
      encoder.append(
        id: id, rows: outputs.first?.shape.first ?? 0, values: values, selection: .max, timing: timing, to: &buffer)
    }
  }
}
