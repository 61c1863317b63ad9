/// The element type of a tensor. Raw values are those of `needletail.v1.DataType`.
public enum DataType: UInt8, Sendable, BitwiseCopyable, CaseIterable, CustomStringConvertible {
  case float32 = 1
  case float64 = 2
  case int8 = 3
  case int16 = 4
  case int32 = 5
  case int64 = 6
  case uint8 = 7
  case bool = 8
  case string = 9

  /// Bytes of one element in `Tensor.data`; 0 for strings, which stand beside it.
  @inlinable public var elementBytes: Int {
    switch self {
    case .float32, .int32: 4
    case .float64, .int64: 8
    case .int16: 2
    case .int8, .uint8, .bool: 1
    case .string: 0
    }
  }

  public var description: String {
    switch self {
    case .float32: "FLOAT32"
    case .float64: "FLOAT64"
    case .int8: "INT8"
    case .int16: "INT16"
    case .int32: "INT32"
    case .int64: "INT64"
    case .uint8: "UINT8"
    case .bool: "BOOL"
    case .string: "STRING"
    }
  }
}
