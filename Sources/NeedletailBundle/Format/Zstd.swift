internal import CZstd

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

  /// Decompresses a whole frame into a buffer of exactly the promised size, in a single pass: no byte
  /// beyond it is written and no window is allocated, even if the frame claims to be larger.
  static func decompress(
    _ frame: UnsafeRawBufferPointer, into raw: UnsafeMutableRawBufferPointer, what: String
  ) throws(BundleError) {
    guard let context = ZSTD_createDCtx() else {
      throw BundleError(.io, "zstd: expected memory for a context, found none")
    }
    defer { ZSTD_freeDCtx(context) }
    try check(ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, Int32(BundleFormat.windowLogMax)))
    let result = ZSTD_decompressDCtx(context, raw.baseAddress, raw.count, frame.baseAddress, frame.count)
    guard ZSTD_isError(result) == 0 else {
      throw BundleError(
        .badCompression,
        "\(what): expected a zstd frame of \(raw.count) raw bytes, found: \(String(cString: ZSTD_getErrorName(result)))"
      )
    }
    guard result == raw.count else {
      throw BundleError(.badCompression, "\(what): expected \(raw.count) raw bytes, found \(result)")
    }
  }

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
