extension RolloutReport: WireMessage {
  static let wireName: StaticString = "RolloutResponse"

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.text(1, &model)
    fields.number(2, &servingVersion)
    try fields.messages(3, &arms)
    try fields.messages(4, &setAside)
    try fields.message(5, &shadow)
    fields.text(6, &file)
    fields.text(7, &problem)
    fields.flag(8, &isDurable)
    try fields.messages(9, &labels)
  }
}

extension RolloutReport.Arm: WireMessage {
  static let wireName: StaticString = "RolloutArm"

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.number(1, &version)
    fields.texts(2, &labels)
    fields.number(3, &shareMillionths)
    fields.number(4, &requests)
    fields.number(5, &failed)
    fields.number(6, &rows)
    fields.number(7, &nonFinite)
    fields.number(8, &computeNanoseconds)
  }
}

extension RolloutReport.SetAside: WireMessage {
  static let wireName: StaticString = "RolloutSetAside"

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.number(1, &version)
    fields.text(2, &cause)
    fields.text(3, &reason)
    fields.number(4, &sinceMilliseconds)
  }
}

extension RolloutReport.Label: WireMessage {
  static let wireName: StaticString = "RolloutLabel"

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.text(1, &name)
    fields.number(2, &version)
    fields.number(3, &answering)
    fields.choice(4, &state)
    fields.text(5, &reason)
  }
}

extension RolloutReport.Shadow: WireMessage {
  static let wireName: StaticString = "RolloutShadow"

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.number(1, &version)
    fields.number(2, &rows)
    fields.number(3, &flips)
    fields.number(4, &skipped)
    fields.number(5, &nonFinite)
    fields.number(6, &maxDifference)
    fields.number(7, &computeNanoseconds)
    fields.text(8, &problem)
  }
}
