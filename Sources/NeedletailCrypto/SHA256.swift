internal import COpenSSL

/// An SHA-256 that takes its input piece by piece (FIPS 180-4).
///
/// ```swift
/// var hash = SHA256()
/// hash.update(header)
/// hash.update(body)
/// let digest = hash.finalize()
/// ```
public struct SHA256: ~Copyable {
  public static let digestBytes = 32

  private let context: OpaquePointer

  public init() {
    // Both fail only without memory, or where OpenSSL has no SHA-256, and then nothing here can work.
    guard let context = EVP_MD_CTX_new() else { preconditionFailure("SHA-256: out of memory") }
    self.context = context
    precondition(EVP_DigestInit_ex2(context, Self.algorithm.pointer, nil) == 1, "OpenSSL offers no SHA-256")
  }

  deinit { EVP_MD_CTX_free(context) }

  public mutating func update(_ bytes: UnsafeRawBufferPointer) {
    precondition(EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) == 1, "SHA-256 takes no more input")
  }

  /// - Returns: the digest, 32 bytes.
  public consuming func finalize() -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: Self.digestBytes) { digest, count in
      precondition(EVP_DigestFinal_ex(context, digest.baseAddress, nil) == 1, "SHA-256 was finalized before")
      count = Self.digestBytes
    }
  }

  /// The digest of `bytes`, 32 bytes.
  public static func hash(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
    var hash = SHA256()
    hash.update(bytes)
    return hash.finalize()
  }

  public static func hash(_ bytes: [UInt8]) -> [UInt8] { bytes.withUnsafeBytes { hash($0) } }

  /// Looked up once: each look-up takes OpenSSL 3 a microsecond and a lock.
  private static let algorithm = Algorithm()

  /// The pointer is never changed nor freed, and OpenSSL lets all threads read what it points to.
  private struct Algorithm: @unchecked Sendable {
    let pointer: OpaquePointer?

    init() {
      CryptoLibrary.prepare()
      pointer = EVP_MD_fetch(nil, "SHA256", nil)
    }
  }
}
