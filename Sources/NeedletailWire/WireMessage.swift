internal import NeedletailCore
internal import NeedletailProtobuf

/// A message that is described once, field by field: the same description writes it and reads it.
///
/// It is for messages of the control plane; predictions have an encoder and a decoder of their own.
protocol WireMessage {
  /// Name of the message in errors.
  static var wireName: StaticString { get }

  /// Creates a message with the defaults of all fields.
  init()

  /// Shows every field to the visitor, in the order of their numbers.
  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure)
}

/// A writer or a reader of the fields of a message.
protocol FieldVisitor {
  associatedtype Failure: Error

  mutating func number(_ number: Int, _ value: inout UInt64)
  mutating func number(_ number: Int, _ value: inout UInt32)
  mutating func number(_ number: Int, _ value: inout Double)
  mutating func flag(_ number: Int, _ value: inout Bool)
  mutating func text(_ number: Int, _ value: inout String)
  mutating func texts(_ number: Int, _ values: inout [String])
  /// A value of an enumeration; nil stands for a number that this side does not know.
  mutating func choice<Value: RawRepresentable<UInt8>>(_ number: Int, _ value: inout Value?)
  mutating func packed(_ number: Int, _ values: inout [UInt64]) throws(Failure)
  mutating func message<Message: WireMessage>(_ number: Int, _ value: inout Message?) throws(Failure)
  mutating func messages<Message: WireMessage>(_ number: Int, _ values: inout [Message]) throws(Failure)
  mutating func map(_ number: Int, _ entries: inout [String: Double]) throws(Failure)
  mutating func map(_ number: Int, _ entries: inout [String: String]) throws(Failure)
}

/// Writing, which changes none of the fields.
extension MessageWriter: FieldVisitor {
  typealias Failure = Never

  mutating func message(_ number: Int, _ message: some WireMessage) {
    var message = message
    self.message(number) { message.visit(&$0) }
  }

  mutating func number(_ number: Int, _ value: inout UInt64) { uint(number, value) }
  mutating func number(_ number: Int, _ value: inout UInt32) { uint(number, UInt64(value)) }
  mutating func number(_ number: Int, _ value: inout Double) { double(number, value) }
  mutating func flag(_ number: Int, _ value: inout Bool) { bool(number, value) }
  mutating func text(_ number: Int, _ value: inout String) { string(number, value) }
  mutating func texts(_ number: Int, _ values: inout [String]) { strings(number, values) }

  mutating func choice<Value: RawRepresentable<UInt8>>(_ number: Int, _ value: inout Value?) {
    uint(number, UInt64(value?.rawValue ?? 0))
  }

  mutating func packed(_ number: Int, _ values: inout [UInt64]) { packed(number, values) }

  mutating func message<Message: WireMessage>(_ number: Int, _ value: inout Message?) {
    if let value { message(number, value) }
  }

  mutating func messages<Message: WireMessage>(_ number: Int, _ values: inout [Message]) {
    for value in values { message(number, value) }
  }

  mutating func map(_ number: Int, _ entries: inout [String: Double]) { map(number, entries) }
  mutating func map(_ number: Int, _ entries: inout [String: String]) { map(number, entries) }
}

extension WireMessage {
  init(decoding message: UnsafeRawBufferPointer) throws(ServingError) {
    self.init()
    var fields = MessageCursor(message, of: Self.wireName)
    while let field = try fields.next() {
      var decoder = FieldDecoder(field: field)
      try visit(&decoder)
    }
  }
}

/// Reading: the value of one field is stored at the visit with its number and its type; other visits do nothing.
private struct FieldDecoder: FieldVisitor {
  typealias Failure = ServingError

  let field: MessageCursor.Field

  private func varint(_ number: Int) -> UInt64? {
    if case .varint(let value) = field.value, field.number == number { value } else { nil }
  }

  private func bytes(_ number: Int) -> UnsafeRawBufferPointer? {
    if case .bytes(let bytes) = field.value, field.number == number { bytes } else { nil }
  }

  mutating func number(_ number: Int, _ value: inout UInt64) {
    if let found = varint(number) { value = found }
  }

  mutating func number(_ number: Int, _ value: inout UInt32) {
    if let found = varint(number) { value = UInt32(truncatingIfNeeded: found) }
  }

  mutating func number(_ number: Int, _ value: inout Double) {
    if case .fixed64(let bits) = field.value, field.number == number { value = Double(bitPattern: bits) }
  }

  mutating func flag(_ number: Int, _ value: inout Bool) {
    if let found = varint(number) { value = found != 0 }
  }

  mutating func text(_ number: Int, _ value: inout String) {
    if let found = bytes(number) { value = String(decoding: found, as: UTF8.self) }
  }

  mutating func texts(_ number: Int, _ values: inout [String]) {
    if let found = bytes(number) { values.append(String(decoding: found, as: UTF8.self)) }
  }

  mutating func choice<Value: RawRepresentable<UInt8>>(_ number: Int, _ value: inout Value?) {
    if let found = varint(number) { value = UInt8(exactly: found).flatMap(Value.init(rawValue:)) }
  }

  mutating func packed(_ number: Int, _ values: inout [UInt64]) throws(ServingError) {
    // Parsers accept the packed and the unpacked form.
    if let found = varint(number) { values.append(found) }
    guard let found = bytes(number) else { return }
    var numbers = MessageCursor(found, of: "packed numbers")
    while let number = try numbers.nextPacked() { values.append(number) }
  }

  mutating func message<Message: WireMessage>(_ number: Int, _ value: inout Message?) throws(ServingError) {
    if let found = bytes(number) { value = try Message(decoding: found) }
  }

  mutating func messages<Message: WireMessage>(_ number: Int, _ values: inout [Message]) throws(ServingError) {
    if let found = bytes(number) { values.append(try Message(decoding: found)) }
  }

  mutating func map(_ number: Int, _ entries: inout [String: Double]) throws(ServingError) {
    guard let found = bytes(number) else { return }
    let entry = try MapEntry(decoding: found)
    entries[entry.key] = entry.number
  }

  mutating func map(_ number: Int, _ entries: inout [String: String]) throws(ServingError) {
    guard let found = bytes(number) else { return }
    let entry = try MapEntry(decoding: found)
    entries[entry.key] = entry.text
  }
}

/// An entry of `map<string, double>` or `map<string, string>`; the caller reads the value of its type.
private struct MapEntry: WireMessage {
  static let wireName: StaticString = "map entry"

  var key = ""
  var number = 0.0
  var text = ""

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.text(1, &key)
    fields.number(2, &number)
    fields.text(2, &text)
  }
}
