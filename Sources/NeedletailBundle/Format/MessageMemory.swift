internal import CNeedletailProto

/// The memory of protobuf-c messages: a bump allocator with a budget, freed as a whole.
///
/// protobuf-c spends up to 60 bytes of memory on one byte of message (empty sub-messages, unknown
/// fields), so foreign messages are unpacked here and nowhere else: past the budget, unpacking fails.
/// Messages to be packed are built here, too.
final class MessageMemory {
  private static let blockBytes = 64 << 10
  /// malloc's alignment on every platform served; protobuf-c asks for no more.
  private static let alignment = 16

  private let budgetBytes: Int
  private var spentBytes = 0
  private var blocks: [UnsafeMutableRawPointer] = []
  private var free = UnsafeMutableRawBufferPointer(start: nil, count: 0)

  init(budgetBytes: Int) { self.budgetBytes = budgetBytes }

  /// Enough for any well-formed message of that many bytes.
  convenience init(forMessageOf bytes: Int) {
    let (product, overflow) = bytes.multipliedReportingOverflow(by: BundleFormat.memoryBytesPerMessageByte)
    self.init(
      budgetBytes: overflow
        ? BundleFormat.messageMemoryBytesMax
        : min(product + BundleFormat.memoryBytesBase, BundleFormat.messageMemoryBytesMax))
  }

  deinit {
    for block in blocks { block.deallocate() }
  }

  /// - Returns: nil once the budget is spent.
  func allocate(_ bytes: Int) -> UnsafeMutableRawPointer? {
    guard bytes >= 0, bytes <= budgetBytes - spentBytes else { return nil }
    let size = (bytes + Self.alignment - 1) & ~(Self.alignment - 1)
    guard size <= budgetBytes - spentBytes else { return nil }
    if size > free.count || free.baseAddress == nil {
      let fresh = max(size, min(Self.blockBytes, budgetBytes - spentBytes), Self.alignment)
      let block = UnsafeMutableRawBufferPointer.allocate(byteCount: fresh, alignment: Self.alignment)
      guard let start = block.baseAddress else { return nil }
      blocks.append(start)
      free = block
    }
    spentBytes += size
    let start = free.baseAddress
    free = UnsafeMutableRawBufferPointer(rebasing: free[size...])
    return start
  }

  /// Unpacks a message whose texts were found to be UTF-8 without NUL, for C strings cannot tell.
  ///
  /// - Returns: the message, alive as long as this memory.
  func unpack<Message>(
    _ bytes: UnsafeRawBufferPointer, what: String, _ initialize: (UnsafeMutablePointer<Message>?) -> Void
  ) throws(BundleError) -> Message {
    let descriptor = descriptor(of: initialize)
    try MessageText.check(bytes, descriptor: descriptor, what: what)
    var allocator = ProtobufCAllocator(
      alloc: { data, bytes in
        guard let data, let size = Int(exactly: bytes) else { return nil }
        return Unmanaged<MessageMemory>.fromOpaque(data).takeUnretainedValue().allocate(size)
      },
      free: { _, _ in },
      allocator_data: Unmanaged.passUnretained(self).toOpaque())
    let message = protobuf_c_message_unpack(
      descriptor, &allocator, bytes.count, bytes.assumingMemoryBound(to: UInt8.self).baseAddress)
    guard let message else {
      throw BundleError(
        .malformed,
        "\(what): expected a protobuf message that unpacks within \(budgetBytes) bytes, found \(bytes.count) bytes that do not"
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

// MARK: - Building messages

extension MessageMemory {
  /// For messages of our own making, which may be as large as they are.
  static func forBuilding() -> MessageMemory { MessageMemory(budgetBytes: .max >> 1) }

  /// A new message, filled by `body`.
  func build<Message>(
    _ initialize: (UnsafeMutablePointer<Message>?) -> Void, _ body: (inout Message) -> Void
  ) -> UnsafeMutablePointer<Message>? {
    guard let memory = allocate(MemoryLayout<Message>.size) else { return nil }
    let message = memory.bindMemory(to: Message.self, capacity: 1)
    initialize(message)
    body(&message.pointee)
    return message
  }

  /// A C string; the empty one too, which protobuf-c leaves out.
  func text(_ text: String) -> UnsafeMutablePointer<CChar>? {
    var text = text
    return text.withUTF8 { utf8 in
      guard let memory = allocate(utf8.count + 1) else { return nil }
      memory.copyMemory(
        from: UnsafeRawPointer(utf8.baseAddress ?? UnsafePointer(bitPattern: 1)!), byteCount: utf8.count)
      memory.storeBytes(of: 0, toByteOffset: utf8.count, as: UInt8.self)
      return memory.assumingMemoryBound(to: CChar.self)
    }
  }

  func array<Element: BitwiseCopyable>(_ elements: [Element]) -> UnsafeMutablePointer<Element>? {
    guard !elements.isEmpty, let memory = allocate(elements.count * MemoryLayout<Element>.stride) else { return nil }
    let array = memory.bindMemory(to: Element.self, capacity: elements.count)
    elements.withUnsafeBufferPointer { source in
      guard let start = source.baseAddress else { return }
      array.update(from: start, count: source.count)
    }
    return array
  }

  func data(_ bytes: [UInt8]) -> ProtobufCBinaryData { ProtobufCBinaryData(len: bytes.count, data: array(bytes)) }

  /// The bytes of a message on the wire.
  func pack<Message>(_ message: UnsafeMutablePointer<Message>?) -> [UInt8] {
    guard let message else { return [] }
    let base = UnsafeRawPointer(message).assumingMemoryBound(to: ProtobufCMessage.self)
    let count = protobuf_c_message_get_packed_size(base)
    return [UInt8](unsafeUninitializedCapacity: count) { bytes, initializedCount in
      initializedCount = protobuf_c_message_pack(base, bytes.baseAddress)
    }
  }
}
