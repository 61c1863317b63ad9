import NIOCore
import NeedletailCore
import NeedletailWire
import Testing

@Suite("Frame decoder")
struct FrameDecoderTests {
  private static func frame(_ payload: [UInt8]) -> [UInt8] {
    withUnsafeBytes(of: UInt32(payload.count).bigEndian, Array.init) + payload
  }

  /// Feeds `chunks` one after the other, all in the same memory, and collects the frames.
  private static func decode(_ chunks: [[UInt8]], frameBytesMax: Int = 1 << 16) throws -> [[UInt8]] {
    var decoder = FrameDecoder(frameBytesMax: frameBytesMax)
    var frames: [[UInt8]] = []
    var buffer = ByteBuffer()
    for chunk in chunks {
      buffer.clear()
      buffer.writeBytes(chunk)
      decoder.append(&buffer)
      while let frame = try decoder.next() { frames.append(Array(frame.readableBytesView)) }
      decoder.keepRest()
    }
    #expect(!decoder.isMidFrame)
    return frames
  }

  @Test("gives the same frames wherever two frames are cut in two")
  func everyCut() throws {
    let stream = GoldenVectors.named("two-frames")
    let expected = stream.frames.map { GoldenVectors.named($0).payload }
    for cut in 0...stream.bytes.count {
      let frames = try Self.decode([Array(stream.bytes[..<cut]), Array(stream.bytes[cut...])])
      #expect(frames == expected, "cut at \(cut)")
    }
    #expect(try Self.decode(stream.bytes.map { [$0] }) == expected)
  }

  @Test("gives the same frames however a stream is split", arguments: 0..<50)
  func randomSplits(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let payloads = (0..<20).map { _ in
      (0..<Int.random(in: 1...3000, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
    }
    let stream = payloads.flatMap(Self.frame)
    var chunks: [[UInt8]] = []
    var start = 0
    while start < stream.count {
      let end = min(stream.count, start + Int.random(in: 1...4000, using: &random))
      chunks.append(Array(stream[start..<end]))
      start = end
    }
    #expect(try Self.decode(chunks) == payloads)
  }

  @Test("lets go of the memory that bytes came in, and keeps what is left of them")
  func borrowedMemory() throws {
    var decoder = FrameDecoder(frameBytesMax: 100)
    var buffer = ByteBuffer()
    buffer.reserveCapacity(64)
    let memory = buffer.withVeryUnsafeBytes { $0.baseAddress }
    buffer.writeBytes(Self.frame([7]) + Self.frame([8, 9]).dropLast())
    decoder.append(&buffer)
    #expect(try decoder.next() == ByteBuffer(bytes: [7]))
    #expect(try decoder.next() == nil)
    decoder.keepRest()
    buffer.clear()
    buffer.writeBytes([9])
    #expect(buffer.withVeryUnsafeBytes { $0.baseAddress } == memory)
    decoder.append(&buffer)
    #expect(try decoder.next() == ByteBuffer(bytes: [8, 9]))
  }

  @Test("refuses a length of zero")
  func zero() {
    #expect(throws: FrameError.emptyFrame) { try Self.decode([[0, 0, 0, 0]]) }
  }

  @Test("accepts the maximum and refuses one more at the fourth byte")
  func maximum() throws {
    let payload = [UInt8](repeating: 7, count: 1000)
    #expect(try Self.decode([Self.frame(payload)], frameBytesMax: 1000) == [payload])

    var decoder = FrameDecoder(frameBytesMax: 999)
    var three = ByteBuffer(bytes: [0, 0, 3])
    decoder.append(&three)
    #expect(try decoder.next() == nil)
    var fourth = ByteBuffer(bytes: [0xe8])
    decoder.append(&fourth)
    #expect(throws: FrameError.tooLong(found: 1000, limit: 999)) { try decoder.next() }
  }

  @Test("says that a frame has begun")
  func midFrame() throws {
    var decoder = FrameDecoder(frameBytesMax: 100)
    #expect(!decoder.isMidFrame)
    var buffer = ByteBuffer(bytes: [0])
    decoder.append(&buffer)
    #expect(try decoder.next() == nil)
    #expect(decoder.isMidFrame)
    #expect(decoder.bytesBuffered == 1)
  }

  @Test("holds memory for what arrived, not for what a length promises")
  func promisesCostNothing() throws {
    var decoder = FrameDecoder(frameBytesMax: 64 << 20)
    var buffer = ByteBuffer(bytes: [3, 0, 0, 0] + [UInt8](repeating: 1, count: 100))
    decoder.append(&buffer)
    #expect(try decoder.next() == nil)
    #expect(decoder.capacityBytes <= 1024)
  }

  @Test("gives the memory of a long frame back")
  func shrinks() throws {
    var decoder = FrameDecoder(frameBytesMax: 8 << 20)
    let bytes = Self.frame([UInt8](repeating: 1, count: 4 << 20))
    for start in stride(from: 0, to: bytes.count, by: 65_536) {
      var buffer = ByteBuffer(bytes: bytes[start..<min(start + 65_536, bytes.count)])
      decoder.append(&buffer)
    }
    #expect(decoder.capacityBytes >= 4 << 20)
    #expect(try decoder.next()?.readableBytes == 4 << 20)
    #expect(decoder.capacityBytes <= 64 << 10)
  }

  @Test("a stream without end does not grow the buffer")
  func doesNotGrow() throws {
    var decoder = FrameDecoder(frameBytesMax: 4096)
    let stream = Self.frame([UInt8](repeating: 1, count: 1001))
    var chunk = ByteBuffer()
    for _ in 0..<5000 {
      // Frame boundaries wander through the chunks.
      chunk.clear()
      chunk.writeBytes(stream[500...])
      chunk.writeBytes(stream[..<500])
      if decoder.bytesBuffered == 0 { chunk.moveReaderIndex(forwardBy: stream.count - 500) }
      decoder.append(&chunk)
      while try decoder.next() != nil {}
    }
    #expect(decoder.capacityBytes <= 16 << 10)
  }
}
