extension ModelDescription: WireMessage {
  static let wireName: StaticString = "DescribeModelResponse"

  init() { self.init(model: "", version: 0, state: nil) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.text(1, &model)
    fields.number(2, &version)
    fields.choice(3, &state)
    fields.text(4, &task)
    try fields.messages(5, &inputs)
    try fields.messages(6, &outputs)
    fields.texts(7, &labels)
    fields.text(8, &digest)
    fields.text(9, &signer)
    fields.number(10, &createdMilliseconds)
    try fields.map(11, &metrics)
    try fields.map(12, &lineage)
    fields.text(13, &precision)
    fields.text(14, &isa)
    fields.number(15, &residentBytes)
    fields.texts(16, &plan)
    try fields.message(17, &status)
    fields.text(18, &planChoice)
  }
}

extension TensorSpecReport: WireMessage {
  static let wireName: StaticString = "TensorSpec"

  init() { self.init(name: "", type: nil, shape: []) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.text(1, &name)
    fields.choice(2, &type)
    try fields.packed(3, &shape)
    fields.texts(4, &categories)
    fields.flag(5, &optional)
    fields.text(6, &summary)
  }
}
