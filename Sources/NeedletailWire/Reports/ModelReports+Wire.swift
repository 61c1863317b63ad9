extension HealthReport: WireMessage {
  static let wireName: StaticString = "HealthResponse"

  init() { self.init(live: false, ready: false, models: []) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.flag(1, &live)
    fields.flag(2, &ready)
    try fields.messages(3, &models)
  }
}

extension ModelListReport: WireMessage {
  static let wireName: StaticString = "ListModelsResponse"

  init() { self.init(models: []) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    try fields.messages(1, &models)
    try fields.messages(2, &problems)
  }
}

extension StoreProblemReport: WireMessage {
  static let wireName: StaticString = "StoreProblem"

  init() { self.init(path: "", reason: "") }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.text(1, &path)
    fields.text(2, &reason)
  }
}

extension ModelStatusReport: WireMessage {
  static let wireName: StaticString = "ModelStatus"

  init() { self.init(model: "", servingVersion: 0, versions: []) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.text(1, &model)
    fields.number(2, &servingVersion)
    try fields.messages(3, &versions)
  }
}

extension VersionReport: WireMessage {
  static let wireName: StaticString = "VersionStatus"

  init() { self.init(version: 0, state: nil) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.number(1, &version)
    fields.choice(2, &state)
    fields.text(3, &reason)
    fields.text(4, &digest)
    fields.text(5, &signer)
    fields.number(6, &sinceMilliseconds)
    fields.number(7, &residentBytes)
    try fields.message(8, &traffic)
  }
}

extension VersionTrafficReport: WireMessage {
  static let wireName: StaticString = "VersionTraffic"

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.number(1, &requests)
    fields.number(2, &failed)
    fields.number(3, &rows)
    fields.number(4, &recentRequests)
    fields.number(5, &recentFailed)
    fields.number(6, &recentRows)
    fields.number(7, &windowMilliseconds)
    fields.number(8, &shareMillionths)
    fields.number(9, &p50Microseconds)
    fields.number(10, &p99Microseconds)
  }
}
