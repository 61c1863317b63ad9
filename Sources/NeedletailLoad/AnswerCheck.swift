internal import Glibc
public import NeedletailCore
internal import NeedletailProtobuf

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
