internal import NeedletailCore

extension Prediction {
  init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init(model: "", version: 0, outputs: [], timing: ResponseTiming())
    var fields = FieldReader(message, of: "PredictResponse")
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
    var fields = FieldReader(message, of: "Timing")
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
    var fields = FieldReader(message, of: "Tensor")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let bytes)): name = String(decoding: bytes, as: UTF8.self)
      case (2, .varint(let value)): type = UInt8(exactly: value).flatMap(DataType.init(rawValue:))
      case (3, .varint(let dimension)): shape.append(dimension)
      case (3, .bytes(let packed)):
        var dimensions = FieldReader(packed, of: "Tensor.shape")
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

  /// Elements of a shape, small enough to be counted in bytes.
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
