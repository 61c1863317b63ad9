/// Builds one protobuf message off the server's hot path, in the canonical form: fields by number,
/// defaults left out, lengths minimal. Call the methods in the order of the field numbers.
struct MessageWriter {
  private(set) var bytes: [UInt8] = []

  private mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: rest))
  }

  mutating func uint(_ number: Int, _ value: UInt64) {
    if value != 0 { member(number, value) }
  }

  /// A number of a oneof: present even if 0.
  mutating func member(_ number: Int, _ value: UInt64) {
    varint(UInt64(number) << 3)
    varint(value)
  }

  mutating func bool(_ number: Int, _ value: Bool) { uint(number, value ? 1 : 0) }

  mutating func double(_ number: Int, _ value: Double) {
    // Minus zero is no default.
    guard value.bitPattern != 0 else { return }
    varint(UInt64(number) << 3 | 1)
    withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes.append(contentsOf: $0) }
  }

  mutating func string(_ number: Int, _ text: String) {
    guard !text.isEmpty else { return }
    element(number, text)
  }

  mutating func data(_ number: Int, _ content: [UInt8]) {
    if !content.isEmpty { delimited(number, content) }
  }

  /// An element of a repeated field, or a member of a oneof: present even if empty.
  mutating func element(_ number: Int, _ text: String) {
    delimited(number, Array(text.utf8))
  }

  mutating func strings(_ number: Int, _ texts: [String]) {
    for text in texts { element(number, text) }
  }

  mutating func packed(_ number: Int, _ values: [UInt64]) {
    guard !values.isEmpty else { return }
    var content = MessageWriter()
    for value in values { content.varint(value) }
    delimited(number, content.bytes)
  }

  mutating func message(_ number: Int, _ build: (inout MessageWriter) -> Void) {
    var content = MessageWriter()
    build(&content)
    delimited(number, content.bytes)
  }

  /// `map<string, double>`, keys in byte order; an entry always holds both its fields.
  mutating func map(_ number: Int, _ entries: [String: Double]) {
    for (key, value) in entries.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
      message(number) { entry in
        entry.element(1, key)
        entry.varint(2 << 3 | 1)
        withUnsafeBytes(of: value.bitPattern.littleEndian) { entry.bytes.append(contentsOf: $0) }
      }
    }
  }

  /// `map<string, string>`, keys in byte order.
  mutating func map(_ number: Int, _ entries: [String: String]) {
    for (key, value) in entries.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
      message(number) { entry in
        entry.element(1, key)
        entry.element(2, value)
      }
    }
  }

  private mutating func delimited(_ number: Int, _ content: [UInt8]) {
    varint(UInt64(number) << 3 | 2)
    varint(UInt64(content.count))
    bytes.append(contentsOf: content)
  }
}
