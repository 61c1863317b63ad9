import CNeedletailEmbedded
import NeedletailBundle
import NeedletailCore
import NeedletailTestSupport
import Testing

/// Inputs that no honest program passes: each is a code and a sentence, and none ends the process.
@Suite final class HostileInputTests {
  private let model: OpenedModel
  private let context: OpenedContext
  private let values: UnsafeMutableBufferPointer<Float>

  init() throws {
    model = try OpenedModel(.init(definition: BundleFixtures.classifier()))
    context = try model.context()
    values = .allocate(capacity: 64)
  }

  deinit { values.deallocate() }

  /// The tensors of one good row.
  private func goodRow() -> CTensors {
    let tensors = CTensors()
    tensors.add("alcohol", NTL_FLOAT32, shape: [1], [Float(13)])
    tensors.add("ash", NTL_FLOAT32, shape: [1], [Float(2)])
    tensors.add("colour", shape: [1], texts: ["red"])
    return tensors
  }

  private func message(_ tensors: CTensors, _ output: ntl_output? = nil) -> String {
    do throws(CallFailure) {
      try context.predict(tensors, [output ?? ntl_output(index: 0, values: values.baseAddress, capacity: 64)])
      return ""
    } catch {
      #expect(error.code == NTL_INVALID_ARGUMENT)
      return error.message
    }
  }

  /// The message for a good row whose last tensor is another one.
  private func message(changing change: (inout ntl_tensor) -> Void) -> String {
    let good = goodRow()
    let tensors = CTensors()
    for tensor in good.list.dropLast() { tensors.append(tensor) }
    var last = good.list[2]
    change(&last)
    tensors.append(last)
    return withExtendedLifetime(good) { message(tensors) }
  }

  @Test func aGoodRowIsGood() { #expect(message(goodRow()) == "") }

  @Test func memoryThatIsNotThere() {
    #expect(message { $0.name = nil } == "input 2: bytes of its name: expected memory for 6, found NULL")
    #expect(message { $0.shape = nil } == "input 2: dimensions: expected memory for 1, found NULL")
    #expect(message { $0.texts = nil } == "input 2: texts: expected memory for 1, found NULL")
    #expect(message { $0.data_bytes = 8 } == "input 2: data: expected memory for 8 bytes, found none")
    #expect(message { $0.text_count = .min } == "input 2: texts: expected at most \(Int.max), found more")
    #expect(message { $0.name_length = -1 } == "input 2: bytes of its name: expected at most \(Int.max), found more")
    #expect(message { $0.rank = -1 } == "input 2: dimensions: expected at most \(Int.max), found more")
    #expect(message { $0.data_bytes = -1 } == "input 2: data: expected memory for -1 bytes, found none")
    #expect(message { $0.rank = 0 } == "input \"colour\": expected shape [rows] or [rows, 1], found []")
  }

  @Test func textsThatAreNotThere() {
    let text = UnsafeMutablePointer<ntl_text>.allocate(capacity: 1)
    defer { text.deallocate() }
    text.initialize(to: ntl_text(bytes: nil, length: 3))
    #expect(message { $0.texts = UnsafePointer(text) } == "texts: expected memory for 3 bytes, found NULL")
    for length in [-1, Int.min, Int.max] {
      text.pointee.length = length
      #expect(
        message { $0.texts = UnsafePointer(text) } == "texts: expected at most 16777216 bytes in one call, found more")
    }
    text.pointee.length = 0
    #expect(message { $0.texts = UnsafePointer(text) } == "")
  }

  @Test func moreTextsThanThereIsRoomFor() {
    let many = [ntl_text](repeating: ntl_text(), count: 4096 * 3 + 1)
    let found = many.withUnsafeBufferPointer { many in
      message {
        $0.texts = many.baseAddress
        $0.text_count = many.count
      }
    }
    #expect(found == "texts: expected at most 12288 in one call, found more")
  }

  @Test func typesThatDoNotExist() {
    #expect(message { $0.type = ntl_type(rawValue: 77) } == "input \"colour\": expected a known data type, found none")
    #expect(
      message { $0.type = ntl_type(rawValue: .max) } == "input \"colour\": expected a known data type, found none")
    #expect(
      message { $0.type = NTL_FLOAT32 }
        == "input \"colour\": expected type STRING for a categorical feature, found FLOAT32")
  }

  @Test func shapesThatOverflow() {
    let shape = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
    defer { shape.deallocate() }
    for rows in [UInt64(0), 2, 4097, 1 << 63, .max] {
      shape.initialize(to: rows)
      #expect(message { $0.shape = UnsafePointer(shape) }.hasPrefix("input \"colour\": expected 1 rows, found \(rows)"))
    }
  }

  @Test func tensorsThatDoNotBelong() {
    let twice = goodRow()
    twice.append(twice.list[0])
    #expect(message(twice) == "input \"alcohol\": expected it once, found it again")
    let many = goodRow()
    for _ in 0..<10 { many.append(many.list[1]) }
    #expect(message(many) == "input \"ash\": expected it once, found it again")
    for _ in 0..<2 * Limits.featuresMax { many.append(many.list[1]) }
    #expect(
      message(many)
        == "inputs: expected at most \(2 * Limits.featuresMax) tensors, found \(2 * Limits.featuresMax + 13)")
    let strange = goodRow()
    strange.add("taste", NTL_FLOAT32, shape: [1], [Float(1)])
    #expect(message(strange).hasPrefix("unknown input \"taste\""))
    #expect(message(CTensors()).hasPrefix("inputs: expected a tensor \"features\""))
  }

  @Test func outputsThatDoNotFit() {
    let row = goodRow()
    let (memory, unaligned) = (values.baseAddress, UnsafeMutableRawPointer(values.baseAddress!) + 1)
    #expect(
      message(row, ntl_output(index: 3, values: memory, capacity: 9)) == "output 0: expected an index below 3, found 3")
    #expect(
      message(row, ntl_output(index: -1, values: memory, capacity: 9))
        == "output 0: expected an index below 3, found -1")
    #expect(
      message(row, ntl_output(index: 0, values: memory, capacity: 2))
        == "output \"probabilities\": expected memory for 3 elements, found 2")
    #expect(
      message(row, ntl_output(index: 0, values: nil, capacity: 3))
        == "output \"probabilities\": expected memory, found NULL")
    #expect(
      message(row, ntl_output(index: 2, values: unaligned, capacity: 3))
        == "output \"label\": expected memory aligned to 8 bytes, found other")
    #expect(message(row, ntl_output(index: 0, values: memory, capacity: -1)) == "")
  }

  @Test func rowsThatDoNotFit() {
    func message(_ type: ntl_type, _ data: UnsafeRawPointer?, _ rows: Int, _ columns: Int) -> String {
      do throws(CallFailure) {
        try check {
          var output = ntl_output(index: 0, values: values.baseAddress, capacity: 64)
          return ntl_predict_rows(context.handle, type, data, rows, columns, &output, 1, $0)
        }
        return ""
      } catch {
        return error.message
      }
    }
    let row: [Float] = [13, 2, 1]
    #expect(message(NTL_FLOAT32, row, 1, 3) == "")
    #expect(message(NTL_FLOAT32, row, 1, 2) == "input \"features\": expected 3 columns, found 2")
    #expect(message(NTL_FLOAT32, row, 0, 3) == "input \"features\": expected at least 1 row, found 0")
    #expect(message(NTL_FLOAT32, row, 4097, 3) == "input \"features\": expected at most 4096 rows, found 4097")
    #expect(message(NTL_FLOAT32, nil, 1, 3) == "rows: expected memory for 12 bytes, found NULL")
    #expect(message(NTL_STRING, row, 1, 3) == "type: expected one of numbers, found 9")
    #expect(message(NTL_FLOAT32, row, .max, 3) == "rows: expected at most \(Int.max) bytes, found more")
    #expect(message(NTL_FLOAT64, row, .max / 3, 3) == "rows: expected at most \(Int.max) bytes, found more")
    #expect(message(NTL_FLOAT32, row, -1, -3) == "rows: expected at most \(Int.max) bytes, found more")
  }

  @Test func handlesThatAreNotThere() {
    var (model, context, index, error) = (OpaquePointer?.none, OpaquePointer?.none, 0, ntl_error())
    #expect(ntl_open(nil, nil, &model, &error) == NTL_INVALID_ARGUMENT)
    #expect(ntl_open("x", nil, nil, nil) == NTL_INVALID_ARGUMENT)
    #expect(ntl_context_new(nil, &context, nil) == NTL_INVALID_ARGUMENT)
    #expect(ntl_context_new(self.model.handle, nil, nil) == NTL_INVALID_ARGUMENT)
    #expect(ntl_predict(nil, nil, 0, nil, 0, nil) == NTL_INVALID_ARGUMENT)
    #expect(ntl_predict(self.context.handle, nil, 1, nil, 0, nil) == NTL_INVALID_ARGUMENT)
    #expect(ntl_predict(self.context.handle, nil, -1, nil, 0, nil) == NTL_INVALID_ARGUMENT)
    #expect(ntl_predict(self.context.handle, goodRow().list, 3, nil, 1, nil) == NTL_INVALID_ARGUMENT)
    #expect(ntl_predict_rows(nil, NTL_FLOAT32, nil, 0, 0, nil, 0, nil) == NTL_INVALID_ARGUMENT)
    #expect(ntl_find_output(nil, "x", 1, &index, nil) == NTL_INVALID_ARGUMENT)
    #expect(ntl_find_output(self.model.handle, nil, 1, &index, nil) == NTL_INVALID_ARGUMENT)
    #expect(ntl_find_output(self.model.handle, "x", 1, nil, nil) == NTL_INVALID_ARGUMENT)
    #expect(ntl_describe(nil) == nil)
    ntl_close(nil)
    ntl_context_free(nil)
    #expect(
      [0, 1, 8, 119].map { String(cString: ntl_code_name(ntl_code($0))) } == [
        "OK", "INVALID_ARGUMENT", "INTERNAL", "MEMORY",
      ])
    #expect(String(cString: ntl_code_name(ntl_code(5))) == "UNKNOWN")
  }

  @Test func aLongSentenceIsCutBetweenCharacters() throws {
    // The name is cut by the message already; the sentence names it twice over and over, in two-byte letters.
    let path = "/" + String(repeating: "é", count: 2000)
    let error = #expect(throws: CallFailure.self) { try OpenedModel(path) }
    let found = try #require(error)
    #expect(found.code == NTL_IO && found.message.utf8.count <= Int(NTL_MESSAGE_BYTES) - 1)
    #expect(found.message.utf8.count > 1000 && !found.message.contains("\u{FFFD}") && found.message.hasSuffix("…"))
  }

  @Test func anErrorSaysFeatureAndRowAsAServerDoes() {
    let row = goodRow()
    let tensors = CTensors()
    for tensor in row.list where tensor.name_length != 3 { tensors.append(tensor) }
    tensors.add("ash", NTL_FLOAT32, shape: [1], [Float.nan])
    #expect(message(tensors) == "feature \"ash\", row 0: expected a value, found none")
  }
}
