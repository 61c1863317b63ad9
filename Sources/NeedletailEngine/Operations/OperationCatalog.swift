public import CNeedletailProto
internal import NeedletailCore

/// Finds operations by the number of their field in the oneof of message `Node`, and back. The list itself is
/// generated from the schema.
public enum OperationCatalog {
  /// One operation: how to read its message, and where protobuf-c keeps it.
  struct Entry: Sendable {
    /// Number of its field, which is also protobuf-c's value of `operation_case`.
    let field: UInt32
    /// Name of its field, `arg_max`.
    let name: String
    let type: ObjectIdentifier
    let read: @Sendable (UnsafeRawPointer) throws(GraphFault) -> any GraphOperation

    init<Operation: GraphOperation>(_ field: UInt32, _ name: String, _ type: Operation.Type) {
      self.field = field
      self.name = name
      self.type = ObjectIdentifier(type)
      read = { message throws(GraphFault) in
        try Operation(message.assumingMemoryBound(to: Operation.Message.self).pointee)
      }
    }
  }

  /// The operation of an unpacked message.
  ///
  /// - Throws: for an operation that this engine does not know, naming its field number; for a message that holds what
  ///   the operation does not know.
  public static func operation(of node: UnsafePointer<Needletail__V1__Node>) throws(GraphFault) -> any GraphOperation {
    let number = node.pointee.operation_case.rawValue
    guard let entry = entries.first(where: { $0.field == number }),
      let slot = slot(of: entry.field, in: UnsafeRawPointer(node)),
      let message = slot.load(as: UnsafeRawPointer?.self)
    else { throw unknownOperation(node.pointee) }
    do throws(GraphFault) {
      return try entry.read(message)
    } catch {
      let name = name(of: node.pointee)
      throw GraphFault(kind: error.kind, node: name, "node \(name.quotedForMessage): \(error.message)")
    }
  }

  /// Writes the operation's message into a message under construction.
  public static func set(
    _ operation: any GraphOperation, in node: UnsafeMutablePointer<Needletail__V1__Node>, memory: MessageBuilder
  ) {
    let type = ObjectIdentifier(Swift.type(of: operation))
    guard let entry = entries.first(where: { $0.type == type }),
      let slot = slot(of: entry.field, in: UnsafeRawPointer(node))
    else { preconditionFailure("operation \(operation.words): expected one of the schema's") }
    node.pointee.operation_case = Needletail__V1__Node__OperationCase(rawValue: entry.field)
    UnsafeMutableRawPointer(mutating: slot).storeBytes(
      of: rawMessage(operation, memory), as: UnsafeMutableRawPointer?.self)
  }

  private static func rawMessage<Operation: GraphOperation>(
    _ operation: Operation, _ memory: MessageBuilder
  ) -> UnsafeMutableRawPointer? {
    operation.message(in: memory).map { UnsafeMutableRawPointer($0) }
  }

  /// Where protobuf-c keeps the pointer to the message of a field.
  private static func slot(of field: UInt32, in node: UnsafeRawPointer) -> UnsafeRawPointer? {
    let base = node.assumingMemoryBound(to: ProtobufCMessage.self)
    guard let found = protobuf_c_message_descriptor_get_field(base.pointee.descriptor, field) else { return nil }
    return node + Int(found.pointee.offset)
  }

  /// protobuf-c keeps what it does not know as unknown fields: the first is what a newer release would compute.
  private static func unknownOperation(_ node: Needletail__V1__Node) -> GraphFault {
    let name = name(of: node)
    let fields = UnsafeBufferPointer(start: node.base.unknown_fields, count: Int(node.base.n_unknown_fields))
    let found = fields.first.map { "field \($0.tag), which it does not know" } ?? "none"
    return GraphFault(
      kind: .unsupported, node: name,
      "node \(name.quotedForMessage): operation: expected one of engine generation \(engineGeneration), found \(found)")
  }

  private static func name(of node: Needletail__V1__Node) -> String {
    node.name.map { String(cString: $0) } ?? ""
  }
}
