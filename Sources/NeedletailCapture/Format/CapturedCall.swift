public import NeedletailCore

/// What was done to a feature before it was written.
public enum Redaction: UInt8, Sendable, CaseIterable {
  /// The feature is left out; in a matrix of all features its column is missing.
  case drop = 1
  /// Each value is replaced by its HMAC-SHA-256 with a key, 32 hexadecimal digits: equal values stay equal, and nobody
  /// without the key can try values. In a matrix of numbers as ``drop``.
  case hash = 2
}

/// A version of a model as a capture describes it, so that its calls can be read without the bundle.
public struct CapturedModel: Sendable, Hashable {
  public struct Output: Sendable, Hashable {
    public var name: String
    public var kind: OutputKind
    /// Columns of a row; 1 for classes.
    public var columns: Int

    public init(name: String, kind: OutputKind, columns: Int) {
      self.name = name
      self.kind = kind
      self.columns = columns
    }
  }

  public struct Redacted: Sendable, Hashable {
    public var feature: String
    public var redaction: Redaction

    public init(feature: String, redaction: Redaction) {
      self.feature = feature
      self.redaction = redaction
    }
  }

  public var name: String
  public var version: UInt64
  /// SHA-256 of the bundle's manifest in hexadecimal.
  public var digest: String
  /// Names of the features in the order of the columns of a matrix.
  public var features: [String]
  public var outputs: [Output]
  /// Labels of the classes, by index.
  public var labels: [String]
  public var redacted: [Redacted]

  public init(
    name: String, version: UInt64, digest: String, features: [String], outputs: [Output], labels: [String],
    redacted: [Redacted]
  ) {
    self.name = name
    self.version = version
    self.digest = digest
    self.features = features
    self.outputs = outputs
    self.labels = labels
    self.redacted = redacted
  }

  /// Label of a class index; nil: there is none.
  public func label(_ index: Float) -> String? {
    guard index >= 0, index < Float(labels.count) else { return nil }
    return labels[Int(index)]
  }
}

/// A tensor of a captured request, as its caller sent it: nothing in it has been checked.
public struct CapturedTensor: Sendable, Equatable {
  /// Name in UTF-8 as sent.
  public var name: [UInt8]
  /// Nil where the caller named a type that does not exist.
  public var type: DataType?
  public var shape: [UInt64]
  /// Elements of numeric types, row-major, little-endian.
  public var data: [UInt8]
  /// Elements of a string tensor: UTF-8 as sent.
  public var strings: [[UInt8]]

  public init(name: [UInt8], type: DataType?, shape: [UInt64], data: [UInt8], strings: [[UInt8]]) {
    self.name = name
    self.type = type
    self.shape = shape
    self.data = data
    self.strings = strings
  }
}

/// A captured call: what was asked, which version answered, what, and how.
public struct CapturedCall: Sendable, Equatable {
  /// Values of one output.
  public struct Answer: Sendable, Equatable {
    /// Index into ``CapturedModel/outputs``.
    public var output: Int
    /// rows × columns, row-major; a class is its index.
    public var values: [Float]

    public init(output: Int, values: [Float]) {
      self.output = output
      self.values = values
    }
  }

  public var model: CapturedModel
  public var status: StatusCode
  public var reasons: CaptureReasons
  /// Time of arrival, in microseconds since 1970 (UTC).
  public var microseconds: UInt64
  /// Id that the caller gave the call on its connection.
  public var id: UInt64
  public var queueMicroseconds: UInt32
  public var computeMicroseconds: UInt32
  /// Rows of the batch that the call was part of.
  public var batchRows: Int
  /// Rows of the answer; 0 where there is none.
  public var rows: Int
  public var inputs: [CapturedTensor]
  /// Outputs that the caller asked for; empty where there is no answer.
  public var answers: [Answer]
  /// Digest of the name that the caller gave the call, by which outcomes find it.
  public var key: CallKey

  public init(
    model: CapturedModel, status: StatusCode, reasons: CaptureReasons, microseconds: UInt64, id: UInt64,
    queueMicroseconds: UInt32, computeMicroseconds: UInt32, batchRows: Int, rows: Int, inputs: [CapturedTensor],
    answers: [Answer], key: CallKey = .none
  ) {
    self.model = model
    self.status = status
    self.reasons = reasons
    self.microseconds = microseconds
    self.id = id
    self.queueMicroseconds = queueMicroseconds
    self.computeMicroseconds = computeMicroseconds
    self.batchRows = batchRows
    self.rows = rows
    self.inputs = inputs
    self.answers = answers
    self.key = key
  }
}
