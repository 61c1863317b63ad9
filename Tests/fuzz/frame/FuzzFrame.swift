internal import FuzzDriver
internal import NIOCore
internal import NeedletailWire

/// Feeds a stream to the frame decoder in pieces. The first byte says how long the pieces are.
///
/// Invariants: no trap; whole and cut up, the stream gives the same frames and the same end; the
/// buffer never holds more than a small multiple of what arrived.
@main
enum FuzzFrame {
  static func main() {
    fuzz { data, count in
      let bytes = UnsafeRawBufferPointer(start: data, count: count)
      guard let first = bytes.first else { return 0 }
      let stream = UnsafeRawBufferPointer(rebasing: bytes.dropFirst())
      let whole = FuzzFrame.decode(stream, pieceBytes: max(stream.count, 1))
      let cut = FuzzFrame.decode(stream, pieceBytes: Int(first) + 1)
      precondition(whole == cut, "frames depend on where the stream was cut")
      return 0
    }
  }

  private struct Outcome: Equatable {
    var frames: [[UInt8]] = []
    var error: FrameError?
    var bytesLeft = 0
  }

  private static func decode(_ stream: UnsafeRawBufferPointer, pieceBytes: Int) -> Outcome {
    var decoder = FrameDecoder(frameBytesMax: 4096)
    var outcome = Outcome()
    var piece = ByteBuffer()
    var start = 0
    while start < stream.count {
      let end = min(stream.count, start + pieceBytes)
      // The memory of the piece before, as a server reads.
      piece.clear()
      piece.writeBytes(stream[start..<end])
      start = end
      decoder.append(&piece)
      precondition(decoder.capacityBytes <= 64 << 10 || decoder.capacityBytes <= 8 * stream.count)
      do {
        while let frame = try decoder.next() { outcome.frames.append(Array(frame.readableBytesView)) }
      } catch {
        outcome.error = error
        return outcome
      }
      decoder.keepRest()
    }
    outcome.bytesLeft = decoder.bytesBuffered
    return outcome
  }
}
