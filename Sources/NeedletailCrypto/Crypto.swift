internal import COpenSSL

/// The process-wide state of OpenSSL.
public enum CryptoLibrary {
  /// Initialises OpenSSL before its first use. Any thread may call it, any number of times.
  ///
  /// By itself OpenSSL would free its state in an `atexit` handler, under threads that still use it then.
  public static func prepare() { _ = prepared }

  private static let prepared: Void = {
    precondition(OPENSSL_init_crypto(UInt64(OPENSSL_INIT_NO_ATEXIT), nil) == 1, "OpenSSL cannot be initialised")
  }()

  /// Bytes from the operating system's random numbers, for keys.
  public static func randomBytes(_ count: Int) -> [UInt8] {
    var generator = SystemRandomNumberGenerator()
    return (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
  }
}

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

/// Signatures with Ed25519 (RFC 8032): keys of 32 bytes, signatures of 64.
public enum Ed25519 {
  public static let seedBytes = 32
  public static let publicKeyBytes = 32
  public static let signatureBytes = 64

  /// The public key of a private one.
  /// - Parameter seed: the private key, 32 bytes of any value.
  public static func publicKey(seed: [UInt8]) -> [UInt8] {
    let key = privateKey(seed)
    defer { EVP_PKEY_free(key) }
    var count = publicKeyBytes
    return [UInt8](unsafeUninitializedCapacity: publicKeyBytes) { bytes, initialized in
      precondition(EVP_PKEY_get_raw_public_key(key, bytes.baseAddress, &count) == 1, "Ed25519 key without public half")
      initialized = count
    }
  }

  /// Signs `message`. The same seed and message give the same signature.
  /// - Parameter seed: the private key, 32 bytes of any value.
  /// - Returns: the signature, 64 bytes.
  public static func signature(of message: [UInt8], seed: [UInt8]) -> [UInt8] {
    let key = privateKey(seed)
    defer { EVP_PKEY_free(key) }
    return withDigest { context in
      precondition(EVP_DigestSignInit(context, nil, nil, nil, key) == 1, "OpenSSL cannot sign with Ed25519")
      return [UInt8](unsafeUninitializedCapacity: signatureBytes) { signature, count in
        count = signatureBytes
        let status = EVP_DigestSign(context, signature.baseAddress, &count, message, message.count)
        precondition(status == 1, "OpenSSL cannot sign with Ed25519")
      }
    }
  }

  /// Whether `signature` is that of `message` by the holder of the private key.
  ///
  /// Any bytes may be passed; what is no key or no signature verifies nothing.
  public static func isSignature(_ signature: [UInt8], of message: [UInt8], publicKey: [UInt8]) -> Bool {
    guard publicKey.count == publicKeyBytes, signature.count == signatureBytes else { return false }
    CryptoLibrary.prepare()
    // Reasons of a failure would stay in the thread's queue for the next one that reads it.
    defer { ERR_clear_error() }
    guard let key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nil, publicKey, publicKey.count) else { return false }
    defer { EVP_PKEY_free(key) }
    return withDigest { context in
      guard EVP_DigestVerifyInit(context, nil, nil, nil, key) == 1 else { return false }
      return EVP_DigestVerify(context, signature, signature.count, message, message.count) == 1
    }
  }

  private static func privateKey(_ seed: [UInt8]) -> OpaquePointer {
    precondition(seed.count == seedBytes, "Ed25519 seed: expected \(seedBytes) bytes, found \(seed.count)")
    CryptoLibrary.prepare()
    guard let key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nil, seed, seed.count) else {
      preconditionFailure("OpenSSL offers no Ed25519")
    }
    return key
  }

  private static func withDigest<Result>(_ body: (OpaquePointer) -> Result) -> Result {
    guard let context = EVP_MD_CTX_new() else { preconditionFailure("Ed25519: out of memory") }
    defer { EVP_MD_CTX_free(context) }
    return body(context)
  }
}

/// Bytes as lower-case hexadecimal text.
public enum Hex {
  public static func text(_ bytes: some Sequence<UInt8>) -> String {
    var text = ""
    for byte in bytes {
      if byte < 16 { text += "0" }
      text += String(byte, radix: 16)
    }
    return text
  }
}
