import NIOCore
import NeedletailCore
import NeedletailWire
import Testing

@Suite("Predict response encoder")
struct PredictResponseEncoderTests {
  private let encoder = PredictResponseEncoder(
    model: "wine", version: 3,
    outputs: [
      .init(name: "probabilities", kind: .number, columns: 2), .init(name: "class", kind: .classIndex, columns: 1),
      .init(name: "label", kind: .classLabel, columns: 1),
    ], labels: ["no", "yes"])

  private func select(_ names: [String]) throws -> UInt64 {
    let bytes = names.map { Array($0.utf8) }
    let copies = bytes.map { name in
      let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: max(name.count, 1), alignment: 1)
      copy.copyBytes(from: name)
      return UnsafeRawBufferPointer(rebasing: copy[..<name.count])
    }
    defer { for copy in copies { copy.deallocate() } }
    return try copies.withUnsafeBufferPointer { try encoder.selection(of: $0) }
  }

  private func answer(rows: Int, selection: UInt64, classes: [Float]) throws -> Prediction {
    var buffer = ByteBuffer()
    let probabilities = [Float](repeating: 0.5, count: rows * 2)
    probabilities.withUnsafeBufferPointer { probabilities in
      classes.withUnsafeBufferPointer { classes in
        let values = [probabilities.baseAddress!, classes.baseAddress!, classes.baseAddress!]
        values.withUnsafeBufferPointer {
          encoder.append(
            id: 7, rows: rows, values: $0, selection: selection, timing: ResponseTiming(batchRows: 1), to: &buffer)
        }
      }
    }
    var frames = FrameDecoder(frameBytesMax: 64 << 20)
    frames.append(&buffer)
    let response = try ResponseDecoder.decode(try #require(try frames.next()))
    #expect(response.id == 7)
    #expect(frames.bytesBuffered == 0)
    guard case .predict(let prediction) = response.result else { throw ServingError.internal("\(response)") }
    return prediction
  }

  @Test("no names select all outputs; names select theirs, in the model's order")
  func selection() throws {
    #expect(try select([]) == 0b111)
    #expect(try select(["label", "probabilities"]) == 0b101)
    let answer = try answer(rows: 2, selection: 0b101, classes: [1, 0])
    #expect(answer.outputs.map(\.name) == ["probabilities", "label"])
    #expect(answer.strings("label") == ["yes", "no"])
    #expect(answer["probabilities"]?.shape == [2, 2])
  }

  @Test("an output that does not exist is named, with the ones that do")
  func unknownOutput() {
    let error = #expect(throws: ServingError.self) { try select(["lable"]) }
    #expect(error?.code == .notFound)
    #expect(
      error?.message
        == "outputs: expected one of \"probabilities\", \"class\", \"label\", found \"lable\", did you mean \"label\"?")
  }

  @Test("every row count gives a frame of exactly the promised size", arguments: [1, 2, 63, 64, 127, 128, 4096])
  func sizes(rows: Int) throws {
    let classes = (0..<rows).map { Float($0 % 2) }
    let answer = try answer(rows: rows, selection: 0b111, classes: classes)
    #expect(answer.integers("class") == classes.map { Int64($0) })
    #expect(answer.floats("probabilities")?.count == rows * 2)
  }

  @Test("pieces of any size are together the frame that is written in one go", arguments: [1, 7, 100, 1000, 1 << 20])
  func pieces(bytes: Int) throws {
    for rows in [1, 2, 100, 2000] {
      for selection in [0b111, 0b001, 0b010, 0b100, 0b101, 0] as [UInt64] {
        let classes = (0..<rows).map { Float($0 % 2) }
        let probabilities = (0..<rows * 2).map { Float($0) }
        var whole = ByteBuffer()
        var cut = ByteBuffer()
        probabilities.withUnsafeBufferPointer { probabilities in
          classes.withUnsafeBufferPointer { classes in
            [probabilities.baseAddress!, classes.baseAddress!, classes.baseAddress!].withUnsafeBufferPointer { values in
              let timing = ResponseTiming(queueMicroseconds: 300, computeMicroseconds: 1, batchRows: UInt32(rows))
              encoder.append(
                id: 1 << 40, rows: rows, values: values, selection: selection, timing: timing, to: &whole)
              var pieces = encoder.pieces(
                id: 1 << 40, rows: rows, values: values, selection: selection, timing: timing)!
              var left = pieces.bytesLeft
              #expect(left == whole.readableBytes)
              while left > 0 {
                encoder.append(&pieces, values: values, bytes: bytes, to: &cut)
                #expect(pieces.bytesLeft < left, "every piece brings the end nearer")
                #expect(left - pieces.bytesLeft < bytes + 200, "a piece is not much longer than it was asked to be")
                left = pieces.bytesLeft
              }
            }
          }
        }
        #expect(cut == whole, "\(rows) rows, outputs \(selection)")
      }
    }
  }

  @Test("a class index that is no class does not trap")
  func strangeIndex() throws {
    let answer = try answer(rows: 3, selection: 0b110, classes: [.nan, -5, 1e30])
    #expect(answer.strings("label")?.count == 3)
    #expect(answer.integers("class")?[0] == -1)
  }

  @Test("an answer that no frame holds becomes an error")
  func tooLong() throws {
    let wide = PredictResponseEncoder(
      model: "m", version: 1, outputs: [.init(name: "x", kind: .number, columns: 1 << 20)], labels: [])
    var buffer = ByteBuffer()
    var none: Float = 0
    withUnsafePointer(to: &none) { pointer in
      // Only the sizes are read before the refusal.
      [pointer].withUnsafeBufferPointer {
        wide.append(id: 1, rows: 4096, values: $0, selection: 1, timing: ResponseTiming(), to: &buffer)
      }
    }
    buffer.moveReaderIndex(forwardBy: 4)
    guard case .failed(let error) = try ResponseDecoder.decode(buffer).result else {
      throw ServingError.internal("expected an error")
    }
    #expect(error.code == .invalidArgument)
    #expect(buffer.readableBytes < 300)
  }
}
