import Foundation
import NIOCore
import NeedletailCore
import NeedletailProtobuf
import NeedletailWire
import Testing

@testable import NeedletailLoad

@Suite struct RequestFramesTests {
  private static let call = RequestEncoder.Predict(
    model: "wine", selector: .version(3),
    inputs: [.features([1, 2, 3, 4], columns: 2), .column("colour", ["red", "white"])],
    outputs: ["label"], routingKey: "user-7")

  private static func summary(_ payload: UnsafeRawBufferPointer) throws -> String {
    let arena = MessageArena()
    let view = try RequestDecoder.decode(payload, arena: arena)
    guard case .predict(let predict) = view.call else { return "no predict" }
    let tensors = predict.tensors.map { tensor in
      "\(String(decoding: tensor.name, as: UTF8.self)) \(tensor.type?.description ?? "none") \(Array(tensor.data))"
    }
    return "\(view.id) \(view.timeoutMicroseconds) \(String(decoding: predict.model, as: UTF8.self)) \(tensors)"
  }

  @Test(arguments: [1, 127, 128, 1 << 20, 1 << 34, RequestFrames.idMax] as [UInt64])
  func aPatchedFrameDecodesAsTheEncodersDoes(_ id: UInt64) throws {
    var frames = RequestFrames()
    try frames.append(Self.call, rows: 2, model: 0, firstRow: 0, timeoutMicroseconds: 5000)
    var bytes = frames.bytes
    try bytes.withUnsafeMutableBytes { RequestFrames.patch(id: id, at: try #require($0.baseAddress)) }

    var decoder = FrameDecoder(frameBytesMax: 1 << 16)
    var input = ByteBuffer(bytes: bytes)
    decoder.append(&input)
    let frame = try #require(try decoder.next())
    #expect(!decoder.isMidFrame)

    var normal = ByteBuffer()
    try RequestEncoder.append(
      id: id, timeoutMicroseconds: 5000, .predict(Self.call), frameBytesMax: 1 << 16, to: &normal)
    let expected = try normal.withUnsafeReadableBytes { try Self.summary(UnsafeRawBufferPointer(rebasing: $0[4...])) }
    #expect(try frame.withUnsafeReadableBytes { try Self.summary($0) } == expected)
    #expect(expected.hasPrefix("\(id) 5000 wine"))
    #expect(frame.withUnsafeReadableBytes { RequestDecoder.peekID($0) } == id)
  }

  @Test func framesReportTheirOffsetModelAndRows() throws {
    var frames = RequestFrames()
    for (model, first) in [(0, 0), (1, 0), (0, 2)] {
      try frames.append(Self.call, rows: 2, model: model, firstRow: first, timeoutMicroseconds: 0)
    }
    #expect(frames.framesOfModel == [[0, 2], [1]])
    #expect(frames.frames.map(\.firstRow) == [0, 0, 2])
    #expect(frames.frames[1].offset == frames.frames[0].count)
    #expect(frames.frames.map(\.count).reduce(0, +) == frames.bytes.count)
  }
}

@Suite struct AnswerTests {
  /// Responses that Google's protobuf wrote, without their length words.
  static let golden: [(name: String, payload: [UInt8])] = {
    let directory = URL(fileURLWithPath: #filePath)
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("proto/golden")
    // A missing or broken vector fails every test of this suite.
    let data = try! Data(contentsOf: directory.appendingPathComponent("index.json"))
    let index = try! JSONSerialization.jsonObject(with: data) as! [[String: Any]]
    return index.filter { $0["kind"] as? String == "response" }.map { entry in
      let name = entry["name"] as! String
      return (
        name, Array(try! Data(contentsOf: directory.appendingPathComponent("\(name).bin"))).dropFirst(4).map(\.self)
      )
    }
  }()

  @Test func readsGoldenVectorsAsTheClientsDecoderDoes() throws {
    #expect(Self.golden.count > 10)
    for (name, payload) in Self.golden {
      try payload.withUnsafeBytes { bytes in
        let expected = try ResponseDecoder.decode(bytes)
        let found = try AnswerView(bytes)
        #expect(found.id == expected.id, "\(name)")
        switch expected.result {
        case .failed(let error): #expect(found.status == error.code, "\(name)")
        case .predict(let prediction):
          #expect(found.status == .ok, "\(name)")
          #expect(found.version == prediction.version, "\(name)")
          #expect(found.model.elementsEqual(prediction.model.utf8), "\(name)")
          #expect(found.prediction != nil, "\(name)")
        case .goAway(let last): #expect(found.goAwayLastID == last, "\(name)")
        default: #expect(found.prediction == nil && found.goAwayLastID == nil, "\(name)")
        }
      }
    }
  }

  @Test func noCutOrFlippedByteMakesItReadOutOfBounds() {
    var accepted = 0
    for (_, payload) in Self.golden {
      for count in 0..<payload.count {
        Array(payload[..<count]).withUnsafeBytes { accepted += (try? AnswerView($0)) == nil ? 0 : 1 }
        var flipped = payload
        flipped[count] ^= 0xff
        flipped.withUnsafeBytes { accepted += (try? AnswerView($0)) == nil ? 0 : 1 }
      }
    }
    #expect(accepted > 0)
  }

  @Test(
    arguments: [
      ("length beyond the end", [0x1a, 0x7f, 0x00]), ("varint cut off", [0x08, 0x80]),
      ("varint of eleven bytes", [UInt8](repeating: 0x80, count: 11)), ("group", [0x0b]), ("field 0", [0x00, 0x00]),
      ("malformed status", [0x12, 0x01, 0x08]), ("malformed prediction", [0x1a, 0x02, 0x0a, 0x05]),
    ] as [(String, [UInt8])])
  func malformedAnswersAreRefused(_ fault: String, _ bytes: [UInt8]) {
    bytes.withUnsafeBytes { #expect((try? AnswerView($0)) == nil) }
  }

  // MARK: expected answers

  static func field(_ number: UInt8, _ content: [UInt8]) -> [UInt8] {
    [number << 3 | 2, UInt8(content.count)] + content
  }

  static func tensor(_ type: DataType, data: [UInt8] = [], strings: [String] = []) -> [UInt8] {
    field(
      3, [0x10, type.rawValue] + (data.isEmpty ? [] : field(4, data)) + strings.flatMap { field(5, Array($0.utf8)) })
  }

  /// A response of version `version` with the three outputs of a classifier.
  static func response(
    id: UInt8 = 1, version: UInt8, numbers: [Float], classes: [Int64], labels: [String]
  ) -> [UInt8] {
    let outputs =
      tensor(.float32, data: numbers.withUnsafeBytes(Array.init))
      + tensor(.int64, data: classes.withUnsafeBytes(Array.init)) + tensor(.string, strings: labels)
    return [0x08, id] + field(3, field(1, Array("wine".utf8)) + [0x10, version] + outputs)
  }

  private static let check = AnswerCheck([
    ExpectedAnswers(version: 1, rows: 3, numbers: [0.1, 0.2, 0.3], classes: [0, 1, 2], labels: ["a", "b", "c"]),
    ExpectedAnswers(version: 2, rows: 3, numbers: [0.7, 0.8, 0.9], classes: [2, 1, 0], labels: ["c", "b", "a"]),
  ])

  private static func verdict(_ response: [UInt8], firstRow: Int, rows: Int) -> AnswerCheck.Verdict? {
    response.withUnsafeBytes { bytes in (try? AnswerView(bytes)).map { check.check($0, firstRow: firstRow, rows: rows) }
    }
  }

  @Test func anAnswerAsExpectedIsRight() {
    let answer = Self.response(version: 1, numbers: [0.2, 0.3], classes: [1, 2], labels: ["b", "c"])
    #expect(Self.verdict(answer, firstRow: 1, rows: 2) == .right)
    // The same bytes to other rows are wrong.
    #expect(Self.verdict(answer, firstRow: 0, rows: 2) == .wrong)
  }

  @Test(arguments: [
    response(version: 1, numbers: [0.2001], classes: [1], labels: ["b"]),
    response(version: 1, numbers: [0.2], classes: [2], labels: ["b"]),
    response(version: 1, numbers: [0.2], classes: [1], labels: ["c"]),
    response(version: 1, numbers: [0.2], classes: [1], labels: ["b", "b"]),
    response(version: 1, numbers: [.nan], classes: [1], labels: ["b"]),
    response(version: 1, numbers: [0.2, 0.2], classes: [1], labels: ["b"]),
  ])
  func oneDeviationMakesItWrong(_ answer: [UInt8]) {
    #expect(Self.verdict(answer, firstRow: 1, rows: 1) == .wrong)
  }

  @Test func anotherProcessorsRoundingIsNoDeviation() {
    let answer = Self.response(version: 1, numbers: [0.200001], classes: [1], labels: ["b"])
    #expect(Self.verdict(answer, firstRow: 1, rows: 1) == .right)
  }

  @Test func anotherVersionsAnswerUnderThisVersionsNameIsMixed() {
    let whole = Self.response(version: 1, numbers: [0.7, 0.8], classes: [2, 1], labels: ["c", "b"])
    #expect(Self.verdict(whole, firstRow: 0, rows: 2) == .mixed)
    let half = Self.response(version: 1, numbers: [0.1, 0.8], classes: [0, 1], labels: ["a", "b"])
    #expect(Self.verdict(half, firstRow: 0, rows: 2) == .mixed)
  }

  @Test func anAnswerOfAVersionWithoutExpectationIsNotJudged() {
    let answer = Self.response(version: 9, numbers: [0.2], classes: [1], labels: ["b"])
    #expect(Self.verdict(answer, firstRow: 1, rows: 1) == .unknown)
  }
}
