internal import NIOCore
internal import NeedletailCore
internal import NeedletailServing

/// One large answer in the Open Inference Protocol, written piece by piece as its peer takes it.
///
/// How long JSON is, is known when it is written. An answer all in JSON therefore goes out in chunks (RFC 9112, 7.1). One
/// with bytes behind its JSON names the length of the JSON in its head, and HTTP/1.0 knows no chunks: there the JSON is
/// gathered first, also piece by piece. It keeps the memory that the values were computed in, or copies of them. Confined to its
/// connection's loop.
final class InferAnswerStream: AnswerStream {
  /// The way in which the answer's length is told.
  enum Framing {
    /// All outputs are JSON, and the peer takes chunks.
    case chunks
    /// The JSON is gathered before anything is written.
    case length
  }

  /// Next part to write.
  private enum Part: Equatable {
    case begin
    /// Head of an output in JSON.
    case output(Int)
    /// Elements of an output in JSON, from this one on.
    case elements(Int, Int)
    case endOfJSON
    /// JSON that was gathered, behind the head of the answer.
    case gathered
    /// Elements of an output as bytes, from this one on.
    case bytes(Int, Int)
    case end
  }

  /// Most elements of JSON in one piece: a decimal takes some 80 ns.
  static let elementsMax = 2048
  /// A byte of JSON takes about as long as four that are copied.
  private static let jsonWeight = 4
  /// Bytes of the heads of an answer and of an output, beside their names; of a chunk's line and end.
  private static let fixedBytes = 512

  private let encoder: InferAnswerEncoder
  private let request: InferRequest
  private let memory: CallMemory?
  private let values: UnsafeMutableBufferPointer<UnsafePointer<Float>>
  /// Places that the answer shows; nil: it shows none.
  private let places: SpanReader?
  /// Copies of values whose memory cannot be kept.
  private let copies: UnsafeMutableBufferPointer<Float>
  private let rows: Int
  private let outputs: [Int]
  private let framing: Framing
  private let closes: Bool
  private var part = Part.begin
  /// JSON that waits for the head of the answer.
  private var json = ByteBuffer()
  /// Upper bound of the bytes of JSON that were not formatted.
  private var jsonBound: Int
  private var bytesOfElements: Int

  /// - Parameters:
  ///   - request: the one that is answered.
  ///   - isHTTP10: whether its peer takes no chunks.
  ///   - closes: whether the connection ends with this answer.
  ///   - memory: memory of the values; nil: they are copied.
  init(_ answer: PredictAnswer, _ request: InferRequest, isHTTP10: Bool, closes: Bool, memory: CallMemory?) {
    encoder = answer.schema.openInference
    self.request = request
    self.memory = memory
    self.closes = closes
    rows = answer.rows
    outputs = encoder.shown(answer.selection)
    values = .allocate(capacity: answer.values.count)
    _ = values.initialize(from: answer.values)
    copies = memory == nil ? Self.copy(answer, outputs, encoder, values) : .init(start: nil, count: 0)
    let (encoder, rows, values) = (self.encoder, self.rows, UnsafeBufferPointer(values))
    let places = encoder.places(values, rows: rows, answer.selection)
    self.places = places
    let binary = outputs.filter { encoder.isBinary($0, request) }
    framing = binary.isEmpty && !isHTTP10 ? .chunks : .length
    jsonBound = outputs.reduce(encoder.bytesMax(request) + Self.fixedBytes) { bound, output in
      let elements = binary.contains(output) ? 0 : encoder.elements(of: output, rows: rows, places)
      return bound + Self.fixedBytes + elements * encoder.jsonBytesPerElement(of: output)
    }
    bytesOfElements = binary.reduce(0) {
      $0 + encoder.binaryBytes(of: $1, rows: rows, values: values, places)
    }
    super.init()
  }

  deinit {
    copies.deallocate()
    values.deallocate()
  }

  /// Copies the numbers of the outputs that are wanted, and texts that they are places in; points at the copies.
  private static func copy(
    _ answer: PredictAnswer, _ outputs: [Int], _ encoder: InferAnswerEncoder,
    _ values: UnsafeMutableBufferPointer<UnsafePointer<Float>>
  ) -> UnsafeMutableBufferPointer<Float> {
    let spans = encoder.spans.flatMap { answer.selection & (1 << UInt64($0.output)) == 0 ? nil : $0 }
    var counts = [Int](repeating: 0, count: values.count)
    for output in outputs {
      let form = encoder.form(of: output)
      counts[form.source] = form.isPart ? answer.rows * form.columns : form.elements(rows: answer.rows, nil)
    }
    let sum = counts.reduce(0, +)
    let texts = spans?.textFloats(rows: answer.rows, of: UnsafeRawPointer(values[values.count - 1])) ?? 0
    let copies = UnsafeMutableBufferPointer<Float>.allocate(capacity: max(1, sum + texts))
    guard var place = copies.baseAddress else { return copies }
    for (source, count) in counts.enumerated() where count > 0 {
      place.initialize(from: values[source], count: count)
      values[source] = UnsafePointer(place)
      place += count
    }
    if let spans {
      place.initialize(repeating: 0, count: texts)
      spans.copyTexts(
        from: UnsafeRawPointer(values[values.count - 1]), count: answer.rows, to: UnsafeMutableRawPointer(place), at: 0,
        of: answer.rows)
      values[values.count - 1] = UnsafePointer(place)
    }
    return copies
  }

  override var bytesLeft: Int { part == .end ? 0 : max(1, jsonBound + json.readableBytes + bytesOfElements) }

  override var weight: Int { jsonBound > 0 ? Self.jsonWeight : 1 }

  override func write(bytes: Int, to output: inout ByteBuffer) {
    switch (framing, part) {
    case (.chunks, _): writeChunk(bytes: bytes, to: &output)
    case (.length, .gathered), (.length, .bytes), (.length, .end): writeBytes(bytes, to: &output)
    case (.length, _):
      gather(bytes: bytes)
      // Nothing can be sent before all of it is there.
      if part == .gathered { writeHead(to: &output) }
    }
  }

  // MARK: JSON

  private func writeChunk(bytes: Int, to output: inout ByteBuffer) {
    if part == .begin { HTTPAnswer.writeHead(200, .chunks, closes: closes, to: &output) }
    let start = output.writerIndex
    output.writeStaticString("00000000\r\n")
    let first = output.writerIndex
    format(bytes: bytes, to: &output)
    let count = output.writerIndex - first
    output.setBytes(Hexadecimal.digits(UInt32(count)), at: start)
    output.writeStaticString("\r\n")
    guard part == .gathered else { return }
    output.writeStaticString("0\r\n\r\n")
    end()
  }

  private func gather(bytes: Int) { format(bytes: bytes, to: &json) }

  /// Formats parts until there are so many bytes, or a whole piece of elements.
  private func format(bytes: Int, to body: inout ByteBuffer) {
    let end = body.writerIndex + bytes
    var elementsLeft = Self.elementsMax
    while part != .gathered, body.writerIndex < end, elementsLeft > 0 {
      elementsLeft -= formatPart(elementsMax: elementsLeft, bytes: end - body.writerIndex, to: &body)
    }
  }

  /// - Returns: elements written.
  private func formatPart(elementsMax: Int, bytes: Int, to body: inout ByteBuffer) -> Int {
    switch part {
    case .begin:
      encoder.writeBegin(request, to: &body)
      part = outputs.first.map { .output($0) } ?? .endOfJSON
      return 0
    case .output(let index):
      let hasElements = encoder.writeBegin(
        of: index, isFirst: index == outputs[0], rows: rows, values: .init(values), places, request, to: &body)
      jsonBound -= Self.fixedBytes
      part = hasElements ? .elements(index, 0) : next(after: index)
      return 0
    case .elements(let index, let first):
      let count = encoder.elements(of: index, rows: rows, places)
      let each = encoder.jsonBytesPerElement(of: index)
      let range = first..<min(count, first + min(elementsMax, max(1, bytes / max(1, each))))
      encoder.writeElements(of: index, range, values: .init(values), places, to: &body)
      jsonBound -= range.count * each
      // Numbers of places are read once for each of their parts.
      if framing == .chunks, places == nil { memory?.discard(before: values[index] + range.upperBound) }
      if range.upperBound < count {
        part = .elements(index, range.upperBound)
      } else {
        encoder.writeEnd(of: index, to: &body)
        part = next(after: index)
      }
      return range.count
    case .endOfJSON:
      encoder.writeEnd(to: &body)
      jsonBound = 0
      part = .gathered
      return 0
    case .gathered, .bytes, .end: return 0
    }
  }

  private func next(after index: Int) -> Part { outputs.first { $0 > index }.map { .output($0) } ?? .endOfJSON }

  // MARK: bytes

  private func writeHead(to output: inout ByteBuffer) {
    let hasBytes = outputs.contains { encoder.isBinary($0, request) }
    HTTPAnswer.writeHead(
      200, .length(json.readableBytes + bytesOfElements, json: hasBytes ? json.readableBytes : nil), closes: closes,
      to: &output)
  }

  private func writeBytes(_ bytes: Int, to output: inout ByteBuffer) {
    if part == .gathered {
      if var piece = json.readSlice(length: min(bytes, json.readableBytes)) { output.writeBuffer(&piece) }
      guard json.readableBytes == 0 else { return }
      json = ByteBuffer()
      return goOn(after: -1)
    }
    guard case .bytes(let index, let first) = part else { return }
    let count = encoder.elements(of: index, rows: rows, places)
    let range = first..<min(count, first + max(1, bytes / encoder.bytesPerElement(of: index)))
    let before = output.writerIndex
    encoder.writeBinary(index, range, values: .init(values), places, to: &output)
    bytesOfElements -= output.writerIndex - before
    if range.upperBound < count { part = .bytes(index, range.upperBound) } else { goOn(after: index) }
  }

  /// Goes on with the elements of the next output as bytes, if there is one.
  private func goOn(after index: Int) {
    let next = outputs.first {
      $0 > index && encoder.isBinary($0, request) && encoder.elements(of: $0, rows: rows, places) > 0
    }
    if let next { part = .bytes(next, 0) } else { end() }
  }

  private func end() {
    part = .end
    jsonBound = 0
    bytesOfElements = 0
  }
}
