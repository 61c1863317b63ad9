internal import NIOCore
internal import NeedletailCore
internal import NeedletailWire

/// Writes the answers of one model version in the Open Inference Protocol. Made once per loop and version, with what is
/// the same in every answer encoded beforehand.
final class InferAnswerEncoder {
  private struct Output {
    /// Name in UTF-8, as requests spell it.
    var name: [UInt8]
    var kind: OutputKind
    var columns: Int
    /// `{"name":…,"datatype":…,"shape":[`
    var prefix: [UInt8]
  }

  /// `{"model_name":…,"model_version":…`
  private let prefix: [UInt8]
  private let outputs: [Output]
  /// Labels as JSON strings, and as they are; label `i` lies at `offsets[i] ..< offsets[i + 1]`.
  private let quotedLabels: Texts
  private let plainLabels: Texts

  private struct Texts {
    var bytes: [UInt8] = []
    var offsets = [0]
    /// Bytes of the longest one.
    var longest = 0

    mutating func append(_ text: [UInt8]) {
      bytes += text
      offsets.append(bytes.count)
      longest = max(longest, text.count)
    }

    /// Place of the label of a class index. The engine returns no index beyond the labels; the last one would stand in.
    func range(_ index: Float) -> Range<Int> {
      guard offsets.count > 1 else { return 0..<0 }
      let last = offsets.count - 2
      let position = min(max(Int(exactly: index) ?? last, 0), last)
      return offsets[position]..<offsets[position + 1]
    }
  }

  init(model: String, version: UInt64, outputs: [PredictResponseEncoder.Output], labels: [String]) {
    prefix = Array("{\"model_name\":\(JSONText.quoted(model)),\"model_version\":\"\(version)\"".utf8)
    self.outputs = outputs.map { output in
      let type =
        switch output.kind {
        case .number: "FP32"
        case .classIndex: "INT64"
        case .classLabel: "BYTES"
        }
      return Output(
        name: Array(output.name.utf8), kind: output.kind, columns: output.columns,
        prefix: Array("{\"name\":\(JSONText.quoted(output.name)),\"datatype\":\"\(type)\",\"shape\":[".utf8))
    }
    var (quoted, plain) = (Texts(), Texts())
    for label in labels {
      quoted.append(Array(JSONText.quoted(label).utf8))
      plain.append(Array(label.utf8))
    }
    (quotedLabels, plainLabels) = (quoted, plain)
  }

  /// Appends the body of an answer: JSON, and behind it the elements of outputs that were asked for as bytes.
  /// - Parameter request: the one that is answered.
  /// - Returns: bytes of the JSON; nil where nothing stands behind it.
  func append(_ answer: PredictAnswer, _ request: InferRequest, to body: inout ByteBuffer) -> Int? {
    let start = body.writerIndex
    writeBegin(request, to: &body)
    var isFirst = true
    var hasBinary = false
    for index in outputs.indices where answer.selection & (1 << UInt64(index)) != 0 {
      let values = answer.values[index]
      if writeBegin(of: index, isFirst: isFirst, rows: answer.rows, values: values, request, to: &body) {
        writeElements(of: index, 0..<elements(of: index, rows: answer.rows), values: values, to: &body)
        writeEnd(of: index, to: &body)
      } else {
        hasBinary = hasBinary || request.isBinary(outputs[index].name)
      }
      isFirst = false
    }
    writeEnd(to: &body)
    guard hasBinary else { return nil }
    let jsonBytes = body.writerIndex - start
    for index in outputs.indices where answer.selection & (1 << UInt64(index)) != 0 {
      guard isBinary(index, request) else { continue }
      writeBinary(
        index, 0..<elements(of: index, rows: answer.rows), values: answer.values[index], to: &body)
    }
    return jsonBytes
  }

  // MARK: parts

  /// Whether a request wants an output as bytes.
  func isBinary(_ index: Int, _ request: InferRequest) -> Bool { request.isBinary(outputs[index].name) }

  /// Elements of an output: a class is one.
  func elements(of index: Int, rows: Int) -> Int {
    outputs[index].kind == .number ? rows * outputs[index].columns : rows
  }

  /// Elements of an answer that are formatted as JSON.
  func formattedElements(_ answer: PredictAnswer, _ request: InferRequest) -> Int {
    var count = 0
    for index in outputs.indices where answer.selection & (1 << UInt64(index)) != 0 && !isBinary(index, request) {
      count += elements(of: index, rows: answer.rows)
    }
    return count
  }

  /// Writes everything before the first output.
  func writeBegin(_ request: InferRequest, to body: inout ByteBuffer) {
    body.writeBytes(prefix)
    if !request.idText.isEmpty {
      body.writeStaticString(",\"id\":")
      body.writeBytes(request.idText)
    }
    body.writeStaticString(",\"outputs\":[")
  }

  /// Writes an output up to its elements.
  /// - Returns: whether elements in JSON follow, and behind them ``writeEnd(of:to:)``.
  func writeBegin(
    of index: Int, isFirst: Bool, rows: Int, values: UnsafePointer<Float>, _ request: InferRequest,
    to body: inout ByteBuffer
  ) -> Bool {
    let output = outputs[index]
    if !isFirst { body.writeInteger(UInt8(ascii: ",")) }
    body.writeBytes(output.prefix)
    Self.write(rows, to: &body)
    if output.kind == .number, output.columns != 1 {
      body.writeInteger(UInt8(ascii: ","))
      Self.write(output.columns, to: &body)
    }
    guard request.isBinary(output.name) else {
      body.writeStaticString("],\"data\":[")
      return true
    }
    body.writeStaticString("],\"parameters\":{\"binary_data_size\":")
    Self.write(binaryBytes(of: index, rows: rows, values: values), to: &body)
    body.writeStaticString("}}")
    return false
  }

  func writeElements(
    of index: Int, _ elements: Range<Int>, values: UnsafePointer<Float>, to body: inout ByteBuffer
  ) {
    let kind = outputs[index].kind
    for element in elements {
      if element > 0 { body.writeInteger(UInt8(ascii: ",")) }
      switch kind {
      case .number: Self.write(values[element], to: &body)
      case .classIndex: Self.write(Int(exactly: values[element]) ?? -1, to: &body)
      case .classLabel:
        let range = quotedLabels.range(values[element])
        _ = quotedLabels.bytes.withUnsafeBytes { body.writeBytes(UnsafeRawBufferPointer(rebasing: $0[range])) }
      }
    }
  }

  func writeEnd(of index: Int, to body: inout ByteBuffer) { body.writeStaticString("]}") }

  /// Writes everything behind the last output.
  func writeEnd(to body: inout ByteBuffer) { body.writeStaticString("]}") }

  func writeBinary(
    _ index: Int, _ elements: Range<Int>, values: UnsafePointer<Float>, to body: inout ByteBuffer
  ) {
    switch outputs[index].kind {
    case .number:
      body.writeBytes(UnsafeRawBufferPointer(start: values + elements.lowerBound, count: 4 * elements.count))
    case .classIndex:
      for row in elements { body.writeInteger(Int64(exactly: values[row]) ?? -1, endianness: .little) }
    case .classLabel:
      for row in elements {
        let range = plainLabels.range(values[row])
        body.writeInteger(UInt32(range.count), endianness: .little)
        _ = plainLabels.bytes.withUnsafeBytes { body.writeBytes(UnsafeRawBufferPointer(rebasing: $0[range])) }
      }
    }
  }

  // MARK: sizes

  /// Bytes of an output's elements as bytes.
  func binaryBytes(of index: Int, rows: Int, values: UnsafePointer<Float>) -> Int {
    switch outputs[index].kind {
    case .number: return 4 * rows * outputs[index].columns
    case .classIndex: return 8 * rows
    case .classLabel:
      var bytes = 0
      for row in 0..<rows { bytes += 4 + plainLabels.range(values[row]).count }
      return bytes
    }
  }

  /// Most bytes of one element as bytes.
  func bytesPerElement(of index: Int) -> Int {
    switch outputs[index].kind {
    case .number: 4
    case .classIndex: 8
    case .classLabel: 4 + plainLabels.longest
    }
  }

  /// Most bytes of an output's elements in JSON, each with a comma: the longest fp32 is `-1.1754944e-38`.
  func jsonBytesMax(of index: Int, rows: Int) -> Int {
    switch outputs[index].kind {
    case .number: 16 * rows * outputs[index].columns
    case .classIndex: 12 * rows
    case .classLabel: (quotedLabels.longest + 1) * rows
    }
  }

  /// Most bytes of what stands before and around the outputs.
  func bytesMax(_ request: InferRequest) -> Int {
    outputs.reduce(prefix.count + request.idText.count) { $0 + $1.prefix.count }
  }

  /// Most bytes of a whole answer.
  /// - Parameter selection: outputs wanted, one bit each.
  func bytesMax(_ request: InferRequest, selection: UInt64, rows: Int) -> Int {
    // Beside names: `,"id":`, brackets, the shape and `binary_data_size` of each output.
    var bytes = bytesMax(request) + 64
    for index in outputs.indices where selection & (1 << UInt64(index)) != 0 {
      bytes += 128
      bytes +=
        isBinary(index, request)
        ? elements(of: index, rows: rows) * bytesPerElement(of: index) : jsonBytesMax(of: index, rows: rows)
    }
    return bytes
  }

  /// The shortest decimal that reads as the same fp32 (at most 15 characters, which a string holds without memory of
  /// its own); `null` for what JSON has no number for.
  private static func write(_ value: Float, to body: inout ByteBuffer) {
    if value.isFinite { body.writeString(value.description) } else { body.writeStaticString("null") }
  }

  private static func write(_ value: Int, to body: inout ByteBuffer) { body.writeString(String(value)) }
}

/// Text as JSON.
enum JSONText {
  /// A string with its quotes, all but the characters that must be escaped as they are.
  static func quoted(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case "\n": quoted += "\\n"
      case "\r": quoted += "\\r"
      case "\t": quoted += "\\t"
      case "\u{0}"..<"\u{20}":
        let digits = String(scalar.value, radix: 16)
        quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: quoted.unicodeScalars.append(scalar)
      }
    }
    return quoted + "\""
  }
}
