internal import CNeedletailProto
internal import NeedletailCore
internal import NeedletailEngine

/// The signatures of a bundle in a block of a fixed size: length, message, zeros.
struct SignatureBlock: Equatable {
  struct Entry: Equatable {
    /// First 8 bytes of the SHA-256 of the public key.
    var keyID: [UInt8]
    /// Ed25519 signature, 64 bytes.
    var signature: [UInt8]
  }

  var entries: [Entry] = []

  init(entries: [Entry] = []) { self.entries = entries }

  /// Reads the whole block. Only the canonical encoding is accepted, because these bytes are not signed and nothing may
  /// be hidden in them.
  init(_ block: UnsafeRawBufferPointer) throws(BundleError) {
    let prefix = BundleFormat.signatureLengthBytes
    let length = UInt32(littleEndian: block.loadUnaligned(as: UInt32.self))
    guard length <= UInt32(block.count - prefix) else {
      throw BundleError(.malformed, "signatures: length: expected at most \(block.count - prefix), found \(length)")
    }
    let bytes = UnsafeRawBufferPointer(rebasing: block[prefix..<prefix + Int(length)])
    guard block[(prefix + Int(length))...].allSatisfy({ $0 == 0 }) else {
      throw BundleError(.malformed, "signatures: expected zeros behind \(length) bytes, found other bytes")
    }
    let memory = MessageMemory(forMessageOf: bytes.count)
    let message = try memory.unpack(bytes, what: "signatures", needletail__v1__signatures__init)
    defer { withExtendedLifetime(memory) {} }
    try Bounds.check(message.n_signatures, 0...Limits.signaturesMax, "signatures")
    for signature in MessageValues.messages(message.signatures, message.n_signatures) {
      guard signature.key_id.len == 8, signature.signature.len == 64 else {
        throw BundleError(
          .malformed,
          "signature: expected a key id of 8 bytes and 64 bytes, found \(signature.key_id.len) and \(signature.signature.len)"
        )
      }
      entries.append(
        Entry(
          keyID: MessageValues.array(signature.key_id.data, signature.key_id.len),
          signature: MessageValues.array(signature.signature.data, signature.signature.len)))
    }
    guard self.message().elementsEqual(bytes) else {
      throw BundleError(.malformed, "signatures: expected the canonical encoding, found another")
    }
  }

  /// Encodes the block to exactly `capacity` bytes.
  func encoded(capacity: Int) throws(BundleError) -> [UInt8] {
    let message = self.message()
    guard message.count + BundleFormat.signatureLengthBytes <= capacity, entries.count <= Limits.signaturesMax else {
      throw BundleError(
        .oversized,
        "signatures: expected at most \(Limits.signaturesMax) within \(capacity) bytes, found \(entries.count)")
    }
    var block = withUnsafeBytes(of: UInt32(message.count).littleEndian) { Array($0) }
    block += message
    block.append(contentsOf: repeatElement(0, count: capacity - block.count))
    return block
  }

  private func message() -> [UInt8] {
    let memory = MessageBuilder()
    let messages = entries.map { entry in
      memory.build(needletail__v1__signature__init) {
        $0.key_id = memory.data(entry.keyID)
        $0.signature = memory.data(entry.signature)
      }
    }
    return memory.pack(
      memory.build(needletail__v1__signatures__init) {
        $0.n_signatures = messages.count
        $0.signatures = memory.array(messages)
      })
  }
}
