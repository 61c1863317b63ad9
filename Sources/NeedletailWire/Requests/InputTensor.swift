public import NeedletailCore

/// One tensor of a predict call, encoded when it is made.
public struct InputTensor: Sendable, Equatable {
  public let name: String
  public let type: DataType
  /// The first dimension is the batch.
  public let shape: [UInt64]
  /// Row-major, little-endian; empty for strings.
  public let data: [UInt8]
  /// Elements of a string tensor, row-major.
  public let strings: [String]

  /// Takes what it is given unchecked; the server checks.
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

  /// The same as text: every cell is parsed by the server; `""` is a missing value. Rows of one
  /// length.
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

/// Which version of a model a call asks for, as a client says it.
public enum VersionSelector: Sendable, Hashable {
  /// What the rollout serves now.
  case serving
  case version(UInt64)
  case label(String)
}
