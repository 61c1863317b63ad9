package import CNeedletailProto
internal import NeedletailCore
package import NeedletailProtobuf

/// The memory of bundle messages in the form of libprotobuf-c, freed as a whole.
///
/// Foreign messages are unpacked here and nowhere else: past the budget of the arena, unpacking fails. Messages of our
/// own are built by the engine's `MessageBuilder`.
final class MessageMemory {
  private let arena = MessageArena()

  init(budgetBytes: Int) { arena.reset(budgetBytes: budgetBytes) }

  /// Creates memory that suffices for any well-formed message of that many bytes.
  convenience init(forMessageOf bytes: Int) {
    let (product, overflow) = bytes.multipliedReportingOverflow(by: BundleFormat.memoryBytesPerMessageByte)
    self.init(
      budgetBytes: overflow
        ? BundleFormat.messageMemoryBytesMax
        : min(product + BundleFormat.memoryBytesBase, BundleFormat.messageMemoryBytesMax))
  }

  /// Unpacks a message, after checking that its texts are UTF-8 without NUL, which C strings do not show.
  ///
  /// - Returns: the message, alive as long as this memory.
  func unpack<Message>(
    _ bytes: UnsafeRawBufferPointer, what: String, _ initialize: (UnsafeMutablePointer<Message>?) -> Void
  ) throws(BundleError) -> Message {
    let descriptor = descriptor(of: initialize)
    try MessageText.check(bytes, descriptor: descriptor, what: what)
    var allocator = arena.protobufAllocator
    let message = protobuf_c_message_unpack(
      descriptor, &allocator, bytes.count, bytes.assumingMemoryBound(to: UInt8.self).baseAddress)
    guard let message else {
      throw BundleError(
        .malformed,
        "\(what): expected a protobuf message that unpacks within \(arena.bytesBudget) bytes, found \(bytes.count) bytes that do not"
      )
    }
    return UnsafeRawPointer(message).assumingMemoryBound(to: Message.self).pointee
  }

  /// Every generated `…__init` sets the descriptor of its message.
  private func descriptor<Message>(
    of initialize: (UnsafeMutablePointer<Message>?) -> Void
  ) -> UnsafePointer<ProtobufCMessageDescriptor> {
    withUnsafeTemporaryAllocation(of: Message.self, capacity: 1) { memory in
      initialize(memory.baseAddress)
      let base = UnsafeRawPointer(memory.baseAddress!).assumingMemoryBound(to: ProtobufCMessage.self)
      return base.pointee.descriptor
    }
  }
}

extension MessageArena {
  /// The arena as libprotobuf-c wants it: freeing does nothing, because the next reset does. The value must not outlive
  /// the arena.
  package var protobufAllocator: ProtobufCAllocator {
    ProtobufCAllocator(
      alloc: { arena, bytes in
        arena.flatMap { Unmanaged<MessageArena>.fromOpaque($0).takeUnretainedValue().allocate(bytes: bytes) }
      },
      free: { _, _ in }, allocator_data: Unmanaged.passUnretained(self).toOpaque())
  }
}

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
