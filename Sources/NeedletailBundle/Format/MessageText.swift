internal import CNeedletailProto
internal import NeedletailCore

/// Walks a message on the wire, before protobuf-c sees it, and checks what protobuf-c does not: every
/// text is UTF-8 and holds no NUL, behind which a C string would hide the rest.
enum MessageText {
  /// - Complexity: O(bytes); the depth is that of the schema, which is not recursive.
  static func check(
    _ bytes: UnsafeRawBufferPointer, descriptor: UnsafePointer<ProtobufCMessageDescriptor>, what: String
  ) throws(BundleError) {
    var reader = WireReader(bytes: bytes, what: what)
    while let (number, wireType) = try reader.nextKey() {
      guard wireType == WireReader.lengthDelimited else {
        try reader.skip(wireType)
        continue
      }
      let payload = try reader.nextPayload()
      guard let field = protobuf_c_message_descriptor_get_field(descriptor, number) else { continue }
      switch field.pointee.type {
      case PROTOBUF_C_TYPE_STRING:
        guard isText(payload) else {
          let name = String(cString: field.pointee.name)
          throw BundleError(.malformed, "\(what): field \(name): expected UTF-8 without NUL, found other bytes")
        }
      case PROTOBUF_C_TYPE_MESSAGE:
        guard let inner = field.pointee.descriptor else { continue }
        try check(payload, descriptor: inner.assumingMemoryBound(to: ProtobufCMessageDescriptor.self), what: what)
      default: continue
      }
    }
  }

  private static func isText(_ bytes: UnsafeRawBufferPointer) -> Bool {
    !bytes.contains(0) && String(validating: bytes, as: UTF8.self) != nil
  }
}

/// Keys and payloads of one protobuf message, with every length checked.
private struct WireReader {
  static let lengthDelimited: UInt8 = 2

  private let bytes: UnsafeRawBufferPointer
  private let what: String
  private var position = 0

  init(bytes: UnsafeRawBufferPointer, what: String) {
    self.bytes = bytes
    self.what = what
  }

  /// - Returns: nil at the end of the message.
  mutating func nextKey() throws(BundleError) -> (number: UInt32, wireType: UInt8)? {
    guard position < bytes.count else { return nil }
    let key = try nextVarint()
    guard let number = UInt32(exactly: key >> 3), number > 0 else {
      throw BundleError(
        .malformed, "\(what): field number at byte \(position): expected 1 to 536870911, found \(key >> 3)")
    }
    return (number, UInt8(key & 7))
  }

  mutating func nextPayload() throws(BundleError) -> UnsafeRawBufferPointer {
    let length = try nextVarint()
    guard let count = Int(exactly: length), count <= bytes.count - position else {
      throw BundleError(
        .malformed, "\(what): length at byte \(position): expected at most \(bytes.count - position), found \(length)")
    }
    defer { position += count }
    return UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
  }

  mutating func skip(_ wireType: UInt8) throws(BundleError) {
    let size: Int
    switch wireType {
    case 0:
      _ = try nextVarint()
      return
    case 1: size = 8
    case 5: size = 4
    default:
      throw BundleError(.malformed, "\(what): wire type at byte \(position): expected 0, 1, 2 or 5, found \(wireType)")
    }
    guard size <= bytes.count - position else {
      throw BundleError(
        .malformed, "\(what): number at byte \(position): expected \(size) bytes, found \(bytes.count - position)")
    }
    position += size
  }

  private mutating func nextVarint() throws(BundleError) -> UInt64 {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 70, by: 7) {
      guard position < bytes.count else {
        throw BundleError(
          .malformed, "\(what): number at byte \(position): expected its end, found the end of the message")
      }
      let byte = bytes[position]
      position += 1
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
    }
    throw BundleError(.malformed, "\(what): number at byte \(position): expected at most 10 bytes, found more")
  }
}
