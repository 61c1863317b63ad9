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

  /// A tensor with its constant parts encoded.
  struct PreparedOutput: Sendable {
    /// Name in UTF-8.
    var name: [UInt8]
    /// The name as text, for messages.
    var text: String
    var form: AnswerTensor.Form
    /// `name` and `type` of the tensor, encoded.
    var prefix: [UInt8]
  }

  /// `model` and `version` of the answer, encoded.
  let prefix: [UInt8]
  let outputs: [PreparedOutput]
  /// Output that is shown by the parts of its places.
  private let spans: SpanOutput?
  private let usualSelection: UInt64
  /// Bits of each output in a selection.
  private let bits: [UInt64]
  /// Every label as an element of `Tensor.strings`, key and length included, one after the other;
  /// label `i` lies at `labelOffsets[i] ..< labelOffsets[i + 1]`.
  private let labelBytes: [UInt8]
  private let labelOffsets: [Int]

  /// An encoder of a model none of whose outputs are places in texts.
  ///
  /// - Parameters:
  ///   - outputs: at most `Limits.outputNamesMax`, 64: a selection is a 64-bit set.
  ///   - labels: text of every class, by class index.
  public convenience init(model: String, version: UInt64, outputs: [Output], labels: [String]) {
    let tensors = outputs.enumerated().map {
      AnswerTensor(name: $1.name, kind: $1.kind, columns: $1.columns, source: $0)
    }
    self.init(model: model, version: version, tensors: tensors, spans: nil, labels: labels)
  }

  /// - Parameters:
  ///   - tensors: those of ``AnswerTensor/all(of:_:)``, at most `Limits.outputNamesMax`.
  ///   - spans: where they have parts, the output that these show.
  ///   - labels: text of every class, or kind of entity, by its index.
  public init(model: String, version: UInt64, tensors: [AnswerTensor], spans: SpanOutput?, labels: [String]) {
    precondition(tensors.count <= 64, "a selection has 64 bits")
    self.spans = spans
    usualSelection = tensors.usualSelection
    bits = tensors.indices.map(tensors.bits)
    var prefix = MessageWriter()
    prefix.string(1, model)
    prefix.uint(2, version)
    self.prefix = prefix.bytes
    outputs = tensors.map { tensor in
      var prefix = MessageWriter()
      prefix.string(1, tensor.name)
      prefix.uint(2, UInt64(tensor.form.type.rawValue))
      return PreparedOutput(
        name: Array(tensor.name.utf8), text: tensor.name, form: tensor.form, prefix: prefix.bytes)
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

  /// The outputs that a call wants, as one bit per output; an empty list selects all, but for the
  /// numbers of places that other outputs show.
  /// - Throws: `.notFound` naming the output that does not exist.
  public func selection(
    of names: UnsafeBufferPointer<UnsafeRawBufferPointer>
  ) throws(ServingError) -> UInt64 {
    guard !names.isEmpty else { return usualSelection }
    var selection: UInt64 = 0
    for name in names {
      guard let index = outputs.indices.first(where: { isShown($0) && outputs[$0].name.elementsEqual(name) }) else {
        throw .unknownOutput(
          String(decoding: name, as: UTF8.self),
          among: outputs.indices.filter(isShown).map { outputs[$0].text })
      }
      selection |= bits[index]
    }
    return selection
  }

  /// Whether an output stands in answers, and not only its parts.
  private func isShown(_ index: Int) -> Bool { outputs[index].form.content != .source }

  /// Whether an answer has an output.
  @inline(__always)
  func has(_ index: Int, _ selection: UInt64) -> Bool {
    selection & (1 << UInt64(index)) != 0 && isShown(index)
  }

  /// Reads the places of an answer; nil where it shows none.
  @inline(__always)
  private func places(
    _ values: UnsafeBufferPointer<UnsafePointer<Float>>, rows: Int, _ selection: UInt64
  ) -> SpanReader? {
    guard let spans, selection & (1 << UInt64(spans.output)) != 0 else { return nil }
    return SpanReader(spans, values: values, rows: rows)
  }

  /// Appends one framed response, the chosen outputs in the model's order.
  ///
  /// An answer too long for any frame becomes an `INVALID_ARGUMENT` error; admission lets none come this far.
  /// - Parameters:
  ///   - values: for every output of the model, its `rows × columns` floats; a class output has one
  ///     float index per row, which becomes int64 or the label's text. Behind them, where outputs are places in texts, the
  ///     places of the rows' texts.
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
      for index in outputs.indices where has(index, selection) {
        write(index, rows: rows, values: values, size.places, to: &cursor)
      }
      write(timing, bytes: size.timing, to: &cursor)
      assert(cursor.at == start + 4 + size.response, "the size was computed from the same figures")
      return 4 + size.response
    }
  }

  /// Bytes of a response, and of the answer and the timing in it.
  struct FrameSize {
    var response: Int
    var answer: Int
    var timing: Int
    /// Places that it shows.
    var places: SpanReader?
  }

  func frameSize(
    id: UInt64, rows: Int, values: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64, timing: ResponseTiming
  ) -> FrameSize {
    let timingBytes = Self.bytes(of: timing)
    var answerBytes = prefix.count + WireFormat.delimitedBytes(timingBytes)
    let places = places(values, rows: rows, selection)
    for index in outputs.indices where has(index, selection) {
      answerBytes += WireFormat.delimitedBytes(size(of: index, rows: rows, values: values, places).tensor)
    }
    let idBytes = id == 0 ? 0 : 1 + WireFormat.varintBytes(id)
    return FrameSize(
      response: idBytes + WireFormat.delimitedBytes(answerBytes), answer: answerBytes, timing: timingBytes,
      places: places)
  }

  func writeHead(id: UInt64, _ size: FrameSize, to cursor: inout PresizedWriter) {
    cursor.bigEndian(UInt32(size.response))
    if id != 0 { cursor.number(1, id) }
    cursor.header(3, bytes: size.answer)
    prefix.withUnsafeBytes { cursor.copy($0) }
  }

  func write(_ timing: ResponseTiming, bytes: Int, to cursor: inout PresizedWriter) {
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
  func size(
    of index: Int, rows: Int, values: UnsafeBufferPointer<UnsafePointer<Float>>, _ places: SpanReader?
  ) -> (tensor: Int, shape: Int, content: Int) {
    let form = outputs[index].form
    var shape = WireFormat.varintBytes(UInt64(rows))
    if let width = form.width(places) { shape += WireFormat.varintBytes(UInt64(width)) }
    let content = bytes(of: index, 0..<form.elements(rows: rows, places), values: values, places)
    let data = form.isText ? content : content == 0 ? 0 : WireFormat.delimitedBytes(content)
    return (outputs[index].prefix.count + data + WireFormat.delimitedBytes(shape), shape, content)
  }

  func write(
    _ index: Int, rows: Int, values: UnsafeBufferPointer<UnsafePointer<Float>>, _ places: SpanReader?,
    to cursor: inout PresizedWriter
  ) {
    let size = size(of: index, rows: rows, values: values, places)
    writeHead(index, rows: rows, size: size, places, to: &cursor)
    write(index, 0..<outputs[index].form.elements(rows: rows, places), values: values, places, to: &cursor)
  }

  /// Writes everything of an output before its elements.
  func writeHead(
    _ index: Int, rows: Int, size: (tensor: Int, shape: Int, content: Int), _ places: SpanReader?,
    to cursor: inout PresizedWriter
  ) {
    let form = outputs[index].form
    cursor.header(3, bytes: size.tensor)
    outputs[index].prefix.withUnsafeBytes { cursor.copy($0) }
    cursor.header(3, bytes: size.shape)
    cursor.varint(UInt64(rows))
    if let width = form.width(places) { cursor.varint(UInt64(width)) }
    if !form.isText, size.content > 0 { cursor.header(4, bytes: size.content) }
  }

  func write(
    _ index: Int, _ elements: Range<Int>, values: UnsafeBufferPointer<UnsafePointer<Float>>, _ places: SpanReader?,
    to cursor: inout PresizedWriter
  ) {
    let form = outputs[index].form
    let numbers = values[form.source]
    switch form.content {
    case .output(.number), .part(.numbers), .source:
      // Memory is little-endian like the wire on every platform of Swift.
      cursor.copy(
        UnsafeRawBufferPointer(
          start: numbers + elements.lowerBound, count: elements.count * MemoryLayout<Float>.size))
    case .output(.classIndex):
      for row in elements { cursor.littleEndian(Int64(exactly: numbers[row]) ?? -1) }
    case .output(.classLabel):
      labelBytes.withUnsafeBytes { labels in
        for row in elements { cursor.copy(UnsafeRawBufferPointer(rebasing: labels[labelRange(numbers[row])])) }
      }
    case .part(let part):
      guard let places else { return }
      write(part, elements, places, to: &cursor)
    }
  }

  func write(
    _ part: SpanOutput.Part, _ elements: Range<Int>, _ places: SpanReader, to cursor: inout PresizedWriter
  ) {
    switch part {
    case .numbers: preconditionFailure("numbers are written as such")
    case .label:
      labelBytes.withUnsafeBytes { labels in
        for element in elements {
          let kind = places.place(element).kind
          guard hasLabel(kind) else {
            cursor.header(5, bytes: 0)
            continue
          }
          cursor.copy(UnsafeRawBufferPointer(rebasing: labels[labelRange(Float(kind))]))
        }
      }
    case .text:
      for element in elements {
        let text = places.text(of: places.place(element), element: element)
        cursor.header(5, bytes: text.count)
        cursor.copy(text)
      }
    case .start, .end:
      places.forEachCharacter(elements, isEnd: part == .end) { cursor.littleEndian(Int64($1)) }
    case .score:
      for element in elements {
        withUnsafeBytes(of: places.place(element).score) { cursor.copy($0) }
      }
    }
  }

  /// Bytes of elements on the wire, those of strings with their keys and lengths.
  func bytes(
    of index: Int, _ elements: Range<Int>, values: UnsafeBufferPointer<UnsafePointer<Float>>, _ places: SpanReader?
  ) -> Int {
    let form = outputs[index].form
    switch form.content {
    case .output(.classLabel):
      return elements.reduce(0) { $0 + labelRange(values[form.source][$1]).count }
    case .part(.label), .part(.text):
      guard let places else { return 0 }
      return elements.reduce(0) { $0 + bytes(of: form.content, $1, places) }
    default: return elements.count * form.type.elementBytes
    }
  }

  /// Bytes of a string that is part of a place, with its key and length.
  func bytes(of content: AnswerTensor.Content, _ element: Int, _ places: SpanReader) -> Int {
    let place = places.place(element)
    if content == .part(.text) { return WireFormat.delimitedBytes(place.bytes.count) }
    return hasLabel(place.kind) ? labelRange(Float(place.kind)).count : WireFormat.delimitedBytes(0)
  }

  /// Whether a kind of entity has a label; one that has none is sent as an empty text.
  private func hasLabel(_ kind: Int) -> Bool { kind >= 0 && kind < labelOffsets.count - 1 }

  /// Place of the label of a class index. The engine never returns an index beyond the labels; if it did, the last label
  /// would be sent instead of a trap.
  private func labelRange(_ index: Float) -> Range<Int> {
    guard labelOffsets.count > 1 else { return 0..<0 }
    let last = labelOffsets.count - 2
    let position = min(max(Int(exactly: index) ?? last, 0), last)
    return labelOffsets[position]..<labelOffsets[position + 1]
  }
}
