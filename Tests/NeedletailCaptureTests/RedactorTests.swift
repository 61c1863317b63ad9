import NeedletailCore
import Testing

@testable import NeedletailCapture

/// What must not be written is not written, however a caller names or packs it.
@Suite("Redaction")
struct RedactorTests {
  private let redactor = Redactor(
    features: ["name", "email", "age"],
    redacted: [.init(feature: "name", redaction: .drop), .init(feature: "email", redaction: .hash)],
    key: Array("0123456789abcdef".utf8))

  private func texts(_ name: String, _ values: [String]) -> CapturedTensor {
    CapturedTensor(
      name: Array(name.utf8), type: .string, shape: [UInt64(values.count)], data: [],
      strings: values.map { Array($0.utf8) })
  }

  @Test func droppedFeaturesAreLeftOut() {
    #expect(redactor.redact(texts("name", ["Ada"])) == nil)
    #expect(redactor.redact(texts(" name ", ["Ada"])) == nil, "models find it by its normalised name")
  }

  @Test func hashedValuesAreTheirCode() {
    // printf 'ada@example.org' | openssl dgst -sha256 -hmac 0123456789abcdef
    let hashed = redactor.redact(texts("email", ["ada@example.org", "", "ada@example.org"]))
    let texts = hashed?.strings.map { String(decoding: $0, as: UTF8.self) } ?? []
    #expect(texts == ["48eef52843ab78cd641876afd0f93ce3", "", "48eef52843ab78cd641876afd0f93ce3"])
  }

  @Test func numbersAreHashedByTheirBytes() {
    let tensor = CapturedTensor(
      name: Array("email".utf8), type: .float64, shape: [3], data: CaptureFixtures.bytes([1, 2, 1]), strings: [])
    let hashed = redactor.redact(tensor)
    #expect(hashed?.type == .string)
    #expect(hashed?.data == [])
    #expect(hashed?.strings.count == 3)
    #expect(hashed?.strings[0] == hashed?.strings[2])
    #expect(hashed?.strings[0] != hashed?.strings[1])
  }

  @Test func otherFeaturesStay() {
    #expect(redactor.redact(texts("age", ["36"])) == texts("age", ["36"]))
  }

  @Test(arguments: ["e-mail", "NAME", "features of Ada", "\u{FFFD}"])
  func whatIsNoFeatureIsLeftOut(name: String) {
    #expect(redactor.redact(texts(name, ["Ada"])) == nil)
  }

  @Test func columnsOfAMatrixAreMasked() {
    let matrix = CapturedTensor(
      name: Array("features".utf8), type: .float64, shape: [2, 3], data: CaptureFixtures.bytes([1, 2, 3, 4, 5, 6]),
      strings: [])
    let call = CapturedCall(
      model: CapturedModel(
        name: "m", version: 1, digest: "", features: ["name", "email", "age"], outputs: [], labels: [], redacted: []),
      status: .ok, reasons: .rate, microseconds: 0, id: 0, queueMicroseconds: 0, computeMicroseconds: 0, batchRows: 2,
      rows: 2, inputs: [redactor.redact(matrix)!], answers: [])
    #expect(
      call.inputColumns.map(\.values) == [
        [.missing, .missing], [.missing, .missing], [.double(3), .double(6)],
      ])
    var small = matrix
    small.type = .float32
    small.data = [Float(1), 2, 3, 4, 5, 6].flatMap { value in withUnsafeBytes(of: value.bitPattern) { Array($0) } }
    let masked = redactor.redact(small)!
    #expect((0..<6).map(masked.value) == [.missing, .missing, .float(3), .missing, .missing, .float(6)])
    var integers = matrix
    integers.type = .int64
    let zeros = redactor.redact(integers)!
    #expect(zeros.value(0) == .integer(0))
    #expect(zeros.value(2) != .integer(0))
  }

  @Test func aMatrixOfTextsIsMasked() {
    var matrix = texts("features", ["Ada", "ada@example.org", "36", "Grace", "", "85"])
    matrix.shape = [2, 3]
    let masked = redactor.redact(matrix)?.strings.map { String(decoding: $0, as: UTF8.self) } ?? []
    #expect(masked.enumerated().map { $0.offset == 1 ? "hash" : $0.element } == ["", "hash", "36", "", "", "85"])
    #expect(masked[1].utf8.count == Redactor.hashDigits)
  }

  @Test func aMatrixOfAnotherShapeIsLeftOut() {
    var matrix = texts("features", ["Ada", "x"])
    matrix.shape = [1, 2]
    #expect(redactor.redact(matrix) == nil)
    matrix.shape = [2]
    #expect(redactor.redact(matrix) == nil)
  }

  @Test func aMatrixWhoseElementsDoNotFitItsShapeIsLeftOut() {
    let values = CaptureFixtures.bytes([1, 2, 3, 4, 5, 6])
    let matrix = CapturedTensor(
      name: Array("features".utf8), type: .float64, shape: [2, 3], data: values, strings: [])
    #expect(redactor.redact(matrix) != nil)
    var tensor = matrix
    tensor.strings = [Array("Ada".utf8)]
    #expect(redactor.redact(tensor) == nil, "texts behind a type of numbers")
    tensor = matrix
    tensor.data += [1]
    #expect(redactor.redact(tensor) == nil, "a byte too many")
    tensor.data = Array(values.dropLast())
    #expect(redactor.redact(tensor) == nil, "a byte too few")
    tensor = matrix
    tensor.type = .float32
    #expect(redactor.redact(tensor) == nil, "elements of another width")
    tensor = matrix
    tensor.shape[0] = 1 << 62
    #expect(redactor.redact(tensor) == nil, "more elements than a number counts")
    tensor = texts("features", ["Ada", "a", "36"])
    tensor.shape = [1, 3]
    #expect(redactor.redact(tensor) != nil)
    tensor.data = Array("Ada".utf8)
    #expect(redactor.redact(tensor) == nil, "numbers behind texts")
    tensor = texts("features", ["Ada", "a", "36", "Grace"])
    tensor.shape = [1, 3]
    #expect(redactor.redact(tensor) == nil, "a text too many")
  }

  @Test func aRequestWithMoreHashesThanARecordHoldsIsRefused() throws {
    let most = Limits.captureRecordBytesMax / (4 + Redactor.hashDigits)
    let column = CapturedTensor(
      name: Array("email".utf8), type: .int8, shape: [UInt64(most) + 1], data: [UInt8](repeating: 1, count: most + 1),
      strings: [])
    let matrix = CapturedTensor(
      name: Array("features".utf8), type: .string, shape: [UInt64(most) + 1, 3], data: [],
      strings: [[UInt8]](repeating: [], count: 3 * most + 3))
    for tensor in [column, matrix] {
      let bytes = tensor.encoded
      let error = #expect(throws: CaptureError.self) {
        try bytes.withUnsafeBytes { try redactor.redact($0, tensors: 1) }
      }
      #expect(error?.reason == .damaged)
      #expect(error?.message.contains("bytes of hashes, found \((most + 1) * 36)") == true)
    }
    var small = column
    small.data = [UInt8](repeating: 1, count: 100)
    #expect(try small.encoded.withUnsafeBytes { try redactor.redact($0, tensors: 1) }.tensors == 1)
  }

  @Test func wholeRequestsAreRewritten() throws {
    let tensors = [texts("name", ["Ada"]), texts("email", ["a"]), texts("age", ["36"])]
    let bytes = tensors.flatMap(\.encoded)
    let (kept, count) = try bytes.withUnsafeBytes { try redactor.redact($0, tensors: 3) }
    #expect(count == 2)
    #expect(!String(decoding: kept, as: UTF8.self).contains("Ada"))
    #expect(String(decoding: kept, as: UTF8.self).hasSuffix("36"))
  }
}
