package import CNeedletailProto
internal import CZstd
internal import NeedletailCore
internal import NeedletailEngine
package import NeedletailProtobuf
internal import NeedletailSystem

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

extension MessageValues {
  /// A foreign number that must fit an `Int`.
  static func count(_ value: UInt64, _ field: @autoclosure () -> String) throws(BundleError) -> Int {
    guard let count = Int(exactly: value) else {
      throw BundleError(.oversized, "\(field()): expected at most \(Int.max), found \(value)")
    }
    return count
  }

  /// A foreign enumeration value, by the raw value of its Swift twin.
  static func enumeration<Value: RawRepresentable & CaseIterable>(
    _ number: UInt32, as type: Value.Type, _ field: @autoclosure () -> String
  ) throws(BundleError) -> Value where Value.RawValue == UInt8 {
    do throws(GraphFault) {
      return try known(number, as: type, field())
    } catch {
      throw BundleError(error)
    }
  }
}

extension BundleError {
  init(_ fault: GraphFault) {
    switch fault.kind {
    case .tooFew: self.init(.malformed, fault.message)
    case .tooMany: self.init(.oversized, fault.message)
    case .mismatch: self.init(.invalidGraph, fault.message)
    case .unsupported: self.init(.unsupported, fault.message)
    case .memory: self.init(.io, fault.message)
    }
  }
}

/// zstd frames in the form that bundles use: a single frame that declares its content size, without a dictionary.
enum Zstd {
  /// Compresses bytes to one frame, without zstd's own checksum, because the manifest has a SHA-256 of it.
  static func compress(_ raw: UnsafeRawBufferPointer, level: Int32) throws(BundleError) -> [UInt8] {
    guard let context = ZSTD_createCCtx() else {
      throw BundleError(.io, "zstd: expected memory for a context, found none")
    }
    defer { ZSTD_freeCCtx(context) }
    try check(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level))
    try check(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 0))
    try check(ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 1))
    let bound = ZSTD_compressBound(raw.count)
    var result = 0
    let frame = [UInt8](unsafeUninitializedCapacity: bound) { buffer, count in
      result = ZSTD_compress2(context, buffer.baseAddress, buffer.count, raw.baseAddress, raw.count)
      count = ZSTD_isError(result) == 0 ? result : 0
    }
    try check(result)
    return frame
  }

  /// Decompresses a whole frame into a buffer of exactly the promised size, block by block: no byte beyond it is written
  /// and no window is allocated, even if the frame claims to be larger.
  static func decompress(
    _ frame: UnsafeRawBufferPointer, into raw: UnsafeMutableRawBufferPointer, what: String
  ) throws(BundleError) {
    guard let context = ZSTD_createDCtx() else {
      throw BundleError(.io, "zstd: expected memory for a context, found none")
    }
    defer { ZSTD_freeDCtx(context) }
    try check(ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, Int32(BundleFormat.windowLogMax)))
    // `ZSTD_d_stableOutBuffer`, which has no public name yet: the output buffer stays the same from call to call, so that
    // it serves as the window.
    try check(ZSTD_DCtx_setParameter(context, ZSTD_d_experimentalParam2, 1))
    var output = ZSTD_outBuffer(dst: raw.baseAddress, size: raw.count, pos: 0)
    // Bytes of input that the decoder wants next, or an error; 0: the frame is whole.
    var result = 1
    Pieces.whileTrue(frame.count, size: inputPieceBytes) { range in
      var input = ZSTD_inBuffer(src: frame.baseAddress, size: range.upperBound, pos: range.lowerBound)
      while input.pos < input.size {
        let before = (input.pos, output.pos)
        result = ZSTD_decompressStream(context, &output, &input)
        // A decoder that neither reads nor writes would do so for ever.
        guard ZSTD_isError(result) == 0, (input.pos, output.pos) != before else { return false }
      }
      return true
    }
    guard ZSTD_isError(result) == 0 else {
      throw BundleError(
        .badCompression,
        "\(what): expected a zstd frame of \(raw.count) raw bytes, found: \(String(cString: ZSTD_getErrorName(result)))"
      )
    }
    guard result == 0, output.pos == raw.count else {
      throw BundleError(.badCompression, "\(what): expected \(raw.count) raw bytes, found \(output.pos)")
    }
  }

  /// Bytes of a frame that are handed to the decoder at a time: one block of 128 KiB of zeros may take ten, a block of
  /// random bytes as many as it has.
  private static let inputPieceBytes = 16 << 10

  /// Compares the header of a frame with the manifest, before memory is spent on it.
  static func checkFrame(_ frame: UnsafeRawBufferPointer, rawBytes: Int, what: String) throws(BundleError) {
    // RFC 8878, 3.1.1: magic, frame header descriptor, window descriptor unless single segment.
    guard frame.count >= 6 else {
      throw BundleError(.badCompression, "\(what): expected a zstd frame of at least 6 bytes, found \(frame.count)")
    }
    let magic = UInt32(littleEndian: frame.loadUnaligned(as: UInt32.self))
    guard magic == 0xFD2F_B528 else {
      throw BundleError(.badCompression, "\(what): zstd magic: expected fd2fb528, found \(String(magic, radix: 16))")
    }
    let descriptor = frame[4]
    guard descriptor & 0b11 == 0 else {
      throw BundleError(.badCompression, "\(what): dictionary: expected none, found one")
    }
    let isSingleSegment = descriptor & 0b10_0000 != 0
    let windowLog = 10 + Int(frame[5] >> 3)
    guard isSingleSegment || windowLog <= BundleFormat.windowLogMax else {
      throw BundleError(
        .badCompression, "\(what): window: expected at most 2^\(BundleFormat.windowLogMax) bytes, found 2^\(windowLog)")
    }
    let content = ZSTD_getFrameContentSize(frame.baseAddress, frame.count)
    guard content == UInt64(rawBytes) else {
      let found =
        content == UInt64.max ? "none" : content == UInt64.max - 1 ? "an unreadable one" : "\(content)"
      throw BundleError(.badCompression, "\(what): content size: expected \(rawBytes), found \(found)")
    }
    let stored = ZSTD_findFrameCompressedSize(frame.baseAddress, frame.count)
    guard ZSTD_isError(stored) == 0 else {
      throw BundleError(
        .badCompression, "\(what): expected one whole zstd frame, found: \(String(cString: ZSTD_getErrorName(stored)))")
    }
    guard stored == frame.count else {
      throw BundleError(
        .badCompression,
        "\(what): expected one zstd frame of \(frame.count) bytes, found \(frame.count - stored) bytes behind it")
    }
  }

  private static func check(_ result: Int) throws(BundleError) {
    guard ZSTD_isError(result) == 0 else {
      throw BundleError(.badCompression, "zstd: \(String(cString: ZSTD_getErrorName(result)))")
    }
  }
}
