public import NIOCore
public import NeedletailCore
internal import NeedletailProtobuf

/// The encoder that appends framed requests to a client's output buffer. It has no state; anyone may call it. The bytes
/// equal those of Google's protobuf.
public enum RequestEncoder {
  /// The error of a request that is too long to be written.
  public struct TooLong: Error, Equatable, Sendable {
    public var bytes: Int
    public var limit: Int
  }

  public enum Call: Sendable {
    case predict(Predict)
    case health
    case metrics
    case listModels
    case describeModel(String, VersionSelector)
    case authenticate(key: String)
    case events(after: UInt64, limit: UInt32)
    /// - Parameter undo: the step to take back; nil: only to report.
    case rollout(model: String, undo: RolloutUndo?)
    case serverInfo
    case feedback(model: String, [ReportedOutcome])
  }

  public struct Predict: Sendable {
    public var model: String
    public var selector: VersionSelector
    public var inputs: [InputTensor]
    /// Names of the outputs wanted; empty: all.
    public var outputs: [String]
    public var routingKey: String
    public var priority: CallPriority
    /// Name of the call for outcomes that come later; empty: the routing key is it.
    public var key: String
    /// Trace that the call belongs to, as W3C Trace Context writes it; empty: none.
    public var traceparent: String

    public init(
      model: String, selector: VersionSelector = .serving, inputs: [InputTensor], outputs: [String] = [],
      routingKey: String = "", priority: CallPriority = .interactive, key: String = "", traceparent: String = ""
    ) {
      self.model = model
      self.selector = selector
      self.inputs = inputs
      self.outputs = outputs
      self.routingKey = routingKey
      self.priority = priority
      self.traceparent = traceparent
      self.key = key
    }
  }

  /// Appends one request.
  ///
  /// - Parameters:
  ///   - id: unique among the connection's calls in flight, not 0.
  ///   - timeoutMicroseconds: the server's budget from arrival; 0: none.
  /// - Throws: if the request does not fit `frameBytesMax`; then nothing was written.
  public static func append(
    id: UInt64, timeoutMicroseconds: UInt32, _ call: Call, frameBytesMax: Int, to buffer: inout ByteBuffer
  ) throws(TooLong) {
    var request = MessageWriter()
    request.uint(1, id)
    request.uint(2, UInt64(timeoutMicroseconds))
    switch call {
    case .predict(let predict):
      request.message(3) { $0.write(predict) }
      request.string(13, predict.traceparent)
    case .health: request.message(4) { _ in }
    case .metrics: request.message(5) { _ in }
    case .listModels: request.message(6) { _ in }
    case .describeModel(let model, let selector):
      request.message(7) {
        $0.string(1, model)
        $0.write(selector)
      }
    case .authenticate(let key): request.message(8) { $0.string(1, key) }
    case .events(let after, let limit):
      request.message(9) {
        $0.uint(1, after)
        $0.uint(2, UInt64(limit))
      }
    case .rollout(let model, let undo):
      request.message(10) {
        $0.string(1, model)
        $0.bool(2, undo != nil)
        $0.uint(3, undo?.version ?? 0)
        $0.bool(4, undo?.isForced ?? false)
      }
    case .serverInfo: request.message(11) { _ in }
    case .feedback(let model, let outcomes):
      request.message(12) {
        $0.string(1, model)
        for outcome in outcomes { $0.write(outcome) }
      }
    }
    guard request.bytes.count <= frameBytesMax else {
      throw TooLong(bytes: request.bytes.count, limit: frameBytesMax)
    }
    buffer.writeInteger(UInt32(request.bytes.count), endianness: .big)
    buffer.writeBytes(request.bytes)
  }
}

extension MessageWriter {
  fileprivate mutating func write(_ selector: VersionSelector) {
    switch selector {
    case .serving: break
    // A member of a oneof is present even with its default value.
    case .version(let version): member(2, version)
    case .label(let label): element(3, label)
    }
  }

  fileprivate mutating func write(_ predict: RequestEncoder.Predict) {
    string(1, predict.model)
    write(predict.selector)
    for input in predict.inputs {
      message(4) {
        $0.string(1, input.name)
        $0.uint(2, UInt64(input.type.rawValue))
        $0.packed(3, input.shape)
        $0.data(4, input.data)
        $0.strings(5, input.strings)
      }
    }
    strings(5, predict.outputs)
    string(6, predict.routingKey)
    uint(7, UInt64(predict.priority.rawValue))
    string(8, predict.key)
  }

  fileprivate mutating func write(_ outcome: ReportedOutcome) {
    message(2) {
      $0.string(1, outcome.key)
      $0.uint(2, UInt64(outcome.row))
      // A member of a oneof is present even with its default value.
      switch outcome.truth {
      case .label(let label): $0.element(3, label)
      case .value(let value): $0.doubleMember(4, value)
      }
    }
  }
}

/// One tensor of a predict call, encoded when it is made.
public struct InputTensor: Sendable, Equatable {
  public let name: String
  public let type: DataType
  /// Dimensions; the first one is the batch.
  public let shape: [UInt64]
  /// Elements of numeric types, row-major, little-endian; empty for strings.
  public let data: [UInt8]
  /// Elements of a string tensor, row-major.
  public let strings: [String]

  /// Creates a tensor from its parts, which the server checks.
  public init(name: String, type: DataType, shape: [UInt64], data: [UInt8], strings: [String] = []) {
    self.name = name
    self.type = type
    self.shape = shape
    self.data = data
    self.strings = strings
  }

  /// A dense matrix named `features`: `values.count / columns` rows, row-major; NaN is a missing value.
  public static func features(_ values: [Float], columns: Int) -> InputTensor {
    let rows = columns > 0 ? values.count / columns : 0
    return InputTensor(
      name: "features", type: .float32, shape: [UInt64(rows), UInt64(max(columns, 0))],
      data: values.withUnsafeBytes(Array.init))
  }

  /// A dense matrix named `features` of text cells, which the server parses; `""` is a missing value. All rows have the
  /// same length.
  public static func features(text rows: [[String]]) -> InputTensor {
    InputTensor(
      name: "features", type: .string, shape: [UInt64(rows.count), UInt64(rows.first?.count ?? 0)], data: [],
      strings: Array(rows.joined()))
  }

  /// One column of numbers; NaN is a missing value.
  public static func column(_ name: String, _ values: [Double]) -> InputTensor {
    InputTensor(
      name: name, type: .float64, shape: [UInt64(values.count)], data: values.withUnsafeBytes(Array.init))
  }

  /// One column of integers.
  public static func column(_ name: String, _ values: [Int64]) -> InputTensor {
    InputTensor(name: name, type: .int64, shape: [UInt64(values.count)], data: values.withUnsafeBytes(Array.init))
  }

  /// One column of truth values.
  public static func column(_ name: String, _ values: [Bool]) -> InputTensor {
    InputTensor(name: name, type: .bool, shape: [UInt64(values.count)], data: values.map { $0 ? 1 : 0 })
  }

  /// One column of categories; `""` is a missing value.
  public static func column(_ name: String, _ values: [String]) -> InputTensor {
    InputTensor(name: name, type: .string, shape: [UInt64(values.count)], data: [], strings: values)
  }
}

/// The version of a model that a client asks for.
public enum VersionSelector: Sendable, Hashable {
  /// The version that the rollout serves now.
  case serving
  case version(UInt64)
  case label(String)
}
