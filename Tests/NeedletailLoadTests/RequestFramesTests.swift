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
