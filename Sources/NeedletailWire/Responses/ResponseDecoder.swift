public import NIOCore
public import NeedletailCore
internal import NeedletailProtobuf

/// One output of a prediction.
public struct OutputTensor: Sendable, Equatable {
  public enum Values: Sendable, Equatable {
    case floats([Float])
    case integers([Int64])
    case strings([String])
  }

  public var name: String
  public var shape: [Int]
  /// Values in row-major order.
  public var values: Values

  public init(name: String, shape: [Int], values: Values) {
    self.name = name
    self.shape = shape
    self.values = values
  }
}

/// The answer to a predict call.
public struct Prediction: Sendable, Equatable {
  public var model: String
  /// The version that answered.
  public var version: UInt64
  public var outputs: [OutputTensor]
  public var timing: ResponseTiming

  public init(model: String, version: UInt64, outputs: [OutputTensor], timing: ResponseTiming) {
    self.model = model
    self.version = version
    self.outputs = outputs
    self.timing = timing
  }

  public subscript(name: String) -> OutputTensor? { outputs.first { $0.name == name } }

  /// Values of a number output, row-major; nil if there is none of that name and type.
  public func floats(_ name: String) -> [Float]? {
    if case .floats(let values)? = self[name]?.values { values } else { nil }
  }

  /// Values of a class index output, one per row; nil if there is none of that name and type.
  public func integers(_ name: String) -> [Int64]? {
    if case .integers(let values)? = self[name]?.values { values } else { nil }
  }

  /// Values of a label output, one per row; nil if there is none of that name and type.
  public func strings(_ name: String) -> [String]? {
    if case .strings(let values)? = self[name]?.values { values } else { nil }
  }
}

/// Where the time of a predict call went, as the server measured it.
public struct ResponseTiming: Sendable, Equatable {
  public var queueMicroseconds: UInt32
  public var computeMicroseconds: UInt32
  /// Rows of the batch that the call was computed in, its own included.
  public var batchRows: UInt32

  public init(queueMicroseconds: UInt32 = 0, computeMicroseconds: UInt32 = 0, batchRows: UInt32 = 0) {
    self.queueMicroseconds = queueMicroseconds
    self.computeMicroseconds = computeMicroseconds
    self.batchRows = batchRows
  }
}

/// A decoded response, as a client sees it.
public struct ResponseMessage: Sendable, Equatable {
  public enum Result: Sendable, Equatable {
    case predict(Prediction)
    case health(HealthReport)
    case metrics(String)
    case models(ModelListReport)
    case description(ModelDescription)
    case authenticated(principal: String)
    case goAway(lastID: UInt64)
    case events(EventListReport)
    case rollout(RolloutReport)
    case serverInfo(ServerInfoReport)
    case feedback(FeedbackReport)
    /// The call failed with this error.
    case failed(ServingError)
    /// No result, or one that this client does not know.
    case none
  }

  /// Id of the call; 0 on `goAway` and where the request's id could not be read.
  public var id: UInt64
  public var result: Result

  public init(id: UInt64, result: Result) {
    self.id = id
    self.result = result
  }
}

/// The decoder of the `Response` in a frame. It has no state; anyone may call it.
public enum ResponseDecoder {
  /// - Throws: `.invalidArgument`, naming the message and the byte at which it is malformed.
  public static func decode(_ frame: ByteBuffer) throws(ServingError) -> ResponseMessage {
    // `withUnsafeReadableBytes` rethrows untyped, so the error leaves it as a value.
    let result = frame.withUnsafeReadableBytes { bytes in
      Result { () throws(ServingError) in try decode(bytes) }
    }
    return try result.get()
  }

  /// - Throws: `.invalidArgument`, naming the message and the byte at which it is malformed.
  public static func decode(_ frame: UnsafeRawBufferPointer) throws(ServingError) -> ResponseMessage {
    var id: UInt64 = 0
    var failure: ServingError?
    var result = ResponseMessage.Result.none
    var fields = MessageCursor(frame, of: "Response")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .varint(let value)): id = value
      case (2, .bytes(let status)): failure = try Self.status(status)
      case (3, .bytes(let message)): result = .predict(try Prediction(decoding: message))
      case (4, .bytes(let message)): result = .health(try HealthReport(decoding: message))
      case (5, .bytes(let message)): result = .metrics(try text(message, of: "MetricsResponse"))
      case (6, .bytes(let message)): result = .models(try ModelListReport(decoding: message))
      case (7, .bytes(let message)): result = .description(try ModelDescription(decoding: message))
      case (8, .bytes(let message)): result = .authenticated(principal: try text(message, of: "AuthenticateResponse"))
      case (9, .bytes(let message)): result = .goAway(lastID: try lastID(message))
      case (10, .bytes(let message)): result = .events(try EventListReport(decoding: message))
      case (11, .bytes(let message)): result = .rollout(try RolloutReport(decoding: message))
      case (12, .bytes(let message)): result = .serverInfo(try ServerInfoReport(decoding: message))
      case (13, .bytes(let message)): result = .feedback(try FeedbackReport(decoding: message))
      default: break
      }
    }
    return ResponseMessage(id: id, result: failure.map { .failed($0) } ?? result)
  }

  /// - Returns: nil for `OK`; `.internal` for a code that this client does not know.
  private static func status(_ message: UnsafeRawBufferPointer) throws(ServingError) -> ServingError? {
    var code: UInt64 = 0
    var text = ""
    var retryAfter: UInt32 = 0
    var detail: ErrorDetail?
    var fields = MessageCursor(message, of: "Status")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .varint(let value)): code = value
      case (2, .bytes(let bytes)): text = String(decoding: bytes, as: UTF8.self)
      case (3, .varint(let value)): retryAfter = UInt32(truncatingIfNeeded: value)
      case (4, .bytes(let bytes)): detail = try ErrorDetail.decode(bytes)
      default: break
      }
    }
    guard code != 0 else { return nil }
    let known = UInt8(exactly: code).flatMap(StatusCode.init(rawValue:)) ?? .internal
    return ServingError(known, text, retryAfterMicroseconds: retryAfter, detail: detail)
  }

  /// The one string of a message that has no other field.
  private static func text(
    _ message: UnsafeRawBufferPointer, of name: StaticString
  ) throws(ServingError) -> String {
    var text = ""
    var fields = MessageCursor(message, of: name)
    while let field = try fields.next() {
      if field.number == 1, case .bytes(let bytes) = field.value { text = String(decoding: bytes, as: UTF8.self) }
    }
    return text
  }

  private static func lastID(_ message: UnsafeRawBufferPointer) throws(ServingError) -> UInt64 {
    var id: UInt64 = 0
    var fields = MessageCursor(message, of: "GoAway")
    while let field = try fields.next() {
      if field.number == 1, case .varint(let value) = field.value { id = value }
    }
    return id
  }
}

extension ErrorDetail {
  fileprivate static func decode(_ message: UnsafeRawBufferPointer) throws(ServingError) -> ErrorDetail {
    var field = ""
    var row: UInt64?
    var limit: Limit?
    var fields = MessageCursor(message, of: "ErrorDetail")
    while let next = try fields.next() {
      switch (next.number, next.value) {
      case (1, .bytes(let bytes)): field = String(decoding: bytes, as: UTF8.self)
      case (2, .varint(let value)): row = value
      case (3, .bytes(let bytes)): limit = try Self.limit(bytes)
      default: break
      }
    }
    return ErrorDetail(field: field, row: row, limit: limit)
  }

  private static func limit(_ message: UnsafeRawBufferPointer) throws(ServingError) -> Limit {
    var name = ""
    var (maximum, found) = (UInt64(0), UInt64(0))
    var fields = MessageCursor(message, of: "ExceededLimit")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let bytes)): name = String(decoding: bytes, as: UTF8.self)
      case (2, .varint(let value)): maximum = value
      case (3, .varint(let value)): found = value
      default: break
      }
    }
    return Limit(name, maximum: maximum, found: found)
  }
}

extension Prediction {
  init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init(model: "", version: 0, outputs: [], timing: ResponseTiming())
    var fields = MessageCursor(message, of: "PredictResponse")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let name)): model = String(decoding: name, as: UTF8.self)
      case (2, .varint(let number)): version = number
      case (3, .bytes(let tensor)): outputs.append(try OutputTensor(decoding: tensor))
      case (4, .bytes(let bytes)): timing = try ResponseTiming(decoding: bytes)
      default: break
      }
    }
  }
}

extension ResponseTiming {
  fileprivate init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init()
    var fields = MessageCursor(message, of: "Timing")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .varint(let value)): queueMicroseconds = UInt32(truncatingIfNeeded: value)
      case (2, .varint(let value)): computeMicroseconds = UInt32(truncatingIfNeeded: value)
      case (3, .varint(let value)): batchRows = UInt32(truncatingIfNeeded: value)
      default: break
      }
    }
  }
}

extension OutputTensor {
  fileprivate init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    var name = ""
    var type: DataType?
    var shape: [UInt64] = []
    var data = UnsafeRawBufferPointer(start: nil, count: 0)
    var strings: [String] = []
    var fields = MessageCursor(message, of: "Tensor")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let bytes)): name = String(decoding: bytes, as: UTF8.self)
      case (2, .varint(let value)): type = UInt8(exactly: value).flatMap(DataType.init(rawValue:))
      case (3, .varint(let dimension)): shape.append(dimension)
      case (3, .bytes(let packed)):
        var dimensions = MessageCursor(packed, of: "Tensor.shape")
        while let dimension = try dimensions.nextPacked() { shape.append(dimension) }
      case (4, .bytes(let bytes)): data = bytes
      case (5, .bytes(let bytes)): strings.append(String(decoding: bytes, as: UTF8.self))
      default: break
      }
    }
    guard let type else {
      throw .invalidArgument("output \(name.quotedForMessage): expected a known element type, found none")
    }
    let count = try Self.count(shape, name: name)
    let found = type == .string ? strings.count : data.count
    let expected = type == .string ? count : count.multipliedReportingOverflow(by: type.elementBytes).partialValue
    guard found == expected else {
      throw .invalidArgument(
        "output \(name.quotedForMessage): expected \(expected) \(type == .string ? "strings" : "bytes") for its shape, "
          + "found \(found)")
    }
    self.init(
      name: name, shape: shape.map { Int(truncatingIfNeeded: $0) },
      values: try Self.values(type, data: data, strings: strings, name: name))
  }

  /// Number of elements of a shape, small enough to be counted in bytes.
  private static func count(_ shape: [UInt64], name: String) throws(ServingError) -> Int {
    var count: UInt64 = 1
    for dimension in shape {
      let (product, overflow) = count.multipliedReportingOverflow(by: dimension)
      guard !overflow, product <= UInt64(Limits.frameBytesHardCap) else {
        throw .invalidArgument("output \(name.quotedForMessage): shape \(shape) has more elements than a frame holds")
      }
      count = product
    }
    return Int(count)
  }

  private static func values(
    _ type: DataType, data: UnsafeRawBufferPointer, strings: [String], name: String
  ) throws(ServingError) -> Values {
    func elements<Element: BitwiseCopyable>(_ type: Element.Type) -> [Element] {
      let size = MemoryLayout<Element>.size
      return (0..<(data.count / size)).map { data.loadUnaligned(fromByteOffset: $0 * size, as: Element.self) }
    }
    switch type {
    case .float32: return .floats(elements(Float.self))
    case .int64: return .integers(elements(Int64.self))
    case .string: return .strings(strings)
    default:
      throw .invalidArgument(
        "output \(name.quotedForMessage): expected FLOAT32, INT64 or STRING, found \(type)")
    }
  }
}
