internal import NeedletailCore

extension HealthReport {
  init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init(live: false, ready: false, models: [])
    var fields = FieldReader(message, of: "HealthResponse")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .varint(let value)): live = value != 0
      case (2, .varint(let value)): ready = value != 0
      case (3, .bytes(let model)): models.append(try ModelStatusReport(decoding: model))
      default: break
      }
    }
  }
}

extension ModelListReport {
  init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init(models: [])
    var fields = FieldReader(message, of: "ListModelsResponse")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let model)): models.append(try ModelStatusReport(decoding: model))
      case (2, .bytes(let problem)): problems.append(try StoreProblemReport(decoding: problem))
      default: break
      }
    }
  }
}

extension StoreProblemReport {
  fileprivate init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init(path: "", reason: "")
    var fields = FieldReader(message, of: "StoreProblem")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let text)): path = String(decoding: text, as: UTF8.self)
      case (2, .bytes(let text)): reason = String(decoding: text, as: UTF8.self)
      default: break
      }
    }
  }
}

extension ModelStatusReport {
  fileprivate init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init(model: "", servingVersion: 0, versions: [])
    var fields = FieldReader(message, of: "ModelStatus")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let name)): model = String(decoding: name, as: UTF8.self)
      case (2, .varint(let version)): servingVersion = version
      case (3, .bytes(let version)): versions.append(try VersionReport(decoding: version))
      default: break
      }
    }
  }
}

extension VersionReport {
  init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init(version: 0, state: nil)
    var fields = FieldReader(message, of: "VersionStatus")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .varint(let value)): version = value
      case (2, .varint(let value)): state = VersionState(onWire: value)
      case (3, .bytes(let text)): reason = String(decoding: text, as: UTF8.self)
      case (4, .bytes(let text)): digest = String(decoding: text, as: UTF8.self)
      case (5, .bytes(let text)): signer = String(decoding: text, as: UTF8.self)
      case (6, .varint(let value)): sinceMilliseconds = value
      case (7, .varint(let value)): residentBytes = value
      case (8, .bytes(let message)): traffic = try VersionTrafficReport(decoding: message)
      default: break
      }
    }
  }
}

extension VersionTrafficReport {
  fileprivate init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init()
    var fields = FieldReader(message, of: "VersionTraffic")
    while let field = try fields.next() {
      guard case .varint(let value) = field.value else { continue }
      switch field.number {
      case 1: requests = value
      case 2: failed = value
      case 3: rows = value
      case 4: recentRequests = value
      case 5: recentFailed = value
      case 6: recentRows = value
      case 7: windowMilliseconds = UInt32(truncatingIfNeeded: value)
      case 8: shareMillionths = UInt32(truncatingIfNeeded: value)
      case 9: p50Microseconds = UInt32(truncatingIfNeeded: value)
      case 10: p99Microseconds = UInt32(truncatingIfNeeded: value)
      default: break
      }
    }
  }
}

extension VersionState {
  init?(onWire value: UInt64) {
    guard let byte = UInt8(exactly: value) else { return nil }
    self.init(rawValue: byte)
  }
}
