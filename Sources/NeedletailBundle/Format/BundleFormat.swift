/// The constants of the file format and the bounds of its decoder; `proto/bundle.md` tells the layout.
enum BundleFormat {
  static let magic: [UInt8] = [0x89, 0x4E, 0x54, 0x42, 0x0D, 0x0A, 0x1A, 0x0A]
  static let major: UInt16 = 1
  /// The newest format that is written, and then only where a bundle needs it: see ``openGraph``.
  static let minor: UInt16 = 1
  /// Required feature: nodes of several inputs or outputs; values of other types, shapes and domains than fp32
  /// columns per row; fp32 tensors stored by halves. A reader of format 1.0 would take them for something else.
  static let openGraph: UInt64 = 1 << 0
  /// Bits of the features that this reader knows.
  static let knownRequiredFeatures = openGraph
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
