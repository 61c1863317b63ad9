public import NIOCore
internal import NeedletailCore
internal import NeedletailProtobuf

extension PredictResponseEncoder {
  /// One framed answer that is written piece by piece, as its peer takes it: the values stay where they were computed,
  /// and no more than a piece of them is ever there twice.
  public struct Pieces {
    /// Next part to write.
    enum Part: Equatable {
      case head
      case output(Int)
      /// Elements of an output, from this one on.
      case elements(Int, Int)
      case timing
      case end
    }

    let id: UInt64
    let rows: Int
    let selection: UInt64
    let timing: ResponseTiming
    let size: FrameSize
    var part = Part.head
    /// Bytes of the frame that were not written yet.
    public internal(set) var bytesLeft: Int

    /// Output and element that are written next, where that is known: the elements before were read for the last time.
    /// Nil, too, where outputs show places in texts: parts of these are read several times.
    public var position: (output: Int, element: Int)? {
      guard size.places == nil, case .elements(let output, let element) = part else { return nil }
      return (output, element)
    }
  }

  /// Begins an answer.
  /// - Returns: nil for an answer too long for any frame.
  public func pieces(
    id: UInt64, rows: Int, values: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64, timing: ResponseTiming
  ) -> Pieces? {
    let size = frameSize(id: id, rows: rows, values: values, selection: selection, timing: timing)
    guard size.response <= Limits.frameBytesHardCap else { return nil }
    return Pieces(
      id: id, rows: rows, selection: selection, timing: timing, size: size, bytesLeft: 4 + size.response)
  }

  /// Appends the next piece: `bytes` of the frame, or a few more to end with a whole element.
  /// - Parameter values: as given to ``pieces(id:rows:values:selection:timing:)``.
  public func append(
    _ pieces: inout Pieces, values: UnsafeBufferPointer<UnsafePointer<Float>>, bytes: Int, to buffer: inout ByteBuffer
  ) {
    let end = buffer.writerIndex + min(bytes, pieces.bytesLeft)
    while pieces.part != .end, buffer.writerIndex < end {
      let written = appendPart(&pieces, values, bytes: end - buffer.writerIndex, to: &buffer)
      pieces.bytesLeft -= written
    }
    assert((pieces.part == .end) == (pieces.bytesLeft == 0), "the size was computed from the same figures")
  }

  /// - Returns: bytes written.
  private func appendPart(
    _ pieces: inout Pieces, _ values: UnsafeBufferPointer<UnsafePointer<Float>>, bytes: Int, to buffer: inout ByteBuffer
  ) -> Int {
    // Room for the fixed parts: lengths and numbers beside the names.
    let overhead = 64
    switch pieces.part {
    case .head:
      pieces.part = next(after: -1, pieces.selection)
      return buffer.writeParts(prefix.count + overhead) { writeHead(id: pieces.id, pieces.size, to: &$0) }
    case .output(let index):
      let places = pieces.size.places
      let size = size(of: index, rows: pieces.rows, values: values, places)
      pieces.part =
        outputs[index].form.elements(rows: pieces.rows, places) > 0
        ? .elements(index, 0) : next(after: index, pieces.selection)
      return buffer.writeParts(outputs[index].prefix.count + overhead) {
        writeHead(index, rows: pieces.rows, size: size, places, to: &$0)
      }
    case .elements(let index, let first):
      let places = pieces.size.places
      let count = outputs[index].form.elements(rows: pieces.rows, places)
      let range = first..<self.end(of: index, from: first, to: count, values: values, places, bytes: bytes)
      pieces.part =
        range.upperBound < count ? .elements(index, range.upperBound) : next(after: index, pieces.selection)
      return buffer.writeParts(self.bytes(of: index, range, values: values, places)) {
        write(index, range, values: values, places, to: &$0)
      }
    case .timing:
      pieces.part = .end
      return buffer.writeParts(overhead) { write(pieces.timing, bytes: pieces.size.timing, to: &$0) }
    case .end: return 0
    }
  }

  /// Part that follows the elements of an output.
  private func next(after index: Int, _ selection: UInt64) -> Pieces.Part {
    for next in outputs.indices where next > index && has(next, selection) { return .output(next) }
    return .timing
  }

  /// First element that is left out of a piece of `bytes` bytes; at least one is in it.
  private func end(
    of index: Int, from first: Int, to count: Int, values: UnsafeBufferPointer<UnsafePointer<Float>>,
    _ places: SpanReader?, bytes: Int
  ) -> Int {
    let form = outputs[index].form
    guard form.isText else { return min(count, first + max(1, bytes / form.type.elementBytes)) }
    var end = first
    var found = 0
    while end < count, found < bytes {
      found += self.bytes(of: index, end..<end + 1, values: values, places)
      end += 1
    }
    return end
  }
}

extension ByteBuffer {
  /// Writes at most `bytes` bytes with a cursor.
  /// - Returns: bytes written.
  fileprivate mutating func writeParts(_ bytes: Int, _ body: (inout PresizedWriter) -> Void) -> Int {
    writeWithUnsafeMutableBytes(minimumWritableBytes: bytes) { memory in
      guard let start = memory.baseAddress else { return 0 }
      var cursor = PresizedWriter(start)
      body(&cursor)
      return cursor.at - start
    }
  }
}
