public import NeedletailCore

/// One tensor of a predict call, encoded when it is made.
public struct InputTensor: Sendable, Equatable {
  public let name: String
  public let type: DataType
  /// The first dimension is the batch.
  public let shape: [UInt64]
  /// Row-major, little-endian; empty for strings.
  public let data: [UInt8]
  /// Elements of a string tensor.
  public let strings: [String]

  public init(name: String, type: DataType, shape: [UInt64], data: [UInt8], strings: [String] = []) {
    self.name = name
    self.type = type
    self.shape = shape
    self.data = data
    self.strings = strings
  }

  /// A dense matrix named `features`: `values.count / columns` rows, row-major.
  public static func features(_ values: [Float], columns: Int) -> InputTensor { fatalError() }
  /// The same as text: every cell is parsed by the server; `""` is a missing value.
  public static func features(text rows: [[String]]) -> InputTensor { fatalError() }
  /// One column of numbers; NaN is a missing value.
  public static func column(_ name: String, _ values: [Double]) -> InputTensor { fatalError() }
  public static func column(_ name: String, _ values: [Int64]) -> InputTensor { fatalError() }
  public static func column(_ name: String, _ values: [Bool]) -> InputTensor { fatalError() }
  /// One column of categories; `""` is a missing value.
  public static func column(_ name: String, _ values: [String]) -> InputTensor { fatalError() }
}
