public import NIOCore
public import NeedletailCore
internal import NeedletailProtobuf

/// The encoder that appends framed responses other than predictions to a connection's output buffer.
///
/// It has no state; anyone may call it. The bytes equal those of Google's protobuf. A response that is too long for any
/// frame is replaced by an `INVALID_ARGUMENT` error.
public enum ResponseEncoder {
  /// Appends an error without an intermediate message: an overloaded server rejects far more often than it answers.
  /// - Complexity: O(bytes of the message); allocates only if `buffer` must grow.
  public static func appendError(id: UInt64, _ error: ServingError, to buffer: inout ByteBuffer) {
    var message = error.message
    if message.utf8.count > Limits.errorMessageBytesMax {
      message = String(message.unicodeScalars.prefix(Limits.errorMessageBytesMax / 4))
    }
    message.withUTF8 { text in
      let text = UnsafeRawBufferPointer(text)
      func bytes(_ value: UInt64) -> Int { value == 0 ? 0 : 1 + WireFormat.varintBytes(value) }
      let (code, retryAfter) = (UInt64(error.code.rawValue), UInt64(error.retryAfterMicroseconds))
      let statusBytes = bytes(code) + (text.isEmpty ? 0 : WireFormat.delimitedBytes(text.count)) + bytes(retryAfter)
      let responseBytes = bytes(id) + WireFormat.delimitedBytes(statusBytes)
      buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: 4 + responseBytes) { memory in
        guard let start = memory.baseAddress else { return 0 }
        var cursor = PresizedWriter(start)
        cursor.bigEndian(UInt32(responseBytes))
        if id != 0 { cursor.number(1, id) }
        cursor.header(2, bytes: statusBytes)
        if code != 0 { cursor.number(1, code) }
        if !text.isEmpty {
          cursor.header(2, bytes: text.count)
          cursor.copy(text)
        }
        if retryAfter != 0 { cursor.number(3, retryAfter) }
        assert(cursor.at == start + 4 + responseBytes, "the size was computed from the same figures")
        return 4 + responseBytes
      }
    }
  }

  public static func appendHealth(id: UInt64, _ report: HealthReport, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { $0.message(4, report) }
  }

  /// - Parameter text: Prometheus text format 0.0.4.
  public static func appendMetrics(id: UInt64, _ text: String, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { $0.message(5) { $0.string(1, text) } }
  }

  public static func appendModels(id: UInt64, _ report: ModelListReport, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { $0.message(6, report) }
  }

  public static func appendDescription(
    id: UInt64, _ description: ModelDescription, to buffer: inout ByteBuffer
  ) {
    append(id: id, to: &buffer) { $0.message(7, description) }
  }

  public static func appendAuthenticated(id: UInt64, principal: String, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { $0.message(8) { $0.string(1, principal) } }
  }

  public static func appendEvents(id: UInt64, _ report: EventListReport, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { $0.message(10, report) }
  }

  public static func appendRollout(id: UInt64, _ report: RolloutReport, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { $0.message(11, report) }
  }

  /// Calls with an id above `lastID` were not executed and are safe to retry elsewhere.
  public static func appendGoAway(lastID: UInt64, to buffer: inout ByteBuffer) {
    append(id: 0, to: &buffer) { $0.message(9) { $0.uint(1, lastID) } }
  }

  private static func append(id: UInt64, to buffer: inout ByteBuffer, _ build: (inout MessageWriter) -> Void) {
    var response = MessageWriter()
    response.uint(1, id)
    build(&response)
    guard response.bytes.count <= Limits.frameBytesHardCap else {
      return appendError(id: id, .tooLongAnswer(bytes: response.bytes.count), to: &buffer)
    }
    // A frame is never empty, because a response always has a status or a result.
    buffer.writeInteger(UInt32(response.bytes.count), endianness: .big)
    buffer.writeBytes(response.bytes)
  }
}

extension ServingError {
  static func tooLongAnswer(bytes: Int) -> ServingError {
    .init(.invalidArgument, "answer: expected at most \(Limits.frameBytesHardCap) bytes, found \(bytes); ask for less")
  }
}

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
        let text = String(decoding: name, as: UTF8.self)
        throw .notFound(
          "outputs: expected one of \(outputs.map(\.text.quotedForMessage).joined(separator: ", ")), found "
            + text.quotedForMessage + Suggestion.clause(for: text, among: outputs.map(\.text)))
      }
      selection |= 1 << UInt64(index)
    }
    return selection
  }

  /// Appends one framed response, the chosen outputs in the model's order.
  ///
  /// An answer too long for any frame becomes an `INVALID_ARGUMENT` error.
  /// - Parameters:
  ///   - values: for every output of the model, its `rows × columns` floats; a class output has one
  ///     float index per row, which becomes int64 or the label's text.
  ///   - selection: from ``selection(of:)``.
  /// - Complexity: O(bytes written); allocates only if `buffer` must grow.
  public func append(
    id: UInt64, rows: Int, values: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64,
    timing: ResponseTiming, to buffer: inout ByteBuffer
  ) {
    let timingBytes = Self.bytes(of: timing)
    var answerBytes = prefix.count + WireFormat.delimitedBytes(timingBytes)
    for index in outputs.indices where selection & (1 << UInt64(index)) != 0 {
      answerBytes += WireFormat.delimitedBytes(size(of: outputs[index], rows: rows, values: values[index]).tensor)
    }
    let idBytes = id == 0 ? 0 : 1 + WireFormat.varintBytes(id)
    let responseBytes = idBytes + WireFormat.delimitedBytes(answerBytes)
    guard responseBytes <= Limits.frameBytesHardCap else {
      return ResponseEncoder.appendError(id: id, .tooLongAnswer(bytes: responseBytes), to: &buffer)
    }
    buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: 4 + responseBytes) { memory in
      guard let start = memory.baseAddress else { return 0 }
      var cursor = PresizedWriter(start)
      cursor.bigEndian(UInt32(responseBytes))
      if id != 0 { cursor.number(1, id) }
      cursor.header(3, bytes: answerBytes)
      prefix.withUnsafeBytes { cursor.copy($0) }
      for index in outputs.indices where selection & (1 << UInt64(index)) != 0 {
        write(outputs[index], rows: rows, values: values[index], to: &cursor)
      }
      cursor.header(4, bytes: timingBytes)
      if timing.queueMicroseconds != 0 { cursor.number(1, UInt64(timing.queueMicroseconds)) }
      if timing.computeMicroseconds != 0 { cursor.number(2, UInt64(timing.computeMicroseconds)) }
      if timing.batchRows != 0 { cursor.number(3, UInt64(timing.batchRows)) }
      assert(cursor.at == start + 4 + responseBytes, "the size was computed from the same figures")
      return 4 + responseBytes
    }
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
    let size = size(of: output, rows: rows, values: values)
    cursor.header(3, bytes: size.tensor)
    output.prefix.withUnsafeBytes { cursor.copy($0) }
    cursor.header(3, bytes: size.shape)
    cursor.varint(UInt64(rows))
    switch output.kind {
    case .number:
      if output.columns != 1 { cursor.varint(UInt64(output.columns)) }
      guard size.content > 0 else { return }
      cursor.header(4, bytes: size.content)
      // Memory is little-endian like the wire on every platform of Swift.
      cursor.copy(UnsafeRawBufferPointer(start: values, count: size.content))
    case .classIndex:
      guard size.content > 0 else { return }
      cursor.header(4, bytes: size.content)
      for row in 0..<rows { cursor.littleEndian(Int64(exactly: values[row]) ?? -1) }
    case .classLabel:
      labelBytes.withUnsafeBytes { labels in
        for row in 0..<rows { cursor.copy(UnsafeRawBufferPointer(rebasing: labels[labelRange(values[row])])) }
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
