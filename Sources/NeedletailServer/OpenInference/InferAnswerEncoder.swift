internal import NIOCore
internal import NeedletailCore
internal import NeedletailWire

/// Writes the answers of one model version in the Open Inference Protocol. Made once per loop and version, with what is
/// the same in every answer encoded beforehand.
final class InferAnswerEncoder {
  private struct Output {
    /// Name in UTF-8, as requests spell it.
    var name: [UInt8]
    var form: AnswerTensor.Form
    /// `{"name":…,"datatype":…,"shape":[`
    var prefix: [UInt8]
  }

  /// `{"model_name":…,"model_version":…`
  private let prefix: [UInt8]
  private let outputs: [Output]
  /// Output that is shown by the parts of its places.
  let spans: SpanOutput?
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

    /// Writes the label of a class index.
    func write(_ index: Float, to body: inout ByteBuffer) {
      let range = range(index)
      _ = bytes.withUnsafeBytes { body.writeBytes(UnsafeRawBufferPointer(rebasing: $0[range])) }
    }

    /// Writes its length, four bytes, and it.
    func writeWithLength(_ index: Float, to body: inout ByteBuffer) {
      body.writeInteger(UInt32(range(index).count), endianness: .little)
      write(index, to: &body)
    }

    /// Place of the label of a class index. The engine returns no index beyond the labels; the last one would stand in.
    func range(_ index: Float) -> Range<Int> {
      guard offsets.count > 1 else { return 0..<0 }
      let last = offsets.count - 2
      let position = min(max(Int(exactly: index) ?? last, 0), last)
      return offsets[position]..<offsets[position + 1]
    }
  }

  /// - Parameters: as of ``PredictResponseEncoder``.
  init(model: String, version: UInt64, tensors: [AnswerTensor], spans: SpanOutput?, labels: [String]) {
    self.spans = spans
    prefix = Array("{\"model_name\":\(JSONText.quoted(model)),\"model_version\":\"\(version)\"".utf8)
    outputs = tensors.map { tensor in
      let type =
        switch tensor.form.type {
        case .int64: "INT64"
        case .string: "BYTES"
        default: "FP32"
        }
      return Output(
        name: Array(tensor.name.utf8), form: tensor.form,
        prefix: Array("{\"name\":\(JSONText.quoted(tensor.name)),\"datatype\":\"\(type)\",\"shape\":[".utf8))
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
    let places = places(answer.values, rows: answer.rows, answer.selection)
    for index in outputs.indices where has(index, answer.selection) {
      if writeBegin(
        of: index, isFirst: isFirst, rows: answer.rows, values: answer.values, places, request, to: &body)
      {
        writeElements(
          of: index, 0..<elements(of: index, rows: answer.rows, places), values: answer.values, places, to: &body)
        writeEnd(of: index, to: &body)
      } else {
        hasBinary = hasBinary || request.isBinary(outputs[index].name)
      }
      isFirst = false
    }
    writeEnd(to: &body)
    guard hasBinary else { return nil }
    let jsonBytes = body.writerIndex - start
    for index in outputs.indices where has(index, answer.selection) && isBinary(index, request) {
      writeBinary(
        index, 0..<elements(of: index, rows: answer.rows, places), values: answer.values, places, to: &body)
    }
    return jsonBytes
  }

  // MARK: parts

  /// Whether a request wants an output as bytes.
  func isBinary(_ index: Int, _ request: InferRequest) -> Bool { request.isBinary(outputs[index].name) }

  /// Outputs of an answer, by their numbers.
  func shown(_ selection: UInt64) -> [Int] { outputs.indices.filter { has($0, selection) } }

  /// Whether an answer has an output, and not only its parts.
  private func has(_ index: Int, _ selection: UInt64) -> Bool {
    selection & (1 << UInt64(index)) != 0 && outputs[index].form.content != .source
  }

  /// Reads the places of an answer; nil where it shows none.
  func places(
    _ values: UnsafeBufferPointer<UnsafePointer<Float>>, rows: Int, _ selection: UInt64
  ) -> SpanReader? {
    guard let spans, selection & (1 << UInt64(spans.output)) != 0 else { return nil }
    return SpanReader(spans, values: values, rows: rows)
  }

  func form(of index: Int) -> AnswerTensor.Form { outputs[index].form }

  /// Elements of an output in an answer.
  func elements(of index: Int, rows: Int, _ places: SpanReader?) -> Int {
    outputs[index].form.elements(rows: rows, places)
  }

  /// Elements of an answer that are formatted as JSON.
  func formattedElements(_ answer: PredictAnswer, _ request: InferRequest) -> Int {
    var count = 0
    let places = places(answer.values, rows: answer.rows, answer.selection)
    for index in outputs.indices where has(index, answer.selection) && !isBinary(index, request) {
      count += elements(of: index, rows: answer.rows, places)
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
    of index: Int, isFirst: Bool, rows: Int, values: UnsafeBufferPointer<UnsafePointer<Float>>, _ places: SpanReader?,
    _ request: InferRequest, to body: inout ByteBuffer
  ) -> Bool {
    let output = outputs[index]
    if !isFirst { body.writeInteger(UInt8(ascii: ",")) }
    body.writeBytes(output.prefix)
    Self.write(rows, to: &body)
    if let width = output.form.width(places) {
      body.writeInteger(UInt8(ascii: ","))
      Self.write(width, to: &body)
    }
    guard request.isBinary(output.name) else {
      body.writeStaticString("],\"data\":[")
      return true
    }
    body.writeStaticString("],\"parameters\":{\"binary_data_size\":")
    Self.write(binaryBytes(of: index, rows: rows, values: values, places), to: &body)
    body.writeStaticString("}}")
    return false
  }

  func writeElements(
    of index: Int, _ elements: Range<Int>, values: UnsafeBufferPointer<UnsafePointer<Float>>, _ places: SpanReader?,
    to body: inout ByteBuffer
  ) {
    let form = outputs[index].form
    let numbers = values[form.source]
    switch form.content {
    case .output(.number), .part(.numbers), .source:
      for element in elements {
        Self.writeComma(element, to: &body)
        Self.write(numbers[element], to: &body)
      }
    case .output(.classIndex):
      for element in elements {
        Self.writeComma(element, to: &body)
        Self.write(Int(exactly: numbers[element]) ?? -1, to: &body)
      }
    case .output(.classLabel):
      for element in elements {
        Self.writeComma(element, to: &body)
        quotedLabels.write(numbers[element], to: &body)
      }
    case .part(let part):
      if let places { write(part, elements, places, to: &body) }
    }
  }

  private func write(
    _ part: SpanOutput.Part, _ elements: Range<Int>, _ places: SpanReader, to body: inout ByteBuffer
  ) {
    if part == .start || part == .end {
      return places.forEachCharacter(elements, isEnd: part == .end) { element, character in
        Self.writeComma(element, to: &body)
        Self.write(character, to: &body)
      }
    }
    for element in elements {
      Self.writeComma(element, to: &body)
      let place = places.place(element)
      switch part {
      case .label where !hasLabel(place.kind): body.writeStaticString("\"\"")
      case .label: quotedLabels.write(Float(place.kind), to: &body)
      case .text: JSONText.write(places.text(of: place, element: element), to: &body)
      case .score: Self.write(place.score, to: &body)
      case .numbers, .start, .end: preconditionFailure("these are written elsewhere")
      }
    }
  }

  /// Whether a kind of entity has a label; one that has none is sent as an empty text.
  private func hasLabel(_ kind: Int) -> Bool { kind >= 0 && kind < plainLabels.offsets.count - 1 }

  private static func writeComma(_ element: Int, to body: inout ByteBuffer) {
    if element > 0 { body.writeInteger(UInt8(ascii: ",")) }
  }

  func writeEnd(of index: Int, to body: inout ByteBuffer) { body.writeStaticString("]}") }

  /// Writes everything behind the last output.
  func writeEnd(to body: inout ByteBuffer) { body.writeStaticString("]}") }

  func writeBinary(
    _ index: Int, _ elements: Range<Int>, values: UnsafeBufferPointer<UnsafePointer<Float>>, _ places: SpanReader?,
    to body: inout ByteBuffer
  ) {
    let form = outputs[index].form
    let numbers = values[form.source]
    switch form.content {
    case .output(.number), .part(.numbers), .source:
      body.writeBytes(UnsafeRawBufferPointer(start: numbers + elements.lowerBound, count: 4 * elements.count))
    case .output(.classIndex):
      for row in elements { body.writeInteger(Int64(exactly: numbers[row]) ?? -1, endianness: .little) }
    case .output(.classLabel):
      for row in elements { plainLabels.writeWithLength(numbers[row], to: &body) }
    case .part(let part):
      if let places { writeBinary(part, elements, places, to: &body) }
    }
  }

  private func writeBinary(
    _ part: SpanOutput.Part, _ elements: Range<Int>, _ places: SpanReader, to body: inout ByteBuffer
  ) {
    if part == .start || part == .end {
      return places.forEachCharacter(elements, isEnd: part == .end) { _, character in
        body.writeInteger(Int64(character), endianness: .little)
      }
    }
    for element in elements {
      let place = places.place(element)
      switch part {
      case .label where !hasLabel(place.kind): body.writeInteger(UInt32(0), endianness: .little)
      case .label: plainLabels.writeWithLength(Float(place.kind), to: &body)
      case .text:
        let text = places.text(of: place, element: element)
        body.writeInteger(UInt32(text.count), endianness: .little)
        body.writeBytes(text)
      case .score: body.writeInteger(place.score.bitPattern, endianness: .little)
      case .numbers, .start, .end: preconditionFailure("these are written elsewhere")
      }
    }
  }

  // MARK: sizes

  /// Bytes of an output's elements as bytes.
  func binaryBytes(
    of index: Int, rows: Int, values: UnsafeBufferPointer<UnsafePointer<Float>>, _ places: SpanReader?
  ) -> Int {
    let form = outputs[index].form
    let elements = form.elements(rows: rows, places)
    switch form.content {
    case .output(.classLabel):
      return (0..<elements).reduce(0) { $0 + 4 + plainLabels.range(values[form.source][$1]).count }
    case .part(.label), .part(.text):
      guard let places else { return 0 }
      return (0..<elements).reduce(0) { bytes, element in
        let place = places.place(element)
        if form.content == .part(.text) { return bytes + 4 + place.bytes.count }
        return bytes + 4 + (hasLabel(place.kind) ? plainLabels.range(Float(place.kind)).count : 0)
      }
    default: return elements * form.type.elementBytes
    }
  }

  /// Bytes of a text, where they are estimated: a name has some twenty, with its quotes and comma.
  private static let textBytesGuess = 24

  /// Most bytes of one element as bytes; an estimate for texts, whose length only the answer knows.
  func bytesPerElement(of index: Int) -> Int {
    let form = outputs[index].form
    switch form.content {
    case .output(.classLabel), .part(.label): return 4 + plainLabels.longest
    case .part(.text): return Self.textBytesGuess
    default: return form.type.elementBytes
    }
  }

  /// Most bytes of an output's element in JSON with its comma: the longest fp32 is `-1.1754944e-38`. An estimate for
  /// texts.
  func jsonBytesPerElement(of index: Int) -> Int {
    let form = outputs[index].form
    switch form.content {
    case .output(.classLabel), .part(.label): return max(quotedLabels.longest, 2) + 1
    case .part(.text): return Self.textBytesGuess
    default: return form.type == .int64 ? 12 : 16
    }
  }

  /// Most bytes of what stands before and around the outputs.
  func bytesMax(_ request: InferRequest) -> Int {
    outputs.reduce(prefix.count + request.idText.count) { $0 + $1.prefix.count }
  }

  /// Most bytes of a whole answer.
  /// - Parameters:
  ///   - selection: outputs wanted, one bit each.
  ///   - textBytes: of the rows' texts, or more; places in them do not overlap.
  func bytesMax(_ request: InferRequest, selection: UInt64, rows: Int, textBytes: Int) -> Int {
    // Beside names: `,"id":`, brackets, the shape and `binary_data_size` of each output.
    var bytes = bytesMax(request) + 64
    for index in outputs.indices where has(index, selection) {
      let form = outputs[index].form
      let elements = form.isPart && !form.isNumbers ? rows * (spans?.placesMax ?? 0) : form.elements(rows: rows, nil)
      bytes += 128
      if form.content == .part(.text) {
        // A letter takes six bytes where it is escaped, a text its quotes and a comma, or its length.
        bytes += isBinary(index, request) ? 4 * elements + textBytes : 3 * elements + 6 * textBytes
      } else {
        bytes += elements * (isBinary(index, request) ? bytesPerElement(of: index) : jsonBytesPerElement(of: index))
      }
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
