import NIOCore
import NeedletailCore
import NeedletailWire
import Testing

/// Places in texts, read out of numbers that a test wrote.
@Suite("Places in texts") struct SpanReaderTests {
  private static let labels = ["A", "\u{e9}"]

  private static func tensors(_ spans: SpanOutput, name: String) -> [AnswerTensor] {
    AnswerTensor.all(
      of: [AnswerTensor(name: name, kind: .number, columns: spans.columns, source: 0)], spans)
  }

  /// Calls a body with the values of rows: their numbers, and the places of their texts, two for each row.
  private static func withValues<Result>(
    _ numbers: [Float], _ texts: [String], textIndex: Int, _ body: (UnsafeBufferPointer<UnsafePointer<Float>>) -> Result
  ) -> Result {
    let bytes = texts.map { Array($0.utf8) }
    let copies = bytes.map { text in
      let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: max(text.count, 1), alignment: 1)
      copy.copyBytes(from: text)
      return copy
    }
    defer { for copy in copies { copy.deallocate() } }
    let items = UnsafeMutableRawPointer.allocate(byteCount: 32 * max(texts.count, 1), alignment: 8)
    defer { items.deallocate() }
    for (row, text) in bytes.enumerated() {
      let item = items + 32 * row + 16 * textIndex
      item.storeBytes(of: UInt(bitPattern: copies[row].baseAddress), as: UInt.self)
      item.storeBytes(of: UInt32(text.count), toByteOffset: 8, as: UInt32.self)
    }
    return numbers.withUnsafeBufferPointer { numbers in
      let pointers: [UnsafePointer<Float>] = [
        numbers.baseAddress!, UnsafePointer(items.assumingMemoryBound(to: Float.self)),
      ]
      return pointers.withUnsafeBufferPointer(body)
    }
  }

  private static func decoded(_ frame: ByteBuffer) throws -> Prediction {
    var frame = frame
    var frames = FrameDecoder(frameBytesMax: 64 << 20)
    frames.append(&frame)
    guard case .predict(let answer) = try ResponseDecoder.decode(try #require(try frames.next())).result else {
      throw ServingError.internal("expected a prediction")
    }
    return answer
  }

  /// Whole and in pieces of any size; tokens that begin or end within a character stand for all of it; what is out of a
  /// text, or no number, is cut off.
  @Test(arguments: [1, 10, 100, 1 << 20]) func entitiesAreWholeCharacters(bytes: Int) throws {
    let spans = SpanOutput(output: 0, text: 1, textsPerRow: 2, layout: .entities(3))
    let encoder = PredictResponseEncoder(
      model: "m", version: 1, tensors: Self.tensors(spans, name: "entities"), spans: spans, labels: Self.labels)
    // The first text: a, é (two bytes), 中 (three), x.
    let texts = ["a\u{e9}\u{4e2d}x", "", "plain text"]
    let numbers: [Float] = [
      0, 2, 4, 0.5, 1, 6, 7, 0.25, -1, 0, 0, 0,
      -1, 0, 0, 0, -1, 0, 0, 0, -1, 0, 0, 0,
      1, 6, 900, 1, 7, .nan, 5, 0.125, -1, 0, 0, 0,
    ]
    let selection = Self.tensors(spans, name: "entities").usualSelection
    let (whole, cut) = Self.withValues(numbers, texts, textIndex: 1) { values in
      var (whole, cut) = (ByteBuffer(), ByteBuffer())
      encoder.append(id: 1, rows: 3, values: values, selection: selection, timing: ResponseTiming(), to: &whole)
      var pieces = encoder.pieces(
        id: 1, rows: 3, values: values, selection: selection, timing: ResponseTiming())!
      #expect(pieces.bytesLeft == whole.readableBytes)
      while pieces.bytesLeft > 0 { encoder.append(&pieces, values: values, bytes: bytes, to: &cut) }
      return (whole, cut)
    }
    #expect(whole == cut)
    let answer = try Self.decoded(whole)
    #expect(answer["entity_text"]?.shape == [3, 2])
    #expect(
      answer.strings("entity_text") == ["\u{e9}\u{4e2d}", "x", "", "", "text", "plain"])
    // The seventh kind has no label.
    #expect(answer.strings("entity_label") == ["A", "\u{e9}", "", "", "\u{e9}", ""])
    #expect(answer.integers("entity_start") == [1, 3, 0, 0, 6, 0])
    #expect(answer.integers("entity_end") == [3, 4, 0, 0, 10, 5])
    #expect(answer.floats("entity_score") == [0.5, 0.25, 0, 0, 1, 0.125])
  }

  @Test func anAnswerIsOneForEachRow() throws {
    let spans = SpanOutput(output: 0, text: 0, textsPerRow: 2, layout: .answer)
    let encoder = PredictResponseEncoder(
      model: "m", version: 1, tensors: Self.tensors(spans, name: "answer"), spans: spans, labels: [])
    let selection = Self.tensors(spans, name: "answer").usualSelection
    let whole = Self.withValues([0, 3, 0.75, 0, 0, 0], ["the end", "x"], textIndex: 0) { values in
      var whole = ByteBuffer()
      encoder.append(id: 1, rows: 2, values: values, selection: selection, timing: ResponseTiming(), to: &whole)
      return whole
    }
    let answer = try Self.decoded(whole)
    #expect(answer.outputs.map(\.name) == ["answer_text", "answer_start", "answer_end", "answer_score"])
    #expect(answer.strings("answer_text") == ["the", ""] && answer["answer_text"]?.shape == [2])
    #expect(answer.integers("answer_end") == [3, 0] && answer.floats("answer_score") == [0.75, 0])
  }

  /// A copy of the texts of rows that come in parts has them all, one behind the other.
  @Test func textsAreCopiedInParts() {
    let spans = SpanOutput(output: 0, text: 1, textsPerRow: 2, layout: .answer)
    let texts = ["one", "", "three", "\u{e9}"]
    Self.withValues([0], texts, textIndex: 1) { values in
      let source = UnsafeRawPointer(values[1])
      let copy = UnsafeMutablePointer<Float>.allocate(capacity: spans.textFloats(rows: 4, of: source))
      defer { copy.deallocate() }
      for part in [0..<1, 1..<3, 3..<4] {
        spans.copyTexts(
          from: source + 32 * part.lowerBound, count: part.count, to: UnsafeMutableRawPointer(copy),
          at: part.lowerBound, of: 4)
      }
      let numbers: [Float] = texts.flatMap { [0, Float($0.utf8.count), 1] }
      numbers.withUnsafeBufferPointer { numbers in
        let pointers: [UnsafePointer<Float>] = [numbers.baseAddress!, UnsafePointer(copy)]
        pointers.withUnsafeBufferPointer { values in
          let reader = SpanReader(spans, values: values, rows: 4)
          let found = texts.indices.map {
            String(decoding: reader.text(of: reader.place($0), element: $0), as: UTF8.self)
          }
          #expect(found == texts)
        }
      }
    }
  }

  @Test func partsNeedTheirNamesAndRoom() {
    let spans = SpanOutput(output: 0, text: 0, textsPerRow: 1, layout: .entities(2))
    func outputs(_ names: [String]) -> [AnswerTensor] {
      names.enumerated().map { AnswerTensor(name: $1, kind: .number, columns: 8, source: $0) }
    }
    #expect(AnswerTensor.all(of: outputs(["entities"]), spans).count == 7)
    let taken = outputs(["entities", "entity_text"])
    #expect(AnswerTensor.all(of: taken, spans) == taken)
    let many = outputs(["entities"] + (0..<58).map { "\($0)" })
    #expect(AnswerTensor.all(of: many, spans) == many)
    #expect(AnswerTensor.all(of: many.dropLast(), spans).count == 64)
  }
}
