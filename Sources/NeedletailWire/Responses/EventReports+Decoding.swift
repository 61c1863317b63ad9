internal import NeedletailCore

extension EventListReport {
  init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init()
    var fields = FieldReader(message, of: "EventsResponse")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .varint(let value)): oldest = value
      case (2, .varint(let value)): newest = value
      case (3, .bytes(let event)): events.append(try EventReport(decoding: event))
      case (4, .varint(let value)): beganMilliseconds = value
      default: break
      }
    }
  }
}

extension EventReport {
  fileprivate init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init()
    var fields = FieldReader(message, of: "Event")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .varint(let value)): sequence = value
      case (2, .varint(let value)): milliseconds = value
      case (3, .bytes(let text)): kind = String(decoding: text, as: UTF8.self)
      case (4, .bytes(let text)): severity = String(decoding: text, as: UTF8.self)
      case (5, .bytes(let text)): self.message = String(decoding: text, as: UTF8.self)
      case (6, .bytes(let text)): model = String(decoding: text, as: UTF8.self)
      case (7, .varint(let value)): version = value
      case (8, .bytes(let fact)): facts.append(try Fact(decoding: fact))
      default: break
      }
    }
  }
}

extension EventReport.Fact {
  fileprivate init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init("", "")
    var fields = FieldReader(message, of: "EventFact")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let text)): name = String(decoding: text, as: UTF8.self)
      case (2, .bytes(let text)): value = String(decoding: text, as: UTF8.self)
      default: break
      }
    }
  }
}
