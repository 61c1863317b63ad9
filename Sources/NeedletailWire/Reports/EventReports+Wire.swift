extension EventListReport: WireMessage {
  static let wireName: StaticString = "EventsResponse"

  init() { self.init(oldest: 0) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.number(1, &oldest)
    fields.number(2, &newest)
    try fields.messages(3, &events)
    fields.number(4, &beganMilliseconds)
  }
}

extension EventReport: WireMessage {
  static let wireName: StaticString = "Event"

  init() { self.init(sequence: 0) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.number(1, &sequence)
    fields.number(2, &milliseconds)
    fields.text(3, &kind)
    fields.text(4, &severity)
    fields.text(5, &message)
    fields.text(6, &model)
    fields.number(7, &version)
    try fields.messages(8, &facts)
  }
}

extension EventReport.Fact: WireMessage {
  static let wireName: StaticString = "EventFact"

  init() { self.init("", "") }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.text(1, &name)
    fields.text(2, &value)
  }
}
