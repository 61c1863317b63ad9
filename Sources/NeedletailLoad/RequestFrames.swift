internal import Glibc
internal import NIOCore
public import NeedletailCore
internal import NeedletailProtobuf
public import NeedletailWire

/// Predict calls encoded once, ready to be sent any number of times under new ids.
///
/// A frame is `u32 length | 0x08, id as a varint of five bytes | the encoded call`: protobuf lets the
/// fields stand in any order and a varint be longer than needed, so that an id is patched in place.
public struct RequestFrames: Sendable {
  /// Place and meaning of one encoded call.
  public struct Frame: Sendable {
    /// Offset of the frame in ``RequestFrames/bytes``.
    public let offset: Int
    /// Bytes of the frame with its length word.
    public let count: Int
    /// Rows of the call.
    public let rows: Int
    /// Index of the model.
    public let model: Int
    /// Number of the call's first row in the model's input, for verification.
    public let firstRow: Int
  }

  /// Largest id, 2^35 − 1.
  public static let idMax: UInt64 = 1 << 35 - 1
  /// Bytes of the id field: a key and a varint of five bytes.
  private static let idFieldBytes = 6

  public private(set) var bytes: [UInt8] = []
  public private(set) var frames: [Frame] = []
  /// Indices into ``frames`` by model.
  public private(set) var framesOfModel: [[Int]] = []

  public init() {}

  /// The frame of an authentication, with an id that no call has.
  public static func authentication(key: String) throws(RequestEncoder.TooLong) -> [UInt8] {
    var buffer = ByteBuffer()
    try RequestEncoder.append(
      id: .max, timeoutMicroseconds: 0, .authenticate(key: key), frameBytesMax: Limits.frameBytesMaxUnauthenticated,
      to: &buffer)
    return Array(buffer.readableBytesView)
  }

  /// - Throws: if the call exceeds what any server accepts.
  public mutating func append(
    _ call: RequestEncoder.Predict, rows: Int, model: Int, firstRow: Int, timeoutMicroseconds: UInt32
  ) throws(RequestEncoder.TooLong) {
    var buffer = ByteBuffer()
    // Id 0 is left out by the encoder.
    try RequestEncoder.append(
      id: 0, timeoutMicroseconds: timeoutMicroseconds, .predict(call),
      frameBytesMax: Limits.frameBytesHardCap - Self.idFieldBytes, to: &buffer)
    let payload = buffer.readableBytesView.dropFirst(4)
    let offset = bytes.count
    withUnsafeBytes(of: UInt32(payload.count + Self.idFieldBytes).bigEndian) { bytes.append(contentsOf: $0) }
    bytes.append(0x08)
    bytes.append(contentsOf: repeatElement(0, count: Self.idFieldBytes - 1))
    bytes.append(contentsOf: payload)
    while framesOfModel.count <= model { framesOfModel.append([]) }
    framesOfModel[model].append(frames.count)
    frames.append(
      Frame(offset: offset, count: bytes.count - offset, rows: rows, model: model, firstRow: firstRow))
  }

  /// Writes `id` into the copy of a frame that begins at `frame`.
  @inline(__always)
  public static func patch(id: UInt64, at frame: UnsafeMutableRawPointer) {
    var rest = id
    for index in 5..<9 {
      frame.storeBytes(of: UInt8(truncatingIfNeeded: rest) | 0x80, toByteOffset: index, as: UInt8.self)
      rest >>= 7
    }
    frame.storeBytes(of: UInt8(truncatingIfNeeded: rest) & 0x7f, toByteOffset: 9, as: UInt8.self)
  }
}

/// The order in which models are asked: as often as their weights say, spread evenly.
public struct ModelMix: Sendable, Equatable {
  /// Indices of models, to be repeated.
  public let sequence: [Int]

  /// Length of the sequence; a longer one would only reproduce the weights more exactly.
  private static let lengthMax = 1000

  /// - Parameter weights: a number above 0 for each model.
  public init(weights: [Int]) {
    let sum = weights.reduce(0, +)
    // At least one turn for each.
    let weights = sum <= Self.lengthMax ? weights : weights.map { max(1, $0 * Self.lengthMax / sum) }
    let total = weights.reduce(0, +)
    // Smooth weighted round robin, as nginx does it: raise all by their weight, take the highest.
    var credit = [Int](repeating: 0, count: weights.count)
    sequence = (0..<total).map { _ in
      for index in weights.indices { credit[index] += weights[index] }
      let chosen = credit.indices.reduce(0) { credit[$1] > credit[$0] ? $1 : $0 }
      credit[chosen] -= total
      return chosen
    }
  }
}

/// The parts of a response that a load generator looks at. It borrows the receive buffer.
public struct AnswerView {
  public var id: UInt64 = 0
  /// Status code as the server sent it; 0 is OK.
  public var code: UInt64 = 0
  /// The version that answered; 0 where there is none.
  public var version: UInt64 = 0
  /// Name of the model that answered.
  public var model = UnsafeRawBufferPointer(start: nil, count: 0)
  /// Time that the call waited in the server before it was computed.
  public var queueMicroseconds: UInt64 = 0
  /// The `PredictResponse`, for verification; nil in other responses.
  public var prediction: UnsafeRawBufferPointer?
  /// Id of the last call that was executed; nil unless the response is a `GoAway`.
  public var goAwayLastID: UInt64?

  /// Reads a frame without its length word.
  ///
  /// - Throws: `.invalidArgument` where the bytes are no protobuf message.
  @inline(__always)
  public init(_ frame: UnsafeRawBufferPointer) throws(ServingError) {
    var fields = MessageCursor(frame, of: "Response")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .varint(let value)): id = value
      case (2, .bytes(let status)): code = try Self.first(of: status)
      case (3, .bytes(let message)): prediction = message
      case (9, .bytes(let message)): goAwayLastID = try Self.first(of: message)
      default: break
      }
    }
    guard let prediction else { return }
    var inner = MessageCursor(prediction, of: "PredictResponse")
    while let field = try inner.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let name)): model = name
      case (2, .varint(let value)): version = value
      case (4, .bytes(let timing)): queueMicroseconds = try Self.first(of: timing)
      default: break
      }
    }
  }

  /// The status code; `.internal` for a code that this program does not know.
  public var status: StatusCode { UInt8(exactly: code).flatMap(StatusCode.init(rawValue:)) ?? .internal }

  /// The whole number of field 1; 0 if absent.
  private static func first(of message: UnsafeRawBufferPointer) throws(ServingError) -> UInt64 {
    var first: UInt64 = 0
    var fields = MessageCursor(message, of: "message")
    while let field = try fields.next() {
      if field.number == 1, case .varint(let value) = field.value { first = value }
    }
    return first
  }
}

/// The answers that one version of a model is known to give, row by row.
public struct ExpectedAnswers: Sendable {
  /// The version that gives them; nil: every version.
  public let version: UInt64?
  /// Number of rows covered.
  public let rows: Int
  private let numbers: [Float]
  private let classes: [Int64]
  private let labels: [[UInt8]]
  private let numberColumns: Int

  /// Difference that a number may have, relative to its size where that is above 1: other processors
  /// sum in another order.
  public static let tolerance: Float = 1e-5

  /// - Parameters:
  ///   - numbers: values of all rows, row-major; empty: not compared. The same holds for classes and labels.
  public init(version: UInt64?, rows: Int, numbers: [Float], classes: [Int64], labels: [String]) {
    precondition(rows > 0 && numbers.count.isMultiple(of: rows), "expected numbers for every row")
    precondition(classes.isEmpty || classes.count == rows, "expected a class for every row")
    precondition(labels.isEmpty || labels.count == rows, "expected a label for every row")
    self.version = version
    self.rows = rows
    self.numbers = numbers
    self.classes = classes
    self.labels = labels.map { Array($0.utf8) }
    numberColumns = numbers.count / rows
  }

  /// Whether rows `compared` of an answer to rows `firstRow ..< firstRow + rows` are as expected.
  /// - Returns: nil for an answer without an output that is known here.
  func match(
    _ prediction: UnsafeRawBufferPointer, firstRow: Int, rows: Int, compared: Range<Int>
  ) -> Bool? {
    var isCompared = false
    var outputs = MessageCursor(prediction, of: "PredictResponse")
    // The view of the answer has walked these fields before: they are well-formed.
    while let output = try? outputs.next() {
      guard output.number == 3, case .bytes(let tensor) = output.value else { continue }
      guard let isEqual = matchTensor(tensor, firstRow: firstRow, rows: rows, compared: compared) else {
        continue
      }
      guard isEqual else { return false }
      isCompared = true
    }
    return isCompared ? true : nil
  }

  private func matchTensor(
    _ tensor: UnsafeRawBufferPointer, firstRow: Int, rows: Int, compared: Range<Int>
  ) -> Bool? {
    var type: UInt64 = 0
    var data = UnsafeRawBufferPointer(start: nil, count: 0)
    var stringCount = 0
    var stringsEqual = true
    var fields = MessageCursor(tensor, of: "Tensor")
    do throws(ServingError) {
      while let field = try fields.next() {
        switch (field.number, field.value) {
        case (2, .varint(let value)): type = value
        case (4, .bytes(let bytes)): data = bytes
        case (5, .bytes(let text)):
          if !labels.isEmpty, compared.contains(stringCount), stringsEqual {
            stringsEqual = Self.isEqual(text, labels[firstRow + stringCount])
          }
          stringCount += 1
        default: break
        }
      }
    } catch {
      return false
    }
    switch type {
    case UInt64(DataType.float32.rawValue):
      guard numberColumns > 0 else { return nil }
      guard data.count == rows * numberColumns * 4 else { return false }
      return matchNumbers(data, firstRow: firstRow, compared: compared)
    case UInt64(DataType.int64.rawValue):
      guard !classes.isEmpty else { return nil }
      guard data.count == rows * 8 else { return false }
      return compared.allSatisfy { row in
        data.loadUnaligned(fromByteOffset: row * 8, as: Int64.self) == classes[firstRow + row]
      }
    case UInt64(DataType.string.rawValue):
      return labels.isEmpty ? nil : stringCount == rows && stringsEqual
    default: return nil
    }
  }

  private func matchNumbers(_ data: UnsafeRawBufferPointer, firstRow: Int, compared: Range<Int>) -> Bool {
    let first = firstRow * numberColumns
    for index in (compared.lowerBound * numberColumns)..<(compared.upperBound * numberColumns) {
      let found = data.loadUnaligned(fromByteOffset: index * 4, as: Float.self)
      let expected = numbers[first + index]
      guard abs(found - expected) <= Self.tolerance * max(1, abs(expected)) || (found.isNaN && expected.isNaN) else {
        return false
      }
    }
    return true
  }

  private static func isEqual(_ found: UnsafeRawBufferPointer, _ expected: [UInt8]) -> Bool {
    guard found.count == expected.count, let base = found.baseAddress else { return found.count == expected.count }
    return expected.withUnsafeBytes { other in
      other.baseAddress.map { memcmp(base, $0, found.count) == 0 } ?? true
    }
  }
}

/// A comparison of answers with those that their versions are known to give.
public struct AnswerCheck: Sendable {
  public enum Verdict: Sendable {
    case right
    case wrong
    /// Every row is the answer of some version, but not of the version that the answer names.
    case mixed
    /// No answers of this version are known.
    case unknown
  }

  private let versions: [ExpectedAnswers]

  public init(_ versions: [ExpectedAnswers]) { self.versions = versions }

  public func check(_ answer: AnswerView, firstRow: Int, rows: Int) -> Verdict {
    guard let prediction = answer.prediction else { return .unknown }
    guard let own = versions.first(where: { $0.version == nil || $0.version == answer.version }) else {
      return .unknown
    }
    guard let isRight = own.match(prediction, firstRow: firstRow, rows: rows, compared: 0..<rows) else {
      return .unknown
    }
    if isRight { return .right }
    let isMixed = (0..<rows).allSatisfy { row in
      versions.contains {
        $0.match(prediction, firstRow: firstRow, rows: rows, compared: row..<(row + 1)) == true
      }
    }
    return isMixed ? .mixed : .wrong
  }
}
