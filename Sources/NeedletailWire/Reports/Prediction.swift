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
