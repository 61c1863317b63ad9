internal import NeedletailCore
internal import NeedletailCrypto

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
      throw BundleError(
        .badMagic,
        "magic: expected \(Hex.text(BundleFormat.magic)), as every bundle begins, found \(Hex.text(magicFound)) "
          + "(\(String(decoding: magicFound, as: UTF8.self).quotedForMessage))")
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

/// Bytes as lower-case hexadecimal text.
enum Hex {
  static func text(_ bytes: some Sequence<UInt8>) -> String {
    var text = ""
    for byte in bytes {
      if byte < 16 { text += "0" }
      text += String(byte, radix: 16)
    }
    return text
  }
}
