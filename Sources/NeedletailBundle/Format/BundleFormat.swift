internal import CNeedletailProto
internal import NeedletailCore
internal import NeedletailCrypto
internal import NeedletailEngine

/// The constants of the file format and the bounds of its decoder; `proto/bundle.md` tells the layout.
enum BundleFormat {
  static let magic: [UInt8] = [0x89, 0x4E, 0x54, 0x42, 0x0D, 0x0A, 0x1A, 0x0A]
  static let major: UInt16 = 1
  /// The newest format that is written, and then only where a bundle needs it: see ``openGraph``.
  static let minor: UInt16 = 8
  /// Required feature: nodes of several inputs or outputs; values of other types, shapes and domains than fp32
  /// columns per row; fp32 tensors stored by halves. A reader of format 1.0 would take them for something else.
  static let openGraph: UInt64 = 1 << 0
  /// Required feature: rules for text in a schema that accepts unknown categories. A reader of format 1.1 would take
  /// for unknown, and answer, what the rules read as a category or as missing.
  static let valueRules: UInt64 = 1 << 1
  /// Required feature: numbers as text in which a point stands between thousands. A reader of format 1.3 would take
  /// 1.234 for a number just above 1.
  static let thousandsPoint: UInt64 = 1 << 2
  /// Required feature: a tokenizer that drops unknown tokens. A reader of format 1.6 would answer with them among the
  /// others.
  static let droppedTokens: UInt64 = 1 << 3
  /// Required feature: attention with a prefix. A reader of format 1.7 would answer without it.
  static let prefixes: UInt64 = 1 << 4
  /// Bits of the features that this reader knows.
  static let knownRequiredFeatures = openGraph | valueRules | thousandsPoint | droppedTokens | prefixes
  static let headerBytes = 64
  /// Offset of the checksum, the header's last field.
  static let checksumOffset = 56
  /// Stands before header and directory in what is signed, so that no signature made for another
  /// purpose fits.
  static let signatureDomain: [UInt8] = Array("needletail-bundle-v1\0".utf8)
  /// Room for about 25 signatures; fixed when the bundle is written, so that a signature added later
  /// changes no signed byte.
  static let signatureCapacityDefault = 2048
  static let signatureLengthBytes = 4
  static let sha256Bytes = 32

  /// Alignment of every tensor in the weights section, and of that section in the file: a cache line, and the widest
  /// vector.
  static let weightsAlignment = 64
  static let metadataAlignment = 8
  static let alignmentMax = 4096

  /// zstd's level: beyond it weights shrink by less than 1 % at twice the time.
  static let compressionLevel: Int32 = 10
  /// A frame may ask for no larger window; zstd's own default bound.
  static let windowLogMax = 27
  /// No honest section shrinks further; the writer stores those that would raw.
  static let compressionRatioMax = 1024
  /// Raw bytes that any section may have, whatever its ratio: a bias of zeros.
  static let compressionSlackBytes = 256 << 10

  /// A one-letter label costs 3 bytes on the wire and about 110 in protobuf-c.
  static let memoryBytesPerMessageByte = 64
  static let memoryBytesBase = 64 << 10
  static let messageMemoryBytesMax = 1 << 30
}

extension [UInt8] {
  /// `withUnsafeBytes` with a typed error, which the standard library's version loses.
  func withTypedBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let result = withUnsafeBytes { bytes in
      Swift.Result { () throws(Failure) in try body(bytes) }
    }
    return try result.get()
  }

  /// `withUnsafeMutableBytes` with a typed error.
  mutating func withTypedMutableBytes<Result, Failure: Error>(
    _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let result = withUnsafeMutableBytes { bytes in
      Swift.Result { () throws(Failure) in try body(bytes) }
    }
    return try result.get()
  }
}

/// The first 64 bytes of a bundle, little-endian.
struct BundleHeader: Equatable {
  var minor: UInt16 = BundleFormat.minor
  /// Bits of features that a reader must know.
  var requiredFeatures: UInt64 = 0
  /// Bits of features that a reader may ignore.
  var optionalFeatures: UInt64 = 0
  var directoryBytes: Int
  /// Bytes reserved for signatures behind the directory.
  var signatureCapacity: Int
  var fileBytes: Int
  /// Checksum of everything before it and of the directory; 0 stands for none.
  var checksum: UInt64 = 0

  /// Bytes of the manifest, which the format calls the directory.
  var directory: Range<Int> { BundleFormat.headerBytes..<BundleFormat.headerBytes + directoryBytes }
  /// Bytes of the signature block.
  var signatures: Range<Int> { directory.upperBound..<directory.upperBound + signatureCapacity }

  init(directoryBytes: Int, signatureCapacity: Int, fileBytes: Int) {
    self.directoryBytes = directoryBytes
    self.signatureCapacity = signatureCapacity
    self.fileBytes = fileBytes
  }

  /// Reads the header at the start of `bytes`, which may be longer. Afterwards directory and signatures lie within
  /// `fileBytes`, and that within the limit.
  init(_ bytes: UnsafeRawBufferPointer, limits: BundleLimits) throws(BundleError) {
    let magicFound = bytes.prefix(BundleFormat.magic.count)
    guard magicFound.elementsEqual(BundleFormat.magic.prefix(magicFound.count)) else {
      // The bytes found are not shown: the file may be a link to one that the reader of the message may not read.
      throw BundleError(
        .badMagic, "magic: expected \(Hex.text(BundleFormat.magic)), as every bundle begins, found other bytes")
    }
    guard bytes.count >= BundleFormat.headerBytes else {
      throw BundleError(
        .truncated, "file: expected a bundle's header of \(BundleFormat.headerBytes) bytes, found \(bytes.count)")
    }
    func number<Value: FixedWidthInteger>(at offset: Int, as type: Value.Type) -> Value {
      Value(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type))
    }

    let major = number(at: 8, as: UInt16.self)
    guard major == BundleFormat.major else {
      throw BundleError(
        .unsupported,
        "format: expected major version \(BundleFormat.major), found \(major); it needs a reader of format \(major)")
    }
    minor = number(at: 10, as: UInt16.self)
    guard number(at: 12, as: UInt32.self) == 0 else {
      throw BundleError(.malformed, "header: expected zeros at byte 12, found other bytes")
    }
    requiredFeatures = number(at: 16, as: UInt64.self)
    optionalFeatures = number(at: 24, as: UInt64.self)
    let unknown = requiredFeatures & ~BundleFormat.knownRequiredFeatures
    guard unknown == 0 else {
      throw BundleError(
        .unsupported,
        "required features: expected none beyond format \(BundleFormat.major).\(BundleFormat.minor), found bits 0x\(String(unknown, radix: 16)); it needs a reader of format \(major).\(minor)"
      )
    }
    let directoryOffset = number(at: 32, as: UInt64.self)
    guard directoryOffset == UInt64(BundleFormat.headerBytes) else {
      throw BundleError(
        .malformed, "directory offset: expected \(BundleFormat.headerBytes), found \(directoryOffset)")
    }
    let directoryFound = number(at: 40, as: UInt32.self)
    guard directoryFound > 0, directoryFound <= UInt32(Limits.directoryBytesMax) else {
      throw BundleError(
        directoryFound == 0 ? .malformed : .oversized,
        "directory bytes: expected 1 to \(Limits.directoryBytesMax), found \(directoryFound)")
    }
    directoryBytes = Int(directoryFound)
    let capacityFound = number(at: 44, as: UInt32.self)
    guard capacityFound >= UInt32(BundleFormat.signatureLengthBytes), capacityFound <= UInt32(Limits.signaturesBytesMax)
    else {
      throw BundleError(
        capacityFound < 4 ? .malformed : .oversized,
        "signature capacity: expected \(BundleFormat.signatureLengthBytes) to \(Limits.signaturesBytesMax) bytes, found \(capacityFound)"
      )
    }
    signatureCapacity = Int(capacityFound)
    let bytesFound = number(at: 48, as: UInt64.self)
    guard bytesFound <= UInt64(limits.fileBytesMax) else {
      throw BundleError(.oversized, "file bytes: expected at most \(limits.fileBytesMax), found \(bytesFound)")
    }
    fileBytes = Int(bytesFound)
    checksum = number(at: BundleFormat.checksumOffset, as: UInt64.self)
    guard fileBytes >= signatures.upperBound else {
      throw BundleError(
        .malformed,
        "file bytes: expected at least \(signatures.upperBound) for directory and signatures, found \(fileBytes)")
    }
  }

  /// The 64 bytes of the header.
  func encoded() -> [UInt8] {
    var bytes = BundleFormat.magic
    func append(_ value: some FixedWidthInteger) {
      withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
    append(BundleFormat.major)
    append(minor)
    append(UInt32(0))
    append(requiredFeatures)
    append(optionalFeatures)
    append(UInt64(BundleFormat.headerBytes))
    append(UInt32(directoryBytes))
    append(UInt32(signatureCapacity))
    append(UInt64(fileBytes))
    append(checksum)
    return bytes
  }

  /// Checksum that detects a changed bit of header or directory where there is no signature. It proves no origin.
  ///
  /// - Parameter signed: header and directory, whole; the bytes of the checksum itself do not count.
  /// - Returns: the first 8 bytes of SHA-256, little-endian.
  static func checksum(of signed: UnsafeRawBufferPointer) -> UInt64 {
    var hash = SHA256()
    hash.update(UnsafeRawBufferPointer(rebasing: signed[..<BundleFormat.checksumOffset]))
    hash.update(UnsafeRawBufferPointer(rebasing: signed[BundleFormat.headerBytes...]))
    return hash.finalize().withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) }
  }

  /// - Parameter signed: header and directory.
  func checkChecksum(of signed: UnsafeRawBufferPointer) throws(BundleError) {
    let found = Self.checksum(of: signed)
    guard checksum == 0 || checksum == found else {
      throw BundleError(
        .badHash,
        "checksum of header and directory: expected \(String(checksum, radix: 16)), found \(String(found, radix: 16))")
    }
  }
}

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
