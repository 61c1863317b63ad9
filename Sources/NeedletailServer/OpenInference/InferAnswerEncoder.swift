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

    mutating func append(_ text: [UInt8]) {
      bytes += text
      offsets.append(bytes.count)
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
    body.writeBytes(prefix)
    if !request.idText.isEmpty {
      body.writeStaticString(",\"id\":")
      body.writeBytes(request.idText)
    }
    body.writeStaticString(",\"outputs\":[")
    var isFirst = true
    var hasBinary = false
    for index in outputs.indices where answer.selection & (1 << UInt64(index)) != 0 {
      if !isFirst { body.writeInteger(UInt8(ascii: ",")) }
      isFirst = false
      let output = outputs[index]
      body.writeBytes(output.prefix)
      Self.write(answer.rows, to: &body)
      if output.kind == .number, output.columns != 1 {
        body.writeInteger(UInt8(ascii: ","))
        Self.write(output.columns, to: &body)
      }
      if request.isBinary(output.name) {
        hasBinary = true
        body.writeStaticString("],\"parameters\":{\"binary_data_size\":")
        Self.write(binaryBytes(of: output, rows: answer.rows, values: answer.values[index]), to: &body)
        body.writeStaticString("}}")
      } else {
        body.writeStaticString("],\"data\":[")
        writeElements(of: output, rows: answer.rows, values: answer.values[index], to: &body)
        body.writeStaticString("]}")
      }
    }
    body.writeStaticString("]}")
    guard hasBinary else { return nil }
    let jsonBytes = body.writerIndex - start
    for index in outputs.indices where answer.selection & (1 << UInt64(index)) != 0 {
      guard request.isBinary(outputs[index].name) else { continue }
      writeBinary(outputs[index], rows: answer.rows, values: answer.values[index], to: &body)
    }
    return jsonBytes
  }

  private func writeElements(
    of output: Output, rows: Int, values: UnsafePointer<Float>, to body: inout ByteBuffer
  ) {
    let count = output.kind == .number ? rows * output.columns : rows
    for element in 0..<count {
      if element > 0 { body.writeInteger(UInt8(ascii: ",")) }
      switch output.kind {
      case .number: Self.write(values[element], to: &body)
      case .classIndex: Self.write(Int(exactly: values[element]) ?? -1, to: &body)
      case .classLabel:
        let range = quotedLabels.range(values[element])
        _ = quotedLabels.bytes.withUnsafeBytes { body.writeBytes(UnsafeRawBufferPointer(rebasing: $0[range])) }
      }
    }
  }

  private func binaryBytes(of output: Output, rows: Int, values: UnsafePointer<Float>) -> Int {
    switch output.kind {
    case .number: return 4 * rows * output.columns
    case .classIndex: return 8 * rows
    case .classLabel:
      var bytes = 0
      for row in 0..<rows { bytes += 4 + plainLabels.range(values[row]).count }
      return bytes
    }
  }

  private func writeBinary(_ output: Output, rows: Int, values: UnsafePointer<Float>, to body: inout ByteBuffer) {
    switch output.kind {
    case .number: body.writeBytes(UnsafeRawBufferPointer(start: values, count: 4 * rows * output.columns))
    case .classIndex:
      for row in 0..<rows { body.writeInteger(Int64(exactly: values[row]) ?? -1, endianness: .little) }
    case .classLabel:
      for row in 0..<rows {
        let range = plainLabels.range(values[row])
        body.writeInteger(UInt32(range.count), endianness: .little)
        _ = plainLabels.bytes.withUnsafeBytes { body.writeBytes(UnsafeRawBufferPointer(rebasing: $0[range])) }
      }
    }
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
