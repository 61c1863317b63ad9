internal import NeedletailCore

extension RolloutReport {
  init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init()
    var fields = FieldReader(message, of: "RolloutResponse")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let text)): model = String(decoding: text, as: UTF8.self)
      case (2, .varint(let value)): servingVersion = value
      case (3, .bytes(let arm)): arms.append(try Arm(decoding: arm))
      case (4, .bytes(let aside)): setAside.append(try SetAside(decoding: aside))
      case (5, .bytes(let message)): shadow = try Shadow(decoding: message)
      case (6, .bytes(let text)): file = String(decoding: text, as: UTF8.self)
      case (7, .bytes(let text)): problem = String(decoding: text, as: UTF8.self)
      case (8, .varint(let value)): isDurable = value != 0
      case (9, .bytes(let label)): labels.append(try Label(decoding: label))
      default: break
      }
    }
  }
}

extension RolloutReport.Arm {
  fileprivate init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init()
    var fields = FieldReader(message, of: "RolloutArm")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .varint(let value)): version = value
      case (2, .bytes(let text)): labels.append(String(decoding: text, as: UTF8.self))
      case (3, .varint(let value)): shareMillionths = UInt32(truncatingIfNeeded: value)
      case (4, .varint(let value)): requests = value
      case (5, .varint(let value)): failed = value
      case (6, .varint(let value)): rows = value
      case (7, .varint(let value)): nonFinite = value
      case (8, .varint(let value)): computeNanoseconds = value
      default: break
      }
    }
  }
}

extension RolloutReport.SetAside {
  fileprivate init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init()
    var fields = FieldReader(message, of: "RolloutSetAside")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .varint(let value)): version = value
      case (2, .bytes(let text)): cause = String(decoding: text, as: UTF8.self)
      case (3, .bytes(let text)): reason = String(decoding: text, as: UTF8.self)
      case (4, .varint(let value)): sinceMilliseconds = value
      default: break
      }
    }
  }
}

extension RolloutReport.Label {
  fileprivate init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init()
    var fields = FieldReader(message, of: "RolloutLabel")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let text)): name = String(decoding: text, as: UTF8.self)
      case (2, .varint(let value)): version = value
      case (3, .varint(let value)): answering = value
      case (4, .varint(let value)): state = VersionState(onWire: value)
      case (5, .bytes(let text)): reason = String(decoding: text, as: UTF8.self)
      default: break
      }
    }
  }
}

extension RolloutReport.Shadow {
  fileprivate init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init()
    var fields = FieldReader(message, of: "RolloutShadow")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .varint(let value)): version = value
      case (2, .varint(let value)): rows = value
      case (3, .varint(let value)): flips = value
      case (4, .varint(let value)): skipped = value
      case (5, .varint(let value)): nonFinite = value
      case (6, .fixed64(let bits)): maxDifference = Double(bitPattern: bits)
      case (7, .varint(let value)): computeNanoseconds = value
      case (8, .bytes(let text)): problem = String(decoding: text, as: UTF8.self)
      default: break
      }
    }
  }
}
