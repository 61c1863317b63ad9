public import NIOCore
public import NeedletailCore
internal import NeedletailProtobuf

/// The encoder of one model version's answers, which writes them straight into a connection's output buffer.
///
/// It is made once when a version goes live: the parts that are the same in every answer are encoded beforehand. It is
/// immutable, so that any loop may use it. The bytes equal those of Google's protobuf.
public final class PredictResponseEncoder: Sendable {
  /// One output of the model, in the order of the plan's outputs.
  public struct Output: Sendable {
    public var name: String
    public var kind: OutputKind
    /// Number of fp32 columns of the plan's output; one column is sent as `[rows]`.
    public var columns: Int

    public init(name: String, kind: OutputKind, columns: Int) {
      self.name = name
      self.kind = kind
      self.columns = columns
    }
  }

  /// An output with its constant parts encoded.
  private struct PreparedOutput: Sendable {
    /// Name in UTF-8.
    var name: [UInt8]
    var kind: OutputKind
    var columns: Int
    /// `name` and `type` of the tensor, encoded.
    var prefix: [UInt8]
    /// Name as text, for messages.
    var text: String
  }

  /// `model` and `version` of the answer, encoded.
  private let prefix: [UInt8]
  private let outputs: [PreparedOutput]
  /// Every label as an element of `Tensor.strings`, key and length included, one after the other;
  /// label `i` lies at `labelOffsets[i] ..< labelOffsets[i + 1]`.
  private let labelBytes: [UInt8]
  private let labelOffsets: [Int]

  /// - Parameters:
  ///   - outputs: at most `Limits.outputNamesMax`, 64: a selection is a 64-bit set.
  ///   - labels: text of every class, by class index.
  public init(model: String, version: UInt64, outputs: [Output], labels: [String]) {
    precondition(outputs.count <= 64, "a selection has 64 bits")
    var prefix = MessageWriter()
    prefix.string(1, model)
    prefix.uint(2, version)
    self.prefix = prefix.bytes
    self.outputs = outputs.map { output in
      var prefix = MessageWriter()
      prefix.string(1, output.name)
      prefix.uint(2, UInt64(Self.type(of: output.kind).rawValue))
      return PreparedOutput(
        name: Array(output.name.utf8), kind: output.kind, columns: output.columns, prefix: prefix.bytes,
        text: output.name)
    }
    var elements = MessageWriter()
    var offsets = [0]
    for label in labels {
      elements.element(5, label)
      offsets.append(elements.bytes.count)
    }
    labelBytes = elements.bytes
    labelOffsets = offsets
  }

  private static func type(of kind: OutputKind) -> DataType {
    switch kind {
    case .number: .float32
    case .classIndex: .int64
    case .classLabel: .string
    }
  }

  /// The outputs that a call wants, as one bit per output; an empty list selects all.
  /// - Throws: `.notFound` naming the output that does not exist.
  public func selection(
    of names: UnsafeBufferPointer<UnsafeRawBufferPointer>
  ) throws(ServingError) -> UInt64 {
    guard !names.isEmpty else { return outputs.count == 64 ? .max : (1 << UInt64(outputs.count)) - 1 }
    var selection: UInt64 = 0
    for name in names {
      guard let index = outputs.firstIndex(where: { $0.name.elementsEqual(name) }) else {
        throw .unknownOutput(String(decoding: name, as: UTF8.self), among: outputs.map(\.text))
      }
      selection |= 1 << UInt64(index)
    }
    return selection
  }

  /// Appends one framed response, the chosen outputs in the model's order.
  ///
  /// An answer too long for any frame becomes an `INVALID_ARGUMENT` error; admission lets none come this far.
  /// - Parameters:
  ///   - values: for every output of the model, its `rows × columns` floats; a class output has one
  ///     float index per row, which becomes int64 or the label's text.
  ///   - selection: from ``selection(of:)``.
  /// - Complexity: O(bytes written); allocates only if `buffer` must grow.
  public func append(
    id: UInt64, rows: Int, values: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64,
    timing: ResponseTiming, to buffer: inout ByteBuffer
  ) {
    let size = frameSize(id: id, rows: rows, values: values, selection: selection, timing: timing)
    guard size.response <= Limits.frameBytesHardCap else {
      return ResponseEncoder.appendError(id: id, .tooLongAnswer(bytes: size.response), to: &buffer)
    }
    buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: 4 + size.response) { memory in
      guard let start = memory.baseAddress else { return 0 }
      var cursor = PresizedWriter(start)
      writeHead(id: id, size, to: &cursor)
      for index in outputs.indices where selection & (1 << UInt64(index)) != 0 {
        write(outputs[index], rows: rows, values: values[index], to: &cursor)
      }
      write(timing, bytes: size.timing, to: &cursor)
      assert(cursor.at == start + 4 + size.response, "the size was computed from the same figures")
      return 4 + size.response
    }
  }

  /// Bytes of a response, and of the answer and the timing in it.
  fileprivate struct FrameSize {
    var response: Int
    var answer: Int
    var timing: Int
  }

  private func frameSize(
    id: UInt64, rows: Int, values: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64, timing: ResponseTiming
  ) -> FrameSize {
    let timingBytes = Self.bytes(of: timing)
    var answerBytes = prefix.count + WireFormat.delimitedBytes(timingBytes)
    for index in outputs.indices where selection & (1 << UInt64(index)) != 0 {
      answerBytes += WireFormat.delimitedBytes(size(of: outputs[index], rows: rows, values: values[index]).tensor)
    }
    let idBytes = id == 0 ? 0 : 1 + WireFormat.varintBytes(id)
    return FrameSize(
      response: idBytes + WireFormat.delimitedBytes(answerBytes), answer: answerBytes, timing: timingBytes)
  }

  private func writeHead(id: UInt64, _ size: FrameSize, to cursor: inout PresizedWriter) {
    cursor.bigEndian(UInt32(size.response))
    if id != 0 { cursor.number(1, id) }
    cursor.header(3, bytes: size.answer)
    prefix.withUnsafeBytes { cursor.copy($0) }
  }

  private func write(_ timing: ResponseTiming, bytes: Int, to cursor: inout PresizedWriter) {
    cursor.header(4, bytes: bytes)
    if timing.queueMicroseconds != 0 { cursor.number(1, UInt64(timing.queueMicroseconds)) }
    if timing.computeMicroseconds != 0 { cursor.number(2, UInt64(timing.computeMicroseconds)) }
    if timing.batchRows != 0 { cursor.number(3, UInt64(timing.batchRows)) }
  }

  private static func bytes(of timing: ResponseTiming) -> Int {
    func bytes(_ value: UInt32) -> Int { value == 0 ? 0 : 1 + WireFormat.varintBytes(UInt64(value)) }
    return bytes(timing.queueMicroseconds) + bytes(timing.computeMicroseconds) + bytes(timing.batchRows)
  }

  /// Bytes of a tensor message, of its packed shape, and of its data or strings.
  private func size(
    of output: PreparedOutput, rows: Int, values: UnsafePointer<Float>
  ) -> (tensor: Int, shape: Int, content: Int) {
    var shape = WireFormat.varintBytes(UInt64(rows))
    let content: Int
    var tensor = output.prefix.count
    switch output.kind {
    case .number:
      if output.columns != 1 { shape += WireFormat.varintBytes(UInt64(output.columns)) }
      content = rows * output.columns * 4
      tensor += content == 0 ? 0 : WireFormat.delimitedBytes(content)
    case .classIndex:
      content = rows * 8
      tensor += content == 0 ? 0 : WireFormat.delimitedBytes(content)
    case .classLabel:
      var bytes = 0
      for row in 0..<rows { bytes += labelRange(values[row]).count }
      content = bytes
      tensor += content
    }
    return (tensor + WireFormat.delimitedBytes(shape), shape, content)
  }

  private func write(
    _ output: PreparedOutput, rows: Int, values: UnsafePointer<Float>, to cursor: inout PresizedWriter
  ) {
    writeHead(output, rows: rows, size: size(of: output, rows: rows, values: values), to: &cursor)
    write(output, 0..<elements(of: output, rows: rows), values: values, to: &cursor)
  }

  /// Floats of an output: a class is one index.
  private func elements(of output: PreparedOutput, rows: Int) -> Int {
    output.kind == .number ? rows * output.columns : rows
  }

  /// Writes everything of an output before its elements.
  private func writeHead(
    _ output: PreparedOutput, rows: Int, size: (tensor: Int, shape: Int, content: Int), to cursor: inout PresizedWriter
  ) {
    cursor.header(3, bytes: size.tensor)
    output.prefix.withUnsafeBytes { cursor.copy($0) }
    cursor.header(3, bytes: size.shape)
    cursor.varint(UInt64(rows))
    if output.kind == .number, output.columns != 1 { cursor.varint(UInt64(output.columns)) }
    if output.kind != .classLabel, size.content > 0 { cursor.header(4, bytes: size.content) }
  }

  private func write(
    _ output: PreparedOutput, _ elements: Range<Int>, values: UnsafePointer<Float>, to cursor: inout PresizedWriter
  ) {
    switch output.kind {
    case .number:
      // Memory is little-endian like the wire on every platform of Swift.
      cursor.copy(
        UnsafeRawBufferPointer(
          start: values + elements.lowerBound, count: elements.count * MemoryLayout<Float>.size))
    case .classIndex:
      for row in elements { cursor.littleEndian(Int64(exactly: values[row]) ?? -1) }
    case .classLabel:
      labelBytes.withUnsafeBytes { labels in
        for row in elements { cursor.copy(UnsafeRawBufferPointer(rebasing: labels[labelRange(values[row])])) }
      }
    }
  }

  /// Place of the label of a class index. The engine never returns an index beyond the labels; if it did, the last label
  /// would be sent instead of a trap.
  private func labelRange(_ index: Float) -> Range<Int> {
    guard labelOffsets.count > 1 else { return 0..<0 }
    let last = labelOffsets.count - 2
    let position = min(max(Int(exactly: index) ?? last, 0), last)
    return labelOffsets[position]..<labelOffsets[position + 1]
  }
}

// MARK: answers in pieces

extension PredictResponseEncoder {
  /// One framed answer that is written piece by piece, as its peer takes it: the values stay where they were computed,
  /// and no more than a piece of them is ever there twice.
  public struct Pieces {
    /// Next part to write.
    fileprivate enum Part: Equatable {
      case head
      case output(Int)
      /// Elements of an output, from this one on.
      case elements(Int, Int)
      case timing
      case end
    }

    fileprivate let id: UInt64
    fileprivate let rows: Int
    fileprivate let selection: UInt64
    fileprivate let timing: ResponseTiming
    fileprivate let size: FrameSize
    fileprivate var part = Part.head
    /// Bytes of the frame that were not written yet.
    public fileprivate(set) var bytesLeft: Int

    /// Output and element that are written next, where that is known: the elements before were read for the last time.
    public var position: (output: Int, element: Int)? {
      if case .elements(let output, let element) = part { (output, element) } else { nil }
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
      let output = outputs[index]
      let size = size(of: output, rows: pieces.rows, values: values[index])
      pieces.part =
        elements(of: output, rows: pieces.rows) > 0 ? .elements(index, 0) : next(after: index, pieces.selection)
      return buffer.writeParts(output.prefix.count + overhead) {
        writeHead(output, rows: pieces.rows, size: size, to: &$0)
      }
    case .elements(let index, let first):
      let output = outputs[index]
      let count = elements(of: output, rows: pieces.rows)
      let range = first..<self.end(of: output, from: first, of: count, values: values[index], bytes: bytes)
      pieces.part =
        range.upperBound < count ? .elements(index, range.upperBound) : next(after: index, pieces.selection)
      return buffer.writeParts(self.bytes(of: output, range, values: values[index])) {
        write(output, range, values: values[index], to: &$0)
      }
    case .timing:
      pieces.part = .end
      return buffer.writeParts(overhead) { write(pieces.timing, bytes: pieces.size.timing, to: &$0) }
    case .end: return 0
    }
  }

  /// Part that follows the elements of an output.
  private func next(after index: Int, _ selection: UInt64) -> Pieces.Part {
    for next in outputs.indices where next > index && selection & (1 << UInt64(next)) != 0 { return .output(next) }
    return .timing
  }

  /// First element that is left out of a piece of `bytes` bytes; at least one is in it.
  private func end(
    of output: PreparedOutput, from first: Int, of count: Int, values: UnsafePointer<Float>, bytes: Int
  ) -> Int {
    switch output.kind {
    case .number: return min(count, first + max(1, bytes / MemoryLayout<Float>.size))
    case .classIndex: return min(count, first + max(1, bytes / MemoryLayout<Int64>.size))
    case .classLabel:
      var end = first
      var found = 0
      while end < count, found < bytes {
        found += labelRange(values[end]).count
        end += 1
      }
      return end
    }
  }

  private func bytes(of output: PreparedOutput, _ elements: Range<Int>, values: UnsafePointer<Float>) -> Int {
    switch output.kind {
    case .number: elements.count * MemoryLayout<Float>.size
    case .classIndex: elements.count * MemoryLayout<Int64>.size
    case .classLabel: elements.reduce(0) { $0 + labelRange(values[$1]).count }
    }
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
