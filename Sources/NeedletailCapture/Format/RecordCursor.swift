internal import NeedletailCore

/// Reads the parts of a record one after the other. Every length is compared with what is left before a byte is read or
/// memory is taken.
struct RecordCursor {
  private let bytes: UnsafeRawBufferPointer
  private(set) var offset = 0

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  var left: Int { bytes.count - offset }

  func fault(_ expected: String) -> CaptureError {
    CaptureError(.damaged, "record: expected \(expected) before byte \(offset) of \(bytes.count), found none")
  }

  mutating func integer<Value: FixedWidthInteger & BitwiseCopyable>(
    _ type: Value.Type, _ what: String
  ) throws(CaptureError) -> Value {
    Value(littleEndian: try take(MemoryLayout<Value>.size, what).loadUnaligned(as: Value.self))
  }

  mutating func take(_ count: Int, _ what: String) throws(CaptureError) -> UnsafeRawBufferPointer {
    guard count <= left else {
      throw CaptureError(.damaged, "record: \(what): expected \(count) bytes at byte \(offset), found \(left)")
    }
    defer { offset += count }
    return UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])
  }

  /// Text behind its length in two bytes.
  mutating func text(_ what: String) throws(CaptureError) -> String {
    let count = Int(try integer(UInt16.self, what))
    return String(decoding: try take(count, what), as: UTF8.self)
  }

  /// A count of things that take so many bytes at least.
  mutating func count(_ what: String, bytesMin: Int) throws(CaptureError) -> Int {
    let count = Int(try integer(UInt32.self, what))
    guard count <= left / bytesMin else {
      throw CaptureError(.damaged, "record: \(what): expected at most \(left / bytesMin), found \(count)")
    }
    return count
  }

  // MARK: parts of records

  mutating func tensor() throws(CaptureError) -> CapturedTensor {
    let nameBytes = Int(try integer(UInt16.self, "name"))
    let type = DataType(rawValue: try integer(UInt8.self, "type"))
    let rank = Int(try integer(UInt8.self, "rank"))
    let dataBytes = Int(try integer(UInt32.self, "data"))
    let stringCount = Int(try integer(UInt32.self, "strings"))
    let name = Array(try take(nameBytes, "name"))
    var shape: [UInt64] = []
    shape.reserveCapacity(rank)
    for _ in 0..<rank { shape.append(try integer(UInt64.self, "shape")) }
    let data = Array(try take(dataBytes, "data"))
    guard stringCount <= left / 4 else { throw fault("\(stringCount) strings") }
    var lengths: [Int] = []
    lengths.reserveCapacity(stringCount)
    for _ in 0..<stringCount { lengths.append(Int(try integer(UInt32.self, "length of a string"))) }
    var strings: [[UInt8]] = []
    strings.reserveCapacity(stringCount)
    for length in lengths { strings.append(Array(try take(length, "string"))) }
    return CapturedTensor(name: name, type: type, shape: shape, data: data, strings: strings)
  }

  mutating func floats(_ count: Int) throws(CaptureError) -> [Float] {
    let values = try take(4 * count, "answer")
    return [Float](unsafeUninitializedCapacity: count) { buffer, filled in
      for index in 0..<count {
        buffer[index] = Float(
          bitPattern: UInt32(littleEndian: values.loadUnaligned(fromByteOffset: 4 * index, as: UInt32.self)))
      }
      filled = count
    }
  }

  /// The rest of a call's record, behind its head.
  mutating func call(_ head: CallRecordHead, of model: CapturedModel) throws(CaptureError) -> CapturedCall {
    _ = try take(head.bytes, "head")
    guard head.tensors <= left / RequestRecord.tensorHeadBytes else { throw fault("\(head.tensors) tensors") }
    var inputs: [CapturedTensor] = []
    inputs.reserveCapacity(Int(head.tensors))
    for _ in 0..<head.tensors { inputs.append(try tensor()) }
    var answers: [CapturedCall.Answer] = []
    var floatsLeft = Int(head.floats)
    if head.floats > 0 {
      for (index, output) in model.outputs.enumerated() where head.selection >> UInt64(index) & 1 == 1 {
        let (count, overflow) = Int(head.rows).multipliedReportingOverflow(by: output.columns)
        guard !overflow, count <= floatsLeft else { throw fault("the output \(output.name.quotedForMessage)") }
        floatsLeft -= count
        answers.append(CapturedCall.Answer(output: index, values: try floats(count)))
      }
    }
    guard floatsLeft == 0, left == 0 else { throw fault("the end of the record") }
    return CapturedCall(
      model: model, status: head.status, reasons: head.reasons, microseconds: head.time, id: head.id,
      queueMicroseconds: head.queueMicroseconds, computeMicroseconds: head.computeMicroseconds,
      batchRows: Int(head.batchRows), rows: head.floats == 0 ? 0 : Int(head.rows), inputs: inputs, answers: answers,
      key: head.key)
  }
}
