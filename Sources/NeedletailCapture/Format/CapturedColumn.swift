internal import NeedletailCore

/// One value of a captured call.
public enum CapturedValue: Sendable, Equatable {
  case float(Float)
  case double(Double)
  case integer(Int64)
  case flag(Bool)
  case text(String)
  /// NaN, an empty text, or a value that the capture does not have.
  case missing

  init(_ value: Float) { self = value.isNaN ? .missing : .float(value) }

  init(_ value: Double) { self = value.isNaN ? .missing : .double(value) }
}

/// Values of one feature, or of one column of an answer, one for each row of a call.
public struct CapturedColumn: Sendable, Equatable {
  public var name: String
  public var values: [CapturedValue]
}

extension CapturedTensor {
  /// Name as text.
  public var text: String { String(decoding: name, as: UTF8.self) }

  /// Number of elements that are there, whatever the shape says.
  var elementCount: Int {
    guard let type else { return 0 }
    return type == .string ? strings.count : data.count / type.elementBytes
  }

  /// One element.
  func value(_ index: Int) -> CapturedValue {
    func number<Value: FixedWidthInteger & BitwiseCopyable>(_ type: Value.Type) -> Value {
      data.withUnsafeBytes { bytes in
        Value(littleEndian: bytes.loadUnaligned(fromByteOffset: index * MemoryLayout<Value>.size, as: type))
      }
    }
    switch type {
    case nil: return .missing
    case .float32: return CapturedValue(Float(bitPattern: number(UInt32.self)))
    case .float64: return CapturedValue(Double(bitPattern: number(UInt64.self)))
    case .int8: return .integer(Int64(number(Int8.self)))
    case .int16: return .integer(Int64(number(Int16.self)))
    case .int32: return .integer(Int64(number(Int32.self)))
    case .int64: return .integer(number(Int64.self))
    case .uint8: return .integer(Int64(number(UInt8.self)))
    case .bool: return .flag(number(UInt8.self) != 0)
    case .string: return strings[index].isEmpty ? .missing : .text(String(decoding: strings[index], as: UTF8.self))
    }
  }
}

extension CapturedCall {
  /// Features of the request, by column; a matrix of all features is taken apart by the model's names.
  ///
  /// Tensors whose elements do not fit their shape, as in calls that ended in an error, have what is there.
  public var inputColumns: [CapturedColumn] {
    inputs.flatMap { tensor -> [CapturedColumn] in
      let width = model.features.count
      guard tensor.text == "features", tensor.shape.count == 2, tensor.shape[1] == UInt64(width), width > 0 else {
        return [CapturedColumn(name: tensor.text, values: (0..<tensor.elementCount).map(tensor.value))]
      }
      let rows = tensor.elementCount / width
      return model.features.indices.map { column in
        CapturedColumn(name: model.features[column], values: (0..<rows).map { tensor.value($0 * width + column) })
      }
    }
  }

  /// Columns of the answer: `NAME`, or `NAME[0]` and so on for an output of several columns. A class is its label.
  public var answerColumns: [CapturedColumn] {
    answers.flatMap { answer -> [CapturedColumn] in
      let output = model.outputs[answer.output]
      return (0..<output.columns).map { column in
        let name = output.columns == 1 ? output.name : "\(output.name)[\(column)]"
        let values = (0..<rows).map { row -> CapturedValue in
          let value = answer.values[row * output.columns + column]
          return switch output.kind {
          case .number: CapturedValue(value)
          case .classIndex: Int64(exactly: value).map { CapturedValue.integer($0) } ?? CapturedValue.missing
          case .classLabel: model.label(value).map { CapturedValue.text($0) } ?? CapturedValue.missing
          }
        }
        return CapturedColumn(name: name, values: values)
      }
    }
  }

  /// Whether something of its request was redacted, so that it cannot be asked again.
  public var isRedacted: Bool { !model.redacted.isEmpty }
}
