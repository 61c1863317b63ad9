internal import CNeedletailProto

/// Reading protobuf-c's arrays and numbers into Swift values.
enum MessageValues {
  /// Texts were checked before unpacking; protobuf-c leaves absent ones empty.
  static func text(_ text: UnsafeMutablePointer<CChar>?) -> String {
    text.map { String(cString: $0) } ?? ""
  }

  static func texts(_ start: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?, _ count: Int) -> [String] {
    UnsafeBufferPointer(start: start, count: start == nil ? 0 : count).map(text)
  }

  static func array<Element>(_ start: UnsafeMutablePointer<Element>?, _ count: Int) -> [Element] {
    Array(UnsafeBufferPointer(start: start, count: start == nil ? 0 : count))
  }

  static func messages<Message>(
    _ start: UnsafeMutablePointer<UnsafeMutablePointer<Message>?>?, _ count: Int
  ) -> [Message] {
    UnsafeBufferPointer(start: start, count: start == nil ? 0 : count).compactMap { $0?.pointee }
  }

  /// A foreign number that must fit an `Int`.
  static func count(_ value: UInt64, _ field: @autoclosure () -> String) throws(BundleError) -> Int {
    guard let count = Int(exactly: value) else {
      throw BundleError(.oversized, "\(field()): expected at most \(Int.max), found \(value)")
    }
    return count
  }

  /// A foreign enumeration value, by the raw value of its Swift twin.
  static func known<Value: RawRepresentable & CaseIterable>(
    _ number: UInt32, as type: Value.Type, _ field: @autoclosure () -> String
  ) throws(BundleError) -> Value where Value.RawValue == UInt8 {
    guard let raw = UInt8(exactly: number), let value = Value(rawValue: raw) else {
      throw BundleError(.unsupported, "\(field()): expected 0 to \(Value.allCases.count - 1), found \(number)")
    }
    return value
  }
}
