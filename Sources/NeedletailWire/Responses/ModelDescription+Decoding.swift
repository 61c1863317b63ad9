internal import NeedletailCore

extension ModelDescription {
  init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init(model: "", version: 0, state: nil)
    var fields = FieldReader(message, of: "DescribeModelResponse")
    while let field = try fields.next() {
      switch field.value {
      case .varint(let value): read(field.number, value)
      case .bytes(let bytes): try read(field.number, bytes)
      case .fixed64, .fixed32: break
      }
    }
  }

  private mutating func read(_ number: UInt32, _ value: UInt64) {
    switch number {
    case 2: version = value
    case 3: state = VersionState(onWire: value)
    case 10: createdMilliseconds = value
    case 15: residentBytes = value
    default: break
    }
  }

  private mutating func read(_ number: UInt32, _ bytes: UnsafeRawBufferPointer) throws(ServingError) {
    var text: String { String(decoding: bytes, as: UTF8.self) }
    switch number {
    case 1: model = text
    case 4: task = text
    case 5: inputs.append(try TensorSpecReport(decoding: bytes))
    case 6: outputs.append(try TensorSpecReport(decoding: bytes))
    case 7: labels.append(text)
    case 8: digest = text
    case 9: signer = text
    case 11:
      let entry = try MapEntry(decoding: bytes)
      metrics[entry.key] = entry.number
    case 12:
      let entry = try MapEntry(decoding: bytes)
      lineage[entry.key] = entry.text
    case 13: precision = text
    case 14: isa = text
    case 16: plan.append(text)
    case 17: status = try VersionReport(decoding: bytes)
    case 18: planChoice = text
    default: break
    }
  }
}

/// An entry of `map<string, double>` or `map<string, string>`: whichever the caller reads.
private struct MapEntry {
  var key = ""
  var number = 0.0
  var text = ""

  init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    var fields = FieldReader(message, of: "map entry")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let bytes)): key = String(decoding: bytes, as: UTF8.self)
      case (2, .fixed64(let bits)): number = Double(bitPattern: bits)
      case (2, .bytes(let bytes)): text = String(decoding: bytes, as: UTF8.self)
      default: break
      }
    }
  }
}

extension TensorSpecReport {
  fileprivate init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init(name: "", type: nil, shape: [])
    var fields = FieldReader(message, of: "TensorSpec")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let text)): name = String(decoding: text, as: UTF8.self)
      case (2, .varint(let value)): type = UInt8(exactly: value).flatMap(DataType.init(rawValue:))
      case (3, .varint(let dimension)): shape.append(dimension)
      case (3, .bytes(let packed)):
        var dimensions = FieldReader(packed, of: "TensorSpec.shape")
        while let dimension = try dimensions.nextPacked() { shape.append(dimension) }
      case (4, .bytes(let text)): categories.append(String(decoding: text, as: UTF8.self))
      case (5, .varint(let value)): optional = value != 0
      case (6, .bytes(let text)): summary = String(decoding: text, as: UTF8.self)
      default: break
      }
    }
  }
}
