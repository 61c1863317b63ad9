internal import CNeedletailProto
internal import NeedletailCore
internal import NeedletailProtobuf

/// Walks a message on the wire, before libprotobuf-c sees it, and checks what that does not: every text is UTF-8 and
/// has no NUL, behind which a C string would hide the rest.
enum MessageText {
  /// - Complexity: O(bytes); the depth is that of the schema, which is not recursive.
  static func check(
    _ bytes: UnsafeRawBufferPointer, descriptor: UnsafePointer<ProtobufCMessageDescriptor>, what: String
  ) throws(BundleError) {
    do throws(ServingError) {
      return try fields(of: bytes, descriptor: descriptor)
    } catch {
      throw BundleError(.malformed, "\(what): \(error.message)")
    }
  }

  private static func fields(
    of bytes: UnsafeRawBufferPointer, descriptor: UnsafePointer<ProtobufCMessageDescriptor>
  ) throws(ServingError) {
    var cursor = MessageCursor(bytes, of: "message")
    while let found = try cursor.next() {
      guard case .bytes(let payload) = found.value,
        let field = protobuf_c_message_descriptor_get_field(descriptor, found.number)
      else { continue }
      switch field.pointee.type {
      case PROTOBUF_C_TYPE_STRING:
        guard isText(payload) else {
          let name = String(cString: field.pointee.name)
          throw .invalidArgument("field \(name): expected UTF-8 without NUL, found other bytes")
        }
      case PROTOBUF_C_TYPE_MESSAGE:
        guard let inner = field.pointee.descriptor else { continue }
        try fields(of: payload, descriptor: inner.assumingMemoryBound(to: ProtobufCMessageDescriptor.self))
      default: continue
      }
    }
  }

  private static func isText(_ bytes: UnsafeRawBufferPointer) -> Bool {
    !bytes.contains(0) && String(validating: bytes, as: UTF8.self) != nil
  }
}
