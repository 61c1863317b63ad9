internal import NeedletailCore
internal import NeedletailEngine

/// The header of a safetensors file: name, type, shape and place of each tensor.
///
/// Format: 8 bytes, the length of the header, little-endian; the header, a JSON object; the bytes of all tensors, which
/// fill the rest of the file without gap and without overlap. Documented at https://github.com/huggingface/safetensors.
package struct SafeTensorsHeader {
  /// Type of a tensor's elements, as the header names it.
  enum Element: String {
    case boolean = "BOOL"
    case uint8 = "U8"
    case int8 = "I8"
    case int16 = "I16"
    case uint16 = "U16"
    case float16 = "F16"
    case bfloat16 = "BF16"
    case int32 = "I32"
    case uint32 = "U32"
    case float32 = "F32"
    case float64 = "F64"
    case int64 = "I64"
    case uint64 = "U64"

    var bytes: Int {
      switch self {
      case .boolean, .uint8, .int8: 1
      case .int16, .uint16, .float16, .bfloat16: 2
      case .int32, .uint32, .float32: 4
      case .float64, .int64, .uint64: 8
      }
    }
  }

  struct Tensor: Equatable {
    var name: String
    var element: Element
    var shape: [Int]
    /// Bytes in the file.
    var range: Range<Int>
  }

  /// In the order of their places.
  let tensors: [Tensor]
  /// Bytes of all tensors together.
  package var dataBytes: Int { tensors.reduce(0) { $0 + $1.range.count } }

  /// Bytes before the header.
  package static let lengthBytes = 8

  /// Length of the header that the first 8 bytes say, in bytes.
  ///
  /// - Throws: `TrainingError` where it is beyond the limit or the file.
  package static func length(_ start: [UInt8], fileBytes: Int) throws(TrainingError) -> Int {
    guard start.count >= lengthBytes else {
      throw .importing("expected 8 bytes with the length of a header, found \(start.count)")
    }
    let length = start[..<lengthBytes].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    let largest = min(Limits.tensorHeaderBytesMax, fileBytes - lengthBytes)
    guard length >= 2, length <= UInt64(max(0, largest)) else {
      throw .importing("header: expected 2 to \(max(0, largest)) bytes, found a length of \(length)")
    }
    return Int(length)
  }

  /// Reads a header and checks that its tensors fill the file.
  ///
  /// - Parameters:
  ///   - header: the JSON, which may end with spaces.
  ///   - fileBytes: length of the whole file.
  package init(_ header: [UInt8], fileBytes: Int) throws(TrainingError) {
    guard header.first == UInt8(ascii: "{") else {
      throw .importing("header: expected a JSON object, found another byte")
    }
    let document = ForeignField(value: try ForeignJSON.read(header), path: "header")
    let start = Self.lengthBytes + header.count
    let dataBytes = fileBytes - start
    var tensors: [Tensor] = []
    for (name, field) in try document.fields where name != "__metadata__" {
      tensors.append(try Self.tensor(name, field, start: start, dataBytes: dataBytes))
    }
    guard tensors.count <= Limits.foreignTensorsMax else {
      throw .importing("header: expected at most \(Limits.foreignTensorsMax) tensors, found \(tensors.count)")
    }
    tensors.sort {
      ($0.range.lowerBound, $0.range.upperBound, $0.name) < ($1.range.lowerBound, $1.range.upperBound, $1.name)
    }
    var end = start
    for tensor in tensors {
      guard tensor.range.lowerBound == end else {
        throw .importing(
          "tensor \(tensor.name.quotedForMessage): expected its bytes from \(end - start), behind those of the others, found \(tensor.range.lowerBound - start)"
        )
      }
      end = tensor.range.upperBound
    }
    guard end == fileBytes else {
      throw .importing("expected \(end) bytes for all tensors, found \(fileBytes)")
    }
    self.tensors = tensors
  }

  private static func tensor(
    _ name: String, _ field: ForeignField, start: Int, dataBytes: Int
  ) throws(TrainingError) -> Tensor {
    let type = try field.required("dtype")
    guard let element = Element(rawValue: try type.text) else {
      throw type.fault("F32, F16, BF16 or another type of whole bytes", found: try type.text.quotedForMessage)
    }
    let dimensions = try field.required("shape")
    let shape = try dimensions.integers(in: 0...Int(Int32.max))
    guard shape.count <= Limits.foreignTensorRankMax else {
      throw dimensions.fault("at most \(Limits.foreignTensorRankMax) dimensions", found: "\(shape.count)")
    }
    var bytes = element.bytes
    for size in shape {
      let (product, overflow) = bytes.multipliedReportingOverflow(by: size)
      guard !overflow else { throw dimensions.fault("a shape of less than 2⁶³ bytes", found: "\(shape)") }
      bytes = product
    }
    let offsets = try field.required("data_offsets")
    let ends = try offsets.integers(in: 0...max(0, dataBytes), count: 2)
    guard ends[0] <= ends[1], ends[1] - ends[0] == bytes else {
      throw offsets.fault("\(bytes) bytes for shape \(shape) of \(element.rawValue)", found: "\(ends[0]) to \(ends[1])")
    }
    return Tensor(name: name, element: element, shape: shape, range: start + ends[0]..<start + ends[1])
  }
}

/// Numbers of a tensor as fp32.
enum TensorNumbers {
  /// Converts little-endian bytes; F16, BF16 and I8 are widened exactly, F64 is rounded.
  ///
  /// - Returns: nil for a type that holds no weights.
  static func floats(_ bytes: UnsafeRawBufferPointer, _ element: SafeTensorsHeader.Element) -> [Float]? {
    let count = bytes.count / element.bytes
    switch element {
    case .float32:
      return [Float](unsafeUninitializedCapacity: count) { floats, initialised in
        UnsafeMutableRawBufferPointer(floats).copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<(4 * count)]))
        initialised = count
      }
    case .float16:
      let halves = (0..<count).map { bytes.loadUnaligned(fromByteOffset: 2 * $0, as: UInt16.self) }
      return WeightTensor(name: "", shape: [count], storage: .float16(halves)).floats
    case .bfloat16:
      return (0..<count).map {
        Float(bitPattern: UInt32(bytes.loadUnaligned(fromByteOffset: 2 * $0, as: UInt16.self)) << 16)
      }
    case .float64:
      return (0..<count).map {
        Float(Double(bitPattern: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 8 * $0, as: UInt64.self))))
      }
    case .int8: return bytes.map { Float(Int8(bitPattern: $0)) }
    default: return nil
    }
  }

  /// Little-endian whole numbers; one that does not fit is nil.
  ///
  /// - Returns: nil for a type that holds none.
  static func integers(_ bytes: UnsafeRawBufferPointer, _ element: SafeTensorsHeader.Element) -> [Int?]? {
    func numbers<Number: FixedWidthInteger & BitwiseCopyable>(_ type: Number.Type) -> [Int?] {
      let size = MemoryLayout<Number>.size
      return (0..<bytes.count / size).map {
        Int(exactly: Number(littleEndian: bytes.loadUnaligned(fromByteOffset: size * $0, as: type)))
      }
    }
    switch element {
    case .uint8: return numbers(UInt8.self)
    case .int8: return numbers(Int8.self)
    case .int16: return numbers(Int16.self)
    case .uint16: return numbers(UInt16.self)
    case .int32: return numbers(Int32.self)
    case .uint32: return numbers(UInt32.self)
    case .int64: return numbers(Int64.self)
    case .uint64: return numbers(UInt64.self)
    case .boolean, .float16, .bfloat16, .float32, .float64: return nil
    }
  }
}
