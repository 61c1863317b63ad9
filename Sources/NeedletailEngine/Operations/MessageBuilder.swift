public import CNeedletailProto
internal import NeedletailProtobuf

/// Memory in which protobuf-c messages of our own making are built, freed as a whole.
public final class MessageBuilder {
  private let arena = MessageArena()

  /// The budget is none, for our own messages may be as large as they are.
  public init() { arena.reset(budgetBytes: .max >> 1) }

  private func allocate(_ bytes: Int) -> UnsafeMutableRawPointer? { arena.allocate(bytes: bytes) }

  /// A new message, filled by `body`.
  ///
  /// - Parameter initialize: its generated `…__init`.
  public func build<Message>(
    _ initialize: (UnsafeMutablePointer<Message>?) -> Void, _ body: (inout Message) -> Void = { _ in }
  ) -> UnsafeMutablePointer<Message>? {
    guard let memory = allocate(MemoryLayout<Message>.size) else { return nil }
    let message = memory.bindMemory(to: Message.self, capacity: 1)
    initialize(message)
    body(&message.pointee)
    return message
  }

  /// A C string; the empty one too, which protobuf-c leaves out.
  public func text(_ text: String) -> UnsafeMutablePointer<CChar>? {
    var text = text
    return text.withUTF8 { utf8 in
      guard let memory = allocate(utf8.count + 1) else { return nil }
      memory.copyMemory(
        from: UnsafeRawPointer(utf8.baseAddress ?? UnsafePointer(bitPattern: 1)!), byteCount: utf8.count)
      memory.storeBytes(of: 0, toByteOffset: utf8.count, as: UInt8.self)
      return memory.assumingMemoryBound(to: CChar.self)
    }
  }

  public func array<Element: BitwiseCopyable>(_ elements: [Element]) -> UnsafeMutablePointer<Element>? {
    guard !elements.isEmpty, let memory = allocate(elements.count * MemoryLayout<Element>.stride) else { return nil }
    let array = memory.bindMemory(to: Element.self, capacity: elements.count)
    elements.withUnsafeBufferPointer { source in
      guard let start = source.baseAddress else { return }
      array.update(from: start, count: source.count)
    }
    return array
  }

  public func data(_ bytes: [UInt8]) -> ProtobufCBinaryData {
    ProtobufCBinaryData(len: bytes.count, data: array(bytes))
  }

  /// The bytes of a message on the wire.
  public func pack<Message>(_ message: UnsafeMutablePointer<Message>?) -> [UInt8] {
    guard let message else { return [] }
    let base = UnsafeRawPointer(message).assumingMemoryBound(to: ProtobufCMessage.self)
    let count = protobuf_c_message_get_packed_size(base)
    return [UInt8](unsafeUninitializedCapacity: count) { bytes, initializedCount in
      initializedCount = protobuf_c_message_pack(base, bytes.baseAddress)
    }
  }
}

/// Reads arrays and enumerations of protobuf-c's structs.
public enum MessageValues {
  /// Texts were checked before unpacking; protobuf-c leaves absent ones empty.
  public static func text(_ text: UnsafeMutablePointer<CChar>?) -> String {
    text.map { String(cString: $0) } ?? ""
  }

  public static func texts(_ start: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?, _ count: Int) -> [String] {
    UnsafeBufferPointer(start: start, count: start == nil ? 0 : count).map(text)
  }

  public static func array<Element>(_ start: UnsafeMutablePointer<Element>?, _ count: Int) -> [Element] {
    Array(UnsafeBufferPointer(start: start, count: start == nil ? 0 : count))
  }

  /// Indices, widths and sizes: 32 unsigned bits always fit an `Int`.
  public static func integers(_ start: UnsafeMutablePointer<UInt32>?, _ count: Int) -> [Int] {
    array(start, count).map { Int($0) }
  }

  public static func messages<Message>(
    _ start: UnsafeMutablePointer<UnsafeMutablePointer<Message>?>?, _ count: Int
  ) -> [Message] {
    UnsafeBufferPointer(start: start, count: start == nil ? 0 : count).compactMap { $0?.pointee }
  }

  /// A foreign enumeration value, by the raw value of its Swift twin.
  ///
  /// - Throws: for a value that the twin does not have.
  public static func known<Value: RawRepresentable & CaseIterable>(
    _ number: UInt32, as type: Value.Type, _ field: @autoclosure () -> String
  ) throws(GraphFault) -> Value where Value.RawValue == UInt8 {
    guard let raw = UInt8(exactly: number), let value = Value(rawValue: raw) else {
      let known = Value.allCases.map { Int($0.rawValue) }
      let isRun = known == Array(0..<known.count)
      let expected = isRun ? "0 to \(known.count - 1)" : "one of \(known)"
      throw GraphFault(kind: .unsupported, "\(field()): expected \(expected), found \(number)")
    }
    return value
  }
}
