internal import FoundationEssentials
internal import Glibc
internal import NeedletailCore
internal import NeedletailCrypto
internal import NeedletailSystem

/// An Ed25519 private key. It is kept by the publisher, never on a server.
public struct SigningKey: Sendable {
  private static let prefix = "ed25519-private:"

  private let seed: [UInt8]

  /// Creates a key from the system's random numbers.
  public init() { seed = CryptoLibrary.randomBytes(Ed25519.seedBytes) }

  /// Creates the key of a seed of 32 bytes, for tests that need the same key every time.
  package init(seed: [UInt8]) { self.seed = seed }

  /// Reads a key file written by `write(to:)`.
  ///
  /// - Throws: `.badKey` for a file that is no key, or that others may read or write.
  public init(file path: String) throws(BundleError) {
    var status = stat()
    guard stat(path, &status) == 0 else { throw BundleError(SystemError("open \(path)")) }
    let mode = status.st_mode & 0o777
    guard mode & 0o026 == 0 else {
      throw BundleError(
        .badKey,
        "\(path): expected mode 600, found \(String(mode, radix: 8)): others may read or change it; run chmod 600 on it"
      )
    }
    seed = try KeyText.bytes(of: KeyText.line(ofFile: path), prefix: Self.prefix, what: path)
  }

  /// Writes the key to a new file with mode 0600.
  ///
  /// - Throws: `.exists` if there is a file of that name.
  public func write(to path: String) throws(BundleError) {
    try NewFile.write(Array((Self.prefix + Data(seed).base64EncodedString() + "\n").utf8), to: path, mode: 0o600)
  }

  public var publicKey: PublicKey { PublicKey(bytes: Ed25519.publicKey(seed: seed)) }

  /// Adds a signature in the block that the bundle reserves. It replaces one of the same key, so that signing twice
  /// changes nothing.
  ///
  /// - Returns: the bytes of the signed bundle.
  /// - Throws: `.truncated`, `.malformed`, or `.oversized` for a block without space.
  public func sign(_ bundle: [UInt8]) throws(BundleError) -> [UInt8] {
    let header = try bundle.withTypedBytes { bytes throws(BundleError) in
      try BundleHeader(bytes, limits: BundleLimits(fileBytesMax: .max))
    }
    guard bundle.count >= header.signatures.upperBound else {
      throw BundleError(.truncated, "file: expected \(header.fileBytes) bytes, found \(bundle.count)")
    }
    var block = try bundle.withTypedBytes { bytes throws(BundleError) in
      try SignatureBlock(UnsafeRawBufferPointer(rebasing: bytes[header.signatures]))
    }
    let keyID = publicKey.keyIDBytes
    let message = BundleFormat.signatureDomain + bundle[..<header.directory.upperBound]
    let entry = SignatureBlock.Entry(keyID: keyID, signature: Ed25519.signature(of: message, seed: seed))
    if let index = block.entries.firstIndex(where: { $0.keyID == keyID }) {
      block.entries[index] = entry
    } else {
      block.entries.append(entry)
    }
    var signed = bundle
    signed.replaceSubrange(header.signatures, with: try block.encoded(capacity: header.signatureCapacity))
    return signed
  }
}

extension PublicKey {
  /// Writes the key as text to a new file, for people to paste.
  public func write(to path: String) throws(BundleError) {
    try NewFile.write(Array((description + "\n").utf8), to: path, mode: 0o644)
  }
}

/// A file that must not exist yet.
private enum NewFile {
  static func write(_ bytes: [UInt8], to path: String, mode: UInt32) throws(BundleError) {
    do throws(SystemError) {
      try AtomicFile.create(path, bytes, mode: mode)
    } catch {
      throw error.code == EEXIST
        ? BundleError(.exists, "\(path): expected no such file, found one; keys are never overwritten")
        : BundleError(error)
    }
  }
}

/// An Ed25519 public key; as text `ed25519:<base64>`.
public struct PublicKey: Sendable, Hashable, CustomStringConvertible {
  private static let prefix = "ed25519:"

  /// The key's 32 bytes.
  public let bytes: [UInt8]

  init(bytes: [UInt8]) { self.bytes = bytes }

  /// Reads a key from text of the form `ed25519:<base64>`.
  ///
  /// - Throws: `.badKey` that says what is wrong.
  public init(text: String) throws(BundleError) {
    bytes = try KeyText.bytes(of: text, prefix: Self.prefix, what: "public key")
  }

  /// Reads a `.pub` file.
  ///
  /// - Throws: `.io`, `.oversized` or `.badKey`.
  public init(file path: String) throws(BundleError) {
    try self.init(text: KeyText.line(ofFile: path))
  }

  /// First 8 bytes of the SHA-256 of the key, lower-case hexadecimal: it helps to find a key and proves nothing.
  public var keyID: String { Hex.text(keyIDBytes) }

  var keyIDBytes: [UInt8] { Array(SHA256.hash(bytes).prefix(8)) }

  public var description: String { Self.prefix + Data(bytes).base64EncodedString() }

  func isSignature(_ signature: [UInt8], of message: [UInt8]) -> Bool {
    Ed25519.isSignature(signature, of: message, publicKey: bytes)
  }
}

/// Keys as one line of text: a prefix that names the kind, and base64.
enum KeyText {
  static let fileBytesMax = 4096

  /// - Returns: the first line of a key file that is neither empty nor a comment.
  static func line(ofFile path: String) throws(BundleError) -> String {
    let text = try TextFile.read(path, bytesMax: fileBytesMax, reason: .badKey)
    for line in text.split(whereSeparator: \.isNewline) {
      let line = line.drop(while: \.isWhitespace)
      guard let first = line.first, first != "#" else { continue }
      return String(line.prefix { !$0.isWhitespace })
    }
    throw BundleError(.badKey, "\(path): expected a key, found an empty file")
  }

  static func bytes(of text: String, prefix: String, what: String) throws(BundleError) -> [UInt8] {
    guard text.hasPrefix(prefix) else {
      // The text is not quoted, because it may be a private key.
      throw BundleError(.badKey, "\(what): expected text that starts with \(prefix.quotedForMessage), found other text")
    }
    guard let data = Data(base64Encoded: String(text.dropFirst(prefix.count))), data.count == 32 else {
      throw BundleError(
        .badKey, "\(what): expected 32 bytes as base64 behind \(prefix.quotedForMessage), found other text")
    }
    return Array(data)
  }
}
